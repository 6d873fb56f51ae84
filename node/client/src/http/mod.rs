//! A client of gateways, over HTTP.
//!
//! It may know several gateways: what the first one doesn't answer soon is asked of a second one as well, and the
//! first good answer is taken. Puts carry an `Idempotency-Key`, so that asking twice stores once.

mod answers;
mod baton;
mod calls;
mod hedge;
pub mod mirror;

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use thiserror::Error;

use self::hedge::Endpoint;
pub use self::{
    answers::{
        BlobAnswer, ListAnswer, OtherAnswer, PutAnswer, ShardAnswer, SliversAnswer, Stat, ViewAnswer, ViewPlace,
    },
    calls::{Download, Listing, Put, streaming},
};

/// The DNS name in every gateway's certificate, whatever address it is reached at.
pub const GATEWAY_NAME: &str = "gateway.weft";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// A request's body.
pub type Body = UnsyncBoxBody<Bytes, std::io::Error>;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a gateway didn't do what it was asked to.
#[derive(Debug, Error)]
pub enum HttpError {
    #[error("{url:?} is no URL of a gateway")]
    Url { url: String },
    #[error("the certificate authority or the server's name can't be used: {reason}")]
    Tls { reason: String },
    #[error("the token or a label doesn't fit a header")]
    Header(#[from] http::header::InvalidHeaderValue),
    #[error("no gateway is known")]
    NoGateway,
    #[error("can't reach {endpoint}")]
    Unreachable { endpoint: String, source: legacy::Error },
    #[error("the answer of {endpoint} breaks off")]
    Broken { endpoint: String, source: BoxError },
    #[error("no answer within {0:?}")]
    Late(Duration),
    #[error("{status}{}{detail}", if detail.is_empty() { "" } else { ": " })]
    Refused { status: StatusCode, detail: String },
    #[error("the gateway's answer makes no sense: {0}")]
    Answer(String),
}

impl HttpError {
    /// Whether another attempt may go better.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Broken { .. } | Self::Late(_) => true,
            Self::Refused { status, .. } => *status == StatusCode::SERVICE_UNAVAILABLE,
            Self::Url { .. } | Self::Tls { .. } | Self::Header(_) | Self::NoGateway | Self::Answer(_) => false,
        }
    }

    /// The status with which a gateway refused.
    pub fn status(&self) -> Option<StatusCode> {
        if let Self::Refused { status, .. } = self { Some(*status) } else { None }
    }
}

/// Which gateways, and how to convince them.
#[derive(Clone, Default)]
pub struct GatewaysConfig {
    /// `https://host:port` or `http://host:port`.
    pub urls: Vec<String>,
    pub token: Option<String>,
    /// The certificate authority of their certificates, PEM.
    pub ca: Option<Vec<u8>>,
    /// Whether the authorities that this machine trusts are trusted too: for gateways whose certificate is their user's.
    pub public: bool,
    /// The name in their certificates, if it isn't the URL's host.
    pub server_name: Option<String>,
    /// After which a second gateway is asked; a put that flows isn't late.
    pub hedge: Option<Duration>,
    /// For an operation as a whole; `None`: none, as for large blobs.
    pub timeout: Option<Duration>,
}

impl fmt::Debug for GatewaysConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatewaysConfig").field("urls", &self.urls).finish_non_exhaustive()
    }
}

/// Gateways of one fleet. Cheap to clone.
#[derive(Clone)]
pub struct Gateways(Arc<Inner>);

struct Inner {
    endpoints: Vec<Arc<Endpoint>>,
    client: legacy::Client<HttpsConnector<HttpConnector>, Body>,
    authorization: Option<HeaderValue>,
    hedge: Duration,
    timeout: Option<Duration>,
    turn: std::sync::atomic::AtomicUsize,
}

impl fmt::Debug for Gateways {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateways").field("endpoints", &self.0.endpoints).finish_non_exhaustive()
    }
}

impl Gateways {
    /// Connects to nobody yet.
    pub fn new(config: GatewaysConfig) -> Result<Self, HttpError> {
        let GatewaysConfig { urls, token, ca, public, server_name, hedge, timeout } = config;
        let endpoints = urls.iter().map(|url| Endpoint::parse(url).map(Arc::new)).collect::<Result<Vec<_>, _>>()?;
        let connector = connector(roots(ca.as_deref(), public)?, server_name)?;
        let client = legacy::Client::builder(TokioExecutor::new()).build(connector);
        let authorization = token.map(|token| HeaderValue::try_from(format!("Bearer {}", token.trim())));
        let mut authorization = authorization.transpose()?;
        if let Some(value) = &mut authorization {
            value.set_sensitive(true);
        }
        Ok(Self(Arc::new(Inner {
            endpoints,
            client,
            authorization,
            hedge: hedge.unwrap_or(hedge::AFTER),
            timeout,
            turn: std::sync::atomic::AtomicUsize::new(0),
        })))
    }

    /// One request to one gateway; an answer that isn't a success is an error with its detail.
    async fn send(&self, endpoint: &Endpoint, mut request: Request<Body>) -> Result<Response<Incoming>, HttpError> {
        *request.uri_mut() = endpoint.uri(request.uri())?;
        if let Some(authorization) = &self.0.authorization {
            request.headers_mut().insert(header::AUTHORIZATION, authorization.clone());
        }
        let answer = self.0.client.request(request).await;
        let response = answer.map_err(|source| HttpError::Unreachable { endpoint: endpoint.to_string(), source })?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = response.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        Err(HttpError::Refused { status, detail: answers::detail(&body) })
    }
}

/// Whose certificates are trusted.
fn roots(ca: Option<&[u8]>, public: bool) -> Result<RootCertStore, HttpError> {
    let bad = |reason: String| HttpError::Tls { reason };
    let mut roots = RootCertStore::empty();
    for certificate in ca.into_iter().flat_map(CertificateDer::pem_slice_iter) {
        let certificate = certificate.map_err(|error| bad(error.to_string()))?;
        roots.add(certificate).map_err(|error| bad(error.to_string()))?;
    }
    if public {
        let found = rustls_native_certs::load_native_certs();
        for error in found.errors {
            tracing::debug!(%error, "certificates of this machine can't be read");
        }
        // One that is odd doesn't spoil the others.
        roots.add_parsable_certificates(found.certs);
    }
    Ok(roots)
}

fn connector(roots: RootCertStore, server_name: Option<String>) -> Result<HttpsConnector<HttpConnector>, HttpError> {
    let bad = |reason: String| HttpError::Tls { reason };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let tls = versions.map_err(|error| bad(error.to_string()))?.with_root_certificates(roots).with_no_client_auth();
    let builder = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
    let builder = match server_name {
        Some(name) => {
            let name = ServerName::try_from(name).map_err(|error| bad(error.to_string()))?;
            builder.with_server_name_resolver(FixedServerNameResolver::new(name))
        }
        None => builder,
    };
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    Ok(builder.enable_http1().wrap_connector(tcp))
}

/// The name to expect in a gateway's certificate: the URL's host, or [`GATEWAY_NAME`] behind a bare address.
pub fn server_name(url: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    let host = uri.host()?.trim_start_matches('[').trim_end_matches(']');
    host.parse::<std::net::IpAddr>().is_ok().then(|| GATEWAY_NAME.to_owned())
}
