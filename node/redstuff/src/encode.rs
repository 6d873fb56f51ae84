//! Encoding: a stripe's source to its 2n slivers.

use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;

use crate::buffers::Buffers;
use crate::code::{Axis, Code};
use crate::decode::{SHORT_SYMBOL, transpose};
use crate::hash::Hash;
use crate::interpolate::generator;
use crate::kernel::{Store, combine, copy};
use crate::stripe::StripeHashes;
use crate::windows;

/// What becomes of an axis' slivers next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextUse {
    /// They are read, as by who hashes them: what the processor's caches hold stays there.
    Soon,
    /// They lie: only what the caches close to the processor hold is kept there.
    Later,
}

impl NextUse {
    /// How so many bytes are written.
    const fn store(self, bytes: usize) -> Store {
        let large = match self {
            Self::Soon => 4 << 20,
            Self::Later => 2 << 20,
        };
        if bytes < large { Store::Cached } else { Store::Streamed }
    }
}

/// Why a stripe can't be encoded.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum EncodeError {
    #[error("symbols have at least one byte")]
    SymbolSize,
    #[error("{length} bytes don't fit a stripe of {capacity} bytes")]
    TooLong { length: u64, capacity: u64 },
    #[error("a stripe's {what} has {actual} bytes instead of {expected}")]
    Length { what: &'static str, expected: usize, actual: usize },
}

/// A stripe's source. The slivers of its two axes are made independently: on two cores, if they are there.
#[derive(Debug, Clone)]
pub struct StripeSource {
    code: Code,
    symbol_size: u32,
    /// Zero-padded.
    bytes: Bytes,
}

impl StripeSource {
    /// Of up to `k1 · k2 · symbol_size` bytes; what is missing is zero. A whole stripe isn't copied.
    pub fn new(code: Code, symbol_size: u32, data: Bytes) -> Result<Self, EncodeError> {
        let capacity = checked_capacity(code, symbol_size, &data)?;
        if data.len() == capacity {
            return Ok(Self { code, symbol_size, bytes: data });
        }
        let mut padded = Vec::with_capacity(capacity);
        padded.extend_from_slice(&data);
        padded.resize(capacity, 0);
        Ok(Self { code, symbol_size, bytes: padded.into() })
    }

    /// The slivers of one axis and their hashes, in memory of `buffers`.
    pub fn encode(&self, axis: Axis, buffers: &Buffers) -> EncodedSlivers {
        let (length, expanded) =
            (self.code.sliver_length(axis, self.symbol_size), expanded_length(self.code, self.symbol_size, axis));
        let (source, expanded, hashes) = match axis {
            Axis::Primary => {
                let mut parity = buffers.take(expanded);
                let hashes = self.rows(parity.bytes_mut());
                (self.bytes.clone(), parity.into(), hashes)
            }
            Axis::Secondary => {
                let mut columns = buffers.take(self.bytes.len() + expanded);
                let hashes = self.columns(columns.bytes_mut());
                let mut source = Bytes::from(columns);
                let expanded = source.split_off(self.bytes.len());
                (source, expanded, hashes)
            }
        };
        EncodedSlivers { length, source, expanded, hashes }
    }

    /// The rows beyond the source, and the hashes of all. What a transform makes is faster made at once, and then hashed.
    fn rows(&self, parity: &mut [u8]) -> Vec<Hash> {
        let Self { code, symbol_size, ref bytes } = *self;
        if !generator(code.source_rows(), code.shards()).is_transform() {
            return windows::rows(code, symbol_size, bytes, parity);
        }
        encode_rows(code, symbol_size, bytes, parity, NextUse::Soon);
        let length = code.sliver_length(Axis::Primary, symbol_size);
        bytes.chunks_exact(length).chain(parity.chunks_exact(length)).map(Hash::of).collect()
    }

    /// All columns, one after the other, and their hashes.
    fn columns(&self, columns: &mut [u8]) -> Vec<Hash> {
        let Self { code, symbol_size, ref bytes } = *self;
        let is_transform = generator(code.source_columns(), code.shards()).is_transform();
        if symbol_size as usize >= SHORT_SYMBOL && !is_transform {
            return windows::columns(code, symbol_size, bytes, columns);
        }
        encode_columns(code, symbol_size, bytes, columns, NextUse::Soon);
        columns.chunks_exact(code.sliver_length(Axis::Secondary, symbol_size)).map(Hash::of).collect()
    }
}

/// All slivers of one axis of a stripe.
#[derive(Debug, Clone)]
pub struct EncodedSlivers {
    /// Bytes of a sliver.
    length: usize,
    /// Slivers `0..k`, one after the other: what the source consists of.
    source: Bytes,
    /// Slivers `k..n`.
    expanded: Bytes,
    hashes: Vec<Hash>,
}

/// All slivers of a stripe, `n/k1 + n/k2` times its source, and their hashes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct EncodedStripe {
    code: Code,
    symbol_size: u32,
    /// Primaries and secondaries, without their hashes.
    slivers: [EncodedSlivers; 2],
    hashes: Arc<StripeHashes>,
}

impl EncodedStripe {
    /// Puts together what [`StripeSource::encode`] has made of one source.
    ///
    /// # Panics
    /// When these aren't primaries and secondaries of this length.
    pub fn new(source: &StripeSource, mut primaries: EncodedSlivers, mut secondaries: EncodedSlivers) -> Self {
        let StripeSource { code, symbol_size, .. } = *source;
        for (axis, slivers) in Axis::BOTH.into_iter().zip([&primaries, &secondaries]) {
            assert_eq!(slivers.length, code.sliver_length(axis, symbol_size), "{} slivers of this stripe", axis.name());
        }
        let [primary, secondary] =
            [&mut primaries, &mut secondaries].map(|slivers| std::mem::take(&mut slivers.hashes));
        let hashes = StripeHashes::new(code, primary, secondary).expect("n hashes of each axis");
        Self { code, symbol_size, slivers: [primaries, secondaries], hashes: Arc::new(hashes) }
    }

