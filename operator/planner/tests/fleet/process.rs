//! A member's process on its volume.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use weft_planner::{Ailment, Inventory, MemberOrder, ShardReport};
use weft_protocol::{
    Accusation, BatchHeader, Fault, Fence, FleetId, Incarnation, MemberId, PublicKey, Seal, SealOrder, ShardSet,
    SignedView, SigningKey, Statement, TermClaim, ViewId, VolumeId, sign_batch,
};
use weft_redstuff::{BlobId, Hash};

/// How many blobs the fleet keeps; a shard has two slivers of each.
pub(crate) const BLOBS: u64 = 400;
const SLIVER_BYTES: u64 = 1000;

/// What the fleet keeps.
#[derive(Clone, Copy)]
pub(crate) struct Blobs<'a> {
    /// How many blobs are whole or mended.
    pub(crate) whole: u64,
    /// Blobs of which too few slivers are left everywhere (R20).
    pub(crate) lost: &'a BTreeSet<BlobId>,
}

/// What the operator sends.
pub(crate) struct Order<'a> {
    pub(crate) claim: TermClaim,
    pub(crate) first: Option<&'a SignedView>,
    pub(crate) seal: Option<SealOrder>,
    pub(crate) seals: &'a [Seal],
    pub(crate) extras: Option<&'a MemberOrder>,
}

#[derive(Clone)]
pub(crate) struct Process {
    pub(crate) member: MemberId,
    pub(crate) incarnation: Incarnation,
    pub(crate) fleet: FleetId,
    key: SigningKey,
    pub(crate) fence: Fence,
    /// Blobs that are wanting, of each shard that it has or builds up.
    pub(crate) held: BTreeMap<u8, u64>,
    target: ShardSet,
    /// Exchanges since the newest view came: after the first one it is synced to that view's predecessor.
    exchanges: u32,
    synced: Option<ViewId>,
    /// Whether it has the registry.
    knows: bool,
    /// Blobs beside the others of which slivers are here, of these shards, and too few everywhere (R20).
    pub(crate) keeps: BTreeMap<BlobId, ShardSet>,
    /// What it says instead of those that it lacks.
    pub(crate) makes_up: Option<BTreeSet<BlobId>>,
    /// Blobs whose writers it says that it has proven to have lied.
    pub(crate) convicts: BTreeSet<BlobId>,
    /// Those that the last order listed.
    listed: BTreeSet<BlobId>,
    /// What it says of others.
    pub(crate) accusations: Vec<Accusation>,
    pub(crate) unanswered: Vec<((MemberId, u32), Duration)>,
    /// What it reports instead of the order by which it refuses its view.
    pub(crate) lie: Option<SealOrder>,
    /// Its volume takes no writes: it obeys nothing, and says so.
    pub(crate) read_only: bool,
    sequence: u64,
}

