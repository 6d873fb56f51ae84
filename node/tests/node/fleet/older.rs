//! Members of before there were digests of sets.

use std::sync::Arc;

use axum::{extract::Request, middleware::Next};
use weft_proto::v1::{ExchangeRequest, LacksRequest, RegistryDigestsRequest, SketchRequest};

use super::{Front, timeless::changed};

/// Who asks the member behind it doesn't get to say that it reads other digests than those of rows.
pub(crate) fn older() -> Front {
    let between = |request: Request, next: Next| async move {
        let (parts, body) = request.into_parts();
        let body = match parts.uri.path() {
            "/weft.node.v1.Peers/Exchange" => changed(body, |asked: &mut ExchangeRequest| asked.digest_kind = 0).await,
            "/weft.node.v1.Peers/Sketch" => changed(body, |asked: &mut SketchRequest| asked.digest_kind = 0).await,
            "/weft.node.v1.Peers/RegistryDigests" => {
                changed(body, |asked: &mut RegistryDigestsRequest| asked.digest_kind = 0).await
            }
            "/weft.node.v1.Challenges/Lacks" => changed(body, |asked: &mut LacksRequest| asked.digest_kind = 0).await,
            _ => body,
        };
        next.run(Request::from_parts(parts, body)).await
    };
    Arc::new(move |_, routes| routes.into_axum_router().layer(axum::middleware::from_fn(between)).into())
}
