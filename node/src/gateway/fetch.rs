//! `GET` and `HEAD /v1/blobs/{id}`.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use weft_client::{Consistency, Content};

use super::{Gateway, blobs, headers, problem::Problem};
use crate::telemetry;

/// How a blob is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    #[serde(default)]
    consistency: Wanted,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Wanted {
    #[default]
    Committed,
    Strict,
}

/// The content or a part of it. What has been sent is right; a stripe that can't be had breaks the connection off. So
/// does, with `consistency=strict`, a stripe that contradicts itself: none of its bytes are sent.
pub(super) async fn get(
    State(gateway): State<Arc<Gateway>>,
    id: blobs::InPath,
    query: Result<Query<Asked>, QueryRejection>,
    given: HeaderMap,
) -> Result<Response, Problem> {
    let id = blobs::in_path(id)?;
    telemetry::about(&id);
    let Query(Asked { consistency }) = query.map_err(|rejection| blobs::bad(rejection.body_text()))?;
    let consistency = match consistency {
        Wanted::Committed => Consistency::Committed,
        Wanted::Strict => Consistency::Strict,
    };
    let asked = headers::range(&given);
    let Content { metadata, range, bytes } = gateway.client.read(id, asked, consistency).await?;
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
pub(super) async fn head(State(gateway): State<Arc<Gateway>>, id: blobs::InPath) -> Result<Response, Problem> {
    let id = blobs::in_path(id)?;
    telemetry::about(&id);
    let metadata = gateway.client.stat(id).await?;
    let whole = 0..metadata.length();
    Ok((StatusCode::OK, headers::describe(id, &metadata, &whole)).into_response())
}
