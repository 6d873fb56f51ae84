//! The admin port: liveness, readiness, metrics. Plain HTTP, for the kubelet and Prometheus.

use std::sync::Arc;

use axum::{Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use tokio::net::TcpListener;

use crate::member::{Condition, Member};

/// Serves the admin port. Without a member, on a foreign volume, it is alive and never ready.
pub(crate) async fn serve(listener: TcpListener, member: Option<Arc<Member>>) {
    let router = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(member);
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "the admin port ended");
    }
}

/// A process that answers is alive: restarting it mends neither a bad disk nor lost peers.
async fn livez() -> &'static str {
    "ok"
}

async fn readyz(State(member): State<Option<Arc<Member>>>) -> (StatusCode, String) {
    let unready = |why: String| (StatusCode::SERVICE_UNAVAILABLE, why);
    let Some(member) = member else { return unready("the volume is another's".to_owned()) };
    if let Some(reason) = member.store().health().read_only {
        return unready(format!("the store is read-only: {reason}"));
    }
    match member.condition() {
        Condition::Healthy => (StatusCode::OK, "ok".to_owned()),
        // A member without a view waits for the operator, and is there for it.
        Condition::WaitingForPeers if member.newest().is_none() => (StatusCode::OK, "ok: no view yet".to_owned()),
        other => unready(format!("{other:?}")),
    }
}

async fn metrics(State(member): State<Option<Arc<Member>>>) -> impl IntoResponse {
    let Some(member) = member else { return (StatusCode::SERVICE_UNAVAILABLE, String::new()) };
    let rendered = weft_client::apart(move || member.levels().map(|levels| member.metrics().render(&levels)));
    match rendered.await {
        Ok(Ok(text)) => (StatusCode::OK, text),
        Ok(Err(error)) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}
