//! `weft repair`: rebuilds damaged slivers from those that cross them, as a fleet does.

use std::fs;
use std::path::Path;

use weft_redstuff::{Axis, Code, StripeHashes, StripeLayout, rebuild_sliver, symbol};

use super::bundle::{Damaged, describe_loss, stripe_name};
use super::files::replace_sliver;
use super::{Bundle, OfflineError};

/// One sliver that was rebuilt and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rebuilt {
    pub stripe: u32,
    pub sliver: Damaged,
    /// Bytes of the sliver.
    pub length: u64,
    /// How many slivers of the other axis helped, with a symbol each.
    pub helpers: u16,
    /// Bytes of their symbols: what would have travelled in a fleet.
    pub symbols: u64,
}

/// All that a repair did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Slivers that were right before.
    pub good: u64,
    /// Slivers rebuilt, their bytes, and the bytes of the symbols they were made of.
    pub rebuilt: u64,
    pub rebuilt_bytes: u64,
    pub symbol_bytes: u64,
}

/// Checks every sliver of `folder` against its hash, and rebuilds those that are missing or wrong, telling each to `rebuilt`. Stripes of which too
/// little is left are named in the error, after all others were mended; nothing of them is touched.
pub fn repair(folder: &Path, rebuilt: &mut dyn FnMut(&Rebuilt)) -> Result<Repaired, OfflineError> {
    let bundle = Bundle::open(folder)?;
    let mut totals = Repaired::default();
    let mut losses = Vec::new();
    for (stripe, hashes) in bundle.stripes() {
        let mut grid = Grid::load(&bundle, stripe, hashes);
        totals.good += grid.good();
        while let Some(axis) = grid.next_axis() {
            for sliver in grid.damaged(axis) {
                let bytes = grid.rebuild(sliver)?;
                write(&bundle, stripe.index, sliver, &bytes)?;
                let length = bytes.len() as u64;
                let helpers = bundle.code().sliver_symbols(axis);
                let symbols = u64::from(helpers) * u64::from(stripe.symbol_size);
                grid.put(sliver, bytes);
                totals.rebuilt += 1;
                totals.rebuilt_bytes += length;
                totals.symbol_bytes += symbols;
                rebuilt(&Rebuilt { stripe: stripe.index, sliver, length, helpers, symbols });
            }
        }
        if !grid.damaged.is_empty() {
            losses.push(describe_loss(bundle.code(), stripe.index, &grid.damaged));
        }
    }
    if losses.is_empty() { Ok(totals) } else { Err(OfflineError::TooFewSlivers { losses }) }
}

/// Puts a rebuilt sliver in its place. What was there isn't what was committed to, and goes.
fn write(bundle: &Bundle, stripe: u32, sliver: Damaged, bytes: &[u8]) -> Result<(), OfflineError> {
    let path = bundle.path(stripe, sliver.axis, sliver.index);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(OfflineError::io("create", folder))?;
    }
    replace_sliver(&path, bytes)
}

/// A stripe's slivers, as far as they are right.
struct Grid<'a> {
    code: Code,
    stripe: StripeLayout,
    hashes: &'a StripeHashes,
    primary: Vec<(u16, Vec<u8>)>,
    secondary: Vec<(u16, Vec<u8>)>,
    damaged: Vec<Damaged>,
}

impl<'a> Grid<'a> {
    fn load(bundle: &Bundle, stripe: StripeLayout, hashes: &'a StripeHashes) -> Self {
        let code = bundle.code();
        let mut grid = Self { code, stripe, hashes, primary: Vec::new(), secondary: Vec::new(), damaged: Vec::new() };
        for axis in Axis::BOTH {
            for index in 0..code.shards() {
                match bundle.load(&stripe, hashes, axis, index) {
                    Ok(bytes) => grid.slivers_mut(axis).push((index, bytes)),
                    Err(damage) => grid.damaged.push(Damaged { axis, index, damage }),
                }
            }
        }
        grid
    }

    fn slivers(&self, axis: Axis) -> &[(u16, Vec<u8>)] {
        match axis {
            Axis::Primary => &self.primary,
            Axis::Secondary => &self.secondary,
        }
    }

    fn slivers_mut(&mut self, axis: Axis) -> &mut Vec<(u16, Vec<u8>)> {
        match axis {
            Axis::Primary => &mut self.primary,
            Axis::Secondary => &mut self.secondary,
        }
    }

    fn good(&self) -> u64 {
        (self.primary.len() + self.secondary.len()) as u64
    }

    fn damaged(&self, axis: Axis) -> Vec<Damaged> {
        self.damaged.iter().copied().filter(|sliver| sliver.axis == axis).collect()
    }

    /// The axis to mend next. Secondaries first: they need fewer helpers, and then help the primaries.
    fn next_axis(&self) -> Option<Axis> {
        [Axis::Secondary, Axis::Primary].into_iter().find(|&axis| {
            let enough = self.code.sliver_symbols(axis) as usize;
            !self.damaged(axis).is_empty() && self.slivers(axis.crossing()).len() >= enough
        })
    }

    /// A sliver from the symbols of enough that cross it; it is the one that was committed to.
    fn rebuild(&self, sliver: Damaged) -> Result<Vec<u8>, OfflineError> {
        let Damaged { axis, index, damage: _ } = sliver;
        let (code, size) = (self.code, self.stripe.symbol_size);
        let name = || stripe_name(self.stripe.index);
        let combine = |source| OfflineError::Combine { stripe: name(), source };
        let helpers = self.slivers(axis.crossing()).iter().take(code.sliver_symbols(axis) as usize);
        let mut symbols = Vec::new();
        for (helper, bytes) in helpers {
            symbols.push((*helper, symbol(code, axis.crossing(), bytes, size, index).map_err(combine)?));
        }
        let symbols: Vec<(u16, &[u8])> = symbols.iter().map(|(helper, bytes)| (*helper, &bytes[..])).collect();
        let bytes = rebuild_sliver(code, axis, size, &symbols).map_err(combine)?;
        if self.hashes.matches(axis, index, &bytes) {
            Ok(bytes)
        } else {
            Err(OfflineError::Inconsistent { stripe: name(), axis, index })
        }
    }

    fn put(&mut self, sliver: Damaged, bytes: Vec<u8>) {
        self.damaged.retain(|damaged| *damaged != sliver);
        self.slivers_mut(sliver.axis).push((sliver.index, bytes));
    }
}
