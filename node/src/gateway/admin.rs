//! The admin port: liveness, readiness, metrics.

use std::sync::Arc;

use axum::{Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};

use super::Gateway;

pub(super) fn router(gateway: Arc<Gateway>) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(gateway)
}

/// Ready while members of k1 shards of the newest view answer: then gets may succeed. Puts take n − f; with fewer, they are
/// refused by a gateway that says why, and not for want of one.
async fn readyz(State(gateway): State<Arc<Gateway>>) -> (StatusCode, String) {
    let Some(current) = gateway.client.fleet().known() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "no view is known yet\n".to_owned());
    };
    let answering: u16 =
        current.holders.iter().filter(|holder| holder.answers()).map(|holder| holder.shards().len()).sum();
    let code = current.view.code;
    let (reads, writes, shards) = (code.source_rows(), current.view.quorum(), code.shards());
    let status = if answering >= reads { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, format!("members with {answering} of {shards} shards answer; reads take {reads}, writes {writes}\n"))
}

async fn metrics(State(gateway): State<Arc<Gateway>>) -> impl IntoResponse {
    if let Some(current) = gateway.client.fleet().known() {
        let answering = current.holders.iter().filter(|holder| holder.answers()).count();
        gateway.metrics.set_fleet(current.view.position(), answering);
    }
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(axum::http::header::CONTENT_TYPE, kind)], gateway.metrics.render())
}
