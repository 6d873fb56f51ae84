//! A span for each request to a gateway, by OpenTelemetry's conventions for HTTP.

use axum::{
    body::Body,
    extract::{MatchedPath, Request},
    http::Method,
    middleware::Next,
    response::Response,
};
use tracing::{Instrument, Span, field::Empty, info_span};

use super::{
    TARGET,
    body::{Spanned, failed},
    join,
};

/// Serves a request under a span that lasts until the answer was sent, or nobody wants it any more.
pub(crate) async fn request(request: Request, next: Next) -> Response {
    let span = begin(&request);
    if span.is_disabled() {
        return next.run(request).await;
    }
    join(&span, request.headers());
    let response = next.run(request).instrument(span.clone()).await;
    span.record("http.response.status_code", response.status().as_u16());
    if response.status().is_server_error() {
        failed(&span);
    }
    response.map(|body| Body::new(Spanned::new(body, span, |_, _| {})))
}

/// Names have no part that a client chooses freely: there are as many as there are routes and methods.
fn begin(request: &Request) -> Span {
    let method = match *request.method() {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::PUT => "PUT",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "_OTHER",
    };
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let name = || route.map_or_else(|| method.to_owned(), |route| format!("{method} {route}"));
    info_span!(
        target: TARGET,
        parent: None,
        "request",
        otel.kind = "server",
        otel.name = name(),
        otel.status_code = Empty,
        http.request.method = method,
        http.route = route,
        url.path = request.uri().path(),
        http.response.status_code = Empty,
        weft.blob = Empty,
    )
}
