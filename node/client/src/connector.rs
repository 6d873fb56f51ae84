//! Channels to members: mutual TLS over TCP, or whatever a simulation puts in its place.

use std::{
    collections::HashMap,
    fmt, io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
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

/// Between looks at mounted certificates, which are renewed long before they end.
const RELOAD: Duration = Duration::from_secs(60);

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

    /// Keeps no channel any longer: connections end once nobody uses them.
    fn release(&self) {}

    /// Grows when earlier channels' certificates were replaced: channels should be taken anew.
    fn generation(&self) -> u64 {
        0
    }

    /// All addresses behind a name, for a headless Service stands for many members.
    fn resolve<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Vec<String>>>;
}

/// Mutual TLS with one certificate authority: both sides' certificates are issued by it.
pub struct TlsConnector {
    /// Where the files come from, when they may be replaced.
    dir: Option<PathBuf>,
    state: Mutex<State>,
}

struct State {
    files: TlsFiles,
    /// When the files were looked at last; `None`: they are to be looked at again.
    looked: Option<Instant>,
    generation: u64,
    channels: HashMap<String, Channel>,
}

/// PEM.
#[derive(PartialEq, Eq)]
struct TlsFiles {
    ca: Vec<u8>,
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl fmt::Debug for TlsConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConnector").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl TlsConnector {
    /// `ca`, `certificate` (with its chain) and `key` are PEM.
    pub fn new(ca: &[u8], certificate: &[u8], key: &[u8]) -> Self {
        Self::with(None, TlsFiles { ca: ca.into(), certificate: certificate.into(), key: key.into() })
    }

    /// From a mounted Secret's `ca.crt`, `tls.crt` and `tls.key`, read again from time to time.
    pub fn from_dir(dir: &Path) -> Result<Self, ConnectError> {
        Ok(Self::with(Some(dir.to_owned()), TlsFiles::read(dir)?))
    }

    fn with(dir: Option<PathBuf>, files: TlsFiles) -> Self {
        let state = State { files, looked: Some(Instant::now()), generation: 0, channels: HashMap::new() };
        Self { dir, state: Mutex::new(state) }
    }

    /// The state, with the files looked at again if it's time.
    fn fresh(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let due = self.dir.as_ref().filter(|_| state.looked.is_none_or(|looked| looked.elapsed() > RELOAD));
        if let Some(dir) = due {
            state.looked = Some(Instant::now());
            // They are replaced one after the other: a certificate and another one's key are no reason to end what works.
            match TlsFiles::read(dir).and_then(TlsFiles::fitting) {
                Ok(files) if files != state.files => {
                    state.files = files;
                    state.generation += 1;
                    state.channels.clear();
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "the certificates stay as they were"),
            }
        }
        state
    }
}

impl TlsFiles {
    fn read(dir: &Path) -> Result<Self, ConnectError> {
        let read = |name: &str| {
            let path = dir.join(name);
            std::fs::read(&path).map_err(|source| ConnectError::Read { path, source })
        };
        Ok(Self { ca: read("ca.crt")?, certificate: read("tls.crt")?, key: read("tls.key")? })
    }

    /// Itself, where certificate and key are of each other.
    fn fitting(self) -> Result<Self, ConnectError> {
        self.endpoint(MEMBER_NAME).map(|_| self)
    }

    fn endpoint(&self, address: &str) -> Result<Endpoint, ConnectError> {
        let endpoint = Endpoint::from_shared(format!("https://{address}"))
            .map_err(|source| ConnectError::Address { address: address.to_owned(), source })?;
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&self.ca))
            .identity(Identity::from_pem(&self.certificate, &self.key))
            .domain_name(MEMBER_NAME);
        let endpoint = endpoint.tls_config(tls).map_err(|source| ConnectError::Tls { source })?;
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
        let mut state = self.fresh();
        if let Some(channel) = state.channels.get(address) {
            return Ok(channel.clone());
        }
        let channel = state.files.endpoint(address)?.connect_lazy();
        state.channels.insert(address.to_owned(), channel.clone());
        Ok(channel)
    }

    fn release(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).channels.clear();
    }

    fn generation(&self) -> u64 {
        self.fresh().generation
    }

    fn resolve<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Vec<String>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host(address).await?.map(|found| found.to_string()).collect()) })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn leaf() -> [(&'static str, String); 3] {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![MEMBER_NAME.to_owned()]).unwrap().self_signed(&key).unwrap();
        [("ca.crt", certificate.pem()), ("tls.crt", certificate.pem()), ("tls.key", key.serialize_pem())]
    }

    #[tokio::test]
    async fn renewed_files_are_taken_once_they_fit_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let write = |(name, pem): &(&str, String)| fs::write(dir.path().join(name), pem).unwrap();
        leaf().iter().for_each(write);
        let connector = TlsConnector::from_dir(dir.path()).unwrap();
        connector.channel("127.0.0.1:1").unwrap();
        let look_again = || connector.state.lock().unwrap().looked = None;
        let renewed = leaf();
        write(&renewed[1]);
        look_again();
        assert_eq!(connector.generation(), 0, "a certificate without its key");
        connector.channel("127.0.0.1:2").expect("the old ones still do");
        assert_eq!(connector.state.lock().unwrap().channels.len(), 2, "no connection ends for it");
        write(&renewed[2]);
        look_again();
        assert_eq!(connector.generation(), 1);
        assert_eq!(connector.state.lock().unwrap().channels.len(), 0);
        connector.channel("127.0.0.1:1").unwrap();
    }
}
