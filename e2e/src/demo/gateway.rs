//! The way to a fleet's gateways: one operation, one attempt.

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use tokio::sync::watch;
use weft_client::http::{GATEWAY_NAME, Gateways, GatewaysConfig, HttpError, Put};

use super::DemoError;
use super::fleet::Fleet;
use super::observe::Snapshot;
use super::tunnel::Tunnels;

/// An operation that takes longer has failed.
const LIMIT: Duration = Duration::from_secs(30);
const HTTPS_PORT: u16 = 8443;

/// A blob that was put, and what must come back.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The blob's ID.
    pub id: String,
    /// The BLAKE3 hash of its bytes.
    pub hash: blake3::Hash,
    /// Its length in bytes.
    pub length: u64,
    /// What it is, for people.
    pub name: String,
}

/// A client that knows all gateways that are Ready now. Asking a second one when the first is slow is part of an operation;
/// nothing is tried again.
#[derive(Clone, Debug)]
pub struct Gateway {
    snapshots: watch::Receiver<Snapshot>,
    tunnels: Option<Arc<Tunnels>>,
    token: String,
    ca: Vec<u8>,
    known: Arc<Mutex<Known>>,
}

/// The gateways that the client was made for.
#[derive(Debug, Default)]
struct Known {
    urls: Vec<String>,
    client: Option<Gateways>,
}

impl Gateway {
    /// Reads the token and the certificate authority as any client would.
    pub async fn connect(fleet: &Fleet) -> Result<Self, DemoError> {
        let name = format!("{}-gateway", fleet.name());
        let api = Api::<Secret>::namespaced(fleet.stage().client().clone(), fleet.namespace());
        let secret = api.get(&name).await.map_err(DemoError::api(format!("read the Secret {name}")))?;
        let value = |key: &str| {
            let value = secret.data.as_ref().and_then(|data| data.get(key));
            value
                .map(|value| value.0.clone())
                .ok_or_else(|| DemoError::Unfit(format!("the Secret {name} has no {key}")))
        };
        let token = String::from_utf8_lossy(&value("token")?).into_owned();
        let ca = value("ca.crt")?;
        // The pods of a cluster that isn't on this machine have addresses that lead nowhere from here.
        let tunnels = fleet.stage().cluster().is_none().then(|| Arc::new(Tunnels::new(fleet.pods(), HTTPS_PORT)));
        let snapshots = fleet.observer().subscribe();
        Ok(Self { snapshots, tunnels, token, ca, known: Arc::default() })
    }

    /// Stores bytes and gives the blob's ID; or the kind of failure.
    pub async fn put(&self, key: String, bytes: Bytes) -> Result<String, String> {
        let put = Put { key, ..Put::default() };
        let client = self.client().await.map_err(|error| kind(&error))?;
        client.put(&put, bytes).await.map(|answer| answer.id).map_err(|error| kind(&error))
    }

    /// A blob's bytes; or the kind of failure.
    pub async fn get(&self, id: &str) -> Result<Bytes, String> {
        let client = self.client().await.map_err(|error| kind(&error))?;
        client.get(id, None).await.map_err(|error| kind(&error))
    }

    async fn client(&self) -> Result<Gateways, HttpError> {
        let gateways = self.snapshots.borrow().gateways();
        let mut urls = Vec::with_capacity(gateways.len());
        for (pod, address) in gateways {
            let authority = match &self.tunnels {
                None => format!("{address}:{HTTPS_PORT}"),
                Some(tunnels) => match tunnels.to(&pod).await {
                    Ok(address) => address.to_string(),
                    Err(_) => continue,
                },
            };
            urls.push(format!("https://{authority}"));
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // While no gateway is Ready those that were are asked all the same: to fail is up to them.
        if known.urls != urls && !(urls.is_empty() && known.client.is_some()) {
            let config = GatewaysConfig {
                urls: urls.clone(),
                token: Some(self.token.clone()),
                ca: Some(self.ca.clone()),
                server_name: Some(GATEWAY_NAME.to_owned()),
                hedge: None,
                timeout: Some(LIMIT),
                public: false,
            };
            *known = Known { urls, client: Some(Gateways::new(config)?) };
        }
        known.client.clone().ok_or(HttpError::NoGateway)
    }
}

/// A failure in one line without addresses or IDs, so that equal ones can be counted.
fn kind(error: &HttpError) -> String {
    match error {
        HttpError::Unreachable { source, .. } => format!("unreachable ({})", deepest(source)),
        HttpError::Broken { source, .. } => format!("answer broke off ({})", deepest(source.as_ref())),
        HttpError::Late(limit) => format!("no answer within {} s", limit.as_secs()),
        HttpError::Refused { status, detail } => format!("{status} ({detail})"),
        HttpError::Url { .. }
        | HttpError::Tls { .. }
        | HttpError::Header(_)
        | HttpError::NoGateway
        | HttpError::Answer(_) => error.to_string(),
    }
}

fn deepest(mut error: &dyn Error) -> String {
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
