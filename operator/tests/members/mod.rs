//! Members in this process: the protocol's own fence behind the operator's call, on loopback, without volumes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
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
    Ailment, Inventory, Moved, OrderRequest, ShardReport, Target,
    control_server::{Control, ControlServer},
};
use weft_protocol::{
    BatchHeader, Encoder, Fence, FleetId, Incarnation, MemberId, PublicKey, Seal, SealOrder, ShardSet, SignedView,
    SigningKey, TermClaim, ViewId, VolumeId, sign_batch,
};

/// The address that a member's pod gets: the fleet finds the member by it.
pub(crate) fn address(member: u32, incarnation: u32) -> String {
    format!("10.9.{member}.{incarnation}")
}

/// Member and incarnation.
pub(crate) type Who = (u8, u8);

/// Incarnations with which something is the matter.
#[derive(Clone, Default)]
struct Whos(Arc<Mutex<BTreeSet<Who>>>);

impl Whos {
    fn all(&self) -> BTreeSet<Who> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn add(&self, who: Who) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(who);
    }

    fn remove(&self, who: Who) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&who);
    }
}

/// What orders say to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Told {
    /// Repair's budget, in bytes a second.
    pub(crate) bandwidth: u64,
    /// Milliseconds between challenges.
    challenges: u64,
    /// Seconds in which everything is read once.
    scrub: u64,
    /// Whether there is a limit to what a shard may hold.
    limited: bool,
}

/// Members by address, each made when it is first called, and the key that their pods are told to trust.
#[derive(Clone)]
pub(crate) struct Fleet {
    members: Arc<Mutex<BTreeMap<String, SocketAddr>>>,
    silent: Whos,
    /// Whom the operator alone doesn't hear.
    hidden: Whos,
    hesitant: Whos,
    /// Who lacks a sliver of each of its shards.
    lacking: Whos,
    /// Whose volumes are behind what peers saw signed (R1).
    rewound: Whos,
    /// What each was told last.
    told: Arc<Mutex<BTreeMap<Who, Told>>>,
    /// How many orders came.
    orders: Arc<AtomicUsize>,
    /// How often connections were ended.
    hung_up: Arc<AtomicUsize>,
    /// How far the operator's clock is ahead of the machine's, in milliseconds.
    ahead: Arc<AtomicI64>,
    trust: Arc<OnceLock<PublicKey>>,
    /// Whom the operator trusts, as PEM.
    trusted: Arc<Mutex<String>>,
    /// How many members reach each other.
    size: u8,
}

impl Fleet {
    pub(crate) fn new(trust: PublicKey) -> Self {
        Self::sized(7, trust)
    }

    pub(crate) fn sized(size: u8, trust: PublicKey) -> Self {
        let fleet = Self { size, ..Self::unborn() };
        fleet.bear(trust);
        fleet
    }

    /// A fleet whose keys aren't made yet: no pod of it may run.
    pub(crate) fn unborn() -> Self {
        Self {
            members: Arc::default(),
            silent: Whos::default(),
            hidden: Whos::default(),
            hesitant: Whos::default(),
            lacking: Whos::default(),
            rewound: Whos::default(),
            told: Arc::default(),
            orders: Arc::default(),
            hung_up: Arc::default(),
            ahead: Arc::default(),
            trust: Arc::default(),
            trusted: Arc::default(),
            size: 7,
        }
    }

    /// One of it, as it begins: it knows no term and no view.
    pub(crate) fn member(&self, who: Who) -> Member {
        Member::new(who, self)
    }

