//! The kernel in plain Rust, for processors that nothing better is written for.
//!
//! Multiplication by a constant `c` is a sum of multiplications by powers of `x`: `c · v = Σ x^b · v` over the bits `b` of `c`.
//! So a combination `Σ cᵢ vᵢ` is evaluated by Horner's rule over the bits, highest first: multiply what there is by `x`, then add
//! all `vᵢ` whose `cᵢ` has the bit. That needs XOR and eight doublings only, whatever the number of sources, and a block of the
//! sum stays in vector registers of any width meanwhile, without tables and without `unsafe`.

#![forbid(unsafe_code)]

use std::ops::Range;

use super::Matrix;
use super::tables::POLYNOMIAL;

/// Bytes that are combined at a time: what fits the registers.
pub(super) const BLOCK: usize = 128;

type Block = [u8; BLOCK];

/// One output's coefficients, as the sources to add for each bit.
#[derive(Debug)]
pub(super) struct Bits([Vec<u8>; 8]);

impl Bits {
    /// One coefficient a source, at most 255.
    pub(super) fn new(coefficients: &[u8]) -> Self {
        let with = |bit: usize| {
            let sources = coefficients.iter().enumerate().filter(|&(_, c)| c >> bit & 1 == 1);
            sources.map(|(source, _)| source as u8).collect()
        };
        Self(std::array::from_fn(with))
    }

    /// The combination of one block of each source.
    fn evaluate(&self, sources: &[Block]) -> Block {
        let mut sum = [0; BLOCK];
        for bit in self.0.iter().rev() {
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

/// Sets bytes `range`, a multiple of a block, of the outputs to their combinations.
pub(super) fn multiply(matrix: &Matrix, sources: &[&[u8]], outputs: &mut [&mut [u8]], range: Range<usize>) {
    // Blocks of each source after the other: streams at equal distances would evict each other from the cache.
    let mut tile = vec![[0; BLOCK]; range.len() / BLOCK * sources.len()];
    for (at, source) in sources.iter().enumerate() {
        for (block, bytes) in source[range.clone()].as_chunks::<BLOCK>().0.iter().enumerate() {
            tile[block * sources.len() + at] = *bytes;
        }
    }
    for (bits, output) in matrix.bits().iter().zip(outputs) {
        let blocks = output[range.clone()].as_chunks_mut::<BLOCK>().0;
        for (block, sources) in blocks.iter_mut().zip(tile.chunks_exact(sources.len())) {
            *block = bits.evaluate(sources);
        }
    }
}
