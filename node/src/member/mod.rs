//! A member: the protocol's state on a store, and what may be done with it.
//!
//! Every decision that safety rests on is made inside one write of the store, which loads the [`Fence`], decides and
//! records; what is signed is signed after that commit, with its sequence (R1). What is kept in memory are caches of
//! records, read again after each commit that changed them.

mod accusing;
mod certify;
mod error;
mod expire;
mod finish;
mod floor;
mod fresh;
mod index;
mod invalid;
mod inventory;
mod lacking;
mod leftovers;
mod limits;
mod list;
mod moved;
mod open;
mod order;
mod orphans;
mod pace;
mod paths;
mod readmit;
mod reads;
mod records;
mod registry;
mod retire;
mod rows;
mod scrub;
mod signing;
mod slivers;
mod syncing;
mod unrecoverable;
mod upload;
mod verify;
mod views;
mod void;
mod work;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::watch, time::Instant};
use weft_client::Traced;
use weft_protocol::{Fence, Incarnation, MemberId, ShardSet, Signed, SignedView, ViewId};
use weft_redstuff::{BlobId, Hash};
use weft_store::Store;

use crate::{challenge::Closings, env::Env, metrics::Metrics};
pub use error::MemberError;
pub(crate) use finish::Finish;
use floor::Floor;
use fresh::Fresh;
use index::Index;
pub(crate) use index::{Compared, kind};
use invalid::Invalid;
pub(crate) use invalid::{Verdict, verdict};
pub(crate) use lacking::Lacking;
pub(crate) use leftovers::{Step, step};
pub(crate) use list::Listed;
pub use moved::Way;
pub use open::{Opened, WhoAmI};
pub(crate) use order::Order;
use pace::Foreground;
pub(crate) use pace::is_urgent;
pub(crate) use reads::{Found, Reading, Wanted};
pub use records::{Identity, Peer, Peers, Target};
pub(crate) use registry::Late;
pub(crate) use retire::Retire;
pub(crate) use rows::{Digest, DigestKind, Kind, ROW, read_digests, read_row, row, whole};
pub(crate) use scrub::{Pass, Scrubbed};
pub(crate) use slivers::{axis as sliver_axis, held};
pub(crate) use syncing::ToSync;
use unrecoverable::Blobs;
pub(crate) use upload::StripeUpload;
pub(crate) use void::Said;

/// Why a member serves less than everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    Healthy,
    /// Peers have not yet said which sequence they remember (R1).
    WaitingForPeers,
    /// The volume is behind what peers saw it sign (R1): it serves reads only.
    Rewound {
        here: u64,
        remembered: u64,
    },
}

/// What is cached of the records.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) fence: Fence,
    pub(crate) newest: Option<Arc<SignedView>>,
    /// Its hash, and whether it is refused: each request is told of both.
    pub(crate) newest_hash: Option<Hash>,
    pub(crate) refuses_newest: bool,
    /// Since when it has been the newest here, or since the start.
    pub(crate) since: Instant,
    pub(crate) synced: Option<ViewId>,
    pub(crate) target: Option<Target>,
    pub(crate) peers: Peers,
    pub(crate) work: ShardSet,
    pub(crate) verified: ShardSet,
    pub(crate) views: Arc<HashMap<Hash, Arc<SignedView>>>,
    /// The refusal of the newest view, signed; none while the volume isn't judged.
    pub(crate) refusal: Option<Signed>,
}

