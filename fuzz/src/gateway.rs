//! Requests to a gateway that reaches no member: whatever they say, they get an answer that says what is wrong.

use std::io;
use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Method, Request, StatusCode, header};
use futures::FutureExt;
use futures::future::BoxFuture;
use http_body_util::BodyExt;
use tokio::runtime::{Builder, Runtime};
use tonic::transport::{Channel, Endpoint};
use tower::ServiceExt;
use weft_client::{Client, ConnectError, Connector, Fleet, FleetConfig};
use weft_node::gateway::{Access, Gateway};
use weft_protocol::{FleetId, SigningKey};

use crate::Target;

pub(crate) const GATEWAY: Target = Target { name: "gateway", run: request, seeds, catches: false };

/// Finds nobody.
#[derive(Debug)]
struct Nowhere;

impl Connector for Nowhere {
    fn channel(&self, address: &str) -> Result<Channel, ConnectError> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"));
        let channel = endpoint.map(|endpoint| endpoint.connect_with_connector_lazy(tower::service_fn(nobody)));
        channel.map_err(|source| ConnectError::Address { address: address.to_owned(), source })
    }

    fn resolve<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Vec<String>>> {
        async { Err(io::ErrorKind::NotFound.into()) }.boxed()
    }
}

async fn nobody(_: axum::http::Uri) -> io::Result<hyper_util::rt::TokioIo<tokio::io::DuplexStream>> {
    Err(io::ErrorKind::ConnectionRefused.into())
}

/// Time passes where nobody does anything.
static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime"));

/// One that anybody may use, and one with tokens.
static GATEWAYS: LazyLock<[Router; 2]> = LazyLock::new(|| {
    let tokens = tempfile::tempdir().expect("a folder");
    for (name, token) in [("token", "all"), ("read-token", "some")] {
        std::fs::write(tokens.path().join(name), token).expect("a file");
    }
    [Access::Open, Access::tokens(tokens.path()).expect("tokens")].map(|access| {
        let key = SigningKey::from_seed([1; 32]);
        let seeds = vec!["nowhere:1".to_owned()];
        let config = FleetConfig { fleet: FleetId([7; 16]), trust: key.public(), seeds, connector: Arc::new(Nowhere) };
        Gateway::new(Client::new(Fleet::new(config)), access, key).router()
    })
});

/// The first line: which gateway, method and URI; then headers, an empty line, and the body.
fn parse(bytes: &[u8]) -> Option<(&Router, Request<Body>)> {
    let end = bytes.windows(2).position(|pair| pair == b"\n\n").unwrap_or(bytes.len());
    let (head, body) = (&bytes[..end], bytes.get(end + 2..).unwrap_or_default());
    let mut lines = head.split(|byte| *byte == b'\n');
    let mut words = lines.next()?.splitn(3, |byte| *byte == b' ');
    let gateway = &GATEWAYS[usize::from(words.next()? == b"token")];
    let mut request = Request::builder().method(words.next()?).uri(words.next()?);
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':')?;
        request = request.header(&line[..colon], line[colon + 1..].trim_ascii());
    }
    Some((gateway, request.body(Body::from(body.to_vec())).ok()?))
}

fn request(bytes: &[u8]) {
    let Some((gateway, request)) = parse(bytes) else { return };
    let method = request.method().clone();
    RUNTIME.block_on(async {
        let response = gateway.clone().oneshot(request).await.expect("it can't fail");
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("all of the body").to_bytes();
        // Nobody has anything, so that nothing can go well.
        let expected = [400, 401, 403, 404, 405, 503];
        assert!(expected.contains(&parts.status.as_u16()), "{}", parts.status);
        if method == Method::HEAD {
            return;
        }
        let told = parts.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
        assert_eq!(told, Some(&b"application/problem+json"[..]), "{}: {body:?}", parts.status);
        let problem: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(problem["status"], parts.status.as_u16());
        let asks = parts.status == StatusCode::UNAUTHORIZED;
        assert_eq!(parts.headers.contains_key(header::WWW_AUTHENTICATE), asks);
    });
}

fn seeds() -> Vec<Vec<u8>> {
    let id = "acfeb91ebafeea9364692893447e181c7353d608eb58025104892f518f9a4c74";
    let requests = [
        "open GET /v1/blobs".to_owned(),
        format!("open GET /v1/blobs?limit=7&after={id}&label=app%3Dweft&digest=blake3%3D{id}"),
        format!(
            "open GET /v1/blobs?order=newest&after=1801396800000.{id}&since=2027-01-30T12:00:00Z&until=2027-01-31T00:00:00%2B02:00"
        ),
        format!("open GET /v1/blobs/{id}?consistency=strict\nrange: bytes=0-9"),
        format!("open HEAD /v1/blobs/{id}"),
        format!("open DELETE /v1/blobs/{id}"),
        format!("open GET /v1/blobs/{id}/slivers"),
        "open PUT /v1/blobs\nweft-label: app=weft\ncontent-type: text/plain\nidempotency-key: one\n\na thread"
            .to_owned(),
        "open PUT /v1/blobs\nweft-expires: 2027-01-31T12:00:00Z\nweft-nonce: 00112233445566778899aabbccddeeff\n\n"
            .to_owned(),
        "open PUT /v1/blobs\nweft-label: created=2027-01-31T12:00:00.001Z\n\ndated".to_owned(),
        "token GET /v1/blobs\nauthorization: Bearer some".to_owned(),
        "token PUT /v1/blobs\nauthorization: Bearer some\n\nx".to_owned(),
        "token PUT /v1/blobs\nauthorization: bearer all\n\nx".to_owned(),
        "token OPTIONS /v1\nauthorization: Basic all".to_owned(),
    ];
    requests.map(String::into_bytes).into()
}
