//! Sketches of sets: what two sets differ in is told by as many cells as there are differences, whatever the sets' size.
//!
//! Rateless invertible Bloom lookup tables (Yang, Gilad, Alizadeh: Practical Rateless Set Reconciliation, SIGCOMM 2024).
//! A set has an endless row of cells, each the sum of some of its items; an item is in cell 0, and in the i-th with
//! probability 1 / (1 + i/2). Subtracting one set's cells from another's leaves those of their difference: a cell with
//! one item tells it, and taking it out of its other cells leaves more of them with one. Of d differences the first
//! 1.35 d cells give all on average, for large d; a few dozen more where there are few.
//!
//! An item costs its hash and about 2 ln(cells) additions, whenever it comes or goes: no set is ever gone through.
//!
//! Nothing here is safe from who chooses items to collide: what comes of a sketch is to be checked against a digest, or to
//! be harmless where it is wrong.

use std::collections::{BTreeSet, VecDeque};

/// A sum of items of `N` bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cell<const N: usize> {
    /// Of the items, and of their check values: exclusive or.
    sum: [u8; N],
    check: u64,
    /// How many came less how many went.
    count: i64,
}

impl<const N: usize> Cell<N> {
    const EMPTY: Self = Self { sum: [0; N], check: 0, count: 0 };

    fn add(&mut self, item: &[u8; N], check: u64, count: i64) {
        self.sum.iter_mut().zip(item).for_each(|(sum, item)| *sum ^= item);
        self.check ^= check;
        self.count = self.count.wrapping_add(count);
    }

    /// The item that is alone here, its course, and the side that it is on.
    fn only(&self) -> Option<([u8; N], Course, i64)> {
        if self.count.unsigned_abs() != 1 {
            return None;
        }
        let course = Course::of(&self.sum);
        (course.check == self.check).then_some((self.sum, course, self.count))
    }
}

/// The cells that an item is in, in order.
#[derive(Debug)]
struct Course {
    check: u64,
    draws: blake3::OutputReader,
    next: u64,
}

impl Course {
    fn of(item: &[u8]) -> Self {
        let mut draws = blake3::Hasher::new().update(item).finalize_xof();
        let mut check = [0; 8];
        draws.fill(&mut check);
        Self { check: u64::from_le_bytes(check), draws, next: 0 }
    }
}

impl Iterator for Course {
    type Item = u64;

    /// The distance to the next cell from cell i is ⌈(i + 1.5)(u^(−1/2) − 1)⌉ for a uniform u in (0, 1] (the paper's §4.2).
    /// Every step is exactly rounded (IEEE 754), so all machines agree.
    fn next(&mut self) -> Option<u64> {
        let at = self.next;
        let mut draw = [0; 4];
        self.draws.fill(&mut draw);
        let uniform = (f64::from(u32::from_le_bytes(draw)) + 1.0) / (f64::from(u32::MAX) + 1.0);
        let distance = ((at as f64 + 1.5) * (uniform.sqrt().recip() - 1.0)).ceil();
        self.next = at.saturating_add((distance as u64).max(1));
        Some(at)
    }
}

/// The first cells of a set of items of `N` bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sketch<const N: usize>(Vec<Cell<N>>);

/// What two sets don't share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference<const N: usize> {
    /// Items of the set that the other was subtracted from, alone.
    pub here: BTreeSet<[u8; N]>,
    /// Items of the other, alone.
    pub there: BTreeSet<[u8; N]>,
}

impl<const N: usize> Sketch<N> {
    /// Bytes of a cell on the wire: the sum, the check values' sum and the count (little-endian).
    pub const CELL: usize = N + 8 + 8;

    /// The empty set's.
    pub fn empty(cells: usize) -> Self {
        Self(vec![Cell::EMPTY; cells])
    }

    pub fn cells(&self) -> usize {
        self.0.len()
    }

