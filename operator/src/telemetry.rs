//! Logs, metrics, and the admin server that shows them.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use axum::{Router, extract::State, http::StatusCode, routing::get};
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
use thiserror::Error;
use tracing_subscriber::EnvFilter;

use crate::args::LogFormat;

#[derive(Debug, Error)]
pub enum TelemetryError {
    #[error("read the log filter {filter:?}")]
    Filter { filter: String, source: tracing_subscriber::filter::ParseError },
    #[error("listen on {address} for the admin server")]
    Listen { address: SocketAddr, source: std::io::Error },
}

/// Starts logging. A second call changes nothing.
pub fn log(filter: &str, format: LogFormat) -> Result<(), TelemetryError> {
    let parsed =
        EnvFilter::try_new(filter).map_err(|source| TelemetryError::Filter { filter: filter.to_owned(), source })?;
    let subscriber = tracing_subscriber::fmt().with_env_filter(parsed).with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Text => subscriber.with_ansi(false).try_init(),
        LogFormat::Json => subscriber.json().try_init(),
    };
    // Someone who logs already, a test for one, keeps doing so.
    drop(started);
    Ok(())
}

/// Labels of what is told by committee.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Committee {
    pub namespace: String,
    pub committee: String,
}

/// Labels of a count by outcome.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Outcome {
    /// `ok` or `error`.
    pub outcome: &'static str,
}

/// Everything that is counted, and whether the process is well.
#[derive(Debug)]
pub struct Telemetry {
    registry: Mutex<Registry>,
    pub reconciles: Family<Outcome, Counter>,
    pub reconcile_seconds: Histogram,
    pub status_writes: Counter,
    pub leading: Gauge,
    pub read_margin: Family<Committee, Gauge>,
    pub write_margin: Family<Committee, Gauge>,
    pub missing_slivers: Family<Committee, Gauge>,
    pub missing_bytes: Family<Committee, Gauge>,
    pub unrecoverable_blobs: Family<Committee, Gauge>,
    pub invalid_blobs: Family<Committee, Gauge>,
    pub members_serving: Family<Committee, Gauge>,
    ready: AtomicBool,
    /// Seconds since the epoch at which the event loop last turned.
    pulse: AtomicI64,
}

impl Telemetry {
    pub fn new() -> Arc<Self> {
        let telemetry = Self {
            registry: Mutex::new(Registry::default()),
            reconciles: Family::default(),
            reconcile_seconds: Histogram::new(exponential_buckets(0.005, 2.0, 14)),
            status_writes: Counter::default(),
            leading: Gauge::default(),
            read_margin: Family::default(),
            write_margin: Family::default(),
            missing_slivers: Family::default(),
            missing_bytes: Family::default(),
            unrecoverable_blobs: Family::default(),
            invalid_blobs: Family::default(),
            members_serving: Family::default(),
            ready: AtomicBool::new(false),
            pulse: AtomicI64::new(jiff::Timestamp::now().as_second()),
        };
        telemetry.register();
        Arc::new(telemetry)
    }

    fn register(&self) {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let to = &mut *registry;
        to.register("weft_operator_reconcile", "Reconciliations of committees", self.reconciles.clone());
        to.register(
            "weft_operator_reconcile_duration_seconds",
            "How long a reconciliation takes",
            self.reconcile_seconds.clone(),
        );
        to.register("weft_operator_status_writes", "Writes of status", self.status_writes.clone());
        to.register("weft_operator_leading", "1 while this process leads", self.leading.clone());
        to.register(
            "weft_committee_read_margin_shards",
            "Shards that may go before a blob can't be read",
            self.read_margin.clone(),
        );
        to.register(
            "weft_committee_write_margin_shards",
            "Shards that may go before nothing can be written",
            self.write_margin.clone(),
        );
        to.register("weft_committee_missing_slivers", "Slivers that holders lack", self.missing_slivers.clone());
        to.register("weft_committee_missing_bytes", "Bytes of slivers that holders lack", self.missing_bytes.clone());
        to.register(
            "weft_committee_unrecoverable_blobs",
            "Blobs of which too little is left to read or mend them",
            self.unrecoverable_blobs.clone(),
        );
        to.register(
            "weft_committee_invalid_blobs",
            "Blobs whose writers were proven to have lied",
            self.invalid_blobs.clone(),
        );
        to.register("weft_committee_members_serving", "Members that answer", self.members_serving.clone());
    }

    /// Forgets a committee that is gone.
    pub fn forget(&self, committee: &Committee) {
        for family in [
            &self.read_margin,
            &self.write_margin,
            &self.missing_slivers,
            &self.missing_bytes,
            &self.unrecoverable_blobs,
            &self.invalid_blobs,
            &self.members_serving,
        ] {
            family.remove(committee);
        }
    }

    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }

    /// Turns with the event loop, so that a stuck one shows in /livez.
    pub async fn beat(self: Arc<Self>) {
        loop {
            self.pulse.store(jiff::Timestamp::now().as_second(), Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
    }

    fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry.lock().unwrap_or_else(PoisonError::into_inner))?;
        Ok(text)
    }
}

/// Serves /livez, /readyz and /metrics until the process ends.
pub async fn serve(telemetry: Arc<Telemetry>, address: SocketAddr) -> Result<(), TelemetryError> {
    let wrong = |source| TelemetryError::Listen { address, source };
    let listener = tokio::net::TcpListener::bind(address).await.map_err(wrong)?;
    let routes = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(telemetry);
    axum::serve(listener, routes).await.map_err(wrong)
}

async fn livez(State(telemetry): State<Arc<Telemetry>>) -> (StatusCode, &'static str) {
    let silent = jiff::Timestamp::now().as_second() - telemetry.pulse.load(Ordering::Relaxed);
    if silent < 60 { (StatusCode::OK, "ok\n") } else { (StatusCode::INTERNAL_SERVER_ERROR, "stuck\n") }
}

async fn readyz(State(telemetry): State<Arc<Telemetry>>) -> (StatusCode, &'static str) {
    if telemetry.ready.load(Ordering::Relaxed) {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "starting\n")
    }
}

async fn metrics(State(telemetry): State<Arc<Telemetry>>) -> Result<String, StatusCode> {
    telemetry.text().map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}
