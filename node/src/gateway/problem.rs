//! What a client is told when its request fails (RFC 9457).

use std::error::Error;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;
use weft_client::{ContentError, DeleteError, GetError, ListError, PutError, UploadError};

/// A failed request's answer.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    detail: String,
    /// The blob's length, for `Content-Range`, when a range can't be served.
    length: Option<u64>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), length: None }
    }

    #[cfg(test)]
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    fn of(status: StatusCode, error: &(dyn Error + 'static)) -> Self {
        let causes = std::iter::successors(Some(error), |error| (*error).source()).map(ToString::to_string);
        Self::new(status, causes.collect::<Vec<_>>().join(": "))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self { status, detail, length } = self;
        if status.is_server_error() {
            tracing::warn!(status = status.as_u16(), detail, "a request failed");
        }
        let title = status.canonical_reason().unwrap_or("error");
        let body = json!({ "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail });
        let mut response = (status, body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        match status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        if let Some(range) = length.and_then(|length| HeaderValue::try_from(format!("bytes */{length}")).ok()) {
            headers.insert(header::CONTENT_RANGE, range);
        }
        response
    }
}

impl From<PutError> for Problem {
    fn from(error: PutError) -> Self {
        let status = match &error {
            PutError::Content(ContentError::Idle) => StatusCode::REQUEST_TIMEOUT,
            PutError::Content(ContentError::Broken(_)) => StatusCode::BAD_REQUEST,
            PutError::NoRoom { .. } | PutError::Upload(UploadError::NoRoom { .. }) => StatusCode::INSUFFICIENT_STORAGE,
            PutError::Fleet(_) | PutError::Upload(_) | PutError::TooFew { .. } | PutError::Late { .. } => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            PutError::Deleted(_) | PutError::Expired { .. } => StatusCode::GONE,
            PutError::Stripe(_) | PutError::Certificate(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::of(status, &error)
    }
}

impl From<GetError> for Problem {
    fn from(error: GetError) -> Self {
        let (status, length) = match &error {
            GetError::NotFound(_) => (StatusCode::NOT_FOUND, None),
            GetError::Deleted(_) => (StatusCode::GONE, None),
            GetError::Range { length, .. } => (StatusCode::RANGE_NOT_SATISFIABLE, Some(*length)),
            // Nothing that a retry or another gateway could mend (R17, R19).
            GetError::Inconsistent { .. } => (StatusCode::UNPROCESSABLE_ENTITY, None),
            GetError::Fleet(_) | GetError::Unavailable { .. } => (StatusCode::SERVICE_UNAVAILABLE, None),
        };
        Self { length, ..Self::of(status, &error) }
    }
}

impl From<DeleteError> for Problem {
    fn from(error: DeleteError) -> Self {
        match error {
            DeleteError::Lookup(error) => error.into(),
            DeleteError::NoAuthority(_) => Self::of(StatusCode::INTERNAL_SERVER_ERROR, &error),
            DeleteError::Fleet(_) | DeleteError::TooFew { .. } | DeleteError::Late => {
                Self::of(StatusCode::SERVICE_UNAVAILABLE, &error)
            }
        }
    }
}

impl From<ListError> for Problem {
    fn from(error: ListError) -> Self {
        Self::of(StatusCode::SERVICE_UNAVAILABLE, &error)
    }
}
