//! Repair: a lost sliver from the symbols where others cross it.
//!
//! Nothing here verifies hashes: a rebuilt sliver is right when its hash is the committed one.

use crate::code::{Axis, Code};
use crate::field::Basis;
use crate::inputs::{SliverError, check, check_index, check_output};
use crate::interpolate::interpolate;
use crate::kernel::{Matrix, Store, combine};

/// The symbol, `symbol_size` bytes, where a helper's sliver crosses the lost sliver `target` of the other axis: `E[i, j]` from primary `i` for
/// secondary `j`, or from secondary `j` for primary `i`. The helper's own index doesn't matter.
pub fn symbol(
    code: Code,
    helper_axis: Axis,
    helper_sliver: &[u8],
    symbol_size: u32,
    target: u16,
) -> Result<Vec<u8>, SliverError> {
    check_helper(code, helper_axis, helper_sliver, symbol_size, target)?;
    let mut symbol = vec![0; symbol_size as usize];
    symbol_into(code, helper_axis, helper_sliver, symbol_size, target, &mut symbol)?;
    Ok(symbol)
}

/// [`symbol`] into `out`.
pub fn symbol_into(
    code: Code,
    helper_axis: Axis,
    helper_sliver: &[u8],
    symbol_size: u32,
    target: u16,
    out: &mut [u8],
) -> Result<(), SliverError> {
    let symbol = symbol_size as usize;
    check_helper(code, helper_axis, helper_sliver, symbol_size, target)?;
    check_output(out, symbol)?;
    let k = code.sliver_symbols(helper_axis);
    if target < k {
        out.copy_from_slice(&helper_sliver[target as usize * symbol..][..symbol]);
        return Ok(());
    }
    let sources: Vec<&[u8]> = helper_sliver.chunks_exact(symbol).collect();
    let row = Basis::systematic(k).row(target as u8);
    combine(&Matrix::new(k, [row].into_iter()), &sources, &mut [out], Store::Cached);
    Ok(())
}

fn check_helper(code: Code, axis: Axis, sliver: &[u8], symbol_size: u32, target: u16) -> Result<(), SliverError> {
    check_index(code, axis.crossing(), target)?;
    if symbol_size == 0 {
        return Err(SliverError::SymbolSize);
    }
    let (expected, actual) = (code.sliver_length(axis, symbol_size), sliver.len());
    if actual == expected { Ok(()) } else { Err(SliverError::HelperLength { axis, expected, actual }) }
}

/// A sliver of `axis` from the symbols of helpers that cross it, each given with the index of the helper's sliver: any `k2` secondaries' for a primary,
/// any `k1` primaries' for a secondary. The first so many are used. Which sliver it is follows from the symbols alone.
pub fn rebuild_sliver(
    code: Code,
    axis: Axis,
    symbol_size: u32,
    symbols: &[(u16, &[u8])],
) -> Result<Vec<u8>, SliverError> {
    check(code, axis.crossing(), symbol_size as usize, symbols, code.sliver_symbols(axis))?;
    let mut sliver = vec![0; code.sliver_length(axis, symbol_size)];
    rebuild_sliver_into(code, axis, symbol_size, symbols, &mut sliver)?;
    Ok(sliver)
}

/// [`rebuild_sliver`] into `sliver`.
pub fn rebuild_sliver_into(
    code: Code,
    axis: Axis,
    symbol_size: u32,
    symbols: &[(u16, &[u8])],
    sliver: &mut [u8],
) -> Result<(), SliverError> {
    let k = code.sliver_symbols(axis);
    check(code, axis.crossing(), symbol_size as usize, symbols, k)?;
    check_output(sliver, code.sliver_length(axis, symbol_size))?;
    let outputs = (0..).zip(sliver.chunks_exact_mut(symbol_size as usize)).collect();
    interpolate(k, &symbols[..k as usize], outputs);
    Ok(())
}