    /// Whom the operator trusts, as PEM.
    pub(crate) fn trusted(&self) -> String {
        self.trusted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Its keys are made.
    pub(crate) fn bear(&self, trust: PublicKey) {
        self.trust.get_or_init(|| trust);
    }

    pub(crate) fn is_born(&self) -> bool {
        self.trust.get().is_some()
    }

    /// What that incarnation was told last.
    pub(crate) fn told(&self, who: Who) -> Option<Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).get(&who).copied()
    }

    pub(crate) fn orders(&self) -> usize {
        self.orders.load(Ordering::Relaxed)
    }

    pub(crate) fn hung_up(&self) -> usize {
        self.hung_up.load(Ordering::Relaxed)
    }

    /// Lets that time pass for the operator.
    pub(crate) fn advance(&self, time: Duration) {
        self.ahead.fetch_add(time.as_millis() as i64, Ordering::Relaxed);
    }

    /// Nobody hears of that incarnation from now on.
    pub(crate) fn silence(&self, who: Who) {
        self.silent.add(who);
    }

    /// That incarnation's volume is restored from an old snapshot: its peers know better what it has signed (R1).
    pub(crate) fn rewind(&self, who: Who) {
        self.rewound.add(who);
        self.hesitant.add(who);
    }

    /// The operator hears no more of that incarnation, and its peers do.
    pub(crate) fn hide(&self, who: Who) {
        self.hidden.add(who);
    }

    /// That incarnation lacks a sliver of each of its shards from now on.
    pub(crate) fn take_slivers(&self, who: Who) {
        self.lacking.add(who);
    }

    /// It has them all again.
    pub(crate) fn give_slivers(&self, who: Who) {
        self.lacking.remove(who);
    }

    /// It is heard again.
    pub(crate) fn wake(&self, who: Who) {
        self.silent.remove(who);
        self.hidden.remove(who);
    }

    /// From now on it refuses no view, like one that isn't judged yet (R1), and does what else it is ordered to.
    pub(crate) fn hesitate(&self, who: Who) {
        self.hesitant.add(who);
    }

    /// It does all that it is ordered to again.
    pub(crate) fn resolve(&self, who: Who) {
        self.hesitant.remove(who);
    }
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fleet")
    }
}

impl Env for Fleet {
    fn now(&self) -> Timestamp {
        Timestamp(SystemEnv.now().0 + self.ahead.load(Ordering::Relaxed))
    }

    fn monotonic(&self) -> Duration {
        SystemEnv.monotonic() + Duration::from_millis(self.ahead.load(Ordering::Relaxed) as u64)
    }

    fn fill(&self, buffer: &mut [u8]) -> Result<(), getrandom::Error> {
        SystemEnv.fill(buffer)
    }

    fn connector(&self, trusted: &str, _: &Leaf) -> Arc<dyn Connector> {
        trusted.clone_into(&mut self.trusted.lock().unwrap_or_else(PoisonError::into_inner));
        Arc::new(self.clone())
    }
}

impl Connector for Fleet {
    fn channel(&self, address: &str) -> Result<Channel, ConnectError> {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        let at = *members.entry(address.to_owned()).or_insert_with(|| start(address, self));
        let wrong = |source| ConnectError::Address { address: address.to_owned(), source };
        Ok(Endpoint::from_shared(format!("http://{at}")).map_err(wrong)?.connect_lazy())
    }

    fn release(&self) {
        self.hung_up.fetch_add(1, Ordering::Relaxed);
    }

    fn resolve<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Vec<String>>> {
        Box::pin(async move { Ok(vec![address.to_owned()]) })
    }
}

fn start(address: &str, fleet: &Fleet) -> SocketAddr {
    let mut parts = address.split(['.', ':']).skip(2).map(|part| part.parse::<u8>().expect("a number"));
    let (member, incarnation) = (parts.next().expect("a member"), parts.next().expect("an incarnation"));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("a socket");
    let at = listener.local_addr().expect("an address");
    let listener = tokio::net::TcpListener::from_std(listener).expect("a runtime");
    let service = ControlServer::new(fleet.member((member, incarnation)));
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
    at
}

/// One member: its key, and what it remembers of terms and views.
pub(crate) struct Member {
    id: u8,
    incarnation: Incarnation,
    key: SigningKey,
    trust: PublicKey,
    peers: u8,
    silent: Whos,
    hidden: Whos,
    hesitant: Whos,
    lacking: Whos,
    rewound: Whos,
    told: Arc<Mutex<BTreeMap<Who, Told>>>,
    orders: Arc<AtomicUsize>,
    state: Mutex<State>,
}

/// What each sliver that a target asks for comes to, at once: bytes.
pub(crate) const COPIED: u64 = 3000;
pub(crate) const REBUILT: u64 = 500;

#[derive(Default)]
struct State {
    fence: Option<Fence>,
    claim: Option<TermClaim>,
    sequence: u64,
    /// Epochs and shards that orders named as targets.
    gained: BTreeSet<(u64, u8)>,
}

