//! The crate `rustfs-erasure-codec`, measured in a process of its own: it exports the same C symbols as `reed-solomon-erasure`, which becomes many times
//! slower when both are linked together.

use std::io;

use codec_engine::{Combine, Matrices, Matrix, MatrixLibrary, serve};
use rustfs_erasure_codec::CodecOptions;
use rustfs_erasure_codec::galois_8::ReedSolomon;

fn main() -> io::Result<()> {
    serve(&MatrixLibrary(Rustfs))
}

#[derive(Clone, Copy)]
struct Rustfs;

struct Prepared(ReedSolomon);

impl Matrices for Rustfs {
    fn name(&self) -> &'static str {
        "rustfs-erasure-codec"
    }

    fn prepare(&self, matrix: &Matrix) -> Box<dyn Combine> {
        let options = CodecOptions::builder().max_parallel_jobs(1).build();
        let code = ReedSolomon::with_custom_matrix(matrix.sources, matrix.rows.len(), &matrix.rows, options);
        Box::new(Prepared(code.expect("a matrix of up to 255 shards")))
    }
}

impl Combine for Prepared {
    fn combine(&self, sources: &[&[u8]], outputs: &mut [&mut [u8]]) {
        self.0.encode_sep(sources, outputs).expect("shards of one length");
    }
}
