//! `weft-operator probe URL`: what the chart's test asks an operator, from an image without a shell.

use std::time::Duration;

use axum::http::{StatusCode, Uri};
use http_body_util::Empty;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use thiserror::Error;

/// A probe that takes longer has failed.
const ANSWER: Duration = Duration::from_secs(10);

#[derive(Debug, Error)]
pub enum ProbeError {
    #[error("no answer from {0} within 10 s")]
    Late(Uri),
    #[error("no answer from {uri}")]
    Call { uri: Uri, source: hyper_util::client::legacy::Error },
    #[error("{uri} answers {status}")]
    Status { uri: Uri, status: StatusCode },
}

/// Succeeds when the URL (plain HTTP) answers with a status of success.
pub(crate) async fn probe(uri: Uri) -> Result<(), ProbeError> {
    let client: Client<HttpConnector, Empty<axum::body::Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let answer = tokio::time::timeout(ANSWER, client.get(uri.clone())).await;
    let answer = answer.map_err(|_elapsed| ProbeError::Late(uri.clone()))?;
    let status = answer.map_err(|source| ProbeError::Call { uri: uri.clone(), source })?.status();
    if status.is_success() { Ok(()) } else { Err(ProbeError::Status { uri, status }) }
}

#[cfg(test)]
mod tests {
    use axum::{Router, routing::get};

    use super::*;

    /// Serves `/readyz` with a status, and gives its URL.
    async fn serve(status: StatusCode) -> Uri {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/readyz", get(move || async move { status }));
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}/readyz").parse().unwrap()
    }

    #[tokio::test]
    async fn an_operator_that_is_ready_passes() {
        assert!(probe(serve(StatusCode::OK).await).await.is_ok());
    }

    #[tokio::test]
    async fn one_that_is_not_ready_fails() {
        let refused = probe(serve(StatusCode::SERVICE_UNAVAILABLE).await).await;
        assert!(
            matches!(refused, Err(ProbeError::Status { status: StatusCode::SERVICE_UNAVAILABLE, .. })),
            "{refused:?}"
        );
    }

    #[tokio::test]
    async fn nobody_there_fails() {
        let nobody = probe("http://127.0.0.1:9/readyz".parse().unwrap()).await;
        assert!(matches!(nobody, Err(ProbeError::Call { .. })), "{nobody:?}");
    }
}
