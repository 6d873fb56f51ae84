//! A span for each call that a member answers, by OpenTelemetry's conventions for gRPC.

use std::task::{Context, Poll};

use axum::http::{HeaderMap, Request, Response};
use futures::{
    TryFutureExt,
    future::{BoxFuture, Either, FutureExt, MapOk},
};
use tonic::Code;
use tower::{Layer, Service};
use tracing::{Instrument, Span, field::Empty, info_span};

use super::{
    TARGET,
    body::{Spanned, failed},
    join,
};

/// Puts a span around each call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Calls;

impl<S> Layer<S> for Calls {
    type Service = Answering<S>;

    fn layer(&self, calls: S) -> Answering<S> {
        Answering(calls)
    }
}

/// Services under spans.
#[derive(Debug, Clone)]
pub(crate) struct Answering<S>(S);

type Plain<F, B> = MapOk<F, fn(Response<B>) -> Response<Spanned<B>>>;

impl<S, B, R> Service<Request<B>> for Answering<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    R: 'static,
    S::Error: 'static,
{
    type Response = Response<Spanned<R>>;
    type Error = S::Error;
    type Future = Either<Plain<S::Future, R>, BoxFuture<'static, Result<Self::Response, S::Error>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let span = begin(request.uri().path());
        if span.is_disabled() {
            return Either::Left(self.0.call(request).map_ok(plain as fn(_) -> _));
        }
        join(&span, request.headers());
        let answer = span.in_scope(|| self.0.call(request));
        let answer = async move {
            let response = answer.await?;
            let span = Span::current();
            told(&span, response.headers());
            Ok(response.map(|body| Spanned::new(body, span, told)))
        };
        Either::Right(answer.instrument(span).boxed())
    }
}

fn plain<B>(response: Response<B>) -> Response<Spanned<B>> {
    response.map(|body| Spanned::new(body, Span::none(), |_, _| {}))
}

/// A path is `/<package>.<service>/<method>`.
fn begin(path: &str) -> Span {
    let name = path.trim_start_matches('/');
    let (service, method) = name.split_once('/').unwrap_or((name, ""));
    info_span!(
        target: TARGET,
        parent: None,
        "call",
        otel.kind = "server",
        otel.name = name,
        otel.status_code = Empty,
        rpc.system = "grpc",
        rpc.service = service,
        rpc.method = method,
        rpc.grpc.status_code = Empty,
        weft.blob = Empty,
    )
}

/// A call's status is in its trailers, or in the headers when there is nothing else.
fn told(span: &Span, headers: &HeaderMap) {
    let Some(status) = headers.get("grpc-status") else { return };
    let code = Code::from_bytes(status.as_bytes());
    span.record("rpc.grpc.status_code", code as i64);
    // The others are the caller's doing.
    let faults =
        [Code::Unknown, Code::DeadlineExceeded, Code::Unimplemented, Code::Internal, Code::Unavailable, Code::DataLoss];
    if faults.contains(&code) {
        failed(span);
    }
}
