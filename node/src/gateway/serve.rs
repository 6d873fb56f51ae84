//! Listening, TLS, and ending without breaking requests off.

use std::{io, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use axum::{
    Router,
    serve::{Listener, ListenerExt},
};
use futures::StreamExt;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;

use super::{Gateway, GatewayError};
use crate::tls::Tls;

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

/// Connections over TLS.
pub(super) struct TlsListener {
    address: SocketAddr,
    streams: ReceiverStream<io::Result<TlsStream<TcpStream>>>,
    _tasks: JoinSet<()>,
}

impl TlsListener {
    /// `dir` holds `tls.crt` and `tls.key`, read again from time to time.
    pub(super) async fn bind(address: SocketAddr, dir: &Path) -> Result<Self, GatewayError> {
        let tls = Tls::for_anybody(dir)?;
        let bound = TcpListener::bind(address).await;
        let listener = bound.map_err(|source| GatewayError::Listen { address, source })?;
        let address = listener.local_addr().unwrap_or(address);
        let mut tasks = JoinSet::new();
        let streams = tls.accept(listener, &mut tasks);
        Ok(Self { address, streams, _tasks: tasks })
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            match self.streams.next().await {
                Some(Ok(stream)) => {
                    let peer = stream.get_ref().0.peer_addr().unwrap_or(self.address);
                    return (stream, peer);
                }
                Some(Err(error)) => tracing::debug!(%error, "a connection could not be taken"),
                // The accepting task lives as long as this listener.
                None => std::future::pending().await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.address)
    }
}
