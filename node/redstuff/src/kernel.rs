//! The arithmetic on long vectors: linear combinations over GF(2⁸).
//!
//! Multiplication by a constant `c` is a sum of multiplications by powers of `x`: `c · v = Σ x^b · v` over the bits `b` of `c`.
//! So a combination `Σ cᵢ vᵢ` is evaluated by Horner's rule over the bits, highest first: multiply what there is by `x`, then add
//! all `vᵢ` whose `cᵢ` has the bit. That needs XOR and eight doublings only, whatever the number of sources, and a block of the
//! sum stays in vector registers of any width meanwhile, without tables and without `unsafe`.

/// The field's polynomial, x⁸ + x⁴ + x³ + x² + 1, without its highest term: that of `reed_solomon_erasure::galois_8`.
const POLYNOMIAL: u8 = 0x1d;
/// Bytes that are combined at a time: what fits the registers.
const BLOCK: usize = 128;
/// Sources of a tile stay in the first-level cache, in bytes, while all outputs are made of them.
const TILE_BUDGET: usize = 16 << 10;
const MAX_TILE_BLOCKS: usize = 32;

type Block = [u8; BLOCK];

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

    /// The combination of one block of each source.
    fn evaluate(&self, sources: &[Block]) -> Block {
        let mut sum = [0; BLOCK];
        for bit in self.bits.iter().rev() {
            double(&mut sum);
            for &source in bit {
                for (sum, byte) in sum.iter_mut().zip(&sources[source as usize]) {
                    *sum ^= byte;
                }
            }
        }
        sum
    }
}

fn double(block: &mut Block) {
    for byte in block {
        let carry = ((*byte as i8) >> 7) as u8;
        *byte = (*byte << 1) ^ (carry & POLYNOMIAL);
    }
}

/// Sets every output to its combination of the sources, of which there is at least one. All have the same length.
pub(crate) fn combine(combinations: &[Combination], sources: &[&[u8]], outputs: &mut [&mut [u8]]) {
    debug_assert_eq!(combinations.len(), outputs.len(), "a combination an output");
    let Some(length) = outputs.first().map(|output| output.len()) else { return };
    let blocks = (TILE_BUDGET / BLOCK / sources.len()).clamp(1, MAX_TILE_BLOCKS).min(length.div_ceil(BLOCK));
    // Sources are packed block by block, because streams at equal distances would evict each other from the cache.
    let mut tile = vec![[0; BLOCK]; blocks * sources.len()];
    for start in (0..length).step_by((blocks * BLOCK).max(1)) {
        let end = length.min(start + blocks * BLOCK);
        for (at, source) in sources.iter().enumerate() {
            for (block, bytes) in source[start..end].chunks(BLOCK).enumerate() {
                let packed = &mut tile[block * sources.len() + at];
                match bytes.first_chunk() {
                    Some(whole) => *packed = *whole,
                    None => packed[..bytes.len()].copy_from_slice(bytes),
                }
            }
        }
        for (combination, output) in combinations.iter().zip(outputs.iter_mut()) {
            let packed = tile.chunks_exact(sources.len());
            for (bytes, sources) in output[start..end].chunks_mut(BLOCK).zip(packed) {
                let sum = combination.evaluate(sources);
                match bytes.first_chunk_mut() {
                    Some(whole) => *whole = sum,
                    None => bytes.copy_from_slice(&sum[..bytes.len()]),
                }
            }
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
