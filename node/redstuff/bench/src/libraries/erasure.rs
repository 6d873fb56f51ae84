//! `reed-solomon-erasure` with `simd-accel`: the crate whose code Weft's is.

use codec_engine::{Arrangement, Engine, Field, Library, Line, Lines, Matrix, Shape, Task, Tiled};
use reed_solomon_erasure::galois_8::{ReedSolomon, mul_slice, mul_slice_xor};

/// `reed-solomon-erasure`.
#[derive(Debug, Clone, Copy)]
pub struct Erasure;

impl Library for Erasure {
    fn name(&self) -> &'static str {
        "reed-solomon-erasure"
    }

    fn field(&self) -> Field {
        Field::Same
    }

    fn arrangements(&self, task: &Task) -> Vec<Arrangement> {
        codec_engine::candidates(task)
    }

    fn engine(&self, shape: Shape, arrangement: Arrangement) -> Box<dyn Engine> {
        Box::new(Tiled::new(self, shape, arrangement))
    }
}

impl Lines for Erasure {
    fn line(&self, k: usize, n: usize, f: usize, _tile: usize) -> Box<dyn Line> {
        Box::new(ErasureLine {
            code: ReedSolomon::new(k, n - k).expect("a code of up to 255 shards"),
            parity: Matrix::interpolation(0..k, k..n),
            restore: Matrix::interpolation(f..f + k, 0..f),
        })
    }
}

/// The library encodes all parity shards, and reconstructs in place; a single shard, or one elsewhere, is made with the functions that it's made of.
struct ErasureLine {
    code: ReedSolomon,
    parity: Matrix,
    restore: Matrix,
}

fn combine(rows: &[Vec<u8>], sources: &[&[u8]], outputs: &mut [&mut [u8]]) {
    for (index, source) in sources.iter().enumerate() {
        for (row, output) in rows.iter().zip(&mut *outputs) {
            if index == 0 { mul_slice(row[0], source, output) } else { mul_slice_xor(row[index], source, output) }
        }
    }
}

impl Line for ErasureLine {
    fn expand(&mut self, data: &[&[u8]], parity: &mut [&mut [u8]]) {
        self.code.encode_sep(data, parity).expect("shards of one length");
    }

    fn expand_one(&mut self, data: &[&[u8]], target: usize, out: &mut [u8]) {
        let row = target - self.parity.sources;
        combine(&self.parity.rows[row..=row], data, &mut [out]);
    }

    fn restore(&mut self, given: &[&[u8]], out: &mut [&mut [u8]]) {
        combine(&self.restore.rows, given, out);
    }
}
