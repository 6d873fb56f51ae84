//! The gateway: a stateless HTTP service in front of the members, for everyone who doesn't link the client.
//!
//! It needs no API server: the newest view comes from the members, signed by the operator. `PUT /v1/blobs`, `GET`,
//! `HEAD` and `DELETE /v1/blobs/{id}`, `GET /v1/blobs/{id}/slivers`, `GET /v1/blobs`.
//!
//! Headers of a put, which a blob's answers repeat but for the key: `Weft-Label: key=value`, once for each label;
//! `Content-Type`; `Weft-Expires: 2027-01-31T12:00:00Z` (RFC 3339), when the blob is gone (R15): 410 where the fleet's time
//! has reached it already, 503 while the fleet knows no time; `Idempotency-Key`, which a retry repeats (R16).

mod access;
mod admin;
mod args;
mod blobs;
mod fetch;
mod headers;
mod metrics;
mod problem;
mod serve;
mod slivers;
mod store;

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    middleware::{self, Next},
    response::Response,
    routing::get,
};
use thiserror::Error;
use tokio::net::TcpListener;
use weft_client::{Client, ConnectError, Fleet, FleetConfig, TlsConnector};
use weft_protocol::SigningKey;

use self::metrics::Metrics;
pub use self::{
    access::{Access, AccessError},
    args::{AccessMode, GatewayArgs},
};
use crate::{telemetry, tls::TlsError};

/// Between askings of all members for a newer view.
const TRACK: Duration = Duration::from_secs(2);

/// Why the gateway can't run.
#[derive(Debug, Error)]
pub enum GatewayError {
    #[error("the certificates for members can't be used")]
    Connect(#[from] ConnectError),
    #[error("the tokens can't be read")]
    Access(#[from] AccessError),
    #[error("can't read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} doesn't hold the seed of a key: 64 hexadecimal digits")]
    DeleteKey { path: PathBuf },
    #[error("the serving certificate can't be used")]
    ServingCertificate(#[from] TlsError),
    #[error("can't listen at {address}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("serving failed")]
    Serve(#[source] io::Error),
}

/// What all requests share.
#[derive(Debug)]
pub struct Gateway {
    client: Client,
    access: Access,
    delete_key: SigningKey,
    metrics: Metrics,
}

impl Gateway {
    /// `delete_key` signs tombstones: views name its public half.
    pub fn new(client: Client, access: Access, delete_key: SigningKey) -> Arc<Self> {
        Arc::new(Self { client, access, delete_key, metrics: Metrics::default() })
    }

    /// The service for clients.
    pub fn router(self: &Arc<Self>) -> Router {
        Router::new()
            .route("/v1/blobs", get(blobs::list).put(store::put))
            .route("/v1/blobs/{id}", get(fetch::get).head(fetch::head).delete(store::delete))
            .route("/v1/blobs/{id}/slivers", get(slivers::get))
            .fallback(blobs::no_route)
            .method_not_allowed_fallback(blobs::no_method)
            .layer(middleware::from_fn_with_state(Arc::clone(self), admit))
            .layer(DefaultBodyLimit::disable())
            .layer(middleware::from_fn(telemetry::request))
            .with_state(Arc::clone(self))
    }

    /// Liveness, readiness and metrics.
    pub fn admin(self: &Arc<Self>) -> Router {
        admin::router(Arc::clone(self))
    }
}

/// Counts a request, and lets it pass if its token allows it.
async fn admit(State(gateway): State<Arc<Gateway>>, request: Request, next: Next) -> Response {
    let watch = gateway.metrics.begin(request.method());
    let response = match gateway.access.check(request.method(), request.headers()) {
        Ok(()) => next.run(watch.count_received(request)).await,
        Err(problem) => axum::response::IntoResponse::into_response(problem),
    };
    watch.end(response)
}

/// Runs until the process is told to end, and then until the running requests are done.
pub async fn run(args: GatewayArgs) -> Result<(), GatewayError> {
    let connector = TlsConnector::from_dir(&args.tls_dir)?;
    let config = FleetConfig {
        fleet: args.fleet,
        trust: args.trust_key,
        seeds: args.seeds.clone(),
        connector: Arc::new(connector),
    };
    let fleet = Fleet::new(config);
    let access = match args.access {
        AccessMode::Token => Access::tokens(&args.token_dir)?,
        AccessMode::Open => Access::Open,
    };
    let gateway = Gateway::new(Client::new(fleet.clone()), access, delete_key(&args)?);
    let admin = listen(args.admin).await?;
    let tls = serve::TlsListener::bind(args.listen_tls, args.serving_tls_dir.as_ref().unwrap_or(&args.tls_dir)).await?;
    let plain = match args.access {
        AccessMode::Open => Some(listen(args.listen).await?),
        AccessMode::Token => None,
    };
    tracing::info!(fleet = %args.fleet, tls = %args.listen_tls, admin = %args.admin, "gateway");
    tokio::select! {
        served = serve::all(&gateway, plain, tls, admin) => served,
        () = fleet.track(TRACK) => Ok(()),
        () = gateway.access.track() => Ok(()),
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, GatewayError> {
    TcpListener::bind(address).await.map_err(|source| GatewayError::Listen { address, source })
}

fn delete_key(args: &GatewayArgs) -> Result<SigningKey, GatewayError> {
    let path = args.tls_dir.join("delete.key");
    let text = std::fs::read_to_string(&path).map_err(|source| GatewayError::Read { path: path.clone(), source })?;
    let mut seed = [0; 32];
    hex::decode_to_slice(text.trim(), &mut seed).map_err(|_| GatewayError::DeleteKey { path })?;
    Ok(SigningKey::from_seed(seed))
}
