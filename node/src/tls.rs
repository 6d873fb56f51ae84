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
    /// Between looks at them.
    reload: Duration,
}

impl Tls {
    /// From PEM: the authority, this side's certificate (with its chain) and its key.
    pub fn new(ca: &[u8], certificate: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        Ok(Self { config: config(Some(ca), certificate, key)?, dir: None, callers: Callers::Certified, reload: RELOAD })
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
        Ok(Self { config: read(dir, callers)?, dir: Some(dir.to_owned()), callers, reload: RELOAD })
    }

    /// Connections whose handshake is done. The tasks that accept them end with `tasks`.
    pub(crate) fn accept(
        &self,
        listener: TcpListener,
        tasks: &mut JoinSet<()>,
    ) -> ReceiverStream<io::Result<TlsStream<TcpStream>>> {
        let (sender, configured) = watch::channel(self.config.clone());
        if let Some(dir) = self.dir.clone() {
            tasks.spawn(reload(dir, self.callers, self.reload, sender));
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

async fn reload(dir: PathBuf, callers: Callers, interval: Duration, config: watch::Sender<Arc<ServerConfig>>) {
    loop {
        sleep(interval).await;
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

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
    use rustls::{ClientConfig, pki_types::ServerName};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_rustls::{TlsConnector, client};
    use tokio_stream::StreamExt;

    use super::*;

    const NAME: &str = "gateway.weft";

    /// Connects, and gives the connection and the certificate that was shown.
    async fn connect(address: std::net::SocketAddr, ca: &[u8]) -> (client::TlsStream<TcpStream>, Vec<u8>) {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ca).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = Arc::new(builder.with_root_certificates(roots).with_no_client_auth());
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from(NAME).unwrap();
        let stream = TlsConnector::from(config).connect(name, stream).await.expect("each handshake succeeds");
        let shown = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
        (stream, shown)
    }

    async fn echoes(stream: &mut client::TlsStream<TcpStream>) {
        stream.write_all(b"weft").await.unwrap();
        let mut back = [0; 4];
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"weft");
    }

    #[tokio::test]
    async fn certificates_are_renewed_without_a_failed_handshake_and_under_open_connections() {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let issue = || {
            let key = KeyPair::generate().unwrap();
            let leaf = CertificateParams::new(vec![NAME.to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
            (leaf, key.serialize_pem())
        };
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, pem: &str| std::fs::write(dir.path().join(name), pem).unwrap();
        let ((old, old_key), (new, new_key)) = (issue(), issue());
        write("tls.crt", &old.pem());
        write("tls.key", &old_key);

        let tls = Tls { reload: Duration::from_millis(1), ..Tls::for_anybody(dir.path()).unwrap() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, mut tasks) = (listener.local_addr().unwrap(), JoinSet::new());
        let mut streams = tls.accept(listener, &mut tasks);
        tasks.spawn(async move {
            let mut served = JoinSet::new();
            while let Some(stream) = streams.next().await {
                let (mut from, mut to) = tokio::io::split(stream.unwrap());
                served.spawn(async move { drop(tokio::io::copy(&mut from, &mut to).await) });
            }
        });
        let pem = ca.pem().into_bytes();
        let (mut open, shown) = connect(address, &pem).await;
        assert_eq!(shown, old.der().to_vec());

        write("tls.crt", &new.pem());
        for _ in 0..50 {
            assert_eq!(connect(address, &pem).await.1, old.der().to_vec(), "a certificate without its key");
        }
        write("tls.key", &new_key);
        loop {
            let (mut stream, shown) = connect(address, &pem).await;
            echoes(&mut stream).await;
            if shown == new.der().to_vec() {
                break;
            }
            assert_eq!(shown, old.der().to_vec());
        }
        echoes(&mut open).await;
    }
}
