//! What a process tells of itself beside its metrics: a log, and spans where a collector for them is named (OTLP).
//!
//! ```text
//! client ──traceparent──▶ gateway: a span a request ──traceparent──▶ members: a span a call ──traceparent──▶ members …
//!                            └────────────── batches, by OTLP over gRPC ───────┴──▶ collector
//! ```
//!
//! Spans have a target of their own, so that the log is the same with them and without, and what libraries say of
//! themselves isn't exported. Without a collector no subscriber takes that target: a span costs the look at whether one
//! does.

mod body;
mod calls;
mod collector;
mod requests;

use std::{env, io::IsTerminal, time::Duration};

use opentelemetry::{
    Context, KeyValue,
    propagation::Extractor,
    trace::{TraceContextExt, TracerProvider},
};
use opentelemetry_otlp::ExporterBuildError;
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{BatchConfig, BatchSpanProcessor, SdkTracerProvider},
};
use thiserror::Error;
use tracing::{Level, Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{
    EnvFilter, Layer, filter::Targets, fmt, layer::SubscriberExt, registry::LookupSpan, util::SubscriberInitExt,
};
use weft_redstuff::BlobId;

use crate::args::Command;
pub(crate) use calls::Calls;
pub(crate) use requests::request;

/// The target of all spans.
const TARGET: &str = "weft_spans";
/// The scope under which they are exported.
const SCOPE: &str = "weft";
/// How long the end of the process may wait for the last spans; little, since pods have a time in which to end.
const FLUSH: Duration = Duration::from_secs(1);

/// Why no spans are exported although a collector is named.
#[derive(Debug, Error)]
pub enum SpansError {
    #[error("{variable} asks for {protocol:?}, and spans are exported by grpc alone")]
    Protocol { variable: &'static str, protocol: String },
    #[error("the collector {endpoint:?} can't be used")]
    Collector { endpoint: String, source: ExporterBuildError },
}

/// Exports spans, until it is ended.
#[derive(Debug)]
pub struct Spans {
    provider: SdkTracerProvider,
}

/// Begins to log: text for a terminal, JSON for everything else; `RUST_LOG` chooses what is told. Spans are exported where
/// the environment names a collector; where it can't be used the process goes on without, and says so.
pub fn init(command: &Command) -> Option<Spans> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let filter = filter.add_directive(format!("{TARGET}=off").parse().expect("a directive"));
    let log = fmt::layer().with_writer(std::io::stderr);
    let log = if std::io::stderr().is_terminal() { log.boxed() } else { log.json().flatten_event(true).boxed() };
    let spans = Spans::from_env(command).transpose();
    let layer = spans.as_ref().ok().and_then(Option::as_ref).map(Spans::layer);
    tracing_subscriber::registry().with(log.with_filter(filter)).with(layer).init();
    spans.unwrap_or_else(|error| {
        tracing::error!("spans aren't exported: {}", crate::run::chain(&error));
        None
    })
}

impl Spans {
    /// To the collector that the variables of OpenTelemetry name.
    fn from_env(command: &Command) -> Option<Result<Self, SpansError>> {
        let named = |variable| env::var(variable).ok().filter(|value| !value.is_empty());
        let endpoint = named("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").or_else(|| named("OTEL_EXPORTER_OTLP_ENDPOINT"))?;
        let protocols = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
        let protocol = protocols.into_iter().find_map(|variable| Some((variable, named(variable)?)));
        match protocol {
            Some((variable, protocol)) if protocol != "grpc" => Some(Err(SpansError::Protocol { variable, protocol })),
            _ => Some(Self::to(&endpoint, resource(command), BatchConfig::default())),
        }
    }

    /// To a collector, whose address is `http://host:port`. Needs the runtime: spans go out from a thread of their own, over
    /// connections of the runtime's.
    pub fn to(endpoint: &str, resource: Resource, batches: BatchConfig) -> Result<Self, SpansError> {
        let collector = collector::Collector::at(endpoint)
            .map_err(|source| SpansError::Collector { endpoint: endpoint.to_owned(), source })?;
        let processor = BatchSpanProcessor::builder(collector).with_batch_config(batches).build();
        let provider = SdkTracerProvider::builder().with_span_processor(processor).with_resource(resource).build();
        opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
        Ok(Self { provider })
    }

    /// What takes spans from the code.
    pub fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(&self) -> impl Layer<S> + use<S> {
        let layer = tracing_opentelemetry::layer().with_tracer(self.provider.tracer(SCOPE));
        let plain = layer.with_location(false).with_threads(false).with_target(false).with_tracked_inactivity(false);
        plain.with_filter(Targets::new().with_target(TARGET, Level::INFO))
    }

    /// Sends what hasn't been sent, for a second at the most.
    pub async fn end(self) {
        let flushed = tokio::task::spawn_blocking(move || self.provider.shutdown_with_timeout(FLUSH)).await;
        if !matches!(flushed, Ok(Ok(()))) {
            tracing::debug!(?flushed, "the last spans were not exported");
        }
    }
}

/// Whose spans they are: a name that the environment may change, and what tells members of one name apart.
fn resource(command: &Command) -> Resource {
    let (name, about) = match command {
        Command::Serve(args) => (
            "weft-node",
            vec![
                KeyValue::new("weft.fleet", args.fleet.to_string()),
                KeyValue::new("weft.member", i64::from(args.member)),
                KeyValue::new("weft.incarnation", i64::from(args.incarnation)),
            ],
        ),
        Command::Gateway(args) => ("weft-gateway", vec![KeyValue::new("weft.fleet", args.fleet.to_string())]),
    };
    let given = Resource::builder().build().get(&"service.name".into());
    // The library has a name of its own for who has none.
    let given = given.filter(|given| !given.as_str().starts_with("unknown_service"));
    let name = given.unwrap_or_else(|| name.into());
    Resource::builder().with_attributes(about).with_service_name(name).build()
}

/// Tells the current span which blob it is about.
pub(crate) fn about(blob: &BlobId) {
    Span::current().record("weft.blob", tracing::field::display(blob));
}

/// Makes a span part of the trace that a caller's headers tell of, if they do (W3C Trace Context).
fn join(span: &Span, headers: &axum::http::HeaderMap) {
    let context = opentelemetry::global::get_text_map_propagator(|form| {
        form.extract_with_context(&Context::new(), &Headers(headers))
    });
    if context.span().span_context().is_valid() {
        // It can't have begun: nobody else has it yet.
        let _joined = span.set_parent(context);
    }
}

struct Headers<'a>(&'a axum::http::HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(axum::http::HeaderName::as_str).collect()
    }
}
