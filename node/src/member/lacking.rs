//! Which blobs are the most endangered, as far as a few bytes can tell (R21).
//!
//! All blobs fall into 256 slots by the first byte of their IDs, the parts of the registry's digests. A member tells of each slot how many of its shards some
//! blob there lacks; summed over the fleet, that bounds what the worst blob of the slot lacks, and it is exact while
//! few blobs are missing anything. It costs 256 bytes however many blobs there are.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use weft_protocol::ShardSet;
use weft_redstuff::BlobId;
use weft_store::{StoreError, View, slot_of};

use super::{Member, MemberError, lock, rows::PARTS as SLOTS, shards_in, unrecoverable::set_aside};

/// For each slot, how many shards some blob may lack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lacking([u16; SLOTS]);

impl Default for Lacking {
    fn default() -> Self {
        Self([0; SLOTS])
    }
}

impl Lacking {
    /// A byte a slot; nothing at all when nothing is lacking. A member holds at most 84 shards, so none is cut short.
    pub(crate) fn wire(&self) -> bytes::Bytes {
        if self.0.iter().all(|lacks| *lacks == 0) {
            return bytes::Bytes::new();
        }
        self.0.iter().map(|lacks| u8::try_from(*lacks).unwrap_or(u8::MAX)).collect()
    }

    /// What a peer told; `None` where it has another shape. It is only ever used to choose an order.
    pub(crate) fn read(wire: &[u8]) -> Option<Self> {
        if wire.is_empty() {
            return Some(Self::default());
        }
        let slots: &[u8; SLOTS] = wire.try_into().ok()?;
        Some(Self(slots.map(u16::from)))
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (lacks, more) in self.0.iter_mut().zip(other.0) {
            *lacks = lacks.saturating_add(more);
        }
    }

    /// What the worst blob of all may lack.
    pub(crate) fn most(&self) -> u16 {
        self.0.iter().copied().max().unwrap_or_default()
    }

    pub(crate) fn of(&self, slot: u8) -> u16 {
        self.0[usize::from(slot)]
    }
}

impl Member {
    /// What blobs lack of the shards that the newest view gives this member. Blobs whose uploads may still be coming
    /// in don't count (R22), nor those that are set aside (R19, R20).
    pub(crate) fn lacking(&self) -> Result<Lacking, MemberError> {
        let known = self.known();
        let own = known.newest.as_ref().map(|newest| shards_in(&self.identity, &newest.view)).unwrap_or_default();
        let unlisted = own.difference(known.work);
        let mut lacking = Lacking([unlisted.len(); SLOTS]);
        let view = self.store.view();
        let counts = view.missing_counts()?;
        let slots: BTreeSet<u8> = counts.iter().map(|((_, slot), _)| *slot).collect();
        let uncounted = self.uncounted(&view, &slots)?;
        for ((shard, slot), count) in counts {
            let listed = own.contains(shard) && !unlisted.contains(shard);
            if listed && count > uncounted.get(&(shard, slot)).copied().unwrap_or(0) {
                lacking.0[usize::from(slot)] += 1;
            }
        }
        Ok(lacking)
    }

    /// How many blobs of some slots, by shard and slot, are on the work list without counting as missing.
    fn uncounted(&self, view: &impl View, slots: &BTreeSet<u8>) -> Result<HashMap<(u8, u8), u64>, StoreError> {
        if slots.is_empty() {
            return Ok(HashMap::new());
        }
        let mut rows: BTreeMap<BlobId, ShardSet> = set_aside(view, &self.aside())?;
        for (blob, shards) in self.all_coming_in(|blob| slots.contains(&slot_of(&blob.0))) {
            let missing = view.missing_of(&blob.0)?.into_iter().filter(|shard| shards.contains(*shard));
            let row = rows.entry(blob).or_default();
            *row = row.union(missing.collect());
        }
        let mut uncounted = HashMap::new();
        for (blob, shards) in rows {
            for shard in shards.iter() {
                *uncounted.entry((shard, slot_of(&blob.0))).or_default() += 1;
            }
        }
        Ok(uncounted)
    }

    /// Remembers what the peers that answered the last exchange told.
    pub(crate) fn set_peers_lacking(&self, told: Lacking) {
        *lock(&self.peers_lacking) = told;
    }

    /// What blobs lack at the members that answer, this one among them.
    pub(crate) fn endangered(&self) -> Result<Lacking, MemberError> {
        let mut all = self.lacking()?;
        all.add(&lock(&self.peers_lacking));
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_lacking_is_told_in_no_bytes() {
        assert_eq!(Lacking::default().wire().len(), 0);
        assert_eq!(Lacking::read(&[]), Some(Lacking::default()));
    }

    #[test]
    fn what_is_told_is_read_and_summed_by_slot() {
        let mut lacking = Lacking::default();
        lacking.0[7] = 3;
        let mut sum = Lacking::read(&lacking.wire()).unwrap();
        assert_eq!(sum, lacking);
        sum.add(&lacking);
        assert_eq!((sum.of(7), sum.of(8)), (6, 0));
    }

    #[test]
    fn another_shape_tells_nothing() {
        assert_eq!(Lacking::read(&[1; 255]), None);
    }
}
