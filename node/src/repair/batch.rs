//! A batch of the work list, and how far the work on it has come. It is done portion by portion, and what is decided of it is
//! decided anew for each: neither memory, nor how long gateways wait, nor how late something new is noticed depends on a
//! blob's size, but for what a volume already held when it was admitted again (R25): that is read when the batch begins.

use std::{
    collections::{BTreeMap, HashMap},
    iter::Peekable,
    sync::Arc,
};

use weft_redstuff::{Axis, BlobId, Hash};

use super::{
    pass::Pass,
    work::{Item, Source},
};

/// So many portions in a row that bring nothing of an item, and what is left of it waits for the next pass: all that would be
/// copied, or the slivers of that axis.
const FRUITLESS: u32 = 3;

/// An item's name: blob and shard.
pub(super) type Key = (BlobId, u8);

/// A sliver of an item.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) item: Arc<Item>,
    pub(crate) stripe: u32,
    pub(crate) axis: Axis,
    pub(crate) index: u16,
}

impl Place {
    fn of(item: &Arc<Item>, stripe: u32, axis: Axis) -> Self {
        let index = item.layout.code().sliver_index(item.shard.into(), axis);
        Self { item: item.clone(), stripe, axis, index }
    }

    /// Bytes of the sliver.
    pub(crate) fn length(&self) -> u64 {
        self.item.layout.stripe(self.stripe).map_or(0, |stripe| stripe.sliver_length(self.axis) as u64)
    }

    /// Whether the sliver is one of those that are held of its stripe.
    pub(crate) fn is_among(&self, held: &[(Axis, u16)]) -> bool {
        held.contains(&(self.axis, self.index))
    }

    /// The axes that have their turns together with it: both where they are copied, its own where it is rebuilt from symbols.
    fn turn(&self) -> &'static [Axis] {
        match (self.item.source, self.axis) {
            (Source::Copy(_), _) => &Axis::BOTH,
            (Source::Symbols, Axis::Primary) => &[Axis::Primary],
            (Source::Symbols, Axis::Secondary) => &[Axis::Secondary],
        }
    }

    /// Whether both are had in the same way.
    fn goes_with(&self, other: &Self) -> bool {
        self.turn() == other.turn()
    }
}

/// Items that were chosen together.
pub(super) struct Batch {
    /// The view that was the newest then: under another one others hold what is asked for.
    view: Hash,
    /// The pass before it was chosen.
    pub(super) before: Pass,
    /// Something was done already when it began.
    pub(super) has_progress: bool,
    items: Vec<Arc<Item>>,
    /// What hasn't had its turn: copies, then secondaries to rebuild, then primaries.
    places: Peekable<Box<dyn Iterator<Item = Place> + Send + Sync>>,
    /// What has no more turns in this batch, of one axis or of both, and the stripe that its next one begins with.
    left: BTreeMap<(Key, Axis), u32>,
    /// How many portions in a row brought nothing.
    fruitless: HashMap<(Key, Axis), u32>,
}

impl Batch {
    pub(super) fn new(view: Hash, before: Pass, items: Vec<Item>, has_progress: bool) -> Self {
        let items: Vec<Arc<Item>> = items.into_iter().map(Arc::new).collect();
        let places: Box<dyn Iterator<Item = Place> + Send + Sync> = Box::new(places(&items));
        let (left, fruitless) = (BTreeMap::new(), HashMap::new());
        Self { view, before, has_progress, items, places: places.peekable(), left, fruitless }
    }

    pub(super) fn is_under(&self, view: Hash) -> bool {
        self.view == view
    }

    /// The next slivers that are had in the same way, until they have so many bytes; none when all had their turn.
    pub(super) fn portion(&mut self, bytes: u64) -> Vec<Place> {
        let (mut portion, mut length) = (Vec::<Place>::new(), 0);
        while length < bytes
            && let Some(place) = self.places.next_if(|next| portion.last().is_none_or(|last| last.goes_with(next)))
        {
            if !self.left.contains_key(&(place.item.key(), place.axis)) {
                length += place.length();
                portion.push(place);
            }
        }
        portion
    }

    /// Gives items no more turns.
    pub(super) fn leave(&mut self, which: impl Fn(&Item) -> bool) {
        self.leave_axes(&Axis::BOTH, which);
    }