    /// Adds an item, which isn't in the set.
    pub fn insert(&mut self, item: &[u8; N]) {
        self.add(item, 1);
    }

    /// Takes an item away, which is in the set.
    pub fn remove(&mut self, item: &[u8; N]) {
        self.add(item, -1);
    }

    fn add(&mut self, item: &[u8; N], count: i64) {
        let course = Course::of(item);
        let check = course.check;
        for at in course.map_while(|at| usize::try_from(at).ok()) {
            let Some(cell) = self.0.get_mut(at) else { break };
            cell.add(item, check, count);
        }
    }

    /// The same set's sketch, of fewer cells.
    #[must_use]
    pub fn first(&self, cells: usize) -> Self {
        Self(self.0.iter().take(cells).copied().collect())
    }

    /// How many items this set has more than the other, at least as far as differing sets go: they differ in no fewer.
    pub fn excess(&self, other: &Self) -> u64 {
        let count = |sketch: &Self| sketch.0.first().map_or(0, |cell| cell.count);
        count(self).wrapping_sub(count(other)).unsigned_abs()
    }

    /// What this set and another don't share, from the cells that both sketches have; `None` where those are too few, or
    /// are of no two sets.
    pub fn difference(&self, other: &Self) -> Option<Difference<N>> {
        let mut left = Self(self.0.iter().zip(&other.0).map(|(here, there)| minus(here, there)).collect());
        let mut difference = Difference { here: BTreeSet::new(), there: BTreeSet::new() };
        let mut looked_at: VecDeque<usize> = (0..left.0.len()).collect();
        // Each item empties at least the cell that told it, unless somebody made the cells up.
        let mut budget = left.0.len();
        while let Some(at) = looked_at.pop_front() {
            let Some((item, course, count)) = left.0[at].only() else { continue };
            budget = budget.checked_sub(1)?;
            let check = course.check;
            for at in course.map_while(|at| usize::try_from(at).ok()) {
                let Some(cell) = left.0.get_mut(at) else { break };
                cell.add(&item, check, -count);
                looked_at.push_back(at);
            }
            let side = if count > 0 { &mut difference.here } else { &mut difference.there };
            if !side.insert(item) {
                return None;
            }
        }
        left.0.iter().all(|cell| *cell == Cell::EMPTY).then_some(difference)
    }

    /// The cells, one after the other.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.len() * Self::CELL);
        for Cell { sum, check, count } in &self.0 {
            bytes.extend_from_slice(sum);
            bytes.extend_from_slice(&check.to_le_bytes());
            bytes.extend_from_slice(&count.to_le_bytes());
        }
        bytes
    }

    /// Reads cells; `None` where the last is cut off.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let cell = |bytes: &[u8]| {
            let (sum, rest) = bytes.split_first_chunk()?;
            let (check, count) = rest.split_first_chunk()?;
            let count = i64::from_le_bytes(count.try_into().ok()?);
            Some(Cell { sum: *sum, check: u64::from_le_bytes(*check), count })
        };
        bytes.chunks(Self::CELL).map(cell).collect::<Option<_>>().map(Self)
    }
}

fn minus<const N: usize>(here: &Cell<N>, there: &Cell<N>) -> Cell<N> {
    let mut left = *here;
    left.add(&there.sum, there.check, there.count.wrapping_neg());
    left
}

#[cfg(test)]
mod tests {
    use proptest::{collection::btree_set, prelude::*};

    use super::*;

    type Item = [u8; 12];

    fn item(number: u64) -> Item {
        let mut item = [0; 12];
        item[..8].copy_from_slice(&number.to_le_bytes());
        item
    }

    fn sketch(cells: usize, items: impl IntoIterator<Item = u64>) -> Sketch<12> {
        let mut sketch = Sketch::empty(cells);
        items.into_iter().for_each(|number| sketch.insert(&item(number)));
        sketch
    }

