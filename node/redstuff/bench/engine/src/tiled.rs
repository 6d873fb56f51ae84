//! One-dimensional codes, made two-dimensional tile by tile.

use crate::engine::{Arrangement, Engine};
use crate::grid::{Shape, Stripe};

/// A systematic code of `k` data and `n − k` parity shards. All shards of a call have the same length.
pub trait Line: Send {
    /// Sets all parity shards.
    fn expand(&mut self, data: &[&[u8]], parity: &mut [&mut [u8]]);

    /// Sets the one shard `target ≥ k`.
    fn expand_one(&mut self, data: &[&[u8]], target: usize, out: &mut [u8]);

    /// Sets the first `f` data shards from the shards `f..f + k`, in this order.
    fn restore(&mut self, given: &[&[u8]], out: &mut [&mut [u8]]);
}

/// A library of one-dimensional codes.
pub trait Lines: Send + Sync {
    /// A code of `k` data shards and `n` in all, of which the first `f` get lost. Shards are mostly `tile` bytes long.
    fn line(&self, k: usize, n: usize, f: usize, tile: usize) -> Box<dyn Line>;
}

/// Both dimensions with a [`Line`] each.
pub struct Tiled {
    shape: Shape,
    tile: usize,
    fused: bool,
    /// Along a column: `k1` to `n`.
    down: Box<dyn Line>,
    /// Along a row: `k2` to `n`.
    along: Box<dyn Line>,
}

impl std::fmt::Debug for Tiled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tiled").field("shape", &self.shape).field("tile", &self.tile).finish_non_exhaustive()
    }
}

/// `(offset, length)` of parts of about `tile` bytes, of one length but for the last: libraries set themselves up anew for another one.
fn parts(length: usize, tile: usize) -> impl Iterator<Item = (usize, usize)> {
    let part = length.div_ceil(length.div_ceil(tile)).next_multiple_of(64);
    (0..length).step_by(part).map(move |at| (at, part.min(length - at)))
}

fn pieces(of: &[u8], stride: usize, at: usize, length: usize) -> impl Iterator<Item = &[u8]> {
    of.chunks_exact(stride).map(move |chunk| &chunk[at..][..length])
}

fn pieces_mut(of: &mut [u8], stride: usize, at: usize, length: usize) -> impl Iterator<Item = &mut [u8]> {
    of.chunks_exact_mut(stride).map(move |chunk| &mut chunk[at..][..length])
}

impl Tiled {
    pub fn new(lines: &dyn Lines, shape: Shape, arrangement: Arrangement) -> Self {
        let Arrangement { cutting: _, tile, fused } = arrangement;
        let Shape { n, f } = shape;
        let down = lines.line(shape.rows(), n, f, tile);
        let along = lines.line(shape.columns(), n, f, tile);
        Self { shape, tile, fused, down, along }
    }

    /// Bytes `at..at + length` of each parity row.
    fn rows(&mut self, stripe: &mut Stripe<'_>, at: usize, length: usize) {
        let row = self.shape.columns() * stripe.symbol;
        let data: Vec<&[u8]> = pieces(stripe.source, row, at, length).collect();
        let mut parity: Vec<&mut [u8]> = pieces_mut(stripe.parity, row, at, length).collect();
        self.down.expand(&data, &mut parity);
    }

    /// Bytes `at..at + length` of each column's symbol of this row.
    fn columns(&mut self, stripe: &mut Stripe<'_>, row: usize, at: usize, length: usize) {
        let Stripe { symbol, source, ref mut columns, .. } = *stripe;
        let source = &source[row * self.shape.columns() * symbol..][..self.shape.columns() * symbol];
        let data: Vec<&[u8]> = pieces(source, symbol, at, length).collect();
        let mut cells: Vec<&mut [u8]> =
            pieces_mut(columns, self.shape.rows() * symbol, row * symbol + at, length).collect();
        let (systematic, parity) = cells.split_at_mut(data.len());
        for (cell, data) in systematic.iter_mut().zip(&data) {
            cell.copy_from_slice(data);
        }
        self.along.expand(&data, parity);
    }
}

impl Engine for Tiled {
    fn encode(&mut self, mut stripe: Stripe<'_>) {
        let symbol = stripe.symbol;
        let (rows, columns) = (self.shape.rows(), self.shape.columns());
        if self.fused {
            for (at, length) in parts(symbol, self.tile) {
                for column in 0..columns {
                    self.rows(&mut stripe, column * symbol + at, length);
                }
                for row in 0..rows {
                    self.columns(&mut stripe, row, at, length);
                }
            }
        } else {
            for (at, length) in parts(columns * symbol, self.tile) {
                self.rows(&mut stripe, at, length);
            }
            for row in 0..rows {
                for (at, length) in parts(symbol, self.tile) {
                    self.columns(&mut stripe, row, at, length);
                }
            }
        }
    }

    fn symbol(&mut self, sliver: &[u8], target: usize, out: &mut [u8]) {
        for (at, length) in parts(out.len(), self.tile) {
            let data: Vec<&[u8]> = pieces(sliver, out.len(), at, length).collect();
            self.down.expand_one(&data, target, &mut out[at..][..length]);
        }
    }

    fn rebuild(&mut self, symbols: &[&[u8]], out: &mut [u8]) {
        let symbol = symbols[0].len();
        let (lost, known) = out.split_at_mut(self.shape.f * symbol);
        for (out, given) in known.chunks_exact_mut(symbol).zip(symbols) {
            out.copy_from_slice(given);
        }
        for (at, length) in parts(symbol, self.tile) {
            let given: Vec<&[u8]> = symbols.iter().map(|given| &given[at..][..length]).collect();
            self.along.restore(&given, &mut pieces_mut(lost, symbol, at, length).collect::<Vec<_>>());
        }
    }

    fn decode(&mut self, symbol: usize, lost: usize, rows: &[&[u8]], out: &mut [u8]) {
        let row = self.shape.columns() * symbol;
        let (missing, known) = out.split_at_mut(lost * row);
        for (out, given) in known.chunks_exact_mut(row).zip(rows) {
            out.copy_from_slice(given);
        }
        if lost > 0 {
            for (at, length) in parts(row, self.tile) {
                let given: Vec<&[u8]> = rows.iter().map(|given| &given[at..][..length]).collect();
                self.down.restore(&given, &mut pieces_mut(missing, row, at, length).collect::<Vec<_>>());
            }
        }
    }
}
