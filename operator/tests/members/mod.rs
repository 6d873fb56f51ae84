//! Members in this process: the protocol's own fence behind the operator's call, on loopback, without volumes.

use std::{
    collections::BTreeMap,
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use futures::future::BoxFuture;
use tonic::{
    Code, Request, Response, Status,
    transport::{Channel, Endpoint, Server},
};
use weft_client::{ConnectError, Connector};
use weft_operator::{
    certs::Leaf,
    env::{Env, SystemEnv},
};
use weft_planner::Timestamp;
use weft_proto::v1::{
    Inventory, OrderRequest, ShardReport,
    control_server::{Control, ControlServer},
};
use weft_protocol::{
    BatchHeader, Encoder, Fence, FleetId, Incarnation, MemberId, PublicKey, Seal, SealOrder, SignedView, SigningKey,
    TermClaim, ViewId, VolumeId, sign_batch,
};

/// The address that a member's pod gets: the fleet finds the member by it.
pub(crate) fn address(member: u32, incarnation: u32) -> String {
    format!("10.9.{member}.{incarnation}")
}

/// Members by address, each made when it is first called, and the key that their pods are told to trust.
#[derive(Clone)]
pub(crate) struct Fleet {
    members: Arc<Mutex<BTreeMap<String, SocketAddr>>>,
    trust: PublicKey,
}

impl Fleet {
    pub(crate) fn new(trust: PublicKey) -> Self {
        Self { members: Arc::default(), trust }
    }
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fleet")
    }
}

impl Env for Fleet {
    fn now(&self) -> Timestamp {
        SystemEnv.now()
    }

    fn fill(&self, buffer: &mut [u8]) -> Result<(), getrandom::Error> {
        SystemEnv.fill(buffer)
    }

    fn connector(&self, _: &str, _: &Leaf) -> Arc<dyn Connector> {
        Arc::new(self.clone())
    }
}

impl Connector for Fleet {
    fn channel(&self, address: &str) -> Result<Channel, ConnectError> {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        let at = *members.entry(address.to_owned()).or_insert_with(|| start(address, self.trust));
        let wrong = |source| ConnectError::Address { address: address.to_owned(), source };
        Ok(Endpoint::from_shared(format!("http://{at}")).map_err(wrong)?.connect_lazy())
    }

    fn resolve<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Vec<String>>> {
        Box::pin(async move { Ok(vec![address.to_owned()]) })
    }
}

fn start(address: &str, trust: PublicKey) -> SocketAddr {
    let mut parts = address.split(['.', ':']).skip(2).map(|part| part.parse::<u8>().expect("a number"));
    let (member, incarnation) = (parts.next().expect("a member"), parts.next().expect("an incarnation"));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("a socket");
    let at = listener.local_addr().expect("an address");
    let listener = tokio::net::TcpListener::from_std(listener).expect("a runtime");
    let service = ControlServer::new(Member::new(member, incarnation, trust));
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
    at
}

/// One member: its key, and what it remembers of terms and views.
struct Member {
    id: u8,
    incarnation: Incarnation,
    key: SigningKey,
    trust: PublicKey,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    fence: Option<Fence>,
    claim: Option<TermClaim>,
    sequence: u64,
}

impl Member {
    fn new(id: u8, number: u8, trust: PublicKey) -> Self {
        let mut seed = [7; 32];
        (seed[0], seed[1]) = (id, number);
        let mut volume = [9; 16];
        (volume[0], volume[1]) = (id, number);
        let incarnation = Incarnation { number: u32::from(number), volume: VolumeId(volume) };
        Self { id, incarnation, key: SigningKey::from_seed(seed), trust, state: Mutex::default() }
    }

    fn obey(&self, order: &OrderRequest) -> Result<Inventory, Box<dyn std::error::Error>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let claim = TermClaim::decode(&order.claim)?;
        let fence = state.fence.get_or_insert_with(|| Fence::new(claim.fleet, self.trust));
        fence.claim(&claim)?;
        let fleet = claim.fleet;
        state.claim = Some(claim);
        let fence = state.fence.as_mut().ok_or("it was made above")?;
        if !order.first_view.is_empty() && fence.newest().is_none() {
            fence.begin(SignedView::decode(&order.first_view)?)?;
        }
        for seal in &order.seals {
            fence.install(Seal::decode(seal)?)?;
        }
        if !order.seal_order.is_empty() {
            fence.refuse(&SealOrder::decode(&order.seal_order)?)?;
        }
        let fence = fence.clone();
        state.sequence += 1;
        Ok(self.inventory(&fence, fleet, state.sequence, order))
    }

    fn inventory(&self, fence: &Fence, fleet: FleetId, sequence: u64, order: &OrderRequest) -> Inventory {
        let id = |id: ViewId| Bytes::from(id.encode(Encoder::new()).finish());
        let newest = fence.newest().map(|newest| &newest.view);
        let seat = newest.and_then(|view| view.seat(MemberId(u32::from(self.id))));
        let seat = seat.filter(|seat| seat.incarnation == self.incarnation);
        let report = |shard: u8, target| ShardReport {
            shard: u32::from(shard),
            target,
            verified: true,
            ..ShardReport::default()
        };
        let held = seat.into_iter().flat_map(|seat| seat.shards.iter()).map(|shard| report(shard, false));
        let target = order
            .target
            .as_ref()
            .map(|target| weft_protocol::ShardSet::from_bytes(target.shards.as_ref().try_into().expect("32 bytes")));
        let wanted = target.into_iter().flat_map(weft_protocol::ShardSet::iter).map(|shard| report(shard, true));
        let header =
            BatchHeader { fleet, member: MemberId(u32::from(self.id)), incarnation: self.incarnation, sequence };
        let refusal = fence.refusal().map(|refusal| sign_batch(header, vec![refusal], &self.key).remove(0));
        Inventory {
            identity: Some(weft_proto::v1::Identity {
                fleet: Bytes::copy_from_slice(&fleet.0),
                member: u32::from(self.id),
                incarnation: self.incarnation.number,
                volume: Bytes::copy_from_slice(&self.incarnation.volume.0),
            }),
            public_key: Bytes::copy_from_slice(&self.key.public().0),
            sequence,
            term: fence.term(),
            newest_view: newest.map(|view| id(view.id())).unwrap_or_default(),
            successor: fence.successor().map(|view| Bytes::from(view.encode())).unwrap_or_default(),
            refusal: refusal.map(|refusal| Bytes::from(refusal.encode())).unwrap_or_default(),
            synced: newest.and_then(|view| view.predecessor).map(id).unwrap_or_default(),
            counts: newest.is_some(),
            shards: held.chain(wanted).collect(),
            reachable: (0..7).collect(),
            volume: Some(weft_proto::v1::Volume { capacity_bytes: 1 << 30, free_bytes: 1 << 30, used_bytes: 0 }),
            newest_signed_view: fence.newest().map(|view| Bytes::from(view.encode())).unwrap_or_default(),
            newest_seal: fence.seal().map(|seal| Bytes::from(seal.encode())).unwrap_or_default(),
            ..Inventory::default()
        }
    }
}

#[tonic::async_trait]
impl Control for Member {
    async fn order(&self, request: Request<OrderRequest>) -> Result<Response<Inventory>, Status> {
        let answer = self.obey(request.get_ref()).map_err(|error| {
            let claim = self.state.lock().unwrap_or_else(PoisonError::into_inner).claim.clone();
            let claim = claim.map(|claim| claim.encode()).unwrap_or_default();
            Status::with_details(Code::Aborted, error.to_string(), claim.into())
        });
        answer.map(Response::new)
    }
}
