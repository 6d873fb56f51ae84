//! Decoding: a stripe's source from enough slivers of one axis.
//!
//! Nothing here verifies hashes: slivers must be checked against the committed ones before.

use crate::code::{Axis, Code};
use crate::inputs::{SliverError, check, check_index, check_output};
use crate::interpolate::{Interpolation, interpolate};

/// Symbols below this many bytes are put together to columns before there is arithmetic on them: vectors would be filled in part.
pub(crate) const SHORT_SYMBOL: usize = 256;

/// A stripe's zero-padded source, `k1 · k2 · symbol_size` bytes, from any `k1` primaries, given with their indexes. More may be given: source rows are taken
/// first, and are copied without arithmetic.
pub fn decode_from_primaries(code: Code, symbol_size: u32, primaries: &[(u16, &[u8])]) -> Result<Vec<u8>, SliverError> {
    let capacity = checked(code, symbol_size, Axis::Primary, primaries)?;
    let mut source = vec![0; capacity];
    decode_from_primaries_into(code, symbol_size, primaries, &mut source)?;
    Ok(source)
}

/// [`decode_from_primaries`] into `source`.
pub fn decode_from_primaries_into(
    code: Code,
    symbol_size: u32,
    primaries: &[(u16, &[u8])],
    source: &mut [u8],
) -> Result<(), SliverError> {
    let length = code.sliver_length(Axis::Primary, symbol_size);
    check_output(source, checked(code, symbol_size, Axis::Primary, primaries)?)?;
    interpolate(code.source_rows(), primaries, (0..).zip(source.chunks_exact_mut(length)).collect());
    Ok(())
}

/// A stripe's zero-padded source, `k1 · k2 · symbol_size` bytes, from any `k2` secondaries, given with their indexes. More may be given: source columns are
/// taken first.
pub fn decode_from_secondaries(
    code: Code,
    symbol_size: u32,
    secondaries: &[(u16, &[u8])],
) -> Result<Vec<u8>, SliverError> {
    let capacity = checked(code, symbol_size, Axis::Secondary, secondaries)?;
    let mut source = vec![0; capacity];
    decode_from_secondaries_into(code, symbol_size, secondaries, &mut source)?;
    Ok(source)
}

/// [`decode_from_secondaries`] into `source`.
pub fn decode_from_secondaries_into(
    code: Code,
    symbol_size: u32,
    secondaries: &[(u16, &[u8])],
    source: &mut [u8],
) -> Result<(), SliverError> {
    let length = code.sliver_length(Axis::Secondary, symbol_size);
    check_output(source, checked(code, symbol_size, Axis::Secondary, secondaries)?)?;
    let symbol = symbol_size as usize;
    if symbol < SHORT_SYMBOL {
        let mut columns = vec![0; source.len()];
        interpolate(code.source_columns(), secondaries, (0..).zip(columns.chunks_exact_mut(length)).collect());
        transpose(&columns, source, code.source_columns() as usize, symbol);
        return Ok(());
    }
    let known: Vec<u16> = secondaries.iter().map(|(index, _)| *index).collect();
    let wanted: Vec<u16> = (0..code.source_columns()).collect();
    let interpolation = Interpolation::new(code.source_columns(), &known, &wanted);
    for (row, cells) in source.chunks_exact_mut(code.sliver_length(Axis::Primary, symbol_size)).enumerate() {
        let symbols: Vec<&[u8]> = secondaries.iter().map(|(_, column)| &column[row * symbol..][..symbol]).collect();
        interpolation.apply(&symbols, cells.chunks_exact_mut(symbol).collect());
    }
    Ok(())
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
    let mut rows = vec![vec![0; length]; wanted.len()];
    let outputs = wanted.iter().copied().zip(rows.iter_mut().map(Vec::as_mut_slice)).collect();
    interpolate(code.source_rows(), primaries, outputs);
    Ok(rows)
}

/// Copies `from`, of `lines` lines of symbols, to `to` with lines and places exchanged.
pub(crate) fn transpose(from: &[u8], to: &mut [u8], lines: usize, symbol: usize) {
    let length = from.len() / lines;
    for (line, symbols) in from.chunks_exact(length).enumerate() {
        for (place, bytes) in symbols.chunks_exact(symbol).enumerate() {
            to[(place * lines + line) * symbol..][..symbol].copy_from_slice(bytes);
        }
    }
}

/// Bytes of a stripe's source, once the slivers are those of one.
fn checked(code: Code, symbol_size: u32, axis: Axis, slivers: &[(u16, &[u8])]) -> Result<usize, SliverError> {
    check(code, axis, code.sliver_length(axis, symbol_size), slivers, code.slivers_to_decode(axis))?;
    Ok(code.stripe_capacity(symbol_size) as usize)
}