/// A member on its volume. Shared by everything that serves or works for it.
#[derive(Debug)]
pub struct Member {
    store: Store,
    identity: Identity,
    env: Env,
    metrics: Metrics,
    index: Arc<Index>,
    /// The fleet's time (R15).
    floor: Arc<Floor>,
    known: RwLock<Arc<Known>>,
    condition: RwLock<Condition>,
    /// The sequence at which the volume came up, before peers have told what they remember.
    opened_at: u64,
    /// The highest sequence under which something was signed.
    signed: AtomicU64,
    /// What peers are told of that, signed.
    told_sequence: Mutex<Option<Signed>>,
    /// What peers have told of theirs, since it was last remembered.
    heard_sequences: Mutex<BTreeMap<Peer, Signed>>,
    reachable: Mutex<BTreeSet<Peer>>,
    /// What the peers that answered the last exchange lack, summed.
    peers_lacking: Mutex<Lacking>,
    /// The digests of the invalid blobs that peers have told, in the last exchange.
    told_invalid: Mutex<BTreeMap<Peer, Hash>>,
    invalid: Mutex<Invalid>,
    paths: paths::Paths,
    /// When blobs were certified here, while their uploads may still be coming in.
    fresh: Mutex<Fresh>,
    /// Refusals of the newest view, by successor, until they seal it (R5).
    refusals: Mutex<BTreeMap<Hash, BTreeMap<MemberId, Signed>>>,
    /// What the operator's newest seal order declares lost (R7): peers that can't tell any more what they remember.
    declared: Mutex<Vec<(MemberId, Incarnation)>>,
    repair_limit: AtomicU64,
    foreground: Foreground,
    /// Bytes that one shard may have of all blobs; 0: no limit.
    shard_limit: AtomicU64,
    /// Counts changes of work list, view and target.
    changed: watch::Sender<u64>,
    /// The last order to drop copies that was carried out.
    retiring: tokio::sync::Mutex<Option<Retire>>,
    /// Blobs that repair has found to be unrecoverable (R20). Kept in memory: it costs a few questions to know them again.
    unrecoverable: Mutex<Blobs>,
    /// Those that the operator's newest order lists.
    listed: Mutex<Blobs>,
    /// What isn't served to members that are being challenged (R28).
    closings: Mutex<Closings>,
    /// Milliseconds between rounds with one peer; 0: none are held.
    challenge_interval: AtomicU64,
    /// Seconds in which everything that is held is to be read again; 0: it isn't.
    scrub_period: AtomicU64,
    /// Who has let challenges in a row go by, and since when.
    unanswered: Mutex<BTreeMap<Peer, Instant>>,
}

impl Member {
    pub fn store(&self) -> &Store {
        &self.store
    }

    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    pub fn env(&self) -> &Env {
        &self.env
    }

    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The newest view known to be in effect.
    pub fn newest(&self) -> Option<Arc<SignedView>> {
        self.known().newest.clone()
    }

    /// The highest term that it took (R4).
    pub fn term(&self) -> u64 {
        self.known().fence.term()
    }

    /// The fleet's code: it never changes (DESIGN §1).
    pub fn code(&self) -> Option<weft_redstuff::Code> {
        self.known().newest.as_ref().map(|newest| newest.view.code)
    }

    /// The view that was sealed to put the newest one into effect.
    pub fn sealed(&self) -> Option<SignedView> {
        self.known().fence.seal().map(|seal| seal.sealed.clone())
    }

    /// The shards that the planned next epoch gives this member.
    pub fn target(&self) -> Option<Target> {
        self.known().target
    }

    /// The shards that the newest view gives this member.
    pub(crate) fn seated(&self) -> ShardSet {
        self.newest().map_or(ShardSet::EMPTY, |newest| shards_in(&self.identity, &newest.view))
    }

    /// The shards of which this member must hold everything: the newest view's, and the target's.
    pub fn must_hold(&self) -> ShardSet {
        let known = self.known();
        must_hold(&self.identity, &known.fence, known.target.as_ref())
    }

    pub fn peers(&self) -> Peers {
        self.known().peers.clone()
    }

    /// Where an incarnation is, `host:port`.
    pub fn address_of(&self, member: MemberId, incarnation: u32) -> Option<String> {
        self.known().peers.get(&(member, incarnation)).cloned()
    }

    /// A channel to a member: to the incarnation that the newest view seats, or else to the latest. It connects when
    /// it is used.
    pub fn peer_channel(&self, member: MemberId) -> Result<Traced, MemberError> {
        let known = self.known();
        let seated = known.newest.as_ref().and_then(|newest| newest.view.seat(member));
        let latest = || known.peers.range((member, 0)..=(member, u32::MAX)).next_back().map(|(peer, _)| *peer);
        let seated = seated.map(|seat| (member, seat.incarnation.number));
        let peer = seated.filter(|peer| known.peers.contains_key(peer)).or_else(latest);
        self.channel_to(peer.ok_or(MemberError::NoAddress(member))?)
    }

    pub(crate) fn channel_to(&self, peer: Peer) -> Result<Traced, MemberError> {
        let (known, member) = (self.known(), peer.0);
        let address = known.peers.get(&peer).ok_or(MemberError::NoAddress(member))?;
        let channel = self.env.connector.channel(address);
        channel.map(Traced::from).map_err(|source| MemberError::Connect { member, source })
    }