impl Member {
    fn new((id, number): Who, fleet: &Fleet) -> Self {
        let mut seed = [7; 32];
        (seed[0], seed[1]) = (id, number);
        let mut volume = [9; 16];
        (volume[0], volume[1]) = (id, number);
        let incarnation = Incarnation { number: u32::from(number), volume: VolumeId(volume) };
        Self {
            id,
            incarnation,
            key: SigningKey::from_seed(seed),
            trust: *fleet.trust.get().expect("pods run once their keys are there"),
            peers: fleet.size,
            silent: fleet.silent.clone(),
            hidden: fleet.hidden.clone(),
            hesitant: fleet.hesitant.clone(),
            lacking: fleet.lacking.clone(),
            rewound: fleet.rewound.clone(),
            told: fleet.told.clone(),
            orders: fleet.orders.clone(),
            state: Mutex::default(),
        }
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
        if !order.seal_order.is_empty() && !self.hesitant.all().contains(&self.who()) {
            fence.refuse(&SealOrder::decode(&order.seal_order)?)?;
        }
        let fence = fence.clone();
        let bandwidth = order.budgets.map(|budgets| budgets.repair_bytes_per_second).unwrap_or_default();
        let told = Told {
            bandwidth,
            challenges: order.challenge_interval_ms,
            scrub: order.scrub_period_seconds,
            limited: order.shard_bytes_limit.is_some_and(|limit| limit > 0),
        };
        self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(self.who(), told);
        state.sequence += 1;
        let target = order.target.iter().flat_map(|target| shards(target).map(|shard| (target.epoch, shard)));
        state.gained.extend(target);
        let moved = |(epoch, shard): &(u64, u8)| Moved {
            epoch: *epoch,
            shard: u32::from(*shard),
            copied_bytes: COPIED,
            rebuilt_bytes: REBUILT,
        };
        let moved = state.gained.iter().map(moved).collect();
        Ok(Inventory { moved, ..self.inventory(&fence, fleet, state.sequence, order) })
    }

    fn inventory(&self, fence: &Fence, fleet: FleetId, sequence: u64, order: &OrderRequest) -> Inventory {
        let id = |id: ViewId| Bytes::from(id.encode(Encoder::new()).finish());
        let newest = fence.newest().map(|newest| &newest.view);
        let seat = newest.and_then(|view| view.seat(MemberId(u32::from(self.id))));
        let seat = seat.filter(|seat| seat.incarnation == self.incarnation);
        let missing = u64::from(self.lacking.all().contains(&self.who()));
        let report = |shard: u8, target| ShardReport {
            shard: u32::from(shard),
            missing_slivers: missing,
            missing_bytes: missing,
            missing_blobs: missing,
            target,
            verified: true,
        };
        let held = seat.into_iter().flat_map(|seat| seat.shards.iter()).map(|shard| report(shard, false));
        let wanted = order.target.iter().flat_map(shards).map(|shard| report(shard, true));
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
            seal_order: fence.order().map(|order| Bytes::from(order.encode())).unwrap_or_default(),
            refusal: refusal.map(|refusal| Bytes::from(refusal.encode())).unwrap_or_default(),
            synced: newest.and_then(|view| view.predecessor).map(id).unwrap_or_default(),
            counts: newest.is_some(),
            shards: held.chain(wanted).collect(),
            reachable: self.reachable(),
            ailment: if self.rewound.all().contains(&self.who()) { Ailment::Rewound } else { Ailment::None }.into(),
            volume: Some(weft_proto::v1::Volume {
                capacity_bytes: 1 << 30,
                free_bytes: 1 << 30,
                used_bytes: 1 << 20,
                reclaimable_bytes: 1 << 20,
            }),
            shard_bytes: Some(1 << 20),
            newest_signed_view: fence.newest().map(|view| Bytes::from(view.encode())).unwrap_or_default(),
            newest_seal: fence.seal().map(|seal| Bytes::from(seal.encode())).unwrap_or_default(),
            ..Inventory::default()
        }
    }
}

impl Member {
    fn who(&self) -> Who {
        (self.id, self.incarnation.number as u8)
    }

    fn reachable(&self) -> Vec<u32> {
        let silent = self.silent.all();
        (0..self.peers).filter(|id| !silent.iter().any(|(member, _)| member == id)).map(u32::from).collect()
    }
}

fn shards(target: &Target) -> impl Iterator<Item = u8> + use<> {
    ShardSet::from_bytes(target.shards.as_ref().try_into().expect("32 bytes")).iter()
}

#[tonic::async_trait]
impl Control for Member {
    async fn order(&self, request: Request<OrderRequest>) -> Result<Response<Inventory>, Status> {
        self.orders.fetch_add(1, Ordering::Relaxed);
        if self.silent.all().contains(&self.who()) || self.hidden.all().contains(&self.who()) {
            return Err(Status::unavailable("nobody hears of it"));
        }
        let answer = self.obey(request.get_ref()).map_err(|error| {
            let claim = self.state.lock().unwrap_or_else(PoisonError::into_inner).claim.clone();
            let claim = claim.map(|claim| claim.encode()).unwrap_or_default();
            Status::with_details(Code::Aborted, error.to_string(), claim.into())
        });
        answer.map(Response::new)
    }
}
