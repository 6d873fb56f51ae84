//! The operator's order: the member's whole desired state (R3 – R5).

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
};

use weft_proto::v1;
use weft_protocol::{FenceError, Incarnation, MemberId, Seal, SealOrder, ShardSet, SignedView, TermClaim};
use weft_redstuff::{BlobId, Hash};
use weft_store::{Room, Tx};

use super::{
    Blobs, Condition, Member, MemberError, Peer, Peers, Retire, Target,
    limits::{Limits, limits, put_limits},
    lock, moved, records, views,
};

/// An order, read.
#[derive(Debug)]
pub(crate) struct Order {
    claim: TermClaim,
    first_view: Option<SignedView>,
    seals: Vec<Seal>,
    seal: Option<SealOrder>,
    peers: Peers,
    target: Option<Target>,
    retire: Option<Retire>,
    /// The blobs that are listed as unrecoverable (R20) or invalid (R19).
    listed: Blobs,
    repair_bytes_per_second: u64,
    challenge_interval_ms: u64,
    scrub_period_seconds: u64,
    shard_bytes_limit: Option<u64>,
    /// The encoded time floor (R15).
    time_floor: bytes::Bytes,
}

impl Order {
    pub(crate) fn parse(request: &v1::OrderRequest) -> Result<Self, MemberError> {
        let some = |bytes: &bytes::Bytes| if bytes.is_empty() { None } else { Some(bytes.clone()) };
        let peers = request.peers.iter();
        let blob = |id: &bytes::Bytes| BlobId::from_slice(id).ok_or(MemberError::Malformed { field: "unrecoverable" });
        let listed: Blobs = Arc::new(request.unrecoverable.iter().map(blob).collect::<Result<_, _>>()?);
        let retire = match &request.retire {
            None => None,
            Some(retire) => {
                let view = Hash::from_slice(&retire.view).ok_or(MemberError::Malformed { field: "retire.view" })?;
                let shards = shard_set(&retire.shards, "retire.shards")?;
                Some(Retire { view, shards, keeps: listed.clone() })
            }
        };
        let target = match &request.target {
            None => None,
            Some(target) => Some(Target { epoch: target.epoch, shards: shard_set(&target.shards, "target.shards")? }),
        };
        Ok(Self {
            claim: TermClaim::decode(&request.claim)?,
            first_view: some(&request.first_view).map(|bytes| SignedView::decode(&bytes)).transpose()?,
            seals: request.seals.iter().map(|seal| Seal::decode(seal)).collect::<Result<_, _>>()?,
            seal: some(&request.seal_order).map(|bytes| SealOrder::decode(&bytes)).transpose()?,
            peers: peers.map(|peer| ((MemberId(peer.member), peer.incarnation), peer.address.clone())).collect(),
            target,
            retire,
            listed,
            repair_bytes_per_second: request.budgets.map_or(0, |budgets| budgets.repair_bytes_per_second),
            challenge_interval_ms: request.challenge_interval_ms,
            scrub_period_seconds: request.scrub_period_seconds,
            shard_bytes_limit: request.shard_bytes_limit,
            time_floor: request.time_floor.clone(),
        })
    }
}

fn shard_set(bytes: &[u8], field: &'static str) -> Result<ShardSet, MemberError> {
    let bytes = bytes.try_into().map_err(|_| MemberError::Malformed { field })?;
    Ok(ShardSet::from_bytes(bytes))
}

impl Member {
    /// Whether an order is meant for this incarnation: another member refuses it; the same one on another volume than
    /// the operator knows doesn't obey, and only tells what it is (R1).
    pub(crate) fn is_meant(&self, identity: Option<&v1::Identity>) -> Result<bool, MemberError> {
        let asked = identity.ok_or(MemberError::Malformed { field: "identity" })?;
        let own = &self.identity;
        let number = own.incarnation.number;
        if asked.fleet != own.fleet.0[..] || (asked.member, asked.incarnation) != (own.member.0, number) {
            let fleet = hex::encode(&asked.fleet);
            return Err(MemberError::OtherMember {
                asked: format!("member {} of fleet {fleet}, incarnation {}", asked.member, asked.incarnation),
                here: own.to_string(),
            });
        }
        Ok(asked.volume.is_empty() || asked.volume == own.incarnation.volume.0[..])
    }

    /// The answer to an order of an old term: the refusal, and the claim of the leader for whom it is refused. An
    /// operator whose objects were set back learns from it how far the fleet is (R26).
    pub(crate) fn refuse_old(&self, error: MemberError) -> Result<tonic::Status, MemberError> {
        let claim = records::claim(&self.store.view())?.map(|claim| claim.encode()).unwrap_or_default();
        let status = tonic::Status::from(error);
        Ok(tonic::Status::with_details(status.code(), status.message(), claim.into()))
    }

    /// Carries out an order, as far as it is durable at once. Gives what it says may be dropped, for
    /// [`Member::retire`]: that takes longer than the operator waits.
    pub(crate) async fn obey(&self, order: Order) -> Result<Option<Retire>, MemberError> {
        self.repair_limit.store(order.repair_bytes_per_second, Ordering::Relaxed);
        self.challenge_interval.store(order.challenge_interval_ms, Ordering::Relaxed);
        self.scrub_period.store(order.scrub_period_seconds, Ordering::Relaxed);
        if let Some(limit) = order.shard_bytes_limit {
            self.shard_limit.store(limit, Ordering::Relaxed);
        }
        let (retire, listed) = (order.retire.clone(), order.listed.clone());
        let time_floor = order.time_floor.clone();
        self.heed_declared(order.seal.as_ref())?;
        // A member that may be behind what it signed gives no refusals (R1).
        let may_refuse = self.condition() == Condition::Healthy;
        let before = self.known();
        let write = self.store.write(Room::Reserved, move |tx| apply(tx, order, may_refuse)).await?;
        self.set_listed(listed);
        if write.value {
            self.refresh()?;
            let after = self.known();
            if after.newest != before.newest {
                lock(&self.refusals).clear();
                self.announce();
            }
            if let Some(refusal) = after.refusal.as_ref().filter(|_| before.refusal.is_none()) {
                tracing::info!(statement = ?refusal.statement, "view refused");
            }
        }
        self.heed(&time_floor).await?;
        Ok(retire)
    }

