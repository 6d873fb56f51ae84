//! Connections over turmoil's network. Where TLS would tell who calls, a connection begins with the caller's name: the
//! URI that its certificate would carry.

use std::{
    collections::BTreeMap,
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use futures::{Stream, future::BoxFuture};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    sync::mpsc,
    task::JoinSet,
    time::timeout,
};
use tonic::transport::{Channel, Endpoint, server::Connected};
use turmoil::net::{TcpListener, TcpStream};
use weft_client::{ConnectError, Connector};
use weft_node::service::Caller;

use super::trace::Trace;

/// The port that members listen on.
pub(super) const PORT: u16 = 7000;

/// A peer that connects and says nothing isn't waited for.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// As in production: `weft_client::TlsConnector`.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// A connection, with who called.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    caller: Caller,
    trace: Trace,
    from: String,
    to: String,
}

impl Connected for Connection {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.caller
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, out)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, data);
        if let Poll::Ready(Ok(_)) = &written {
            self.trace.message(&self.from, &self.to);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Takes connections, for as long as `tasks` live.
pub(super) fn accept(
    listener: TcpListener,
    name: String,
    trace: Trace,
    tasks: &mut JoinSet<()>,
) -> impl Stream<Item = io::Result<Connection>> + use<> {
    let (accepted, streams) = mpsc::channel(64);
    tasks.spawn(async move {
        let mut handshakes = JoinSet::new();
        loop {
            let stream = tokio::select! {
                biased;
                stream = listener.accept() => stream,
                Some(_done) = handshakes.join_next() => continue,
            };
            let Ok((stream, _)) = stream else { return };
            let (accepted, name, trace) = (accepted.clone(), name.clone(), trace.clone());
            handshakes.spawn(async move {
                if let Ok(Ok(connection)) = timeout(HANDSHAKE, greeted(stream, name, trace)).await {
                    // Nobody takes calls any more when the member ends.
                    let _ended = accepted.send(Ok(connection)).await;
                }
            });
        }
    });
    futures::stream::unfold(streams, |mut streams| async { Some((streams.recv().await?, streams)) })
}

async fn greeted(mut stream: TcpStream, to: String, trace: Trace) -> io::Result<Connection> {
    let mut uri = vec![0; usize::from(stream.read_u8().await?)];
    stream.read_exact(&mut uri).await?;
    let uri = String::from_utf8(uri).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    let caller = caller(&uri)?;
    Ok(Connection { stream, caller, trace, from: to, to: uri })
}

fn caller(uri: &str) -> io::Result<Caller> {
    Caller::from_uri(uri).ok_or_else(|| io::Error::new(io::ErrorKind::PermissionDenied, "the caller names no role"))
}

async fn connect(address: String, uri: String, trace: Trace) -> io::Result<TokioIo<Connection>> {
    let mut stream = TcpStream::connect(address.as_str()).await?;
    stream.write_u8(uri.len() as u8).await?;
    stream.write_all(uri.as_bytes()).await?;
    Ok(TokioIo::new(Connection { stream, caller: caller(&uri)?, trace, from: uri, to: address }))
}

/// Where members can be asked, as a headless Service tells.
pub(super) type Endpoints = Arc<Mutex<Vec<String>>>;

/// Channels of one caller. A process makes its own, as its connections end with it.
#[derive(Debug)]
pub(super) struct SimConnector {
    uri: String,
    trace: Trace,
    endpoints: Endpoints,
    channels: Mutex<BTreeMap<String, Channel>>,
}

impl SimConnector {
    pub(super) fn new(uri: String, trace: Trace, endpoints: Endpoints) -> Self {
        Self { uri, trace, endpoints, channels: Mutex::default() }
    }
}

impl Connector for SimConnector {
    fn channel(&self, address: &str) -> Result<Channel, ConnectError> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = channels.get(address) {
            return Ok(channel.clone());
        }
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|source| ConnectError::Address { address: address.to_owned(), source })?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true);
        let (to, uri, trace) = (address.to_owned(), self.uri.clone(), self.trace.clone());
        let dial = move |_| connect(to.clone(), uri.clone(), trace.clone());
        let channel = endpoint.connect_with_connector_lazy(tower::service_fn(dial));
        channels.insert(address.to_owned(), channel.clone());
        Ok(channel)
    }

    fn resolve<'a>(&'a self, _address: &'a str) -> BoxFuture<'a, io::Result<Vec<String>>> {
        let found = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Box::pin(async move { Ok(found) })
    }
}
