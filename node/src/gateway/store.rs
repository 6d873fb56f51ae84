//! `PUT /v1/blobs` and `DELETE /v1/blobs/{id}`.

use std::{io, sync::Arc};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures::TryStreamExt;
use serde_json::json;
use weft_client::{PutRequest, Stored};

use super::{Gateway, blobs, headers, problem::Problem};
use crate::telemetry;

/// 201 once holders of n − f shards have receipted the blob's certificate (R8).
pub(super) async fn put(
    State(gateway): State<Arc<Gateway>>,
    given: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (nonce, labels, expiry) = (headers::nonce(&given)?, headers::labels(&given)?, headers::expiry(&given)?);
    let request = PutRequest { nonce, labels, expiry };
    let content = body.into_data_stream().map_err(io::Error::other);
    let Stored { id, metadata, view } = gateway.client.put(request, content).await?;
    telemetry::about(&id);
    let answer = json!({
        "id": id.to_string(),
        "length": metadata.length(),
        "view": { "epoch": view.epoch, "revision": view.revision, "hash": view.hash.to_string() },
    });
    let headers =
        [(header::LOCATION, format!("/v1/blobs/{id}")), (header::CONTENT_TYPE, "application/json".to_owned())];
    Ok((StatusCode::CREATED, headers, answer.to_string()).into_response())
}

/// 204 once holders of n − f shards have receipted the tombstone (R13).
pub(super) async fn delete(State(gateway): State<Arc<Gateway>>, id: blobs::InPath) -> Result<StatusCode, Problem> {
    let id = blobs::in_path(id)?;
    telemetry::about(&id);
    gateway.client.delete(id, &gateway.delete_key).await?;
    Ok(StatusCode::NO_CONTENT)
}
