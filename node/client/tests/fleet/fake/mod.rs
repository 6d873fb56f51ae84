//! Members that keep everything in memory and sign as the rules say, unless a test makes them fail or lie.

mod reads;
mod writes;

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use bytes::Bytes;
use futures::{future::BoxFuture, stream};
use prost::Message as _;
use tokio::net::{TcpListener, TcpStream};
use tonic::{
    Status,
    transport::{Channel, Endpoint, Server},
};
use weft_client::{Client, ConnectError, Connector, Fleet, FleetConfig};
use weft_proto::{
    MAX_MESSAGE,
    v1::{Peer, Sliver, ViewChanged, reads_server::ReadsServer, writes_server::WritesServer},
};
use weft_protocol::{
    Authority, BatchHeader, Certificate, Entry, FleetId, Incarnation, MemberId, PublicKey, Seal, Seat, ShardSet,
    Signed, SignedView, SigningKey, Statement, TimeFloor, View, VolumeId, sign_batch,
};
use weft_redstuff::{Axis, BlobId, Code, EncodedStripe, Hash, Labels, Layout, Metadata, StripeHashes, encode_stripe};

pub(crate) const FLEET: FleetId = FleetId([9; 16]);
/// The seed of the operator's key.
const OPERATOR: [u8; 32] = [1; 32];
const MEMBERS: u8 = 7;
const SHARDS_EACH: u8 = 4;

/// What a member does wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Fault {
    #[default]
    None,
    /// Answers nothing, ever.
    Hangs,
    /// Says that it can't serve.
    Unavailable,
    /// Acks, but gives no receipts.
    NoReceipts,
    /// Signs its acks and receipts with another key.
    Forges,
    /// Flips a bit of every sliver that it gives.
    Lies,
    /// Stores nothing of uploads that come by stream.
    NoUploads,
    /// Stores only what comes by stream, and gives nothing with an entry, like members of before.
    OnlyUploads,
    /// It isn't synced: it gives no acks, and its "unknown" doesn't count.
    NotSynced,
    /// Lists in the order of IDs whatever is asked, like members of before.
    ListsById,
    /// Looks at two entries for a page of a list.
    LooksAtTwo,
    /// Lists nothing, and says each time that there is more a little further on.
    LeadsNowhere,
    /// Has no room.
    Full,
    /// Has rebuilt its secondaries so far, and no primaries.
    NoPrimaries,
    /// Says that the writers of all blobs lied.
    Convicts,
    /// Checks slivers that come by stream, and keeps nothing but their hashes.
    Forgets,
}

/// A stripe as one member holds it.
#[derive(Debug, Clone)]
struct Stripe {
    hashes: StripeHashes,
    slivers: Vec<Sliver>,
}

type Stripes = std::collections::BTreeMap<u32, Stripe>;

#[derive(Debug, Default)]
struct State {
    fault: Fault,
    sessions: HashMap<Vec<u8>, Stripes>,
    holdings: HashMap<BlobId, Stripes>,
    entries: HashMap<BlobId, Entry>,
    view: Option<(SignedView, Option<Seal>)>,
    /// The successor for which the view is refused.
    refuses: bool,
    peers: Vec<Peer>,
    time_floor: Bytes,
    sequence: u64,
    asked_for_acks: u32,
    /// Upload streams, stripe hashes and single slivers: what a small blob needs none of.
    asked_apart: u32,
}

#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) id: MemberId,
    key: SigningKey,
    incarnation: Incarnation,
    state: Mutex<State>,
}

impl Member {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn set(&self, fault: Fault) {
        self.lock().fault = fault;
    }

    /// Whether the member has a live entry of a blob.
    pub(crate) fn knows(&self, id: BlobId) -> bool {
        self.lock().entries.get(&id).is_some_and(Entry::is_live)
    }

    /// How often an ack was asked for.
    pub(crate) fn asked_for_acks(&self) -> u32 {
        self.lock().asked_for_acks
    }

