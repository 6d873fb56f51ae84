//! Taking connections over TLS, with certificates that are renewed under a running process. Members take calls over
//! mutual TLS: both sides' certificates are issued by the fleet's one authority. Gateways take anybody's.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use thiserror::Error;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;

/// A peer that connects and says nothing isn't waited for.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Between looks at the mounted certificates, which are renewed long before they end.
const RELOAD: Duration = Duration::from_secs(60);

/// After a failed accept: the process may be out of descriptors for a while.
const BACK_OFF: Duration = Duration::from_millis(100);

/// Connections whose handshake is done and that nobody has taken yet.
const WAITING: usize = 64;

#[derive(Debug, Error)]
pub enum TlsError {
    #[error("read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("read the PEM of {what}: {source}")]
    Pem { what: &'static str, source: rustls::pki_types::pem::Error },
    #[error("use the certificates: {0}")]
    Certificates(#[from] rustls::Error),
    #[error("trust the authority: {0}")]
    Authority(#[from] rustls::server::VerifierBuilderError),
}

/// Whose connections are taken.
#[derive(Debug, Clone, Copy)]
enum Callers {
    /// Those with a certificate of the fleet's authority.
    Certified,
    Anybody,
}

/// What is needed to take connections over TLS.
#[derive(Debug, Clone)]
pub struct Tls {
    config: Arc<ServerConfig>,
    /// Where renewed certificates appear.
    dir: Option<PathBuf>,
    callers: Callers,
}

impl Tls {
    /// From PEM: the authority, this side's certificate (with its chain) and its key.
    pub fn new(ca: &[u8], certificate: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        Ok(Self { config: config(Some(ca), certificate, key)?, dir: None, callers: Callers::Certified })
    }

    /// From a mounted Secret's `ca.crt`, `tls.crt` and `tls.key`, read again from time to time.
    pub fn from_dir(dir: &Path) -> Result<Self, TlsError> {
        Self::read(dir, Callers::Certified)
    }

    /// The same for callers without certificates, who speak HTTP; `ca.crt` isn't needed.
    pub(crate) fn for_anybody(dir: &Path) -> Result<Self, TlsError> {
        Self::read(dir, Callers::Anybody)
    }

    fn read(dir: &Path, callers: Callers) -> Result<Self, TlsError> {
        Ok(Self { config: read(dir, callers)?, dir: Some(dir.to_owned()), callers })
    }

    /// Connections whose handshake is done. The tasks that accept them end with `tasks`.
    pub(crate) fn accept(
        &self,
        listener: TcpListener,
        tasks: &mut JoinSet<()>,
    ) -> ReceiverStream<io::Result<TlsStream<TcpStream>>> {
        let (sender, configured) = watch::channel(self.config.clone());
        if let Some(dir) = self.dir.clone() {
            tasks.spawn(reload(dir, self.callers, sender));
        }
        let (accepted, streams) = mpsc::channel(WAITING);
        tasks.spawn(accept(listener, configured, accepted));
        ReceiverStream::new(streams)
    }
}

async fn accept(
    listener: TcpListener,
    config: watch::Receiver<Arc<ServerConfig>>,
    accepted: mpsc::Sender<io::Result<TlsStream<TcpStream>>>,
) {
    let mut handshakes = JoinSet::new();
    loop {
        let stream = tokio::select! {
            stream = listener.accept() => stream,
            Some(_done) = handshakes.join_next() => continue,
        };
        let (stream, peer) = match stream {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(BACK_OFF).await;
                continue;
            }
        };
        let acceptor = TlsAcceptor::from(Arc::clone(&config.borrow()));
        let accepted = accepted.clone();
        handshakes.spawn(async move {
            // Small messages must not wait for the acknowledgement of earlier ones; without it they are only slower.
            let _slower = stream.set_nodelay(true);
            match timeout(HANDSHAKE, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => drop(accepted.send(Ok(stream)).await),
                Ok(Err(error)) => tracing::debug!(%peer, %error, "a handshake failed"),
                Err(_) => tracing::debug!(%peer, "a handshake took too long"),
            }
        });
    }
}

async fn reload(dir: PathBuf, callers: Callers, config: watch::Sender<Arc<ServerConfig>>) {
    loop {
        sleep(RELOAD).await;
        match read(&dir, callers) {
            Ok(read) => drop(config.send_replace(read)),
            Err(error) => tracing::warn!(%error, "the certificates stay as they were"),
        }
    }
}

fn read(dir: &Path, callers: Callers) -> Result<Arc<ServerConfig>, TlsError> {
    let read = |name: &str| {
        let path = dir.join(name);
        std::fs::read(&path).map_err(|source| TlsError::Read { path, source })
    };
    let ca = match callers {
        Callers::Certified => Some(read("ca.crt")?),
        Callers::Anybody => None,
    };
    config(ca.as_deref(), &read("tls.crt")?, &read("tls.key")?)
}

/// With an authority, callers must have a certificate of it, and speak HTTP/2.
fn config(ca: Option<&[u8]>, certificate: &[u8], key: &[u8]) -> Result<Arc<ServerConfig>, TlsError> {
    let pem = |what| move |source| TlsError::Pem { what, source };
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(certificate).collect::<Result<_, _>>().map_err(pem("the certificate"))?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(pem("the key"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let Some(ca) = ca else {
        let mut config = builder.with_no_client_auth().with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        return Ok(Arc::new(config));
    };
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(ca) {
        roots.add(root.map_err(pem("the authority"))?)?;
    }
    let callers = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
    let mut config = builder.with_client_cert_verifier(callers).with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}