    /// Cells that a difference of so many takes, in the worst of some trials.
    fn needed(differences: u64, shared: u64, trials: u64) -> usize {
        let needed = (0..trials).map(|trial| {
            let base = trial * 1_000_000;
            let here = sketch(1024, (0..shared + differences / 2).map(|number| base + number));
            let other = (0..shared).chain(500_000..500_000 + differences.div_ceil(2));
            let there = sketch(1024, other.map(|number| base + number));
            (1..=1024).find(|cells| here.first(*cells).difference(&there.first(*cells)).is_some()).unwrap_or(usize::MAX)
        });
        needed.max().unwrap_or_default()
    }

    #[test]
    fn the_cells_that_are_needed_follow_the_difference_and_not_the_size() {
        for (differences, most) in [(1, 1), (10, 60), (100, 250), (400, 800)] {
            for shared in [0, 10, 20_000] {
                let needed = needed(differences, shared, 3);
                println!("{differences} differences between sets of {shared}: {needed} cells");
                assert!(needed <= most, "{differences} differences of {shared} took {needed} cells");
            }
        }
    }

    #[test]
    fn what_comes_and_goes_again_leaves_nothing() {
        let mut one = sketch(64, 0..50);
        let before = one.clone();
        (100..200).for_each(|number| one.insert(&item(number)));
        assert_ne!(one, before);
        (100..200).for_each(|number| one.remove(&item(number)));
        assert_eq!(one, before);
        assert_eq!(one.difference(&before).map(|found| found.here.len() + found.there.len()), Some(0));
    }

    #[test]
    fn too_few_cells_tell_nothing_rather_than_a_part() {
        let (one, other) = (sketch(64, 0..1000), sketch(64, 500..2000));
        assert_eq!(one.difference(&other), None);
        assert_eq!(one.excess(&other), 500);
        assert_eq!(Sketch::<12>::empty(0).difference(&other).map(|found| found.here.len()), Some(0), "no cell differs");
    }

    #[test]
    fn cells_that_somebody_made_up_end_all_the_same() {
        let honest = sketch(256, 0..100);
        for seed in 0..64 {
            let mut bytes = vec![0; 256 * Sketch::<12>::CELL];
            blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
            // Counts of one, so that many cells pass for pure; every second cell is an honest one.
            for (at, cell) in bytes.chunks_mut(Sketch::<12>::CELL).enumerate() {
                cell[20..].copy_from_slice(&1_i64.to_le_bytes());
                if at % 2 == 0 {
                    cell.copy_from_slice(&honest.encode()[at * Sketch::<12>::CELL..][..Sketch::<12>::CELL]);
                }
            }
            let forged = Sketch::<12>::decode(&bytes).expect("whole cells");
            assert_eq!(forged.difference(&Sketch::empty(256)), None);
        }
        // One item in every cell: it is told once, and what it leaves isn't nothing.
        let all = Sketch(vec![sketch(1, [7]).0[0]; 256]);
        assert_eq!(all.difference(&Sketch::empty(256)), None);
        assert_eq!(Sketch::<12>::decode(&bytes_of(&honest)[1..]), None);
    }

    fn bytes_of(sketch: &Sketch<12>) -> Vec<u8> {
        sketch.encode()
    }

    proptest! {
        #[test]
        fn differences_come_out_as_they_went_in(here in btree_set(0_u64..200, 0..60), there in btree_set(0_u64..200, 0..60)) {
            let (one, other) = (sketch(512, here.iter().copied()), sketch(512, there.iter().copied()));
            let other = Sketch::decode(&other.encode()).expect("whole cells");
            let found = one.difference(&other).expect("512 cells are enough for 120 differences");
            let alone = |one: &BTreeSet<u64>, other: &BTreeSet<u64>| one.difference(other).map(|number| item(*number)).collect::<BTreeSet<_>>();
            prop_assert_eq!(found.here, alone(&here, &there));
            prop_assert_eq!(found.there, alone(&there, &here));
        }
    }
}