    /// How often something was uploaded by stream, or a sliver or hashes were asked for by themselves.
    pub(crate) fn asked_apart(&self) -> u32 {
        self.lock().asked_apart
    }

    /// Tells clients that it is so late.
    pub(crate) fn tell_time(&self, floor: &TimeFloor) {
        self.lock().time_floor = floor.encode().into();
    }

    /// Tells of the first members' addresses alone.
    pub(crate) fn tell_of(&self, members: usize) {
        self.lock().peers.truncate(members);
    }

    /// Refuses the view it has: no acks or receipts of it any more.
    pub(crate) fn refuse(&self) {
        self.lock().refuses = true;
    }

    /// What it knows of a blob that it knows.
    pub(crate) fn entry(&self, id: BlobId) -> Entry {
        self.lock().entries.get(&id).expect("the member knows it").clone()
    }

    /// It knows this of a blob, whatever it knew before.
    pub(crate) fn learn(&self, entry: Entry) {
        self.lock().entries.insert(entry.blob(), entry);
    }

    pub(crate) fn forget(&self, id: BlobId) {
        self.lock().entries.remove(&id);
    }

    /// It knows no view, like one that has just been started for the first time.
    pub(crate) fn forget_view(&self) {
        self.lock().view = None;
    }

    pub(crate) fn install(&self, view: SignedView, seal: Option<Seal>) {
        let mut state = self.lock();
        state.view = Some((view, seal));
        state.refuses = false;
    }

    pub(crate) fn sign(&self, statement: Statement) -> Signed {
        let mut state = self.lock();
        state.sequence += 1;
        let header =
            BatchHeader { fleet: FLEET, member: self.id, incarnation: self.incarnation, sequence: state.sequence };
        let key = if state.fault == Fault::Forges { SigningKey::from_seed([77; 32]) } else { self.key.clone() };
        sign_batch(header, vec![statement], &key).remove(0)
    }

    /// The member's fault, once it can answer at all.
    async fn awake(&self) -> Result<Fault, Status> {
        let fault = self.lock().fault;
        match fault {
            Fault::Hangs => std::future::pending().await,
            Fault::Unavailable => Err(Status::unavailable("out of order")),
            other => Ok(other),
        }
    }

    /// The member's shards, if the request's view is the newest and not refused.
    fn permit(&self, asked: &[u8]) -> Result<(Hash, ShardSet), Status> {
        let state = self.lock();
        let (view, seal) = state.view.as_ref().expect("every test gives its members a view");
        let hash = view.view.hash();
        if asked == hash.as_bytes() && !state.refuses {
            let seat = view.view.seat(self.id).ok_or_else(|| Status::out_of_range("no seat"))?;
            return Ok((hash, seat.shards));
        }
        let newest = view.encode().into();
        let seal = seal.as_ref().map(|seal| seal.encode().into()).unwrap_or_default();
        let detail = ViewChanged { newest, seal, sealing: state.refuses, syncing: false }.encode_to_vec();
        Err(Status::with_details(tonic::Code::FailedPrecondition, "another view", detail.into()))
    }
}

/// A member as it is served.
#[derive(Debug, Clone)]
struct Serving(Arc<Member>);

impl std::ops::Deref for Serving {
    type Target = Member;

    fn deref(&self) -> &Member {
        &self.0
    }
}

/// Seven members on loopback, and the operator's key.
#[derive(Debug)]
pub(crate) struct FakeFleet {
    pub(crate) members: Vec<Arc<Member>>,
    pub(crate) operator: SigningKey,
    pub(crate) delete_key: SigningKey,
    addresses: Vec<String>,
}

#[derive(Debug)]
struct Plain;

impl Connector for Plain {
    fn channel(&self, address: &str) -> Result<Channel, ConnectError> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"));
        let endpoint = endpoint.map_err(|source| ConnectError::Address { address: address.to_owned(), source })?;
        Ok(endpoint.connect_lazy())
    }

    fn resolve<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Vec<String>>> {
        Box::pin(async move { Ok(vec![address.to_owned()]) })
    }
}

