//! Encoding and hashing together: a window of all slivers is made, and hashed while the caches hold it. Hashing a stripe's slivers
//! once they are all made takes them from memory, at two thirds of the speed.

use std::ops::{Range, RangeInclusive};

use crate::code::{Axis, Code};
use crate::hash::Hash;
use crate::interpolate::generator;
use crate::kernel::{Matrix, Store, combine};

/// Bytes of all slivers that the second-level cache holds.
const CACHED: usize = 1 << 20;

/// Bytes of a sliver that are made before they are hashed: more makes hashing no faster, and with less BLAKE3, which hashes
/// sixteen chunks side by side where it can, hasn't got them.
const WINDOWS: RangeInclusive<usize> = 16 << 10..=64 << 10;

/// The hashes of slivers that grow window by window, in their order.
struct Hashers(Vec<blake3::Hasher>);

impl Hashers {
    fn new(code: Code) -> Self {
        Self((0..code.shards()).map(|_| blake3::Hasher::new()).collect())
    }

    /// Makes the next window of the expanded slivers from that of the source's, and hashes both.
    fn window(&mut self, generator: &Matrix, sources: &[&[u8]], expanded: &mut [&mut [u8]]) {
        combine(generator, sources, expanded, Store::Cached);
        let all = sources.iter().copied().chain(expanded.iter().map(|sliver| &**sliver));
        for (hasher, window) in self.0.iter_mut().zip(all) {
            hasher.update(window);
        }
    }

    fn finish(self) -> Vec<Hash> {
        self.0.iter().map(|hasher| hasher.finalize().into()).collect()
    }
}

fn windows(code: Code, length: usize) -> impl Iterator<Item = Range<usize>> {
    let window = (CACHED / usize::from(code.shards())).clamp(*WINDOWS.start(), *WINDOWS.end());
    let window = 1 << window.ilog2();
    (0..length).step_by(window).map(move |start| start..length.min(start + window))
}

/// The same window of slivers that lie one after the other.
fn each<'s>(slivers: &'s mut [u8], length: usize, window: &Range<usize>) -> Vec<&'s mut [u8]> {
    slivers.chunks_exact_mut(length).map(|sliver| &mut sliver[window.clone()]).collect()
}

/// The rows beyond the source, and the hashes of all.
pub(crate) fn rows(code: Code, symbol_size: u32, source: &[u8], parity: &mut [u8]) -> Vec<Hash> {
    let length = code.sliver_length(Axis::Primary, symbol_size);
    let (generator, mut hashers) = (generator(code.source_rows(), code.shards()), Hashers::new(code));
    for window in windows(code, length) {
        let sources: Vec<&[u8]> = source.chunks_exact(length).map(|row| &row[window.clone()]).collect();
        hashers.window(&generator, &sources, &mut each(parity, length, &window));
    }
    hashers.finish()
}

/// All columns, one after the other, and their hashes.
pub(crate) fn columns(code: Code, symbol_size: u32, source: &[u8], columns: &mut [u8]) -> Vec<Hash> {
    let (row, length) =
        (code.sliver_length(Axis::Primary, symbol_size), code.sliver_length(Axis::Secondary, symbol_size));
    let (generator, mut hashers) = (generator(code.source_columns(), code.shards()), Hashers::new(code));
    let (systematic, expanded) = columns.split_at_mut(source.len());
    for window in windows(code, length) {
        for (at, column) in systematic.chunks_exact_mut(length).enumerate() {
            gather(
                &source[at * symbol_size as usize..],
                row,
                symbol_size as usize,
                window.start,
                &mut column[window.clone()],
            );
        }
        let sources: Vec<&[u8]> = systematic.chunks_exact(length).map(|column| &column[window.clone()]).collect();
        hashers.window(&generator, &sources, &mut each(expanded, length, &window));
    }
    hashers.finish()
}

/// Copies a part of a column, from its byte `start` on, out of rows of which it has a symbol each: the first one's is at the
/// beginning of `source`.
fn gather(source: &[u8], row: usize, symbol: usize, start: usize, mut out: &mut [u8]) {
    let (mut at, mut within) = (start / symbol, start % symbol);
    while !out.is_empty() {
        let (here, rest) = out.split_at_mut(out.len().min(symbol - within));
        here.copy_from_slice(&source[at * row + within..][..here.len()]);
        (out, at, within) = (rest, at + 1, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::{NextUse, encode_stripe_into};

    #[test]
    fn windows_are_the_whole_and_begin_at_multiples_of_sixteen_chunks() {
        for (shards, size) in [(4, 64 << 10), (31, 32 << 10), (255, 16 << 10)] {
            let code = Code::with_shards(shards).unwrap();
            for length in [1, size - 1, size, size + 1, 5 * size + 7] {
                let all: Vec<_> = windows(code, length).collect();
                assert!(all.iter().rev().skip(1).all(|window| window.len() == size), "{shards} shards, {length} bytes");
                assert_eq!(all.iter().map(|window| window.end).next_back(), Some(length));
                assert!(all.iter().map(|window| window.start).eq((0..length).step_by(size)));
            }
        }
    }

    #[test]
    fn slivers_and_hashes_are_those_of_encoding_first_and_hashing_then() {
        // Symbols of one window, of a part of one and of several, and windows that end within symbols.
        for (shards, symbol_size) in [(4, 70_001), (7, 32_768), (10, 65_536), (31, 9_999), (44, 1_024), (31, 36_288)] {
            let code = Code::with_shards(shards).unwrap();
            let mut source = vec![0; code.stripe_capacity(symbol_size) as usize];
            blake3::Hasher::new().update(&shards.to_le_bytes()).finalize_xof().fill(&mut source);
            let expanded =
                |axis| usize::from(shards - code.slivers_to_decode(axis)) * code.sliver_length(axis, symbol_size);
            let memory = || (vec![7; expanded(Axis::Primary)], vec![7; source.len() + expanded(Axis::Secondary)]);
            let (mut parity, mut all) = memory();
            encode_stripe_into(code, symbol_size, &source, &mut parity, &mut all, NextUse::Later).unwrap();
            let (mut here, mut there) = memory();
            let of_rows = rows(code, symbol_size, &source, &mut here);
            let of_columns = columns(code, symbol_size, &source, &mut there);
            assert!(here == parity && there == all, "{shards} shards, symbols of {symbol_size} bytes");
            let length = |axis| code.sliver_length(axis, symbol_size);
            let expected = source.chunks_exact(length(Axis::Primary)).chain(parity.chunks_exact(length(Axis::Primary)));
            assert!(of_rows.iter().copied().eq(expected.map(Hash::of)));
            assert!(of_columns.iter().copied().eq(all.chunks_exact(length(Axis::Secondary)).map(Hash::of)));
        }
    }
}
