//! Calls that tell which trace they belong to.

use std::task::{Context, Poll};

use tonic::{
    body::Body,
    codegen::{
        Service,
        http::{HeaderMap, Request, Response},
    },
    transport::{Channel, Error},
};

/// A channel whose calls carry the context of the span under which they are made (W3C Trace Context), while spans are
/// exported. Without the feature `traces` it is the channel.
#[derive(Debug, Clone)]
pub struct Traced(Channel);

impl From<Channel> for Traced {
    fn from(channel: Channel) -> Self {
        Self(channel)
    }
}

impl Service<Request<Body>> for Traced {
    type Response = Response<Body>;
    type Error = Error;
    type Future = <Channel as Service<Request<Body>>>::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        mark(request.headers_mut());
        self.0.call(request)
    }
}

#[cfg(not(feature = "traces"))]
fn mark(_: &mut HeaderMap) {}

#[cfg(feature = "traces")]
fn mark(headers: &mut HeaderMap) {
    use tracing_opentelemetry::OpenTelemetrySpanExt;

    let span = tracing::Span::current();
    if !span.is_none() {
        let context = span.context();
        let mut headers = Headers(headers);
        opentelemetry::global::get_text_map_propagator(|form| form.inject_context(&context, &mut headers));
    }
}

#[cfg(feature = "traces")]
struct Headers<'a>(&'a mut HeaderMap);

#[cfg(feature = "traces")]
impl opentelemetry::propagation::Injector for Headers<'_> {
    fn set(&mut self, key: &str, value: String) {
        use tonic::codegen::http::{HeaderName, HeaderValue};

        if let (Ok(name), Ok(value)) = (HeaderName::try_from(key), HeaderValue::try_from(value)) {
            self.0.insert(name, value);
        }
    }
}