impl FakeFleet {
    /// Members who are in the fleet's first view.
    pub(crate) async fn start() -> Self {
        let (operator, delete_key) = (SigningKey::from_seed(OPERATOR), SigningKey::from_seed([2; 32]));
        let mut fleet = Self { members: Vec::new(), operator, delete_key, addresses: Vec::new() };
        for id in 0..MEMBERS {
            let incarnation = Incarnation { number: 1, volume: VolumeId([id; 16]) };
            let key = SigningKey::from_seed([100 + id; 32]);
            let member = Member { id: MemberId(id.into()), key, incarnation, state: Mutex::default() };
            let member = Arc::new(member);
            fleet.addresses.push(serve(Arc::clone(&member)).await);
            fleet.members.push(member);
        }
        let peer =
            |(id, address): (usize, &String)| Peer { member: id as u32, incarnation: 1, address: address.clone() };
        let peers: Vec<Peer> = fleet.addresses.iter().enumerate().map(peer).collect();
        let first = fleet.first_view();
        for member in &fleet.members {
            member.lock().peers.clone_from(&peers);
            member.install(first.clone(), None);
        }
        fleet
    }

    pub(crate) fn code() -> Code {
        Code::with_shards(u16::from(MEMBERS * SHARDS_EACH)).unwrap()
    }

    pub(crate) fn first_view(&self) -> SignedView {
        let seat = |member: &Arc<Member>| Seat {
            member: member.id,
            incarnation: member.incarnation,
            key: member.key.public(),
            shards: (0..SHARDS_EACH).map(|shard| member.id.0 as u8 * SHARDS_EACH + shard).collect(),
        };
        let view = View {
            fleet: FLEET,
            epoch: 1,
            revision: 0,
            term: 1,
            predecessor: None,
            code: Self::code(),
            seats: self.members.iter().map(seat).collect(),
            authority: self.authority(),
            declared: vec![],
        };
        SignedView::sign(view, &self.operator)
    }

    fn authority(&self) -> Authority {
        Authority { views: self.operator.public(), deletes: vec![self.delete_key.public()] }
    }

    /// Gives members what a writer made that commits to other hashes than its slivers encode to: the primaries are those
    /// of the first content, the secondaries those of the second, stripe by stripe. The digest is `digest`'s.
    pub(crate) fn plant(&self, stripes: &[(Bytes, Bytes)], digest: &[u8]) -> BlobId {
        let code = Self::code();
        let length = stripes.iter().map(|(content, _)| content.len() as u64).sum();
        let layout = Layout::sliced(code, length).unwrap();
        let encode = |stripe: weft_redstuff::StripeLayout| {
            let (first, second) = &stripes[stripe.index as usize];
            let [first, second] =
                [first, second].map(|data| encode_stripe(code, stripe.symbol_size, data.clone()).unwrap());
            let hash = |of: &EncodedStripe, axis| (0..code.shards()).map(|i| Hash::of(&of.sliver(axis, i))).collect();
            let (primary, secondary) = (hash(&first, Axis::Primary), hash(&second, Axis::Secondary));
            (stripe.index, first, second, StripeHashes::new(code, primary, secondary).unwrap())
        };
        let encoded: Vec<_> = layout.iter().map(encode).collect();
        let roots: Vec<Hash> = encoded.iter().map(|(_, _, _, hashes)| hashes.root()).collect();
        let (root, digest) = (weft_redstuff::merkle::root(&roots), Hash::of(digest));
        let metadata = Metadata { root, layout, labels: Labels::default(), expiry: None, digest, nonce: [200; 16] };
        let (id, view) = (metadata.id(), self.first_view().view);
        let ack = |member: &Arc<Member>| {
            let shards = view.seat(member.id).unwrap().shards;
            member.sign(Statement::Ack { view: view.hash(), blob: id, shards })
        };
        let certificate = Certificate::new(&view, id, self.members.iter().map(ack).collect()).unwrap();
        let entry = Entry::Live { metadata, inline: None, certificate };
        for member in &self.members {
            let stripe = |(number, first, second, hashes): &(u32, EncodedStripe, EncodedStripe, StripeHashes)| {
                let slivers = view.seat(member.id).unwrap().shards.iter().flat_map(|shard| {
                    Axis::BOTH.map(|axis| {
                        let index = code.sliver_index(shard.into(), axis);
                        let of = if axis == Axis::Primary { first } else { second };
                        Sliver { axis: axis as u32, index: index.into(), data: of.sliver(axis, index) }
                    })
                });
                (*number, Stripe { hashes: hashes.clone(), slivers: slivers.collect() })
            };
            let mut state = member.lock();
            state.holdings.insert(id, encoded.iter().map(stripe).collect());
            state.entries.insert(id, entry.clone());
        }
        id
    }

