//! Decoding: a stripe's source from enough slivers of one axis.
//!
//! Nothing here verifies hashes: slivers must be checked against the committed ones before.

use crate::code::{Axis, Code};
use crate::field::Basis;
use crate::inputs::{SliverError, check, check_index};
use crate::kernel::{Combination, combine};

/// A stripe's zero-padded source, `k1 · k2 · symbol_size` bytes, from any `k1` primaries, given with their indexes. More may be given: source rows are taken
/// first, and are copied without arithmetic.
pub fn decode_from_primaries(code: Code, symbol_size: u32, primaries: &[(u16, &[u8])]) -> Result<Vec<u8>, SliverError> {
    let length = code.sliver_length(Axis::Primary, symbol_size);
    let mut source = vec![0; checked_capacity(code, symbol_size)?];
    check(code, Axis::Primary, length, primaries, code.source_rows())?;
    let mut rows: Vec<&mut [u8]> = source.chunks_exact_mut(length).collect();
    fill(code.source_rows(), primaries, &mut rows);
    Ok(source)
}

/// A stripe's zero-padded source, `k1 · k2 · symbol_size` bytes, from any `k2` secondaries, given with their indexes. More may be given: source columns are
/// taken first.
pub fn decode_from_secondaries(
    code: Code,
    symbol_size: u32,
    secondaries: &[(u16, &[u8])],
) -> Result<Vec<u8>, SliverError> {
    let length = code.sliver_length(Axis::Secondary, symbol_size);
    let symbol = symbol_size as usize;
    let mut source = vec![0; checked_capacity(code, symbol_size)?];
    check(code, Axis::Secondary, length, secondaries, code.source_columns())?;
    for (row, cells) in source.chunks_exact_mut(code.sliver_length(Axis::Primary, symbol_size)).enumerate() {
        let symbols: Vec<(u16, &[u8])> =
            secondaries.iter().map(|&(index, column)| (index, &column[row * symbol..][..symbol])).collect();
        fill(code.source_columns(), &symbols, &mut cells.chunks_exact_mut(symbol).collect::<Vec<_>>());
    }
    Ok(source)
}

/// The source rows (primaries `0..k1`) that are `wanted`, in that order, from any `k1` primaries. Rows are combined byte by byte at equal places, so
/// that the same range of bytes of each primary gives this range of the rows: `primaries` may be of any one length.
pub fn rebuild_source_rows(
    code: Code,
    primaries: &[(u16, &[u8])],
    wanted: &[u16],
) -> Result<Vec<Vec<u8>>, SliverError> {
    let length = primaries.first().map_or(0, |(_, bytes)| bytes.len());
    check(code, Axis::Primary, length, primaries, code.source_rows())?;
    for &index in wanted {
        check_index(code, Axis::Primary, index)?;
    }
    let (basis, sources) = choose(code.source_rows(), primaries);
    let mut rows = vec![vec![0; length]; wanted.len()];
    let combinations: Vec<Combination> = wanted.iter().map(|&x| Combination::new(&basis.row(x as u8))).collect();
    combine(&combinations, &sources, &mut rows.iter_mut().map(Vec::as_mut_slice).collect::<Vec<_>>());
    Ok(rows)
}

fn checked_capacity(code: Code, symbol_size: u32) -> Result<usize, SliverError> {
    if symbol_size == 0 { Err(SliverError::SymbolSize) } else { Ok(code.stripe_capacity(symbol_size) as usize) }
}

/// Sets `outputs` to the values at the points `0..k` from at least `k` given ones.
fn fill(k: u16, given: &[(u16, &[u8])], outputs: &mut [&mut [u8]]) {
    let (basis, sources) = choose(k, given);
    let mut known = vec![None; k as usize];
    for &(index, bytes) in given.iter().filter(|(index, _)| *index < k) {
        known[index as usize] = Some(bytes);
    }
    let (mut combinations, mut missing) = (Vec::new(), Vec::new());
    for ((x, output), known) in outputs.iter_mut().enumerate().zip(known) {
        if let Some(bytes) = known {
            output.copy_from_slice(bytes);
        } else {
            combinations.push(Combination::new(&basis.row(x as u8)));
            missing.push(&mut **output);
        }
    }
    combine(&combinations, &sources, &mut missing);
}

/// The first `k` of the given values, by index: those of the source before others.
fn choose<'a>(k: u16, given: &[(u16, &'a [u8])]) -> (Basis, Vec<&'a [u8]>) {
    let mut chosen = given.to_vec();
    chosen.sort_unstable_by_key(|(index, _)| *index);
    chosen.truncate(k as usize);
    (
        Basis::new(chosen.iter().map(|(index, _)| *index as u8).collect()),
        chosen.iter().map(|(_, bytes)| *bytes).collect(),
    )
}
