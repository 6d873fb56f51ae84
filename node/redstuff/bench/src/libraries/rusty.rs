//! `rusty_erasure`: ISA-L remade in Rust.

use codec_engine::{Combine, Matrices, Matrix};
use rusty_erasure::Coder;

#[derive(Debug, Clone, Copy)]
pub(super) struct Rusty;

impl Matrices for Rusty {
    fn name(&self) -> &'static str {
        "rusty_erasure"
    }

    fn prepare(&self, matrix: &Matrix) -> Box<dyn Combine> {
        let k = matrix.sources;
        let identity = (0..k * k).map(|at| u8::from(at / k == at % k));
        let bytes = identity.chain(matrix.rows.iter().flatten().copied()).collect();
        let matrix = rusty_erasure::Matrix::from_bytes(k + matrix.rows.len(), k, bytes).expect("up to 256 shards");
        Box::new(Prepared(rusty_erasure::coder(matrix).expect("there is parity")))
    }
}

struct Prepared(Coder);

impl Combine for Prepared {
    fn combine(&self, sources: &[&[u8]], outputs: &mut [&mut [u8]]) {
        self.0.encode(sources, outputs).expect("shards of one length");
    }
}
