//! Channels to members: mutual TLS over TCP, or whatever a simulation puts in its place.

use std::{
    collections::HashMap,
    fmt, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures::future::BoxFuture;
use thiserror::Error;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

/// The DNS name in every member's certificate. Which member answers is told by what it signs, not by its name.
pub const MEMBER_NAME: &str = "member.weft";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A peer that lost its power is noticed after the interval and the timeout.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(2);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(2);
/// Slivers are large: windows that hold several keep one slow reader from stalling a connection.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// Why there is no channel to an address.
#[derive(Debug, Error)]
pub enum ConnectError {
    #[error("{address:?} is no address of the form host:port")]
    Address { address: String, source: tonic::transport::Error },
    #[error("the TLS certificates or keys are unusable")]
    Tls { source: tonic::transport::Error },
    #[error("can't read {path}")]
    Read { path: PathBuf, source: io::Error },
}

/// Gives channels to addresses of the form `host:port`.
pub trait Connector: fmt::Debug + Send + Sync + 'static {
    /// A channel that connects when it is first used, and again whenever its connection was lost. Cheap: channels
    /// are kept by address.
    fn channel(&self, address: &str) -> Result<Channel, ConnectError>;

    /// All addresses behind a name, for a headless Service stands for many members.
    fn resolve<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Vec<String>>>;
}

/// Mutual TLS with one certificate authority: both sides' certificates are issued by it.
pub struct TlsConnector {
    tls: ClientTlsConfig,
    channels: Mutex<HashMap<String, Channel>>,
}

impl fmt::Debug for TlsConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConnector").finish_non_exhaustive()
    }
}

impl TlsConnector {
    /// `ca`, `certificate` (with its chain) and `key` are PEM.
    pub fn new(ca: &[u8], certificate: &[u8], key: &[u8]) -> Self {
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(ca))
            .identity(Identity::from_pem(certificate, key))
            .domain_name(MEMBER_NAME);
        Self { tls, channels: Mutex::default() }
    }

    /// From a mounted Secret's `ca.crt`, `tls.crt` and `tls.key`.
    pub fn from_dir(dir: &Path) -> Result<Self, ConnectError> {
        let read = |name: &str| {
            let path = dir.join(name);
            std::fs::read(&path).map_err(|source| ConnectError::Read { path, source })
        };
        Ok(Self::new(&read("ca.crt")?, &read("tls.crt")?, &read("tls.key")?))
    }

    fn endpoint(&self, address: &str) -> Result<Endpoint, ConnectError> {
        let endpoint = Endpoint::from_shared(format!("https://{address}"))
            .map_err(|source| ConnectError::Address { address: address.to_owned(), source })?;
        let endpoint = endpoint.tls_config(self.tls.clone()).map_err(|source| ConnectError::Tls { source })?;
        Ok(endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW))
    }
}

impl Connector for TlsConnector {
    fn channel(&self, address: &str) -> Result<Channel, ConnectError> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = channels.get(address) {
            return Ok(channel.clone());
        }
        let channel = self.endpoint(address)?.connect_lazy();
        channels.insert(address.to_owned(), channel.clone());
        Ok(channel)
    }

    fn resolve<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Vec<String>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host(address).await?.map(|found| found.to_string()).collect()) })
    }
}
