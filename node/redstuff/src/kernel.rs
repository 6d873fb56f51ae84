//! The arithmetic on long vectors: linear combinations over GF(2⁸).
//!
//! Multiplication by a constant `c` is a sum of multiplications by powers of `x`: `c · v = Σ x^b · v` over the bits `b` of `c`. So a combination
//! `Σ cᵢ vᵢ` is evaluated by Horner's rule over the bits, highest first: multiply what there is by `x`, then add all `vᵢ` whose `cᵢ` has the bit.
//! That needs XOR and seven doublings only, whatever the number of sources, and compilers turn both into vector instructions of any width without tables and
//! without `unsafe`.

/// The field's polynomial, x⁸ + x⁴ + x³ + x² + 1, without its highest term: that of `reed_solomon_erasure::galois_8`.
const POLYNOMIAL: u8 = 0x1d;
/// Sources of a tile stay in the first-level cache, in bytes, while all outputs are made of them.
const TILE_BUDGET: usize = 16 << 10;
const MIN_TILE: usize = 256;
const MAX_TILE: usize = 4 << 10;

/// One output's coefficients, as the sources to add for each bit.
#[derive(Debug, Clone)]
pub(crate) struct Combination {
    bits: [Vec<u8>; 8],
}

impl Combination {
    /// One coefficient a source, at most 255.
    pub(crate) fn new(coefficients: &[u8]) -> Self {
        let with = |bit: usize| {
            let sources = coefficients.iter().enumerate().filter(|&(_, c)| c >> bit & 1 == 1);
            sources.map(|(source, _)| source as u8).collect()
        };
        Self { bits: std::array::from_fn(with) }
    }

    /// Sets `out` to the combination of the sources, which lie one after the other in `tile`, `stride` bytes apart.
    fn evaluate(&self, tile: &[u8], stride: usize, out: &mut [u8]) {
        out.fill(0);
        let length = out.len();
        let source = |index: u8| &tile[index as usize * stride..][..length];
        let mut empty = true;
        for sources in self.bits.iter().rev() {
            if !empty {
                double(out);
            }
            let (quads, rest) = sources.as_chunks::<4>();
            for &[a, b, c, d] in quads {
                add_four(out, [source(a), source(b), source(c), source(d)]);
            }
            for &a in rest {
                add_one(out, source(a));
            }
            empty &= sources.is_empty();
        }
    }
}

fn double(out: &mut [u8]) {
    for byte in out {
        let carry = ((*byte as i8) >> 7) as u8;
        *byte = (*byte << 1) ^ (carry & POLYNOMIAL);
    }
}

fn add_one(out: &mut [u8], a: &[u8]) {
    for (out, a) in out.iter_mut().zip(a) {
        *out ^= a;
    }
}

fn add_four(out: &mut [u8], [a, b, c, d]: [&[u8]; 4]) {
    for ((((out, a), b), c), d) in out.iter_mut().zip(a).zip(b).zip(c).zip(d) {
        *out ^= a ^ b ^ c ^ d;
    }
}

/// Sets every output to its combination of the sources. All have the same length.
pub(crate) fn combine(combinations: &[Combination], sources: &[&[u8]], outputs: &mut [&mut [u8]]) {
    debug_assert_eq!(combinations.len(), outputs.len(), "a combination an output");
    let Some(length) = outputs.first().map(|output| output.len()) else { return };
    let tile_length = (TILE_BUDGET / sources.len().max(1) / 64 * 64).clamp(MIN_TILE, MAX_TILE).min(length.max(1));
    // Sources are packed, because streams at equal distances would evict each other from the cache.
    let mut tile = vec![0; tile_length * sources.len()];
    for start in (0..length).step_by(tile_length) {
        let end = length.min(start + tile_length);
        for (packed, source) in tile.chunks_exact_mut(tile_length).zip(sources) {
            packed[..end - start].copy_from_slice(&source[start..end]);
        }
        for (combination, output) in combinations.iter().zip(outputs.iter_mut()) {
            combination.evaluate(&tile, tile_length, &mut output[start..end]);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use reed_solomon_erasure::galois_8::mul_slice_xor;

    use super::*;

    fn slowly(coefficients: &[u8], sources: &[&[u8]], length: usize) -> Vec<u8> {
        let mut out = vec![0; length];
        for (&c, source) in coefficients.iter().zip(sources) {
            mul_slice_xor(c, source, &mut out);
        }
        out
    }

    #[test]
    fn every_product_is_the_reference_one() {
        let all: Vec<u8> = (0..=255).collect();
        for c in 0..=255 {
            let mut out = vec![1; 256];
            combine(&[Combination::new(&[c])], &[&all], &mut [&mut out]);
            assert_eq!(out, slowly(&[c], &[&all], 256), "times {c}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn combinations_are_the_reference_ones(
            matrix in prop::collection::vec(prop::collection::vec(any::<u8>(), 255), 1..4),
            count in 1usize..=255,
            length in 0usize..1500,
            seed: u8,
        ) {
            let data: Vec<u8> = (0..count * length).map(|i| (i * i / 7 + i) as u8 ^ seed).collect();
            let sources: Vec<&[u8]> = (0..count).map(|i| &data[i * length..][..length]).collect();
            let combinations: Vec<_> = matrix.iter().map(|row| Combination::new(&row[..count])).collect();
            let mut outputs = vec![vec![9; length]; matrix.len()];
            combine(&combinations, &sources, &mut outputs.iter_mut().map(Vec::as_mut_slice).collect::<Vec<_>>());
            for (row, output) in matrix.iter().zip(&outputs) {
                prop_assert_eq!(output, &slowly(&row[..count], &sources, length));
            }
        }
    }
}
