//! What a member reports of itself.

use std::collections::{BTreeMap, BTreeSet};

use weft_proto::v1::{self, Ailment, Inventory, ShardReport};
use weft_protocol::Encoder;
use weft_redstuff::BlobId;
use weft_store::View;

use super::{
    Condition, Identity, Kind, Known, Member, MemberError,
    index::{self, Totals},
    moved::Moved,
    records, unrecoverable,
};
use crate::metrics::Levels;

/// Rows of the work list read at a time.
const PAGE: usize = 4096;

#[derive(Debug, Clone, Copy, Default)]
struct Lack {
    slivers: u64,
    bytes: u64,
    blobs: u64,
}

impl Identity {
    pub(crate) fn wire(&self) -> v1::Identity {
        v1::Identity {
            fleet: self.fleet.0.to_vec().into(),
            member: self.member.0,
            incarnation: self.incarnation.number,
            volume: self.incarnation.volume.0.to_vec().into(),
        }
    }
}

impl Member {
    /// The whole inventory, as the operator asks for it.
    pub(crate) fn inventory(&self) -> Result<Inventory, MemberError> {
        let (known, view, totals) = (self.known(), self.store.view(), self.index.totals());
        let usage = self.store.usage()?;
        let id = |id: weft_protocol::ViewId| id.encode(Encoder::new()).finish().into();
        let newest = known.newest.as_ref();
        let (ailment, ailment_message) = self.ailment();
        // One list for all that is told: who reads it sees by `set_aside` what the rest leaves out.
        let (listed, unrecoverable) = (self.listed(), self.tell_unrecoverable()?);
        let aside = self.with_invalid(listed.clone());
        let (invalid_blobs, invalid) = self.tell_invalid()?;
        Ok(Inventory {
            identity: Some(self.identity.wire()),
            public_key: self.identity.public_key().0.to_vec().into(),
            sequence: view.sequence(),
            term: known.fence.term(),
            newest_view: newest.map(|newest| id(newest.view.id())).unwrap_or_default(),
            seal_order: known.fence.order().map(|order| order.encode().into()).unwrap_or_default(),
            refusal: known.refusal.as_ref().map(|refusal| refusal.encode().into()).unwrap_or_default(),
            synced: known.synced.map(id).unwrap_or_default(),
            counts: self.counts(),
            blobs: totals.live,
            tombstones: totals.tombstones,
            registry_digest: self.index.digest().0.to_vec().into(),
            shards: self.shard_reports(&known, &totals, &aside)?,
            held_slivers: view.totals().slivers,
            held_sliver_bytes: view.totals().sliver_bytes,
            reachable: self.reachable().into_iter().map(|member| member.0).collect(),
            repair: Some(self.metrics.repair()),
            migration: Some(self.metrics.migration()),
            volume: Some(v1::Volume {
                capacity_bytes: usage.capacity,
                free_bytes: usage.available(),
                used_bytes: usage.live_bytes,
                reclaimable_bytes: usage.file_bytes.saturating_sub(usage.live_bytes),
            }),
            ailment: ailment.into(),
            ailment_message,
            newest_signed_view: newest.map(|newest| newest.encode().into()).unwrap_or_default(),
            newest_seal: known.fence.seal().map(|seal| seal.encode().into()).unwrap_or_default(),
            software_version: env!("CARGO_PKG_VERSION").to_owned(),
            lacking: self.lacking()?.wire(),
            unanswered: self.unanswered(),
            accusations: self.accusations()?.iter().map(|accusation| accusation.encode().into()).collect(),
            time_floor: self.time_floor().map(|floor| floor.encode().into()).unwrap_or_default(),
            moved: records::moved(&view)?.iter().map(Moved::wire).collect(),
            unrecoverable: unrecoverable.blobs,
            unrecoverable_blobs: unrecoverable.total,
            invalid,
            invalid_blobs,
            shard_bytes: Some(totals.bytes),
            set_aside: unrecoverable::wire(unrecoverable::set_aside(&view, &listed)?.keys()),
        })
    }

    fn unanswered(&self) -> Vec<v1::Unanswered> {
        let now = self.env.clock.now();
        let told = |((member, incarnation), since): (&super::Peer, &tokio::time::Instant)| v1::Unanswered {
            member: member.0,
            incarnation: *incarnation,
            seconds: now.duration_since(*since).as_secs(),
        };
        super::lock(&self.unanswered).iter().map(told).collect()
    }

    /// Whether its store takes no writes any more, until the process is started again.
    pub(crate) fn is_read_only(&self) -> bool {
        self.store.health().read_only.is_some()
    }

