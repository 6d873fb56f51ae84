//! `GET /v1/blobs/{id}/slivers`: where a blob's slivers are.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde_json::{Value, json};
use weft_client::{Holding, Placement};
use weft_redstuff::Axis;

use super::{Gateway, blobs, problem::Problem};

/// Every shard with its present holder and what that has; what others have besides; the blob's own margin.
pub(super) async fn get(State(gateway): State<Arc<Gateway>>, id: blobs::InPath) -> Result<Json<Value>, Problem> {
    let id = blobs::in_path(id)?;
    let placement = gateway.client.locate(id).await?;
    let (code, layout) = (placement.metadata.code(), placement.metadata.layout);
    let shards = (0..code.shards() as u8).map(|number| shard(&placement, number));
    let others = placement.holdings.iter().filter(|holding| holding.shards.is_empty());
    let others: Vec<Value> = others.filter_map(spare).collect();
    Ok(Json(json!({
        "id": id.to_string(),
        "length": layout.length(),
        "stripes": layout.stripes(),
        "inline": layout.is_inline(),
        "view": { "epoch": placement.view.epoch, "revision": placement.view.revision },
        "faultTolerance": code.fault_tolerance(),
        "held": placement.held().len(),
        "toRead": code.source_rows(),
        "margin": placement.read_margin(),
        "shards": shards.collect::<Vec<_>>(),
        "others": others,
    })))
}

/// A shard of the newest view; it is vacant, or its holder's address unknown, where there is no member.
fn shard(placement: &Placement, number: u8) -> Value {
    let Some(holding) = placement.holdings.iter().find(|holding| holding.shards.contains(number)) else {
        return json!({ "shard": number, "primary": false, "secondary": false });
    };
    let [primary, secondary] = Axis::BOTH.map(|axis| placement.is_whole(holding, axis, number));
    json!({
        "shard": number,
        "member": holding.member.0,
        "incarnation": holding.incarnation,
        "primary": primary,
        "secondary": secondary,
        "error": holding.slivers.as_ref().err(),
    })
}

/// What an incarnation holds that has no seat, if it holds anything: in how many stripes.
fn spare(holding: &Holding) -> Option<Value> {
    let slivers = holding.slivers.as_ref().ok().filter(|slivers| !slivers.is_empty())?;
    let count = |axis| slivers.iter().filter(|held| held.axis == axis).count();
    let [primary, secondary] = Axis::BOTH.map(count);
    Some(json!({
        "member": holding.member.0,
        "incarnation": holding.incarnation,
        "primaries": primary,
        "secondaries": secondary,
    }))
}
