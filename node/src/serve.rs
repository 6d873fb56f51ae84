//! A member as a process: volume, TLS, services, loops, admin port.

use std::{future::Future, io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use futures::FutureExt;
use thiserror::Error;
use tokio::{net::TcpListener, sync::watch, task::JoinSet};
use tonic::{
    service::Routes,
    transport::{Certificate, Identity, Server, ServerTlsConfig, server::TcpIncoming},
};
use weft_client::{ConnectError, TlsConnector};
use weft_protocol::MemberId;
use weft_store::{Disk, HostDisk, Options, Store, StoreError};

use crate::{
    admin,
    args::Serve,
    env::Env,
    exchange,
    member::{Member, MemberError, Opened, WhoAmI},
    repair, service,
};

/// Large enough for several slivers, so that one slow stream doesn't stall a connection.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// How long running calls may take to end when the process is told to.
const DRAIN: Duration = Duration::from_secs(5);

#[derive(Debug, Error)]
pub enum ServeError {
    #[error("open the volume {path}")]
    Volume { path: PathBuf, source: io::Error },
    #[error("open the store")]
    Store(#[from] StoreError),
    #[error("open the member")]
    Member(#[from] MemberError),
    #[error("read the certificates")]
    Certificates(#[from] ConnectError),
    #[error("read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("listen on {address}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("serve")]
    Serve(#[from] tonic::transport::Error),
}

/// What is needed to take calls over mutual TLS, PEM.
#[derive(Debug, Clone)]
pub struct Tls {
    pub ca: Vec<u8>,
    pub certificate: Vec<u8>,
    pub key: Vec<u8>,
}

impl Tls {
    fn from_dir(dir: &std::path::Path) -> Result<Self, ServeError> {
        let read = |name: &str| {
            let path = dir.join(name);
            std::fs::read(&path).map_err(|source| ServeError::Read { path, source })
        };
        Ok(Self { ca: read("ca.crt")?, certificate: read("tls.crt")?, key: read("tls.key")? })
    }

    fn config(&self) -> ServerTlsConfig {
        ServerTlsConfig::new()
            .identity(Identity::from_pem(&self.certificate, &self.key))
            .client_ca_root(Certificate::from_pem(&self.ca))
    }
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
        trust: args.trust_key,
    };
    let listener = listen(args.listen).await?;
    let admin = listen(args.admin).await?;
    let node = Node::open(Arc::new(disk), who, Env::host(connector)).await?;
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
    pub async fn open(disk: Arc<dyn Disk>, who: WhoAmI, env: Env) -> Result<Self, ServeError> {
        let store = Store::open(disk, &Options::default())?;
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

    /// Serves until `ended`; then its loops stop and the store is closed.
    pub async fn run(
        self,
        listener: TcpListener,
        admin: Option<TcpListener>,
        tls: &Tls,
        ended: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), ServeError> {
        let mut tasks = JoinSet::new();
        let member = self.member();
        if let Some(listener) = admin {
            tasks.spawn(admin::serve(listener, member.clone()));
        }
        let routes = match self.opened {
            Opened::Ours(member) => {
                start(&mut tasks, &member);
                service::routes(&member)
            }
            Opened::Foreign(found) => service::foreign_routes(self.who.fleet, *found),
        };
        let served = take_calls(listener, routes, tls, ended).await;
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
}

async fn take_calls(
    listener: TcpListener,
    routes: Routes,
    tls: &Tls,
    ended: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let mut server = Server::builder()
        .tls_config(tls.config())?
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    let ended = ended.boxed().shared();
    let late = ended.clone().then(|()| tokio::time::sleep(DRAIN));
    tokio::select! {
        served = server.add_routes(routes).serve_with_incoming_shutdown(incoming, ended) => Ok(served?),
        () = late => Ok(()),
    }
}
