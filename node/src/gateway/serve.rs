//! Listening, TLS, and ending without breaking requests off.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    serve::{Listener, ListenerExt},
};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{Gateway, GatewayError};

const HANDSHAKE: Duration = Duration::from_secs(10);
/// Between looks at the mounted certificate, which is renewed long before it ends.
const RELOAD: Duration = Duration::from_secs(60);
/// How long requests still come after the end was announced: Services learn it late.
const LAME: Duration = Duration::from_secs(3);
/// How long running requests may take then.
const DRAIN: Duration = Duration::from_secs(25);

/// Serves everything until the process is told to end, and the running requests are done.
pub(super) async fn all(
    gateway: &Arc<Gateway>,
    plain: Option<TcpListener>,
    tls: TlsListener,
    admin: TcpListener,
) -> Result<(), GatewayError> {
    let (end, ended) = watch::channel(false);
    let mut servers = JoinSet::new();
    if let Some(plain) = plain {
        // Without it, small answers wait for the client's acknowledgement of earlier ones.
        let plain = plain.tap_io(|stream| drop(stream.set_nodelay(true)));
        servers.spawn(serve(plain, gateway.router(), ended.clone()));
    }
    servers.spawn(serve(tls, gateway.router(), ended));
    let admin = axum::serve(admin, gateway.admin()).into_future();
    tokio::select! {
        served = admin => served.map_err(GatewayError::Serve),
        Some(served) = servers.join_next() => served.map_err(io::Error::other).flatten().map_err(GatewayError::Serve),
        () = asked_to_end() => {
            sleep(LAME).await;
            end.send_replace(true);
            let drained = timeout(DRAIN, async { while servers.join_next().await.is_some() {} }).await;
            tracing::info!(complete = drained.is_ok(), "gateway ends");
            Ok(())
        }
    }
}

async fn serve<L>(listener: L, router: Router, mut ended: watch::Receiver<bool>) -> io::Result<()>
where
    L: Listener,
    L::Addr: std::fmt::Debug,
{
    // Answers are small or come in large pieces: nothing is gained by waiting for more.
    let end = async move {
        let _ = ended.wait_for(|ended| *ended).await;
    };
    axum::serve(listener, router).with_graceful_shutdown(end).await
}

async fn asked_to_end() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
        }
        Err(_) => drop(tokio::signal::ctrl_c().await),
    }
}

/// Accepts TLS connections; slow handshakes don't keep others waiting.
pub(super) struct TlsListener {
    address: SocketAddr,
    streams: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    _tasks: JoinSet<()>,
}

impl TlsListener {
    /// `dir` holds `tls.crt` and `tls.key`, read again from time to time.
    pub(super) async fn bind(address: SocketAddr, dir: &Path) -> Result<Self, GatewayError> {
        let (config, configured) = watch::channel(server_config(dir)?);
        let bound = TcpListener::bind(address).await;
        let listener = bound.map_err(|source| GatewayError::Listen { address, source })?;
        let address = listener.local_addr().unwrap_or(address);
        let (accepted, streams) = mpsc::channel(64);
        let mut tasks = JoinSet::new();
        tasks.spawn(reload(dir.to_owned(), config));
        tasks.spawn(accept(listener, configured, accepted));
        Ok(Self { address, streams, _tasks: tasks })
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.streams.recv().await {
            Some(accepted) => accepted,
            // The accepting task lives as long as this listener.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.address)
    }
}

async fn accept(
    mut listener: TcpListener,
    config: watch::Receiver<Arc<ServerConfig>>,
    accepted: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>,
) {
    loop {
        // Errors of accepting are waited out inside.
        let (stream, peer) = Listener::accept(&mut listener).await;
        let acceptor = TlsAcceptor::from(Arc::clone(&config.borrow()));
        let accepted = accepted.clone();
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            if let Ok(Ok(stream)) = timeout(HANDSHAKE, acceptor.accept(stream)).await {
                let _ = accepted.send((stream, peer)).await;
            }
        });
    }
}

async fn reload(dir: PathBuf, config: watch::Sender<Arc<ServerConfig>>) {
    loop {
        sleep(RELOAD).await;
        match server_config(&dir) {
            Ok(read) => drop(config.send_replace(read)),
            Err(error) => tracing::warn!(%error, "the serving certificate stays as it was"),
        }
    }
}

fn server_config(dir: &Path) -> Result<Arc<ServerConfig>, GatewayError> {
    let read = |name: &str| {
        let path = dir.join(name);
        fs::read(&path).map_err(|source| GatewayError::Read { path, source })
    };
    let bad = |reason: String| GatewayError::ServingCertificate { dir: dir.to_owned(), reason };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&read("tls.crt")?)
        .collect::<Result<_, _>>()
        .map_err(|error| bad(error.to_string()))?;
    let key = PrivateKeyDer::from_pem_slice(&read("tls.key")?).map_err(|error| bad(error.to_string()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = versions.map_err(|error| bad(error.to_string()))?.with_no_client_auth();
    let mut config = builder.with_single_cert(chain, key).map_err(|error| bad(error.to_string()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
