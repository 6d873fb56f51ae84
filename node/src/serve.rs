//! A member as a process: volume, TLS, services, loops, admin port.

use std::{future::Future, io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use futures::{FutureExt, Stream, TryStreamExt};
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::watch,
    task::JoinSet,
};
use tonic::{
    service::Routes,
    transport::{Server, server::Connected},
};
use weft_client::{ConnectError, TlsConnector};
use weft_protocol::MemberId;
use weft_store::{Disk, HostDisk, Options, Store, StoreError};

use crate::{
    admin,
    args::Serve,
    challenge,
    env::Env,
    exchange,
    member::{Member, MemberError, Opened, WhoAmI},
    repair, scrub, service, telemetry,
    tls::{Tls, TlsError},
    verdicts,
};

/// Large enough for several slivers, so that one slow stream doesn't stall a connection.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// Callers that lost their power are let go of after twice that.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// How long running calls may take to end when the process is told to.
const DRAIN: Duration = Duration::from_secs(5);

/// Between two attempts to make the order in which blobs were made.
const ORDER_INTERVAL: Duration = Duration::from_secs(60);

#[derive(Debug, Error)]
pub enum ServeError {
    #[error("open the volume {path}")]
    Volume { path: PathBuf, source: io::Error },
    #[error("open the store")]
    Store(#[from] StoreError),
    #[error("open the member")]
    Member(#[from] MemberError),
    #[error("use the certificates for peers")]
    Certificates(#[from] ConnectError),
    #[error("use the certificates for callers")]
    Tls(#[from] TlsError),
    #[error("listen on {address}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("serve")]
    Serve(#[from] tonic::transport::Error),
}

/// Serves a member until `ended`.
pub async fn serve(args: Serve, ended: impl Future<Output = ()> + Send + 'static) -> Result<(), ServeError> {
    let tls = Tls::from_dir(&args.tls_dir)?;
    let connector = Arc::new(TlsConnector::from_dir(&args.tls_dir)?);
    let path = args.data_dir.clone();
    let disk = HostDisk::new(&path).map_err(|source| ServeError::Volume { path, source })?;
    let who = WhoAmI {
        fleet: args.fleet,
        member: MemberId(args.member),
        incarnation: args.incarnation,
        readmit: args.readmit,
        trust: args.trust_key,
    };
    let listener = listen(args.listen).await?;
    let admin = listen(args.admin).await?;
    let node = Node::open(Arc::new(disk), who, Env::host(connector), &Options::default()).await?;
    node.run(listener, Some(admin), &tls, ended).await
}

async fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|source| ServeError::Listen { address, source })
}

/// A volume that has been opened.
#[derive(Debug)]
pub struct Node {
    opened: Opened,
    who: WhoAmI,
}

impl Node {
    pub async fn open(disk: Arc<dyn Disk>, who: WhoAmI, env: Env, options: &Options) -> Result<Self, ServeError> {
        let store = Store::open(disk, options)?;
        let opened = Member::open(store, who, env).await?;
        match &opened {
            Opened::Ours(member) => tracing::info!(identity = %member.identity(), "the volume is open"),
            Opened::Foreign(found) => tracing::error!(%found, "the volume is another's: nothing of it is served (R1)"),
        }
        Ok(Self { opened, who })
    }

    /// The member; `None` on a foreign volume.
    pub fn member(&self) -> Option<Arc<Member>> {
        match &self.opened {
            Opened::Ours(member) => Some(member.clone()),
            Opened::Foreign(_) => None,
        }
    }

    /// Takes calls over mutual TLS until `ended`; then its loops stop and the store is closed.
    pub async fn run(
        self,
        listener: TcpListener,
        admin: Option<TcpListener>,
        tls: &Tls,
        ended: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), ServeError> {
        self.run_behind(|routes| routes, listener, admin, tls, ended).await
    }

    /// As [`Node::run`], with something of the caller's between the network and the member's services.
    pub async fn run_behind(
        self,
        front: impl FnOnce(Routes) -> Routes,
        listener: TcpListener,
        admin: Option<TcpListener>,
        tls: &Tls,
        ended: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), ServeError> {
        let mut tasks = JoinSet::new();
        if let Some(listener) = admin {
            tasks.spawn(admin::serve(listener, self.member()));
        }
        let calls = tls.accept(listener, &mut tasks).map_ok(service::Connection::from);
        self.take_through(front, calls, tasks, ended).await
    }

    /// Takes calls from connections of any kind, whose [`Connected`] tells the caller; `tasks` end with the member.
    pub async fn run_on<IO>(
        self,
        calls: impl Stream<Item = io::Result<IO>>,
        tasks: JoinSet<()>,
        ended: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), ServeError>
    where
        IO: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    {
        self.take_through(|routes| routes, calls, tasks, ended).await
    }

    async fn take_through<IO>(
        self,
        front: impl FnOnce(Routes) -> Routes,
        calls: impl Stream<Item = io::Result<IO>>,
        mut tasks: JoinSet<()>,
        ended: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), ServeError>
    where
        IO: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    {
        let member = self.member();
        let routes = match self.opened {
            Opened::Ours(member) => {
                start(&mut tasks, &member);
                service::routes(&member)
            }
            Opened::Foreign(found) => service::foreign_routes(self.who.fleet, *found),
        };
        let served = take_calls(calls, front(routes), ended).await;
        tasks.shutdown().await;
        if let Some(member) = member {
            member.store().shutdown();
        }
        served
    }
}

/// Starts the loops of a member. They end with the set.
fn start(tasks: &mut JoinSet<()>, member: &Arc<Member>) {
    let (sender, receiver) = watch::channel(exchange::Heard::new());
    tasks.spawn(exchange::run(member.clone(), sender));
    tasks.spawn(exchange::upkeep(member.clone(), receiver));
    tasks.spawn(exchange::verify(member.clone()));
    tasks.spawn(repair::run(member.clone()));
    tasks.spawn(challenge::run(member.clone()));
    tasks.spawn(scrub::run(member.clone()));
    tasks.spawn(verdicts::run(member.clone()));
    tasks.spawn(order(member.clone()));
}

/// Makes the order of creation, once, of a volume that has none.
async fn order(member: Arc<Member>) {
    while let Err(error) = member.order_by_creation().await {
        tracing::warn!(%error, "the order in which blobs were made can't be kept; lists by time come from other members");
        if error.is_read_only() {
            return;
        }
        member.env().clock.sleep(ORDER_INTERVAL).await;
    }
}

async fn take_calls<IO>(
    calls: impl Stream<Item = io::Result<IO>>,
    routes: Routes,
    ended: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError>
where
    IO: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    let mut server = Server::builder()
        .layer(telemetry::Calls)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE));
    let ended = ended.boxed().shared();
    let late = ended.clone().then(|()| tokio::time::sleep(DRAIN));
    tokio::select! {
        served = server.add_routes(routes).serve_with_incoming_shutdown(calls, ended) => Ok(served?),
        () = late => Ok(()),
    }
}
