//! What a gateway counts.

use std::time::Instant;

use axum::{body::Body, extract::Request, http::Method, response::Response};
use http_body_util::BodyExt;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    method: &'static str,
    code: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    method: &'static str,
}

/// A gateway's counters.
#[derive(Debug)]
pub(super) struct Metrics {
    requests: Family<Answered, Counter>,
    duration: Family<Asked, Histogram>,
    received: Counter,
    sent: Counter,
    view_epoch: Gauge,
    view_revision: Gauge,
    members: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        // From 1 ms to about a minute.
        let histogram = || Histogram::new(exponential_buckets(0.001, 2.0, 17));
        Self {
            requests: Family::default(),
            duration: Family::new_with_constructor(histogram),
            received: Counter::default(),
            sent: Counter::default(),
            view_epoch: Gauge::default(),
            view_revision: Gauge::default(),
            members: Gauge::default(),
        }
    }
}

/// One request on its way.
#[derive(Debug)]
pub(super) struct Watch<'a> {
    metrics: &'a Metrics,
    method: &'static str,
    since: Instant,
}

impl Metrics {
    pub(super) fn begin(&self, method: &Method) -> Watch<'_> {
        let method = match *method {
            Method::GET => "GET",
            Method::HEAD => "HEAD",
            Method::PUT => "PUT",
            Method::DELETE => "DELETE",
            _ => "other",
        };
        Watch { metrics: self, method, since: Instant::now() }
    }

    /// Sets what is only known when somebody looks.
    pub(super) fn set_fleet(&self, (epoch, revision): (u64, u64), members: usize) {
        self.view_epoch.set(epoch as i64);
        self.view_revision.set(revision as i64);
        self.members.set(members as i64);
    }

    /// The text that Prometheus scrapes.
    pub(super) fn render(&self) -> String {
        let mut registry = Registry::with_prefix("weft_gateway");
        registry.register("requests", "Requests answered", self.requests.clone());
        registry.register("request_duration_seconds", "Time until an answer began", self.duration.clone());
        registry.register("received_bytes", "Content received", self.received.clone());
        registry.register("sent_bytes", "Content sent", self.sent.clone());
        registry.register("view_epoch", "Epoch of the newest known view", self.view_epoch.clone());
        registry.register("view_revision", "Revision of the newest known view", self.view_revision.clone());
        registry.register("members_answering", "Members that answered lately", self.members.clone());
        let mut text = String::new();
        encode(&mut text, &registry).expect("a String takes any text");
        text
    }
}

/// Counts the bytes of a body as they pass.
fn counted(body: Body, counter: &Counter) -> Body {
    let counter = counter.clone();
    Body::new(body.map_frame(move |frame| {
        if let Some(data) = frame.data_ref() {
            counter.inc_by(data.len() as u64);
        }
        frame
    }))
}

impl Watch<'_> {
    pub(super) fn count_received(&self, request: Request) -> Request {
        request.map(|body| counted(body, &self.metrics.received))
    }

    pub(super) fn end(self, response: Response) -> Response {
        let Self { metrics, method, since } = self;
        let code = response.status().as_u16().into();
        metrics.requests.get_or_create(&Answered { method, code }).inc();
        metrics.duration.get_or_create(&Asked { method }).observe(since.elapsed().as_secs_f64());
        response.map(|body| counted(body, &metrics.sent))
    }
}
