//! What the memory allows: copying and reading, without arithmetic.

use codec_engine::{Arrangement, Cutting, Engine, Field, Library, Shape, Stripe, Task};

/// `memcpy` of as many bytes as results have.
#[derive(Debug, Clone, Copy)]
pub struct Copying;

/// A pass over what has to be read.
#[derive(Debug, Clone, Copy)]
pub struct Reading;

const ARRANGEMENT: Arrangement = Arrangement { cutting: Cutting::Weft, tile: usize::MAX, fused: false };

impl Library for Copying {
    fn name(&self) -> &'static str {
        "memcpy"
    }

    fn field(&self) -> Field {
        Field::None
    }

    fn arrangements(&self, _task: &Task) -> Vec<Arrangement> {
        vec![ARRANGEMENT]
    }

    fn engine(&self, _shape: Shape, _arrangement: Arrangement) -> Box<dyn Engine> {
        Box::new(*self)
    }
}

/// Fills a result from sources, one after the other, again and again.
fn fill<'a>(out: &mut [u8], sources: impl Iterator<Item = &'a [u8]> + Clone) {
    let mut sources = sources.cycle();
    let mut out = out;
    while !out.is_empty() {
        let source = sources.next().expect("a cycle doesn't end");
        let piece = out.split_off_mut(..source.len().min(out.len())).expect("at most all of it");
        piece.copy_from_slice(&source[..piece.len()]);
    }
}

impl Engine for Copying {
    fn encode(&mut self, stripe: Stripe<'_>) {
        let Stripe { symbol: _, source, parity, columns } = stripe;
        fill(parity, [source].into_iter());
        fill(columns, [source].into_iter());
    }

    fn symbol(&mut self, sliver: &[u8], _target: usize, out: &mut [u8]) {
        fill(out, [sliver].into_iter());
    }

    fn rebuild(&mut self, symbols: &[&[u8]], out: &mut [u8]) {
        fill(out, symbols.iter().copied());
    }

    fn decode(&mut self, _symbol: usize, _lost: usize, rows: &[&[u8]], out: &mut [u8]) {
        fill(out, rows.iter().copied());
    }
}

impl Library for Reading {
    fn name(&self) -> &'static str {
        "reading the sliver"
    }

    fn field(&self) -> Field {
        Field::None
    }

    fn arrangements(&self, _task: &Task) -> Vec<Arrangement> {
        vec![ARRANGEMENT]
    }

    fn engine(&self, _shape: Shape, _arrangement: Arrangement) -> Box<dyn Engine> {
        Box::new(*self)
    }
}

/// XORs all bytes together, 128 at a time: half of the vector registers that any x86-64 has.
fn sum(bytes: &[u8]) -> [u64; 16] {
    let mut sum = [0; 16];
    for block in bytes.as_chunks::<128>().0 {
        for (sum, word) in sum.iter_mut().zip(block.as_chunks::<8>().0) {
            *sum ^= u64::from_ne_bytes(*word);
        }
    }
    sum
}

impl Reading {
    fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) {
        for piece in pieces {
            std::hint::black_box(sum(piece));
        }
    }
}

impl Engine for Reading {
    fn encode(&mut self, stripe: Stripe<'_>) {
        Self::read([stripe.source].into_iter());
    }

    fn symbol(&mut self, sliver: &[u8], _target: usize, _out: &mut [u8]) {
        Self::read([sliver].into_iter());
    }

    fn rebuild(&mut self, symbols: &[&[u8]], _out: &mut [u8]) {
        Self::read(symbols.iter().copied());
    }

    fn decode(&mut self, _symbol: usize, _lost: usize, rows: &[&[u8]], _out: &mut [u8]) {
        Self::read(rows.iter().copied());
    }
}