    pub const fn code(&self) -> Code {
        self.code
    }

    /// Bytes of a symbol.
    pub const fn symbol_size(&self) -> u32 {
        self.symbol_size
    }

    /// A sliver, without copying: `k2` symbols of a primary, `k1` of a secondary.
    ///
    /// # Panics
    /// When `index` isn't below `n`.
    pub fn sliver(&self, axis: Axis, index: u16) -> Bytes {
        assert!(index < self.code.shards(), "sliver {index} of {}", self.code.shards());
        let EncodedSlivers { length, source, expanded, .. } = &self.slivers[axis as usize];
        let at = usize::from(index) * length;
        match at.checked_sub(source.len()) {
            None => source.slice(at..at + length),
            Some(at) => expanded.slice(at..at + length),
        }
    }

    /// The hashes of all slivers.
    pub fn hashes(&self) -> &StripeHashes {
        &self.hashes
    }
}

/// Encodes a stripe of up to `k1 · k2 · symbol_size` bytes; what is missing is zero. A whole stripe isn't copied.
pub fn encode_stripe(code: Code, symbol_size: u32, data: Bytes) -> Result<EncodedStripe, EncodeError> {
    let (source, buffers) = (StripeSource::new(code, symbol_size, data)?, Buffers::default());
    let [primaries, secondaries] = Axis::BOTH.map(|axis| source.encode(axis, &buffers));
    Ok(EncodedStripe::new(&source, primaries, secondaries))
}

/// Encodes a whole stripe, `k1 · k2 · symbol_size` bytes, into memory of the caller's: primaries `k1..n` and all secondaries, each one after the other.
pub fn encode_stripe_into(
    code: Code,
    symbol_size: u32,
    source: &[u8],
    parity: &mut [u8],
    columns: &mut [u8],
    next: NextUse,
) -> Result<(), EncodeError> {
    let capacity = checked_capacity(code, symbol_size, source)?;
    for (what, actual, expected) in [
        ("source", source.len(), capacity),
        ("memory for primaries", parity.len(), expanded_length(code, symbol_size, Axis::Primary)),
        ("memory for secondaries", columns.len(), capacity + expanded_length(code, symbol_size, Axis::Secondary)),
    ] {
        if actual != expected {
            return Err(EncodeError::Length { what, expected, actual });
        }
    }
    encode_rows(code, symbol_size, source, parity, next);
    encode_columns(code, symbol_size, source, columns, next);
    Ok(())
}

fn checked_capacity(code: Code, symbol_size: u32, data: &[u8]) -> Result<usize, EncodeError> {
    if symbol_size == 0 {
        return Err(EncodeError::SymbolSize);
    }
    let capacity = code.stripe_capacity(symbol_size);
    let length = data.len() as u64;
    if length > capacity { Err(EncodeError::TooLong { length, capacity }) } else { Ok(capacity as usize) }
}

/// Bytes of an axis' slivers beyond those of the source.
fn expanded_length(code: Code, symbol_size: u32, axis: Axis) -> usize {
    (code.shards() - code.slivers_to_decode(axis)) as usize * code.sliver_length(axis, symbol_size)
}

/// The rows beyond the source, `G1[k1..n] · M`.
fn encode_rows(code: Code, symbol_size: u32, source: &[u8], parity: &mut [u8], next: NextUse) {
    let row = code.sliver_length(Axis::Primary, symbol_size);
    let store = next.store(parity.len());
    let sources: Vec<&[u8]> = source.chunks_exact(row).collect();
    let mut outputs: Vec<&mut [u8]> = parity.chunks_exact_mut(row).collect();
    combine(&generator(code.source_rows(), code.shards()), &sources, &mut outputs, store);
}

/// All columns, `M · G2ᵀ`, one after the other.
fn encode_columns(code: Code, symbol_size: u32, source: &[u8], columns: &mut [u8], next: NextUse) {
    let row = code.sliver_length(Axis::Primary, symbol_size);
    let column = code.sliver_length(Axis::Secondary, symbol_size);
    let symbol = symbol_size as usize;
    let store = next.store(columns.len());
    let generator = generator(code.source_columns(), code.shards());
    if symbol < SHORT_SYMBOL {
        let (systematic, expanded) = columns.split_at_mut(source.len());
        transpose(source, systematic, code.source_rows() as usize, symbol);
        let sources: Vec<&[u8]> = systematic.chunks_exact(column).collect();
        combine(&generator, &sources, &mut expanded.chunks_exact_mut(column).collect::<Vec<_>>(), store);
        return;
    }
    for (row, source) in source.chunks_exact(row).enumerate() {
        let symbols: Vec<&[u8]> = source.chunks_exact(symbol).collect();
        let cells = columns.chunks_exact_mut(column).map(|column| &mut column[row * symbol..][..symbol]);
        let mut cells: Vec<&mut [u8]> = cells.collect();
        let (systematic, expanded) = cells.split_at_mut(symbols.len());
        // First, because one symbol after the other comes from memory faster than all side by side, and then the row is in the cache.
        for (cell, symbol) in systematic.iter_mut().zip(&symbols) {
            copy(symbol, cell, store);
        }
        combine(&generator, &symbols, expanded, store);
    }
}
