//! Repair: a lost sliver from the symbols where others cross it.
//!
//! Nothing here verifies hashes: a rebuilt sliver is right when its hash is the committed one.

use crate::code::{Axis, Code};
use crate::field::Basis;
use crate::inputs::{SliverError, check, check_index};
use crate::kernel::{Combination, combine};

/// The symbol, `symbol_size` bytes, where a helper's sliver crosses the lost sliver `target` of the other axis: `E[i, j]` from primary `i` for
/// secondary `j`, or from secondary `j` for primary `i`. The helper's own index doesn't matter.
pub fn symbol(
    code: Code,
    helper_axis: Axis,
    helper_sliver: &[u8],
    symbol_size: u32,
    target: u16,
) -> Result<Vec<u8>, SliverError> {
    let symbol = symbol_size as usize;
    check_index(code, helper_axis.crossing(), target)?;
    let expected = code.sliver_length(helper_axis, symbol_size);
    if symbol == 0 {
        return Err(SliverError::SymbolSize);
    }
    if helper_sliver.len() != expected {
        return Err(SliverError::HelperLength { axis: helper_axis, expected, actual: helper_sliver.len() });
    }
    let k = code.sliver_symbols(helper_axis);
    if target < k {
        return Ok(helper_sliver[target as usize * symbol..][..symbol].to_vec());
    }
    let sources: Vec<&[u8]> = helper_sliver.chunks_exact(symbol).collect();
    let mut out = vec![0; symbol];
    combine(&[Combination::new(&Basis::systematic(k).row(target as u8))], &sources, &mut [&mut out]);
    Ok(out)
}

/// A sliver of `axis` from the symbols of helpers that cross it, each given with the index of the helper's sliver: any `k2` secondaries' for a primary,
/// any `k1` primaries' for a secondary. The first so many are used. Which sliver it is follows from the symbols alone.
pub fn rebuild_sliver(
    code: Code,
    axis: Axis,
    symbol_size: u32,
    symbols: &[(u16, &[u8])],
) -> Result<Vec<u8>, SliverError> {
    let k = code.sliver_symbols(axis);
    check(code, axis.crossing(), symbol_size as usize, symbols, k)?;
    let used = &symbols[..k as usize];
    let basis = Basis::new(used.iter().map(|(index, _)| *index as u8).collect());
    let sources: Vec<&[u8]> = used.iter().map(|(_, bytes)| *bytes).collect();
    let combinations: Vec<Combination> = (0..k).map(|x| Combination::new(&basis.row(x as u8))).collect();
    let mut sliver = vec![0; code.sliver_length(axis, symbol_size)];
    combine(&combinations, &sources, &mut sliver.chunks_exact_mut(symbol_size as usize).collect::<Vec<_>>());
    Ok(sliver)
}
