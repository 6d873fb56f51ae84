//! A loss that the code doesn't bear (R20): of one blob, found whole, fewer than k1 shards' slivers are left, on all volumes
//! together. Nothing else happens to the fleet by it.

use std::time::Duration;

use weft_node::member::Member;
use weft_protocol::Entry;
use weft_redstuff::{Axis, BlobId};
use weft_store::{Room, StoreError, View};

use super::{
    dice::Dice,
    oracle,
    stage::{Stage, Who, host_of},
};

/// Only blobs are struck whose uploads have ended.
const SETTLED: Duration = Duration::from_secs(40);

/// When a blob will be struck, if any: some seeds have none, and others two.
#[derive(Debug)]
pub(super) struct Blight {
    dice: Dice,
    left: u64,
    next: Duration,
}

impl Blight {
    pub(super) fn new(seed: u64, start: Duration) -> Self {
        let mut dice = Dice::new(seed, "blight");
        let left = if dice.one_in(2) { 1 + dice.below(2) } else { 0 };
        let next = start + SETTLED + Duration::from_secs(dice.below(30));
        Self { dice, left, next }
    }

    /// Strikes, when the time has come and everything is whole. Returns whether it does.
    pub(super) fn strike(&mut self, stage: &mut Stage, time: Duration) -> bool {
        let honest = !stage.volumes.keys().any(|who| stage.cheaters.contains_key(who));
        let quiet = honest && stage.is_whole() && !stage.moves();
        if self.left == 0 || time < self.next || !quiet || stage.members.len() < stage.volumes.len() {
            return false;
        }
        let whole: Vec<BlobId> = oracle::living(stage, SETTLED)
            .into_iter()
            .filter(|blob| oracle::is_coded(stage, blob) && oracle::is_decodable(stage, blob))
            .collect();
        let Some(blob) = self.dice.pick(&whole).copied() else { return false };
        self.left -= 1;
        self.next = time + Duration::from_secs(self.dice.below(60));
        self.waste(stage, blob, time);
        stage.rests_since = None;
        true
    }

    /// Takes all slivers from all volumes but from some that have fewer than k1 shards together.
    fn waste(&mut self, stage: &mut Stage, blob: BlobId, time: Duration) {
        let mut spared = u64::from(stage.committee.code.source_rows()) - 1;
        let mut order: Vec<Who> = stage.members.keys().copied().collect();
        for at in (1..order.len()).rev() {
            order.swap(at, self.dice.below(at as u64 + 1) as usize);
        }
        let mut keepers = Vec::new();
        for who in order {
            let Some(member) = stage.members.get(&who) else { continue };
            let slivers = member.held_slivers(&blob, 0).unwrap_or_default();
            let shards = slivers.iter().filter(|(axis, _)| *axis == Axis::Primary).count() as u64;
            if shards <= spared && self.dice.one_in(2) {
                spared -= shards;
                keepers.push(host_of(who));
            } else if let Err(error) = waste(member, &blob) {
                stage.trace.event(time, "blight", format_args!("{} keeps what it has: {error}", host_of(who)));
            }
        }
        // A store that takes no writes keeps what it has.
        if !oracle::is_decodable(stage, &blob) {
            stage.books.borrow_mut().lose(&blob, time);
            stage.trace.event(time, "blight", format_args!("blob {blob} is left at {keepers:?}"));
        }
    }
}

/// Removes what a member has of a blob, and puts it on its work list.
fn waste(member: &Member, blob: &BlobId) -> Result<(), StoreError> {
    let (shards, id) = (member.must_hold(), blob.0);
    if !matches!(member.entry(blob), Ok(Some(Entry::Live { .. }))) {
        return Ok(());
    }
    let write = move |tx: &mut weft_store::Tx<'_>| {
        if let Some(upload) = tx.holding(&id)? {
            for (place, _) in tx.slivers(upload, None, usize::MAX)? {
                tx.remove_sliver(&place)?;
            }
        }
        for shard in shards.iter() {
            tx.add_missing(&id, shard)?;
        }
        Ok::<_, StoreError>(())
    };
    member.store().write_blocking(Room::Reserved, write).map(drop)
}