    /// Peers that answered the last exchange, by the incarnation that the newest view seats; of members without a seat
    /// any.
    pub fn reachable(&self) -> Vec<MemberId> {
        let newest = self.newest();
        let serves = |(member, number): &&Peer| {
            let seat = newest.as_ref().and_then(|newest| newest.view.seat(*member));
            seat.is_none_or(|seat| seat.incarnation.number == *number)
        };
        let members: BTreeSet<MemberId> =
            lock(&self.reachable).iter().filter(serves).map(|(member, _)| *member).collect();
        members.into_iter().filter(|member| *member != self.identity.member).collect()
    }

    /// All incarnations that answered the last exchange.
    pub(crate) fn reachable_peers(&self) -> Vec<Peer> {
        lock(&self.reachable).iter().copied().collect()
    }

    pub(crate) fn set_reachable(&self, reachable: BTreeSet<Peer>) {
        *lock(&self.reachable) = reachable;
    }

    /// The peers that have convicted blobs (R19), each with the digest over these.
    pub(crate) fn told_invalid(&self) -> BTreeMap<Peer, Hash> {
        lock(&self.told_invalid).clone()
    }

    pub(crate) fn set_told_invalid(&self, told: BTreeMap<Peer, Hash>) {
        *lock(&self.told_invalid) = told;
    }

    pub fn condition(&self) -> Condition {
        self.condition.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Refuses where nothing may be signed that others rest on.
    pub(crate) fn must_be_healthy(&self) -> Result<(), MemberError> {
        match self.condition() {
            Condition::Healthy => Ok(()),
            Condition::WaitingForPeers => Err(MemberError::Ailing("peers have not yet told what they remember".into())),
            Condition::Rewound { here, remembered } => Err(MemberError::Ailing(format!(
                "the volume is at sequence {here}, peers saw {remembered} signed (R1)"
            ))),
        }
    }

    pub(crate) fn closings(&self) -> MutexGuard<'_, Closings> {
        lock(&self.closings)
    }

    pub(crate) fn set_unanswered(&self, unanswered: BTreeMap<Peer, Instant>) {
        *lock(&self.unanswered) = unanswered;
    }

    /// The time between two rounds of challenges with one peer; `None`: none are held.
    pub(crate) fn challenge_interval(&self) -> Option<Duration> {
        let milliseconds = self.challenge_interval.load(Ordering::Relaxed);
        (milliseconds > 0).then(|| Duration::from_millis(milliseconds))
    }

    /// Fires when the work list, the view or the target changes. The value counts changes.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub(crate) fn notify(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// Waits for a change of work list, view or target, but no longer than `most`.
    pub async fn work_or(&self, most: Duration) {
        let mut changes = self.changes();
        tokio::select! {
            biased;
            _closed_or_changed = changes.changed() => {}
            () = self.env.clock.sleep(most) => {}
        }
    }

    /// The blob's shards that its upload may still be bringing, so that rebuilding them would be work for nothing.
    pub fn coming_in(&self, blob: &BlobId) -> ShardSet {
        lock(&self.fresh).get(blob, self.env.clock.now())
    }

    /// Of some blobs, those whose uploads may still be coming in, and what they bring.
    fn all_coming_in(&self, of: impl Fn(&BlobId) -> bool) -> Vec<(BlobId, ShardSet)> {
        lock(&self.fresh).all(of, self.env.clock.now())
    }

    /// An upload brings the shards that the view of its certificate gave this member, and no others.
    pub(crate) fn mark_fresh(&self, blob: BlobId, shards: ShardSet) {
        lock(&self.fresh).mark(blob, shards, self.env.clock.now());
    }

    /// Bytes that repair and migration received since the start.
    pub fn repair_bytes(&self) -> u64 {
        self.metrics.repair_bytes()
    }

    pub(crate) fn known(&self) -> Arc<Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The shards that a view gives this incarnation.
pub(crate) fn shards_in(identity: &Identity, view: &weft_protocol::View) -> ShardSet {
    let seat = view.seat(identity.member).filter(|seat| seat.incarnation == identity.incarnation);
    seat.map_or(ShardSet::EMPTY, |seat| seat.shards)
}

pub(crate) fn must_hold(identity: &Identity, fence: &Fence, target: Option<&Target>) -> ShardSet {
    let Some(newest) = fence.newest() else { return target.map_or(ShardSet::EMPTY, |target| target.shards) };
    // A target whose epoch has come is the view's own.
    let ahead = target.filter(|target| target.epoch > newest.view.epoch);
    ahead.map_or(ShardSet::EMPTY, |target| target.shards).union(shards_in(identity, &newest.view))
}

pub(crate) fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
