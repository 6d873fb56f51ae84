//! One way through the work list: the most endangered blobs first (R21).

use std::collections::BTreeSet;

use weft_redstuff::{BlobId, Hash};
use weft_store::{StoreError, View};

use super::work::WorkError;
use crate::member::{Lacking, Member};

/// Slots of blob IDs that are still to be visited. What is stuck doesn't hold up the rest: a row is visited once in a pass, unless
/// its slot becomes more endangered, and again in the next.
#[derive(Debug, Clone, Default)]
pub(super) struct Pass {
    /// The view for which the order was made: a new one endangers other blobs.
    view: Option<Hash>,
    /// The least endangered first.
    slots: Vec<Turn>,
    /// How endangered they were when their place in the order was chosen.
    then: Lacking,
}

/// A slot, and where in it the pass is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Turn {
    slot: u8,
    after: Option<(BlobId, u8)>,
}

impl Pass {
    /// Begins a pass where none is under way, or where the view has changed.
    pub(super) fn begin(&mut self, member: &Member, view: Hash, endangered: &Lacking) -> Result<(), WorkError> {
        if self.view == Some(view) && !self.slots.is_empty() {
            return Ok(());
        }
        let slots = in_order(lacking_slots(member)?, endangered).into_iter();
        let slots = slots.map(|slot| Turn { slot, after: None }).collect();
        *self = Self { view: Some(view), slots, then: endangered.clone() };
        Ok(())
    }

    /// The slots in which blobs have become more endangered than those whose turn it is.
    pub(super) fn risen(&self, endangered: &Lacking) -> BTreeSet<u8> {
        let Some(Turn { slot: turn, .. }) = self.slots.last() else { return BTreeSet::new() };
        let rises =
            |slot: &u8| endangered.of(*slot) > self.then.of(*slot) && endangered.of(*slot) > endangered.of(*turn);
        (0..=u8::MAX).filter(rises).collect()
    }

    /// Visits these slots first, from their beginnings; those that are this member's to work on.
    pub(super) fn put_first(&mut self, slots: BTreeSet<u8>, endangered: &Lacking) {
        self.slots.retain(|turn| !slots.contains(&turn.slot));
        let first = in_order(slots, endangered).into_iter();
        self.slots.extend(first.map(|slot| Turn { slot, after: None }));
        self.then = endangered.clone();
    }

    /// The next rows, `limit` at most, all of one slot; none when the pass has ended.
    pub(super) fn rows(&mut self, view: &impl View, limit: usize) -> Result<Vec<(BlobId, u8)>, StoreError> {
        while let Some(Turn { slot, after }) = self.slots.last() {
            let rows = view.missing_in(*slot, after.as_ref().map(|(blob, shard)| (&blob.0, *shard)), limit)?;
            if !rows.is_empty() {
                return Ok(rows.into_iter().map(|(blob, shard)| (BlobId(blob), shard)).collect());
            }
            self.slots.pop();
        }
        Ok(Vec::new())
    }

    /// Remembers that a row of the slot whose turn it is was visited.
    pub(super) fn visited(&mut self, row: (BlobId, u8)) {
        if let Some(turn) = self.slots.last_mut() {
            turn.after = Some(row);
        }
    }
}

/// The slots that have rows on this member's work list.
pub(super) fn lacking_slots(member: &Member) -> Result<BTreeSet<u8>, WorkError> {
    let counts = member.store().view().missing_counts()?;
    Ok(counts.into_iter().map(|((_, slot), _)| slot).collect())
}

/// The most endangered last; of equals the later slots, so that they are visited from the first on.
fn in_order(slots: BTreeSet<u8>, endangered: &Lacking) -> Vec<u8> {
    let mut slots: Vec<u8> = slots.into_iter().collect();
    slots.sort_by_key(|slot| (endangered.of(*slot), std::cmp::Reverse(*slot)));
    slots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_endangered_slot_is_visited_first() {
        let mut told = [0_u8; 256];
        (told[9], told[200]) = (4, 8);
        let endangered = Lacking::read(&told).unwrap();
        let mut order = in_order([3, 9, 200, 201].into(), &endangered);
        order.reverse();
        assert_eq!(order, [200, 9, 3, 201]);
    }

    #[test]
    fn what_becomes_more_endangered_than_the_turn_is_visited_first_and_nothing_is_visited_twice() {
        let lacking = |slots: &[(usize, u8)]| {
            let mut told = [0_u8; 256];
            for (slot, lacks) in slots {
                told[*slot] = *lacks;
            }
            Lacking::read(&told).unwrap()
        };
        let then = lacking(&[(9, 4), (200, 8)]);
        let turn = |slot, after: Option<u8>| Turn { slot, after: after.map(|blob| (BlobId([blob; 32]), 7)) };
        // The most endangered one has had its turn: it may be stuck.
        let mut pass = Pass { view: None, slots: vec![turn(3, None), turn(9, Some(9))], then: then.clone() };
        let risen = |pass: &Pass, slots: &[(usize, u8)]| pass.risen(&lacking(slots)).into_iter().collect::<Vec<u8>>();
        assert_eq!(pass.risen(&then), BTreeSet::new());
        assert_eq!(risen(&pass, &[(9, 8), (200, 8)]), [0_u8; 0], "it is its turn");
        assert_eq!(risen(&pass, &[(9, 8), (200, 8), (17, 8)]), [0_u8; 0], "no more than the one whose turn it is");
        assert_eq!(risen(&pass, &[(200, 6)]), [0_u8; 0], "less than it was");
        assert_eq!(risen(&Pass::default(), &[(9, 9)]), [0_u8; 0], "none is under way");
        let now = [(9, 4), (200, 9), (17, 5), (3, 12)];
        assert_eq!(risen(&pass, &now), [3, 17, 200]);
        // One of them isn't this member's to work on.
        pass.put_first([3, 17].into(), &lacking(&now));
        assert_eq!(pass.slots, [turn(9, Some(9)), turn(17, None), turn(3, None)]);
        assert_eq!(risen(&pass, &now), [0_u8; 0], "they have their turns");
        pass.visited((BlobId([1; 32]), 7));
        assert_eq!(pass.slots[2], turn(3, Some(1)));
    }
}