    /// The view in which the last member's shards went to the others, and the refusals that put it into effect.
    pub(crate) fn without_last(&self) -> (SignedView, Seal) {
        let sealed = self.first_view();
        let mut view = sealed.view.clone();
        view.predecessor = Some(view.id());
        view.revision += 1;
        let lost = view.seats.pop().unwrap();
        for (shard, seat) in lost.shards.iter().zip(&mut view.seats) {
            seat.shards.insert(shard);
        }
        let successor = SignedView::sign(view, &self.operator);
        let refusal = Statement::Refusal { view: sealed.view.hash(), successor: successor.view.hash(), term: 1 };
        let refusals = self.members[..6].iter().map(|member| member.sign(refusal.clone())).collect();
        (successor.clone(), Seal { sealed, successor, refusals, declaration: None })
    }

    /// A client that knows nothing but two seeds.
    pub(crate) fn client(&self) -> Client {
        Self::client_of(self.seeds().to_vec())
    }

    pub(crate) fn client_trusting(&self, trust: PublicKey) -> Client {
        Self::client_with(self.seeds().to_vec(), trust)
    }

    /// Where the first two members are.
    pub(crate) fn seeds(&self) -> &[String] {
        &self.addresses[..2]
    }

    /// A client of a fleet of another process.
    pub(crate) fn client_of(seeds: Vec<String>) -> Client {
        Self::client_with(seeds, SigningKey::from_seed(OPERATOR).public())
    }

    fn client_with(seeds: Vec<String>, trust: PublicKey) -> Client {
        Client::new(Fleet::new(FleetConfig { fleet: FLEET, trust, seeds, connector: Arc::new(Plain) }))
    }

    pub(crate) fn all(&self, fault: Fault) {
        self.members.iter().for_each(|member| member.set(fault));
    }

    /// How many members have a blob's entry.
    pub(crate) fn knowing(&self, id: BlobId) -> usize {
        self.members.iter().filter(|member| member.knows(id)).count()
    }
}

/// Serves until the test ends.
async fn serve(member: Arc<Member>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let incoming = stream::unfold(listener, async |listener| {
        let accepted: io::Result<TcpStream> = listener.accept().await.map(|(stream, _)| stream);
        Some((accepted, listener))
    });
    let reads = ReadsServer::new(Serving(Arc::clone(&member))).max_decoding_message_size(MAX_MESSAGE);
    let writes = WritesServer::new(Serving(member)).max_decoding_message_size(MAX_MESSAGE);
    tokio::spawn(Server::builder().add_service(reads).add_service(writes).serve_with_incoming(incoming));
    address
}

fn blob_id(bytes: &[u8]) -> Result<BlobId, Status> {
    BlobId::from_slice(bytes).ok_or_else(|| Status::invalid_argument("blob"))
}

fn encoded(signed: &Signed) -> Bytes {
    signed.encode().into()
}

fn metadata_of(entry: &Entry) -> Option<&Metadata> {
    match entry {
        Entry::Live { metadata, .. } => Some(metadata),
        Entry::Deleted(_) | Entry::Void(_) => None,
    }
}