    fn leave_axes(&mut self, axes: &[Axis], which: impl Fn(&Item) -> bool) {
        let under_way = self.under_way();
        for item in self.items.iter().filter(|item| which(item)) {
            let next = under_way.filter(|(key, _)| *key == item.key()).map_or(item.from, |(_, stripe)| stripe);
            for axis in axes {
                self.left.entry((item.key(), *axis)).or_insert(next);
            }
        }
    }

    /// Notes what came of a portion. `is_there` tells whether a sliver is held now: it is asked only for the item that goes on.
    pub(super) fn came<E>(
        &mut self,
        portion: &[Place],
        mut is_there: impl FnMut(&Place) -> Result<bool, E>,
    ) -> Result<(), E> {
        let goes_on = self.places.peek().zip(portion.last()).filter(|(next, last)| next.goes_with(last));
        let Some((key, axes)) = goes_on.map(|(next, _)| (next.item.key(), next.turn())) else { return Ok(()) };
        let (mut tried, mut came) = (false, false);
        for place in portion.iter().filter(|place| place.item.key() == key) {
            (tried, came) = (true, came || is_there(place)?);
        }
        let in_a_row = self.fruitless.entry((key, axes[0])).or_default();
        *in_a_row = if came || !tried { 0 } else { *in_a_row + 1 };
        if *in_a_row >= FRUITLESS {
            self.leave_axes(axes, |item| item.key() == key);
        }
        Ok(())
    }

    /// The item whose turn it is, and its next stripe.
    pub(super) fn under_way(&mut self) -> Option<(Key, u32)> {
        self.places.peek().map(|place| (place.item.key(), place.stripe))
    }

    /// Ends: gives all items, and the stripes that their next turns begin with, should they need any.
    pub(super) fn end(self) -> Vec<(Arc<Item>, u32)> {
        let Self { items, left, .. } = self;
        let from = |key| Axis::BOTH.into_iter().find_map(|axis| left.get(&(key, axis)).copied());
        items.into_iter().map(|item| (item.clone(), from(item.key()).unwrap_or_default())).collect()
    }

    /// Ends early: gives the items that are left, and the stripes that their next turns begin with.
    pub(super) fn put_off(mut self) -> Vec<(Arc<Item>, u32)> {
        let left = &self.left;
        self.items.retain(|item| Axis::BOTH.iter().all(|axis| left.contains_key(&(item.key(), *axis))));
        self.end()
    }
}

