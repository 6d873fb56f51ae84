//! `reed-solomon-simd` as Walrus arranges it (its `BlobEncoder`): one matrix of whole symbols, encoded column by column and row by row; for its
//! commitments the grid is completed to `n²` symbols, each of which is hashed with BLAKE2b-256.
//!
//! It gets more here than Walrus gives itself: workspaces are kept from call to call, symbols aren't copied between buffers, and the trees over the
//! hashes are left out.

use std::hint::black_box;

use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest};
use codec_engine::{Arrangement, Cutting, Engine, Field, Library, Shape, Stripe, Task, Tiled};

use super::simd::{Simd, SimdLine};

/// Walrus counts a symbol's bytes in 16 bits.
const LONGEST: usize = (1 << 16) - 64;

/// Walrus's arrangement.
#[derive(Debug, Clone, Copy)]
pub struct Walrus {
    /// Whether all symbols are hashed, too.
    pub commits: bool,
}

impl Library for Walrus {
    fn name(&self) -> &'static str {
        if self.commits { "Walrus's arrangement, BLAKE2b of all symbols" } else { "reed-solomon-simd as in Walrus" }
    }

    fn field(&self) -> Field {
        Field::Other
    }

    fn arrangements(&self, task: &Task) -> Vec<Arrangement> {
        let cutting = match *task {
            Task::Encode { shape, blob, threads, .. } => {
                let whole = blob.div_ceil(shape.source_symbols() * threads).next_multiple_of(64);
                Cutting::Symbols(whole.min(LONGEST))
            }
            Task::Decode { shape, blob, .. } => {
                Cutting::Symbols(blob.div_ceil(shape.source_symbols()).next_multiple_of(64).min(LONGEST))
            }
            Task::Symbol { .. } | Task::Rebuild { .. } => Cutting::Weft,
        };
        vec![Arrangement { cutting, tile: usize::MAX, fused: false }]
    }

    fn engine(&self, shape: Shape, arrangement: Arrangement) -> Box<dyn Engine> {
        Box::new(WalrusEngine {
            shape,
            commits: self.commits,
            down: SimdLine::new(shape.rows(), shape.n, shape.f),
            along: SimdLine::new(shape.columns(), shape.n, shape.f),
            others: Tiled::new(&Simd, shape, arrangement),
        })
    }
}

struct WalrusEngine {
    shape: Shape,
    commits: bool,
    down: SimdLine,
    along: SimdLine,
    /// For all but encoding.
    others: Tiled,
}

fn hash(symbol: &[u8]) {
    // A leaf of Walrus's trees begins with a zero.
    black_box(Blake2b::<U32>::new().chain_update([0]).chain_update(symbol).finalize());
}

impl Engine for WalrusEngine {
    fn encode(&mut self, stripe: Stripe<'_>) {
        let Stripe { symbol, source, parity, columns } = stripe;
        let Self { shape, commits, down, along, .. } = self;
        let (row, column) = (shape.columns() * symbol, shape.rows() * symbol);
        for (index, cells) in columns.chunks_exact_mut(column).take(shape.columns()).enumerate() {
            for (cell, row) in cells.chunks_exact_mut(symbol).zip(source.chunks_exact(row)) {
                cell.copy_from_slice(&row[index * symbol..][..symbol]);
            }
            down.parity(cells.chunks_exact(symbol), symbol, |at, shard| {
                parity[at * row + index * symbol..][..symbol].copy_from_slice(shard);
            });
        }
        let expanded = &mut columns[shape.columns() * column..];
        for (index, row) in source.chunks_exact(row).enumerate() {
            along.parity(row.chunks_exact(symbol), symbol, |at, shard| {
                expanded[at * column + index * symbol..][..symbol].copy_from_slice(shard);
            });
        }
        if *commits {
            let others = expanded.chunks_exact(symbol).chain(parity.chunks_exact(symbol));
            source.chunks_exact(symbol).chain(others).for_each(hash);
            for cells in expanded.chunks_exact(column) {
                down.parity(cells.chunks_exact(symbol), symbol, |_, shard| hash(shard));
            }
        }
    }

    fn symbol(&mut self, sliver: &[u8], target: usize, out: &mut [u8]) {
        self.others.symbol(sliver, target, out);
    }

    fn rebuild(&mut self, symbols: &[&[u8]], out: &mut [u8]) {
        self.others.rebuild(symbols, out);
    }

    fn decode(&mut self, symbol: usize, lost: usize, rows: &[&[u8]], out: &mut [u8]) {
        self.others.decode(symbol, lost, rows, out);
    }
}