    /// Refuses an order that declares lost what lives: this member, or one that it reached in the last round of
    /// exchanges. What it declares rightly isn't waited for when this volume is judged (R1, R7).
    fn heed_declared(&self, seal: Option<&SealOrder>) -> Result<(), MemberError> {
        let Some(seal) = seal else { return Ok(()) };
        let declared = seal.declared();
        let own = (self.identity.member, self.identity.incarnation.number);
        let reached = self.reachable_peers();
        let lives = |(member, incarnation): &&(MemberId, Incarnation)| {
            let peer = (*member, incarnation.number);
            peer == own || reached.contains(&peer)
        };
        if let Some((member, _)) = declared.iter().find(lives) {
            return Err(MemberError::StillLives(*member));
        }
        seal.verify(self.known().fence.authority()).map_err(|error| MemberError::order(error.into()))?;
        *lock(&self.declared) = declared;
        Ok(())
    }
}

/// Returns whether a record changed.
fn apply(tx: &mut Tx<'_>, order: Order, may_refuse: bool) -> Result<bool, MemberError> {
    // What isn't durable has been taken up already.
    let Order {
        claim,
        first_view,
        seals,
        seal,
        mut peers,
        target,
        retire: _,
        listed: _,
        repair_bytes_per_second: _,
        challenge_interval_ms: _,
        scrub_period_seconds,
        shard_bytes_limit,
        time_floor: _,
    } = order;
    let before = records::fence(tx)?;
    let mut fence = before.clone();
    fence.claim(&claim).map_err(MemberError::order)?;
    // What only runs is written now and then.
    let recorded = limits(tx)?;
    let ordered = Limits { scrub_period_seconds, shard_bytes: shard_bytes_limit.unwrap_or(recorded.shard_bytes) };
    if ordered.differs(&recorded) {
        put_limits(tx, &ordered);
    }
    if let Some(first) = first_view.filter(|_| fence.newest().is_none()) {
        views::begin(tx, &mut fence, first)?;
    }
    if fence != before {
        records::put_fence(tx, &fence);
    }
    if fence.term() > before.term() {
        records::put_claim(tx, &claim);
    }
    let mut changed = fence != before;
    for seal in seals {
        changed |= views::install(tx, seal)?;
    }
    if let Some(order) = seal.filter(|_| may_refuse) {
        changed |= refuse(tx, &order)?;
    }
    // Where an order says nothing of a member, what is known of it stays: it may be what the fleet lives by (R27).
    let known = records::peers(tx)?;
    let named: BTreeSet<MemberId> = peers.keys().map(|(member, _)| *member).collect();
    peers.extend(
        known.iter().filter(|(peer, _)| !named.contains(&peer.0)).map(|(peer, address)| (*peer, address.clone())),
    );
    if peers != known {
        records::put_peers(tx, &peers);
        changed = true;
    }
    if records::target(tx)? != target {
        records::put_target(tx, target.as_ref());
        if let Some(target) = &target {
            moved::expect(tx, target)?;
        }
        changed = true;
    }
    Ok(changed)
}

fn refuse(tx: &mut Tx<'_>, order: &SealOrder) -> Result<bool, MemberError> {
    let mut fence = records::fence(tx)?;
    let before = fence.refusal();
    match fence.refuse(order) {
        Ok(_) => {}
        // Its successor, or a later view, is in effect already: the order has been overtaken.
        Err(FenceError::NotNewest { .. }) => return Ok(false),
        Err(error) => return Err(MemberError::order(error)),
    }
    let changed = fence.refusal() != before;
    records::put_fence(tx, &fence);
    Ok(changed)
}

impl Member {
    /// Addresses that peers know, of later incarnations than are known here. A wrong one leads to another member of
    /// the fleet, or to nobody: certificates and signatures see to that.
    pub(crate) async fn learn_peers(&self, told: &[v1::Peer]) -> Result<(), MemberError> {
        let known = self.peers();
        let named = told.iter().map(|peer| ((MemberId(peer.member), peer.incarnation), peer.address.clone()));
        let is_news =
            |(member, incarnation): &Peer| known.range((*member, *incarnation)..=(*member, u32::MAX)).next().is_none();
        let news: Vec<_> = named.filter(|(peer, _)| is_news(peer)).collect();
        if news.is_empty() {
            return Ok(());
        }
        let write = self.store.write(Room::Reserved, move |tx| {
            let mut peers = records::peers(tx)?;
            for (peer, address) in news {
                peers.entry(peer).or_insert(address);
            }
            records::put_peers(tx, &peers);
            Ok::<_, MemberError>(())
        });
        write.await?;
        self.refresh()
    }

    pub(crate) fn peer_list(&self) -> Vec<v1::Peer> {
        let peers = self.peers().into_iter();
        peers.map(|((member, incarnation), address)| v1::Peer { member: member.0, incarnation, address }).collect()
    }
}
