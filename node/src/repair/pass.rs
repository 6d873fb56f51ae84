//! One way through the work list: the most endangered blobs first (R21).

use std::collections::BTreeSet;

use weft_redstuff::{BlobId, Hash};
use weft_store::{StoreError, View};

use super::work::WorkError;
use crate::member::{Lacking, Member};

/// Slots of blob IDs that are still to be visited, and where in the first of them. What is stuck doesn't hold up the
/// rest: a row is visited once in a pass, and again in the next.
#[derive(Debug, Default)]
pub(super) struct Pass {
    /// The view for which the order was made: a new one endangers other blobs.
    view: Option<Hash>,
    /// The least endangered first.
    slots: Vec<u8>,
    /// How endangered they were when the order was made.
    then: Lacking,
    after: Option<(BlobId, u8)>,
}

impl Pass {
    /// Begins a pass where none is under way, or where the view has changed.
    pub(super) fn begin(&mut self, member: &Member, view: Hash, endangered: &Lacking) -> Result<(), WorkError> {
        if self.view == Some(view) && !self.slots.is_empty() {
            return Ok(());
        }
        let counts = member.store().view().missing_counts()?;
        let slots = counts.into_iter().map(|((_, slot), _)| slot).collect();
        let (slots, then) = (in_order(slots, endangered), endangered.clone());
        *self = Self { view: Some(view), slots, then, after: None };
        Ok(())
    }

    /// Whether blobs have become more endangered than those whose turn it is. What was so when the pass began has had its
    /// turn: it may be stuck, and holds nothing up.
    pub(super) fn is_overtaken(&self, endangered: &Lacking) -> bool {
        let Some(turn) = self.slots.last() else { return false };
        let rises = |slot: &u8| endangered.of(*slot) > self.then.of(*slot);
        (0..=u8::MAX).filter(rises).any(|slot| endangered.of(slot) > endangered.of(*turn))
    }

    /// The next rows, `limit` at most, all of one slot; none when the pass has ended.
    pub(super) fn rows(&mut self, view: &impl View, limit: usize) -> Result<Vec<(BlobId, u8)>, StoreError> {
        while let Some(slot) = self.slots.last() {
            let rows = view.missing_in(*slot, self.after.as_ref().map(|(blob, shard)| (&blob.0, *shard)), limit)?;
            if !rows.is_empty() {
                return Ok(rows.into_iter().map(|(blob, shard)| (BlobId(blob), shard)).collect());
            }
            self.slots.pop();
            self.after = None;
        }
        Ok(Vec::new())
    }

    /// Remembers that a row was visited.
    pub(super) fn visited(&mut self, row: (BlobId, u8)) {
        self.after = Some(row);
    }
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
    fn a_pass_is_overtaken_by_what_becomes_more_endangered_than_its_turn_and_by_nothing_else() {
        let lacking = |slots: &[(usize, u8)]| {
            let mut told = [0_u8; 256];
            for (slot, lacks) in slots {
                told[*slot] = *lacks;
            }
            Lacking::read(&told).unwrap()
        };
        let then = lacking(&[(9, 4), (200, 8)]);
        // The most endangered one has had its turn.
        let pass = Pass { view: None, slots: vec![3, 9], then: then.clone(), after: None };
        assert!(!pass.is_overtaken(&then));
        assert!(!pass.is_overtaken(&lacking(&[(9, 8), (200, 8)])), "it is its turn");
        assert!(!pass.is_overtaken(&lacking(&[(9, 8), (200, 8), (17, 8)])), "no more than the one whose turn it is");
        assert!(!pass.is_overtaken(&lacking(&[(200, 6)])), "less than it was");
        assert!(pass.is_overtaken(&lacking(&[(9, 4), (200, 8), (17, 5)])));
        assert!(pass.is_overtaken(&lacking(&[(9, 4), (200, 9)])));
        assert!(!Pass::default().is_overtaken(&then), "none is under way");
    }
}
