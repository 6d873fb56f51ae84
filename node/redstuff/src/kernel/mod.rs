//! The arithmetic on long vectors: linear combinations over GF(2⁸).
//!
//! Everything that the code does is a matrix times sources, byte by byte. [`combine`] walks over them in tiles that stay in the cache, and an [`Engine`]
//! does a tile's arithmetic with what the processor has: chosen once, the same bytes from each.

#![expect(unsafe_code, reason = "vector instructions are reached by it, and nothing else is")]
#![warn(clippy::undocumented_unsafe_blocks)]

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod execute;
mod portable;
mod steps;
mod tables;
mod transform;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod vector;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::ops::Range;
use std::sync::{LazyLock, OnceLock};

use transform::Transform;

#[cfg(target_arch = "aarch64")]
use aarch64::ENGINES;
#[cfg(target_arch = "x86_64")]
use x86::ENGINES;

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
static ENGINES: [Engine; 0] = [];

/// The sources' part of a tile, in bytes: it stays in the second-level cache while all outputs are made of it.
const TILE_BUDGET: usize = 128 << 10;
/// Longer tiles bring no more.
const LONGEST_TILE: usize = 4 << 10;
/// A single output's sum stays in the second-level cache while the sources go by: the longer their runs, the faster memory gives them.
const LONGEST_RUN: usize = 64 << 10;
/// Sources are asked for so many bytes before they are read, where processors don't see for themselves that they will be: while results are streamed (a
/// copy takes twice as long without), and where many sources take turns.
const AHEAD: usize = 512;

/// Bytes of a cache line. A transform makes so many of each output at a time: halves of lines, streamed to many outputs in turn, reach memory one by one.
const LINE: usize = 64;

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Store {
    /// To be read again soon.
    Cached,
    /// Past the caches, for results that are larger than them: memory needn't be read to be overwritten.
    Streamed,
}

/// Coefficients, one row an output, one column a source.
#[derive(Debug)]
pub(crate) struct Matrix {
    sources: usize,
    coefficients: Vec<u8>,
    /// For a generator, where it is faster.
    transform: Option<Transform>,
    /// As the portable engine wants them.
    bits: OnceLock<Vec<portable::Bits>>,
}

impl Matrix {
    /// Rows of `sources` coefficients each; there is at least one source.
    pub(crate) fn new(sources: u16, rows: impl Iterator<Item = Vec<u8>>) -> Self {
        let coefficients: Vec<u8> = rows.flatten().collect();
        let sources = usize::from(sources);
        assert!(sources > 0 && coefficients.len().is_multiple_of(sources), "rows of {sources} coefficients");
        Self { sources, coefficients, transform: None, bits: OnceLock::new() }
    }

    /// Rows `k..n` of the systematic generator, of which `rows` are the coefficients.
    pub(crate) fn generator(k: u16, n: u16, rows: impl Iterator<Item = Vec<u8>>) -> Self {
        let matrix = Self::new(k, rows);
        let transform = Transform::new(k.into(), n.into());
        let is_faster = 2 * transform.cost() < matrix.coefficients.len();
        Self { transform: is_faster.then_some(transform), ..matrix }
    }

    /// Whether it is applied as a transform.
    pub(crate) const fn is_transform(&self) -> bool {
        self.transform.is_some()
    }

    const fn sources(&self) -> usize {
        self.sources
    }

    const fn outputs(&self) -> usize {
        self.coefficients.len() / self.sources
    }

    fn row(&self, output: usize) -> &[u8] {
        &self.coefficients[output * self.sources..][..self.sources]
    }

    /// `R` rows, from the first given on.
    fn rows<const R: usize>(&self, first: usize) -> [&[u8]; R] {
        std::array::from_fn(|row| self.row(first + row))
    }

    fn bits(&self) -> &[portable::Bits] {
        self.bits.get_or_init(|| (0..self.outputs()).map(|output| portable::Bits::new(self.row(output))).collect())
    }
}

/// Sets bytes in a range, a multiple of the engine's granule, of outputs from as many bytes of sources. May be called only where the engine's `detect`
/// says so.
type Apply<By> = unsafe fn(&By, &[&[u8]], &mut [&mut [u8]], Range<usize>, Store);

/// One way to do the arithmetic.
struct Engine {
    name: &'static str,
    /// Whether this processor can.
    detect: fn() -> bool,
    /// Ranges are multiples of so many bytes.
    granule: usize,
    /// Bytes of each source that are combined at a time.
    block: usize,
    arithmetic: Arithmetic,
}

enum Arithmetic {
    Portable,
    Vectors {
        multiply: Apply<Matrix>,
        transform: Apply<Transform>,
        /// Orders what was streamed before what is written later.
        fence: unsafe fn(),
    },
}

static PORTABLE: Engine = Engine {
    name: "portable",
    detect: || true,
    granule: portable::BLOCK,
    block: portable::BLOCK,
    arithmetic: Arithmetic::Portable,
};

/// This processor's engines, the best first.
fn engines() -> impl Iterator<Item = &'static Engine> {
    ENGINES.iter().chain([&PORTABLE]).filter(|engine| (engine.detect)())
}

