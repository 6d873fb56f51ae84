//! The members, all in this process: each is known by the address of its pod, answers there over mutual TLS by the certificate
//! that the operator made for it, and remembers what it was told for as long as its volume would.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use k8s_openapi::api::core::v1::{Pod, Secret};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use tonic::{Request, Response, Status};
use weft_operator::names;
use weft_proto::v1::{
    Inventory, OrderRequest,
    control_server::{Control, ControlServer},
};
use weft_protocol::PublicKey;

use crate::{Failure, MEMBERS, binder::Seat, members};

/// Connections that wait to be taken: all members are called at once.
const BACKLOG: u32 = 4096;
/// After a failed accept: the process may be out of descriptors for a while.
const BACK_OFF: Duration = Duration::from_millis(100);
/// Addresses of pods are of loopback, of this one on.
const FIRST: Ipv4Addr = Ipv4Addr::new(127, 64, 0, 0);

/// All members of all committees, until this is dropped.
pub(crate) struct Fleet {
    common: Arc<Common>,
    _listening: JoinSet<()>,
}

#[derive(Default)]
struct Common {
    state: Mutex<State>,
    calls: Arc<AtomicU64>,
}

#[derive(Default)]
struct State {
    committees: HashMap<(String, String), members::Fleet>,
    members: HashMap<(Seat, u8), Arc<members::Member>>,
    places: HashMap<IpAddr, Place>,
    given: u32,
}

/// Where a pod listens. Its connections end with it.
struct Place {
    member: Arc<members::Member>,
    tls: TlsAcceptor,
    there: watch::Sender<()>,
}

impl Fleet {
    /// Listens on loopback, on all of its addresses at once.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind_device(Some(b"lo"))?;
        let port = u16::try_from(names::MEMBER_PORT)?;
        socket.bind((Ipv4Addr::UNSPECIFIED, port).into())?;
        let listener = socket.listen(BACKLOG)?;
        let common = Arc::new(Common::default());
        let mut listening = JoinSet::new();
        listening.spawn(accept(listener, Arc::clone(&common)));
        Ok(Self { common, _listening: listening })
    }

    /// How often members were called.
    pub(crate) fn calls(&self) -> u64 {
        self.common.calls.load(Ordering::Relaxed)
    }

    /// Gives a pod an address, at which its member answers from now on. Nobody else has had it before.
    pub(crate) fn begin(&self, seat: &Seat, pod: &Pod, secret: &Secret) -> Result<IpAddr, Failure> {
        let incarnation: u8 = label(pod, names::INCARNATION)?.parse()?;
        let (trust, tls): (PublicKey, _) = (variable(pod, "WEFT_TRUST_KEY")?.parse()?, acceptor(secret)?);
        let mut state = self.common.state();
        let State { committees, members, places, given } = &mut *state;
        let key = (seat.namespace.clone(), seat.committee.clone());
        let committee = committees.entry(key).or_insert_with(|| members::Fleet::sized(MEMBERS, trust));
        let member = members.entry((seat.clone(), incarnation));
        let member = member.or_insert_with(|| Arc::new(committee.member((seat.member, incarnation))));
        *given += 1;
        let address = IpAddr::V4(Ipv4Addr::from(u32::from(FIRST) + *given));
        places.insert(address, Place { member: Arc::clone(member), tls, there: watch::Sender::new(()) });
        Ok(address)
    }

    /// A pod is gone, and its process with it.
    pub(crate) fn end(&self, address: IpAddr) {
        self.common.state().places.remove(&address);
    }
}

impl Common {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(&self, stream: TcpStream) -> Result<(), Failure> {
        stream.set_nodelay(true)?;
        let at = stream.local_addr()?.ip();
        let (member, tls, mut there) = {
            let state = self.state();
            let place = state.places.get(&at).ok_or("nobody is there")?;
            (Arc::clone(&place.member), place.tls.clone(), place.there.subscribe())
        };
        let stream = tls.accept(stream).await?;
        let service = ControlServer::new(Counted { member, calls: Arc::clone(&self.calls) });
        let http = auto::Builder::new(TokioExecutor::new()).http2_only();
        let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
        tokio::select! {
            ended = connection => ended,
            _gone = there.changed() => Ok(()),
        }
    }
}

async fn accept(listener: TcpListener, common: Arc<Common>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let common = Arc::clone(&common);
                // Whoever called is told by its connection's end.
                tokio::spawn(async move { drop(common.serve(stream).await) });
            }
            Err(error) => {
                eprintln!("a member can't be reached: {error}");
                tokio::time::sleep(BACK_OFF).await;
            }
        }
    }
}

/// A member whose calls are counted.
struct Counted {
    member: Arc<members::Member>,
    calls: Arc<AtomicU64>,
}

#[tonic::async_trait]
impl Control for Counted {
    async fn order(&self, request: Request<OrderRequest>) -> Result<Response<Inventory>, Status> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.member.order(request).await
    }
}

fn label<'p>(pod: &'p Pod, label: &str) -> Result<&'p str, Failure> {
    let labels = pod.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(label)).map(String::as_str).ok_or_else(|| format!("no label {label}").into())
}

/// What a pod's process would find in its environment.
fn variable<'p>(pod: &'p Pod, name: &str) -> Result<&'p str, Failure> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut variables = containers.flat_map(|container| container.env.iter().flatten());
    let found = variables.find(|variable| variable.name == name).and_then(|variable| variable.value.as_deref());
    found.ok_or_else(|| format!("no variable {name}").into())
}

/// As nodes take connections: callers have a certificate of the same authority.
fn acceptor(secret: &Secret) -> Result<TlsAcceptor, Failure> {
    let file = |name: &str| {
        let data = secret.data.as_ref().and_then(|data| data.get(name));
        data.map(|bytes| bytes.0.as_slice()).ok_or_else(|| Failure::from(format!("no {name} in a member's Secret")))
    };
    let chain = CertificateDer::pem_slice_iter(file("tls.crt")?).collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(file("tls.key")?)?;
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(file("ca.crt")?) {
        roots.add(root?)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let callers = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build()?;
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.with_client_cert_verifier(callers).with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
