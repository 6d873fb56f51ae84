//! Spans of a gateway and its members, as a collector gets them.
//!
//! Who takes spans is chosen for a thread, so that the other tests of the program know nothing of it: here everything runs on
//! the test's own.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, StatusCode, body::Incoming};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::any_value::Value,
    trace::v1::Span,
};
use opentelemetry_sdk::{Resource, trace::BatchConfigBuilder};
use tokio::{net::TcpListener, task::JoinSet, time::timeout};
use tokio_stream::wrappers::TcpListenerStream;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::{Registry, layer::SubscriberExt};
use weft_node::{gateway::Access, telemetry::Spans};

use super::{
    fleet::{Fleet, Port, content, eventually},
    gateway::Running,
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// Less than an export may take until it is given up.
const PROMPTLY: Duration = Duration::from_secs(8);

#[derive(Debug, Default, Clone)]
struct Collector(Arc<Mutex<Vec<Span>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        let scopes = request.into_inner().resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
        self.0.lock().unwrap().extend(scopes.flat_map(|scope| scope.spans));
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    async fn start(&self, tasks: &mut JoinSet<()>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let endpoint = format!("http://{}", listener.local_addr().expect("it is bound"));
        let server = tonic::transport::Server::builder().add_service(TraceServiceServer::new(self.clone()));
        tasks.spawn(async move {
            server.serve_with_incoming(TcpListenerStream::new(listener)).await.expect("the collector serves");
        });
        endpoint
    }

    fn spans(&self) -> Vec<Span> {
        self.0.lock().unwrap().clone()
    }

    /// The span of a name, once it has come.
    async fn one(&self, name: &str) -> Span {
        let find = || self.spans().into_iter().find(|span| span.name == name);
        eventually(&format!("a span of {name} comes"), async || find().is_some()).await;
        find().expect("it has come")
    }

    /// A call that was made for a request and went well, once its span has come.
    async fn call(&self, name: &str, request: &Span) -> Span {
        let is_it = |span: &Span| {
            let called = span.name == name && told(span, "rpc.grpc.status_code").as_deref() == Some("0");
            called && span.trace_id == request.trace_id && span.parent_span_id == request.span_id
        };
        let find = || self.spans().into_iter().find(is_it);
        eventually(&format!("{name} comes under {}", request.name), async || find().is_some()).await;
        find().expect("it has come")
    }
}

/// An attribute's value, as text.
fn told(span: &Span, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        other => panic!("{key} is {other:?}"),
    }
}

/// Exports the spans of this thread.
fn export_to(endpoint: &str) -> (Spans, DefaultGuard) {
    let often = BatchConfigBuilder::default().with_scheduled_delay(Duration::from_millis(50)).build();
    let spans = Spans::to(endpoint, Resource::builder_empty().build(), often).expect("the endpoint is one");
    let here = tracing::subscriber::set_default(Registry::default().with(spans.layer()));
    (spans, here)
}

async fn ask(running: &Running, method: &str, path: &str, traced: bool, body: &Bytes) -> Response<Incoming> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let mut request = Request::builder().method(method).uri(format!("{}{path}", running.url()));
    if traced {
        request = request.header("traceparent", format!("00-{TRACE}-{CALLER}-01"));
    }
    let request = request.body(Full::new(body.clone())).expect("a request");
    client.request(request).await.expect("the gateway answers")
}

/// Puts under the caller's trace, and gives the blob's ID.
async fn put(running: &Running, body: &Bytes) -> String {
    let answer = ask(running, "PUT", "/v1/blobs", true, body).await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    let location = answer.headers()["location"].to_str().expect("text").to_owned();
    location.rsplit('/').next().expect("it ends with the ID").to_owned()
}

#[tokio::test]
async fn a_put_and_a_get_are_traces_through_gateway_and_members() {
    let (collector, mut tasks) = (Collector::default(), JoinSet::new());
    let (spans, _here) = export_to(&collector.start(&mut tasks).await);
    let fleet = Fleet::start(4).await;
    let running = Running::start(&fleet, Access::Open).await;
    // Too large to be sent along with what finishes it.
    let bytes = content(1, 5 << 20);
    let id = put(&running, &bytes).await;
    let got = ask(&running, "GET", &format!("/v1/blobs/{id}"), false, &Bytes::new()).await;
    assert!(got.into_body().collect().await.expect("the blob is there").to_bytes() == bytes);

    let (put, get) = (collector.one("PUT /v1/blobs").await, collector.one("GET /v1/blobs/{id}").await);
    assert_eq!((hex::encode(&put.trace_id), hex::encode(&put.parent_span_id)), (TRACE.to_owned(), CALLER.to_owned()));
    assert!(get.trace_id != put.trace_id && get.parent_span_id.is_empty(), "nobody's trace: it begins one");
    for name in ["Upload", "Certify"] {
        collector.call(&format!("weft.node.v1.Writes/{name}"), &put).await;
    }
    for name in ["Lookup", "GetSliver"] {
        collector.call(&format!("weft.node.v1.Reads/{name}"), &get).await;
    }
    for (span, status) in [(&put, "201"), (&get, "200")] {
        assert_eq!(told(span, "http.response.status_code").as_deref(), Some(status));
        assert_eq!(told(span, "weft.blob"), Some(id.clone()));
    }
    assert_eq!(told(&get, "http.route").as_deref(), Some("/v1/blobs/{id}"));
    assert_eq!(told(&get, "http.request.method").as_deref(), Some("GET"));
    let finished = collector.call("weft.node.v1.Writes/Finish", &put).await;
    let call = ["rpc.system", "rpc.service", "rpc.method", "weft.blob"].map(|key| told(&finished, key));
    assert_eq!(call.map(Option::unwrap_or_default), ["grpc", "weft.node.v1.Writes", "Finish", &id].map(str::to_owned));
    for span in collector.spans().iter().filter(|span| span.trace_id == put.trace_id && span.span_id != put.span_id) {
        assert_eq!(span.parent_span_id, put.span_id, "{}", span.name);
    }
    spans.end().await;
}

#[tokio::test]
async fn a_collector_that_is_away_or_silent_holds_nothing_up() {
    let fleet = Fleet::start(4).await;
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let closed = Port::hold();
    for address in [closed.address(), silent.local_addr().expect("it is bound")] {
        let (spans, _here) = export_to(&format!("http://{address}"));
        let running = Running::start(&fleet, Access::Open).await;
        timeout(PROMPTLY, put(&running, &content(2, 10_000))).await.expect("the put is answered");
        timeout(PROMPTLY, spans.end()).await.expect("the end waits for a second at the most");
    }
}