fn best() -> &'static Engine {
    static BEST: OnceLock<&Engine> = OnceLock::new();
    BEST.get_or_init(|| engines().next().expect("the portable engine is always there"))
}

/// The name of the engine that this processor gets.
pub fn engine_name() -> &'static str {
    best().name
}

/// Sets every output to its combination of the sources. All have the same length.
///
/// # Panics
/// When there aren't as many sources and outputs as the matrix has columns and rows, or lengths differ.
pub(crate) fn combine(matrix: &Matrix, sources: &[&[u8]], outputs: &mut [&mut [u8]], store: Store) {
    combine_with(best(), matrix, sources, outputs, store);
}

/// Copies as [`combine`] writes.
///
/// # Panics
/// When lengths differ.
pub(crate) fn copy(from: &[u8], to: &mut [u8], store: Store) {
    static ONE: LazyLock<Matrix> = LazyLock::new(|| Matrix::new(1, std::iter::once(vec![1])));
    match store {
        Store::Cached => to.copy_from_slice(from),
        Store::Streamed => combine(&ONE, &[from], &mut [to], store),
    }
}

fn combine_with(engine: &Engine, matrix: &Matrix, sources: &[&[u8]], outputs: &mut [&mut [u8]], store: Store) {
    let Some(length) = outputs.first().map(|output| output.len()) else { return };
    assert_eq!((sources.len(), outputs.len()), (matrix.sources(), matrix.outputs()), "sources and outputs of a matrix");
    assert!(sources.iter().all(|source| source.len() == length), "sources of one length");
    assert!(outputs.iter().all(|output| output.len() == length), "outputs of one length");
    let whole = length / engine.granule * engine.granule;
    apply(engine, matrix, sources, outputs, 0..whole, store);
    if whole < length {
        // A granule that the rest is the beginning of.
        let mut rest = vec![0; (sources.len() + outputs.len()) * engine.granule];
        let (rest_sources, rest_outputs) = rest.split_at_mut(sources.len() * engine.granule);
        for (rest, source) in rest_sources.chunks_exact_mut(engine.granule).zip(sources) {
            rest[..length - whole].copy_from_slice(&source[whole..]);
        }
        let sources: Vec<&[u8]> = rest_sources.chunks_exact(engine.granule).collect();
        let mut sums: Vec<&mut [u8]> = rest_outputs.chunks_exact_mut(engine.granule).collect();
        apply(engine, matrix, &sources, &mut sums, 0..engine.granule, Store::Cached);
        for (output, sum) in outputs.iter_mut().zip(sums) {
            output[whole..].copy_from_slice(&sum[..length - whole]);
        }
    }
    if let (Store::Streamed, Arithmetic::Vectors { fence, .. }) = (store, &engine.arithmetic) {
        // SAFETY: engines come from `engines()`, which gives those alone that the processor has.
        unsafe { fence() };
    }
}

