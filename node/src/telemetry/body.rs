//! The body of an answer, which is made under the span of what it answers and ends it.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use opentelemetry::trace::TraceContextExt;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// A body under a span.
#[derive(Debug)]
pub(crate) struct Spanned<B> {
    body: B,
    span: Span,
    trailers: fn(&Span, &HeaderMap),
}

impl<B> Spanned<B> {
    /// `trailers` looks at what comes after the content.
    pub(super) fn new(body: B, span: Span, trailers: fn(&Span, &HeaderMap)) -> Self {
        Self { body, span, trailers }
    }
}

impl<B: Body + Unpin> Body for Spanned<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let Self { body, span, trailers } = self.get_mut();
        let _entered = span.enter();
        let polled = Pin::new(body).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => frame.trailers_ref().into_iter().for_each(|found| trailers(span, found)),
            Poll::Ready(Some(Err(_))) => failed(span),
            Poll::Ready(None) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for Spanned<B> {
    /// What goes on in the background, as feeding laggards does, holds the span and doesn't make it longer.
    fn drop(&mut self) {
        if !self.span.is_disabled() {
            self.span.context().span().end();
        }
    }
}

/// Marks a span as failed.
pub(super) fn failed(span: &Span) {
    span.record("otel.status_code", "ERROR");
}
