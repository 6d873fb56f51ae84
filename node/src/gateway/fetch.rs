//! `GET` and `HEAD /v1/blobs/{id}`.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use weft_client::Content;

use super::{Gateway, blobs, headers, problem::Problem};

/// The content or a part of it. What has been sent is right; a stripe that can't be had breaks the connection off.
pub(super) async fn get(
    State(gateway): State<Arc<Gateway>>,
    Path(id): Path<String>,
    given: HeaderMap,
) -> Result<Response, Problem> {
    let id = blobs::parse(&id)?;
    let asked = headers::range(&given);
    let Content { metadata, range, bytes } = gateway.client.get(id, asked).await?;
    let status = if asked.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let mut described = headers::describe(id, &metadata, &range);
    if asked.is_some() && range == (0..metadata.length()) {
        // A range that happens to be everything is still answered as one.
        let whole = format!("bytes 0-{}/{}", range.end - 1, range.end);
        described.extend(whole.parse().ok().map(|value| (axum::http::header::CONTENT_RANGE, value)));
    }
    Ok((status, described, Body::from_stream(bytes)).into_response())
}

/// What is known of a blob.
pub(super) async fn head(State(gateway): State<Arc<Gateway>>, Path(id): Path<String>) -> Result<Response, Problem> {
    let id = blobs::parse(&id)?;
    let metadata = gateway.client.stat(id).await?;
    let whole = 0..metadata.length();
    Ok((StatusCode::OK, headers::describe(id, &metadata, &whole)).into_response())
}