/// [`combine_with`] for a range that is a multiple of the engine's granule.
fn apply(
    engine: &Engine,
    matrix: &Matrix,
    sources: &[&[u8]],
    outputs: &mut [&mut [u8]],
    range: Range<usize>,
    store: Store,
) {
    if let (Arithmetic::Vectors { transform, .. }, Some(by)) = (&engine.arithmetic, &matrix.transform) {
        // SAFETY: engines come from `engines()`, which gives those alone that the processor has.
        return unsafe { transform(by, sources, outputs, range, store) };
    }
    let tile = if let ([_], Arithmetic::Vectors { .. }) = (&*outputs, &engine.arithmetic) {
        LONGEST_RUN
    } else {
        (TILE_BUDGET / sources.len() / engine.block * engine.block).clamp(engine.block, LONGEST_TILE)
    };
    for start in range.clone().step_by(tile) {
        let range = start..range.end.min(start + tile);
        match engine.arithmetic {
            Arithmetic::Portable => portable::multiply(matrix, sources, outputs, range),
            // SAFETY: as above.
            Arithmetic::Vectors { multiply, .. } => unsafe { multiply(matrix, sources, outputs, range, store) },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use reed_solomon_erasure::galois_8::mul_slice_xor;

    use super::*;
    use crate::field::Basis;

    const ALIGNMENT: usize = 64;

    fn slowly(coefficients: &[u8], sources: &[&[u8]], length: usize) -> Vec<u8> {
        let mut out = vec![0; length];
        for (&c, source) in coefficients.iter().zip(sources) {
            mul_slice_xor(c, source, &mut out);
        }
        out
    }

    /// `count` sources of one length, which begin at some byte of their memory.
    fn bytes(count: usize, length: usize, misaligned: usize, seed: u8) -> Vec<u8> {
        (0..count * length + misaligned).map(|i| (i * i / 7 + i) as u8 ^ seed).collect()
    }

    /// Compares all engines with [`mul_slice_xor`], and looks for bytes written beside the outputs.
    fn compare(matrix: &Matrix, length: usize, misaligned: usize, store: Store, seed: u8) {
        let data = bytes(matrix.sources(), length, misaligned, seed);
        let sources: Vec<&[u8]> = (0..matrix.sources()).map(|i| &data[misaligned + i * length..][..length]).collect();
        for engine in engines() {
            let mut memory = vec![vec![9; length + misaligned + 2 * ALIGNMENT]; matrix.outputs()];
            // So far beyond a boundary, from which on vectors can be streamed.
            let begin =
                |bytes: &[u8]| bytes.as_ptr().addr().next_multiple_of(ALIGNMENT) - bytes.as_ptr().addr() + misaligned;
            let mut outputs: Vec<&mut [u8]> = memory
                .iter_mut()
                .map(|bytes| {
                    let start = begin(bytes);
                    &mut bytes[start..][..length]
                })
                .collect();
            combine_with(engine, matrix, &sources, &mut outputs, store);
            for (at, output) in memory.iter().enumerate() {
                let (expected, start) = (slowly(matrix.row(at), &sources, length), begin(output));
                assert!(output[start..][..length] == expected, "{}: output {at} of {length} bytes", engine.name);
                assert!(output[..start].iter().chain(&output[start + length..]).all(|&byte| byte == 9));
            }
        }
    }

    /// As Linux tells them, which asks the processor in its own way.
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    fn expected_engines() -> Vec<&'static str> {
        let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap();
        let flags = processor.lines().find(|line| line.starts_with("flags")).unwrap();
        let has = |flag: &str| flags.split_whitespace().any(|other| other == flag);
        [
            ("GFNI and AVX-512", has("avx512f") && has("gfni")),
            ("GFNI and AVX2", has("avx2") && has("gfni")),
            ("AVX2", has("avx2")),
            ("portable", true),
        ]
        .into_iter()
        .filter_map(|(name, is_there)| is_there.then_some(name))
        .collect()
    }

    /// Every processor that Rust's targets are for has NEON.
    #[cfg(target_arch = "aarch64")]
    fn expected_engines() -> Vec<&'static str> {
        vec!["NEON", "portable"]
    }

    #[test]
    #[cfg(any(all(target_arch = "x86_64", target_os = "linux"), target_arch = "aarch64"))]
    fn the_engines_are_those_that_the_processor_has() {
        assert_eq!(engines().map(|engine| engine.name).collect::<Vec<_>>(), expected_engines());
        assert_eq!(engine_name(), expected_engines()[0]);
    }

    #[test]
    fn every_product_of_every_engine_is_the_reference_one() {
        let all: Vec<u8> = (0..=255).collect();
        for engine in engines() {
            for c in 0..=255 {
                let mut out = vec![1; 256];
                let matrix = Matrix::new(1, [vec![c]].into_iter());
                combine_with(engine, &matrix, &[&all], &mut [&mut out], Store::Cached);
                assert_eq!(out, slowly(&[c], &[&all], 256), "{}: times {c}", engine.name);
            }
        }
    }

    #[test]
    fn longer_outputs_than_a_tile_are_the_reference_ones() {
        let row = |seed: usize, sources: usize| (0..sources).map(|i| (i * 83 + seed * 29 + 1) as u8).collect();
        for (sources, outputs, length) in
            [(3, 1, 2 * LONGEST_RUN + 77), (19, 1, LONGEST_RUN + 64), (9, 6, 3 * LONGEST_TILE + 5)]
        {
            let matrix = Matrix::new(sources as u16, (0..outputs).map(|seed| row(seed, sources)));
            for store in [Store::Cached, Store::Streamed] {
                compare(&matrix, length, 0, store, 5);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]
        #[test]
        fn combinations_of_every_engine_are_the_reference_ones(
            rows in prop::collection::vec(prop::collection::vec(any::<u8>(), 255), 1..11),
            count in 1usize..=255,
            length in 0usize..1500,
            misaligned in prop_oneof![Just(0usize), 0usize..64],
            streamed: bool,
            seed: u8,
        ) {
            let matrix = Matrix::new(count as u16, rows.iter().map(|row| row[..count].to_vec()));
            compare(&matrix, length, misaligned, if streamed { Store::Streamed } else { Store::Cached }, seed);
        }

        #[test]
        fn generators_of_every_engine_are_the_reference_ones(
            n in 2u16..=256,
            k in any::<prop::sample::Index>(),
            length in 0usize..300,
            misaligned in prop_oneof![Just(0usize), 0usize..64],
            streamed: bool,
            seed: u8,
        ) {
            let k = 1 + k.index(usize::from(n) - 1) as u16;
            let basis = Basis::new((0..k).map(|point| point as u8).collect());
            let mut matrix = Matrix::generator(k, n, (k..n).map(|x| basis.row(x as u8)));
            compare(&matrix, length, misaligned, if streamed { Store::Streamed } else { Store::Cached }, seed);
            // Where it isn't faster, too.
            matrix.transform = Some(Transform::new(k.into(), n.into()));
            compare(&matrix, length, misaligned, if streamed { Store::Streamed } else { Store::Cached }, seed);
        }
    }
}
