//! Intel's ISA-L, as the distribution packages it.

// The library is C.
#![expect(unsafe_code, reason = "ISA-L is called through its C interface")]

use std::ffi::c_int;

use codec_engine::{Combine, Matrices, Matrix};

#[link(name = "isal")]
unsafe extern "C" {
    fn ec_init_tables(k: c_int, rows: c_int, a: *const u8, tables: *mut u8);
    fn ec_encode_data(
        length: c_int,
        k: c_int,
        rows: c_int,
        tables: *const u8,
        data: *const *const u8,
        coding: *const *mut u8,
    );
}

/// Bytes that ISA-L wants of its tables for each coefficient.
const TABLE: usize = 32;

#[derive(Debug, Clone, Copy)]
pub(super) struct Isal;

impl Matrices for Isal {
    fn name(&self) -> &'static str {
        "ISA-L"
    }

    fn prepare(&self, matrix: &Matrix) -> Box<dyn Combine> {
        let (k, rows) = (matrix.sources, matrix.rows.len());
        let coefficients = matrix.rows.concat();
        assert_eq!(coefficients.len(), k * rows, "k coefficients a row");
        let mut tables = vec![0; TABLE * k * rows];
        // SAFETY: reads k · rows coefficients and writes 32 bytes for each: as many as both vectors have.
        unsafe { ec_init_tables(k as c_int, rows as c_int, coefficients.as_ptr(), tables.as_mut_ptr()) };
        Box::new(Prepared { k, rows, tables })
    }
}

struct Prepared {
    k: usize,
    rows: usize,
    tables: Vec<u8>,
}

impl Combine for Prepared {
    fn combine(&self, sources: &[&[u8]], outputs: &mut [&mut [u8]]) {
        let Self { k, rows, ref tables } = *self;
        let length = sources[0].len();
        assert_eq!((sources.len(), outputs.len()), (k, rows), "sources and outputs of the matrix");
        assert!(sources.iter().all(|source| source.len() == length), "sources of one length");
        assert!(outputs.iter().all(|output| output.len() == length), "outputs of one length");
        let data: Vec<*const u8> = sources.iter().map(|source| source.as_ptr()).collect();
        let coding: Vec<*mut u8> = outputs.iter_mut().map(|output| output.as_mut_ptr()).collect();
        // SAFETY: k sources and as many outputs as rows, each of `length` bytes (asserted), the outputs borrowed exclusively; the tables are those of
        // this k and rows.
        unsafe {
            ec_encode_data(length as c_int, k as c_int, rows as c_int, tables.as_ptr(), data.as_ptr(), coding.as_ptr());
        }
    }
}