    fn ailment(&self) -> (Ailment, String) {
        if let Some(reason) = self.store.health().read_only {
            return (Ailment::ReadOnly, reason.to_string());
        }
        match self.condition() {
            Condition::Healthy => (Ailment::None, String::new()),
            // Before any view there is nothing that peers could remember.
            Condition::WaitingForPeers if self.newest().is_none() => (Ailment::None, String::new()),
            Condition::WaitingForPeers => {
                (Ailment::WaitingForPeers, "too few peers have told which sequence they remember".to_owned())
            }
            Condition::Rewound { here, remembered } => {
                (Ailment::Rewound, format!("the volume was at sequence {here}, peers saw {remembered} signed"))
            }
        }
    }

    /// What shards miss, without the blobs that are `aside`.
    fn lacks(
        &self,
        known: &Known,
        totals: &Totals,
        aside: &BTreeSet<BlobId>,
    ) -> Result<BTreeMap<u8, Lack>, MemberError> {
        let all = Lack { slivers: totals.slivers, bytes: totals.bytes, blobs: totals.blobs };
        let lack = |shard| (shard, if known.work.contains(shard) { Lack::default() } else { all });
        let mut lacks: BTreeMap<u8, Lack> = self.must_hold().iter().map(lack).collect();
        let view = self.store.view();
        let mut after: Option<([u8; 32], u8)> = None;
        loop {
            let page = view.missing(after.as_ref().map(|(blob, shard)| (blob, *shard)), PAGE)?;
            let Some(last) = page.last() else { return Ok(lacks) };
            after = Some(*last);
            for (blob, shard) in page {
                // What the last uploads still bring is no loss (R22), and what can't be had back is told apart (R20).
                let comes = self.coming_in(&BlobId(blob)).contains(shard);
                if comes || aside.contains(&BlobId(blob)) {
                    continue;
                }
                let Some(Kind::Live { slivers, bytes, position: _ }) = index::kind(&view, &BlobId(blob))? else {
                    continue;
                };
                if let Some(lack) = lacks.get_mut(&shard).filter(|_| known.work.contains(shard)) {
                    *lack = Lack { slivers: lack.slivers + slivers, bytes: lack.bytes + bytes, blobs: lack.blobs + 1 };
                }
            }
        }
    }

    fn shard_reports(
        &self,
        known: &Known,
        totals: &Totals,
        aside: &BTreeSet<BlobId>,
    ) -> Result<Vec<ShardReport>, MemberError> {
        let newest = known.newest.as_ref();
        let own = newest.map(|newest| super::shards_in(&self.identity, &newest.view)).unwrap_or_default();
        let report = |(shard, lack): (u8, Lack)| ShardReport {
            shard: u32::from(shard),
            missing_slivers: lack.slivers,
            missing_bytes: lack.bytes,
            missing_blobs: lack.blobs,
            target: !own.contains(shard),
            verified: lack.blobs == 0 && known.verified.contains(shard),
        };
        Ok(self.lacks(known, totals, aside)?.into_iter().map(report).collect())
    }

    /// The inventory of a volume that isn't this process's to serve (R1).
    pub(crate) fn foreign_inventory(found: &Identity) -> Inventory {
        Inventory {
            identity: Some(found.wire()),
            public_key: found.public_key().0.to_vec().into(),
            ailment: Ailment::ForeignVolume.into(),
            ailment_message: format!("the volume is of {found}"),
            software_version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Inventory::default()
        }
    }

    /// What the gauges show.
    pub fn levels(&self) -> Result<Levels, MemberError> {
        let (known, view, totals) = (self.known(), self.store.view(), self.index.totals());
        let lacks = self.lacks(&known, &totals, &self.aside())?;
        let (slivers, bytes) =
            lacks.values().fold((0, 0), |(slivers, bytes), lack| (slivers + lack.slivers, bytes + lack.bytes));
        let (usage, health) = (self.store.usage()?, self.store.health());
        Ok(Levels {
            capacity_bytes: usage.capacity,
            available_bytes: usage.available(),
            file_bytes: usage.file_bytes,
            held_bytes: usage.live_bytes,
            read_only: health.read_only.is_some(),
            read_failures: health.read_failures,
            sliver_bytes: view.totals().sliver_bytes,
            slivers: view.totals().slivers,
            missing_slivers: slivers,
            missing_bytes: bytes,
            blobs: totals.live,
            tombstones: totals.tombstones,
            view: known.newest.as_ref().map(|newest| newest.view.position()).unwrap_or_default(),
            healthy: self.condition() == Condition::Healthy && !self.is_read_only(),
            reachable: self.reachable().len() as u64,
            unrecoverable: self.unrecoverable()?.len() as u64,
            invalid: self.tell_invalid()?.0,
        })
    }
}