impl Process {
    pub(crate) fn new(fleet: FleetId, member: MemberId, number: u32, seed: u64, trust: PublicKey) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        bytes[8] = 1;
        let mut volume = [0; 16];
        volume[..8].copy_from_slice(&seed.to_le_bytes());
        Self {
            member,
            incarnation: Incarnation { number, volume: VolumeId(volume) },
            fleet,
            key: SigningKey::from_seed(bytes),
            fence: Fence::new(fleet, trust),
            held: BTreeMap::new(),
            target: ShardSet::EMPTY,
            exchanges: 0,
            synced: None,
            knows: false,
            keeps: BTreeMap::new(),
            makes_up: None,
            convicts: BTreeSet::new(),
            listed: BTreeSet::new(),
            accusations: Vec::new(),
            unanswered: Vec::new(),
            lie: None,
            read_only: false,
            sequence: 0,
        }
    }

    /// An accusation without an answer of the accused.
    pub(crate) fn accusation(&self, accused: MemberId, incarnation: Incarnation, fault: Fault) -> Accusation {
        let (blob, round) = (BlobId([1; 32]), Hash([2; 32]));
        let header = BatchHeader {
            fleet: self.fleet,
            member: self.member,
            incarnation: self.incarnation,
            sequence: self.sequence,
        };
        let statement = Statement::Accusation { accused, incarnation, blob, began: 1, round, fault };
        Accusation { statement: sign_batch(header, vec![statement], &self.key).remove(0), answer: None }
    }

    pub(crate) fn accuse(&mut self, accused: MemberId, incarnation: Incarnation, fault: Fault) {
        let accusation = self.accusation(accused, incarnation, fault);
        self.accusations.push(accusation);
    }

    /// Whether the volume is that incarnation's.
    pub(crate) fn is(&self, number: u32) -> bool {
        self.incarnation.number == number
    }

    /// Makes the volume another incarnation's: of what it knew nothing stays, of what it holds everything.
    pub(crate) fn readmit(&mut self, number: u32, seed: u64, trust: PublicKey) {
        let (held, keeps) = (std::mem::take(&mut self.held), std::mem::take(&mut self.keeps));
        *self = Self { held, keeps, ..Self::new(self.fleet, self.member, number, seed, trust) };
    }

    fn seat(&self) -> ShardSet {
        let seat = self.fence.newest().and_then(|newest| newest.view.seat(self.member));
        seat.filter(|seat| seat.incarnation == self.incarnation).map(|seat| seat.shards).unwrap_or_default()
    }

    /// Obeys an order, and answers.
    pub(crate) fn obey(&mut self, order: &Order<'_>, blobs: Blobs<'_>, reachable: Vec<MemberId>) -> Option<Inventory> {
        if self.read_only {
            return Some(self.inventory(blobs, reachable));
        }
        let existing = blobs.whole;
        self.fence.claim(&order.claim).ok()?;
        let before = self.fence.newest().map(|newest| newest.view.hash());
        if let Some(first) = order.first
            && self.fence.newest().is_none()
        {
            self.fence.begin(first.clone()).expect("the first view is good");
            self.knows = self.seat() != ShardSet::EMPTY;
        }
        for seal in order.seals {
            self.fence.install(seal.clone()).expect("seals are good");
        }
        if self.fence.newest().map(|newest| newest.view.hash()) != before {
            self.exchanges = 0;
        }
        if let Some(seal) = &order.seal
            && self.fence.newest().is_some_and(|newest| newest.view.hash() == seal.view)
        {
            self.fence.refuse(seal).expect("an order to seal the newest view is obeyed");
        }
        self.target = order.extras.and_then(|order| order.target).map(|target| target.1).unwrap_or_default();
        if let Some((view, shards)) = order.extras.and_then(|order| order.retire)
            && self.fence.newest().is_some_and(|newest| newest.view.hash() == view)
        {
            assert!(self.seat().intersection(shards).is_empty(), "a member is told to drop what it serves");
            self.held.retain(|shard, _| !shards.contains(*shard));
            let listed = order.extras.map(|order| order.listed.as_slice()).unwrap_or_default();
            for (_, kept) in self.keeps.iter_mut().filter(|(blob, _)| !listed.contains(blob)) {
                *kept = kept.difference(shards);
            }
        }
        self.listed = order.extras.into_iter().flat_map(|order| order.listed.iter().copied()).collect();
        for shard in self.seat().union(self.target).iter() {
            self.held.entry(shard).or_insert(existing);
        }
        Some(self.inventory(blobs, reachable))
    }

    /// A second of exchange and repair. `sources`: how many shards are whole somewhere that can be asked. A primary
    /// sliver takes the secondaries of n - f shards, and those who hold rebuilt ones are found by the view alone.
    pub(crate) fn work(&mut self, (k1, quorum): (u16, u16), sources: u16) {
        self.exchanges += 1;
        if let Some(newest) = self.fence.newest() {
            self.knows = true;
            if self.exchanges > 1 {
                self.synced = newest.view.predecessor;
            }
        }
        let named = self.fence.newest().map_or(0, |newest| newest.view.code.shards() - newest.view.vacant().len());
        let seat = self.seat();
        for (shard, missing) in &mut self.held {
            let found = if seat.contains(*shard) { named } else { sources };
            if sources >= k1 && found >= quorum {
                *missing = missing.saturating_sub(60);
            }
        }
    }

    fn inventory(&mut self, blobs: Blobs<'_>, reachable: Vec<MemberId>) -> Inventory {
        let (seat, existing) = (self.seat(), blobs.whole);
        let whole = |blob: &BlobId| self.keeps.get(blob).is_some_and(|kept| seat.difference(*kept).is_empty());
        let lacks: BTreeSet<BlobId> = blobs.lost.iter().filter(|blob| self.knows && !whole(blob)).copied().collect();
        let uncounted: BTreeSet<BlobId> = lacks.intersection(&self.listed).copied().collect();
        let counted = (lacks.len() - uncounted.len()) as u64;
        let report = |(shard, missing): (&u8, &u64)| ShardReport {
            shard: *shard,
            missing_slivers: (missing + counted) * 2,
            missing_bytes: (missing + counted) * 2 * SLIVER_BYTES,
            missing_blobs: missing + counted,
            target: !seat.contains(*shard),
            verified: missing + counted == 0,
        };
        let unrecoverable = self.makes_up.clone().unwrap_or(lacks);
        let unrecoverable: Vec<BlobId> = unrecoverable.difference(&self.convicts).copied().collect();
        let wanted = seat.union(self.target);
        let shards: Vec<ShardReport> =
            self.held.iter().filter(|(shard, _)| wanted.contains(**shard)).map(report).collect();
        let lacking = shards.iter().filter(|report| !report.target && report.missing_blobs > 0).count() as u8;
        let held: u64 = self.held.values().map(|missing| (existing.saturating_sub(*missing)) * 2).sum();
        self.sequence += 1;
        let header = BatchHeader {
            fleet: self.fleet,
            member: self.member,
            incarnation: self.incarnation,
            sequence: self.sequence,
        };
        let refusal = self.fence.refusal().and_then(|refusal| sign_batch(header, vec![refusal], &self.key).pop());
        let predecessor = self.fence.newest().and_then(|newest| newest.view.predecessor);
        let synced =
            predecessor.zip(self.synced).is_some_and(|(before, synced)| synced.position() >= before.position());
        let first = self.fence.newest().is_some_and(|newest| newest.view.predecessor.is_none());
        Inventory {
            fleet: self.fleet,
            member: self.member,
            incarnation: self.incarnation,
            key: self.key.public(),
            term: self.fence.term(),
            newest_view: self.fence.newest().map(|newest| newest.view.id()),
            newest_signed: self.fence.newest().cloned(),
            newest_seal: self.fence.seal().cloned(),
            seal_order: self.lie.as_ref().or(self.fence.order()).cloned(),
            refusal,
            synced: self.synced,
            counts: (first && seat != ShardSet::EMPTY) || synced,
            blobs: if self.knows { existing } else { 0 },
            tombstones: 0,
            shards,
            held_slivers: held,
            held_bytes: held * SLIVER_BYTES,
            reachable,
            ailment: self.read_only.then_some(Ailment::ReadOnly),
            lacking: if lacking > 0 { vec![lacking; weft_planner::SLOTS] } else { Vec::new() },
            accusations: self.accusations.clone(),
            unanswered: self.unanswered.clone(),
            unrecoverable_blobs: unrecoverable.len() as u64,
            unrecoverable,
            invalid_blobs: self.convicts.len() as u64,
            invalid: self.convicts.iter().copied().collect(),
            set_aside: uncounted.into_iter().collect(),
        }
    }
}