fn places(items: &[Arc<Item>]) -> impl Iterator<Item = Place> + Send + Sync + use<> {
    let (copies, rebuilds): (Vec<_>, Vec<_>) =
        items.iter().cloned().partition(|item| matches!(item.source, Source::Copy(_)));
    // Secondaries first: they need but k1 helpers, and give the primaries their symbols.
    let turns = [(copies, &Axis::BOTH[..]), (rebuilds.clone(), &[Axis::Secondary]), (rebuilds, &[Axis::Primary])];
    turns.into_iter().flat_map(|(items, axes)| {
        items.into_iter().flat_map(move |item| {
            let stripes = (item.from..item.layout.stripes()).chain(0..item.from.min(item.layout.stripes()));
            stripes.flat_map(move |stripe| {
                let item = item.clone();
                axes.iter().map(move |axis| Place::of(&item, stripe, *axis))
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use weft_protocol::MemberId;
    use weft_redstuff::{Code, Layout};

    use super::*;

    const COPY: Source = Source::Copy((MemberId(3), 1));

    fn item(length: u64, shard: u8, source: Source, from: u32) -> Item {
        let layout = Layout::for_length(Code::new(32, 6).unwrap(), length).unwrap();
        Item { blob: BlobId([shard; 32]), shard, layout, root: Hash([0; 32]), source, from }
    }

    fn batch(items: Vec<Item>) -> Batch {
        Batch::new(Hash([1; 32]), Pass::default(), items, false)
    }

    fn stripes(portion: &[Place]) -> Vec<(u8, u32)> {
        portion.iter().map(|place| (place.item.shard, place.stripe)).collect()
    }

    #[test]
    fn portions_are_all_slivers_once_and_none_is_longer_than_it_may_be() {
        // Inline blobs have none.
        let items = [(100 << 20, 3, 5), (0, 4, 0), (64, 5, 0), (4096, 31, 0), (100 << 20, 7, 99)];
        for most in [1, 4 << 10, 2 << 20, 16 << 20] {
            for source in [COPY, Source::Symbols] {
                let items: Vec<Item> = items.map(|(length, shard, from)| item(length, shard, source, from)).into();
                let (mut batch, mut all) = (batch(items), Vec::new());
                loop {
                    let portion = batch.portion(most);
                    let Some((_, before)) = portion.split_last() else { break };
                    assert!(before.iter().map(Place::length).sum::<u64>() < most);
                    all.extend(portion.iter().map(|place| (place.item.shard, place.stripe, place.axis)));
                }
                assert_eq!(all.len(), 2 * (13 + 1 + 13), "with {most} bytes");
                all.sort_unstable();
                all.dedup();
                assert_eq!(all.len(), 2 * (13 + 1 + 13), "with {most} bytes");
            }
        }
    }

    #[test]
    fn copies_come_before_secondaries_and_these_before_primaries_from_where_an_item_was_left() {
        let mut batch = batch(vec![item(20 << 20, 1, Source::Symbols, 2), item(4096, 2, COPY, 0)]);
        let mut told = Vec::new();
        while let portion = batch.portion(u64::MAX)
            && !portion.is_empty()
        {
            told.push(portion.iter().map(|place| (place.item.shard, place.stripe, place.axis)).collect::<Vec<_>>());
        }
        let rebuilt = |axis| vec![(1, 2, axis), (1, 0, axis), (1, 1, axis)];
        let copied = vec![(2, 0, Axis::Primary), (2, 0, Axis::Secondary)];
        assert_eq!(told, [copied, rebuilt(Axis::Secondary), rebuilt(Axis::Primary)]);
    }

    #[test]
    fn what_is_left_has_no_more_turns_and_goes_on_there_the_next_time() {
        let items = [1, 2, 3].map(|shard| item(100 << 20, shard, if shard == 3 { Source::Symbols } else { COPY }, 1));
        let mut batch = batch(items.into());
        assert_eq!(stripes(&batch.portion(1)), [(1, 1)]);
        assert_eq!(stripes(&batch.portion(1)), [(1, 1)], "the other axis");
        assert_eq!(batch.under_way(), Some(((BlobId([1; 32]), 1), 2)));
        batch.leave(|item| item.source == COPY);
        assert_eq!(stripes(&batch.portion(1)), [(3, 1)]);
        let ends: Vec<(u8, u32)> = batch.end().iter().map(|(item, from)| (item.shard, *from)).collect();
        assert_eq!(ends, [(1, 2), (2, 1), (3, 0)], "the last had all the turns that it wanted");
    }

    #[test]
    fn what_brings_nothing_portion_after_portion_waits_and_what_brings_something_goes_on() {
        // How many portions of each axis of the first item are tried, and where each item's next turn begins.
        let some_come = |source, when: fn(usize) -> bool| {
            let mut batch = batch(vec![item(100 << 20, 1, source, 0), item(4096, 2, source, 0)]);
            let mut tried = [0, 0];
            while let portion = batch.portion(1)
                && !portion.is_empty()
            {
                let count = &mut tried[portion[0].axis as usize];
                batch.came(&portion, |_| Ok::<_, ()>(when(*count))).unwrap();
                *count += usize::from(portion[0].item.shard == 1);
            }
            (tried, batch.end().iter().map(|(_, from)| *from).collect::<Vec<_>>())
        };
        assert_eq!(some_come(Source::Symbols, |_| true), ([13, 13], vec![0, 0]));
        assert_eq!(some_come(Source::Symbols, |count| count % 3 == 0), ([13, 13], vec![0, 0]));
        assert_eq!(some_come(Source::Symbols, |_| false), ([3, 3], vec![3, 0]), "primaries may be had all the same");
        assert_eq!(some_come(Source::Symbols, |count| count < 5), ([8, 8], vec![8, 0]));
        // Of copies a portion is one sliver here, of either axis in turn.
        assert_eq!(some_come(COPY, |_| false), ([2, 1], vec![1, 0]));
    }

    #[test]
    fn a_batch_that_is_put_off_tells_what_is_left_of_it_and_what_is_under_way() {
        let items = [1, 2, 3].map(|shard| item(100 << 20, shard, if shard == 1 { COPY } else { Source::Symbols }, 1));
        let mut batch = batch(items.into());
        batch.portion(1);
        batch.leave(|item| item.source == COPY);
        assert_eq!(stripes(&batch.portion(1)), [(2, 1)]);
        assert_eq!(batch.under_way(), Some(((BlobId([2; 32]), 2), 2)));
        let left: Vec<(u8, u32)> = batch.put_off().iter().map(|(item, from)| (item.shard, *from)).collect();
        assert_eq!(left, [(1, 1)]);
    }
}
