//! Weft's own code, stripe by stripe as it cuts a blob.

use std::hint::black_box;

use codec_engine::{Arrangement, Cutting, Engine, Field, Library, Shape, Stripe, Task, WeftSizes};
use weft_redstuff::{
    Axis, Code, Hash, Layout, NextUse, decode_from_primaries_into, encode_stripe_into, rebuild_sliver_into, symbol_into,
};

/// Weft.
#[derive(Debug, Clone, Copy)]
pub struct Weft {
    /// Whether the hashes of all `2n` slivers of each stripe are made too.
    pub commits: bool,
}

fn code(shape: Shape) -> Code {
    Code::new(shape.n as u16, shape.f as u16).expect("a shape is a code's")
}

/// The symbols of a blob's full stripes, and of its last one.
pub fn sizes(shape: Shape, blob: usize) -> WeftSizes {
    let layout = Layout::sliced(code(shape), blob as u64).expect("a blob of less than 2³² stripes");
    WeftSizes { full: layout.symbol_size() as usize, tail: layout.tail_symbol_size() as usize }
}

/// The symbols of a full stripe.
pub(super) fn full_symbol(shape: Shape) -> usize {
    Layout::full_symbol_size(code(shape)) as usize
}

impl Library for Weft {
    fn name(&self) -> &'static str {
        if self.commits { "Weft, BLAKE3 of all slivers" } else { "Weft" }
    }

    fn field(&self) -> Field {
        Field::Same
    }

    fn arrangements(&self, _task: &Task) -> Vec<Arrangement> {
        vec![Arrangement { cutting: Cutting::Weft, tile: usize::MAX, fused: false }]
    }

    fn engine(&self, shape: Shape, _arrangement: Arrangement) -> Box<dyn Engine> {
        Box::new(WeftEngine { code: code(shape), commits: self.commits })
    }
}

struct WeftEngine {
    code: Code,
    commits: bool,
}

fn indexed<'a>(first: usize, slivers: &[&'a [u8]]) -> Vec<(u16, &'a [u8])> {
    (first as u16..).zip(slivers.iter().copied()).collect()
}

impl Engine for WeftEngine {
    fn encode(&mut self, stripe: Stripe<'_>) {
        let Stripe { symbol, source, parity, columns } = stripe;
        let next = if self.commits { NextUse::Soon } else { NextUse::Later };
        encode_stripe_into(self.code, symbol as u32, source, parity, columns, next).expect("a whole stripe");
        if self.commits {
            let row = self.code.sliver_length(Axis::Primary, symbol as u32);
            let column = self.code.sliver_length(Axis::Secondary, symbol as u32);
            let slivers = source.chunks_exact(row).chain(parity.chunks_exact(row)).chain(columns.chunks_exact(column));
            black_box(slivers.map(Hash::of).collect::<Vec<_>>());
        }
    }

    fn symbol(&mut self, sliver: &[u8], target: usize, out: &mut [u8]) {
        symbol_into(self.code, Axis::Secondary, sliver, out.len() as u32, target as u16, out).expect("a whole sliver");
    }

    fn rebuild(&mut self, symbols: &[&[u8]], out: &mut [u8]) {
        let size = symbols[0].len() as u32;
        let symbols = indexed(self.code.fault_tolerance() as usize, symbols);
        rebuild_sliver_into(self.code, Axis::Primary, size, &symbols, out).expect("enough symbols");
    }

    fn decode(&mut self, symbol: usize, lost: usize, rows: &[&[u8]], out: &mut [u8]) {
        decode_from_primaries_into(self.code, symbol as u32, &indexed(lost, rows), out).expect("enough rows");
    }
}
