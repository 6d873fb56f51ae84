//! Encoding: a stripe's source to its 2n slivers.

use bytes::Bytes;
use thiserror::Error;

use crate::buffers::Buffers;
use crate::code::{Axis, Code};
use crate::decode::{SHORT_SYMBOL, transpose};
use crate::hash::Hash;
use crate::interpolate::generator;
use crate::kernel::{Store, combine, copy};
use crate::stripe::StripeHashes;

/// Why a stripe can't be encoded.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum EncodeError {
    #[error("symbols have at least one byte")]
    SymbolSize,
    #[error("{length} bytes don't fit a stripe of {capacity} bytes")]
    TooLong { length: u64, capacity: u64 },
    #[error("a stripe's source, parity or columns have {actual} bytes instead of {expected}")]
    Length { expected: usize, actual: usize },
}

/// All slivers of a stripe: `n/k1 + n/k2` times its source. Cheap to clone.
#[derive(Debug, Clone)]
pub struct EncodedStripe {
    code: Code,
    symbol_size: u32,
    /// Rows `0..k1`: the zero-padded source.
    source: Bytes,
    /// Rows `k1..n`.
    parity: Bytes,
    /// All columns.
    columns: Bytes,
}

impl EncodedStripe {
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
        let length = self.code.sliver_length(axis, self.symbol_size);
        let slice = |of: &Bytes, at: u16| of.slice(at as usize * length..(at as usize + 1) * length);
        match (axis, index.checked_sub(self.code.source_rows())) {
            (Axis::Secondary, _) => slice(&self.columns, index),
            (Axis::Primary, None) => slice(&self.source, index),
            (Axis::Primary, Some(parity)) => slice(&self.parity, parity),
        }
    }

    /// The hashes of all slivers.
    pub fn hashes(&self) -> StripeHashes {
        let axis = |axis| (0..self.code.shards()).map(|index| Hash::of(&self.sliver(axis, index))).collect();
        StripeHashes::new(self.code, axis(Axis::Primary), axis(Axis::Secondary)).expect("n hashes of each axis")
    }
}

/// Encodes a stripe of up to `k1 · k2 · symbol_size` bytes; what is missing is zero. A whole stripe isn't copied.
pub fn encode_stripe(code: Code, symbol_size: u32, data: Bytes) -> Result<EncodedStripe, EncodeError> {
    encode_stripe_with(&Buffers::default(), code, symbol_size, data)
}

/// [`encode_stripe`] in memory of `buffers`, for who encodes many stripes.
pub fn encode_stripe_with(
    buffers: &Buffers,
    code: Code,
    symbol_size: u32,
    data: Bytes,
) -> Result<EncodedStripe, EncodeError> {
    let capacity = checked_capacity(code, symbol_size, &data)?;
    let source = if data.len() == capacity {
        data
    } else {
        let mut padded = Vec::with_capacity(capacity);
        padded.extend_from_slice(&data);
        padded.resize(capacity, 0);
        padded.into()
    };
    let mut parity = buffers.take(parity_length(code, symbol_size));
    let mut columns = buffers.take(columns_length(code, symbol_size));
    encode(code, symbol_size, &source, parity.bytes_mut(), columns.bytes_mut());
    Ok(EncodedStripe { code, symbol_size, source, parity: parity.into(), columns: columns.into() })
}

/// Encodes a whole stripe, `k1 · k2 · symbol_size` bytes, into memory of the caller's: primaries `k1..n` and all secondaries, each one after the other.
pub fn encode_stripe_into(
    code: Code,
    symbol_size: u32,
    source: &[u8],
    parity: &mut [u8],
    columns: &mut [u8],
) -> Result<(), EncodeError> {
    let capacity = checked_capacity(code, symbol_size, source)?;
    for (actual, expected) in [
        (source.len(), capacity),
        (parity.len(), parity_length(code, symbol_size)),
        (columns.len(), columns_length(code, symbol_size)),
    ] {
        if actual != expected {
            return Err(EncodeError::Length { actual, expected });
        }
    }
    encode(code, symbol_size, source, parity, columns);
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

fn parity_length(code: Code, symbol_size: u32) -> usize {
    (code.shards() - code.source_rows()) as usize * code.sliver_length(Axis::Primary, symbol_size)
}

fn columns_length(code: Code, symbol_size: u32) -> usize {
    code.shards() as usize * code.sliver_length(Axis::Secondary, symbol_size)
}

fn encode(code: Code, symbol_size: u32, source: &[u8], parity: &mut [u8], columns: &mut [u8]) {
    let store = Store::of(parity.len() + columns.len());
    encode_rows(code, symbol_size, source, parity, store);
    encode_columns(code, symbol_size, source, columns, store);
}

/// The rows beyond the source, `G1[k1..n] · M`.
fn encode_rows(code: Code, symbol_size: u32, source: &[u8], parity: &mut [u8], store: Store) {
    let row = code.sliver_length(Axis::Primary, symbol_size);
    let sources: Vec<&[u8]> = source.chunks_exact(row).collect();
    let mut outputs: Vec<&mut [u8]> = parity.chunks_exact_mut(row).collect();
    combine(&generator(code.source_rows(), code.shards()), &sources, &mut outputs, store);
}

/// All columns, `M · G2ᵀ`, one after the other.
fn encode_columns(code: Code, symbol_size: u32, source: &[u8], columns: &mut [u8], store: Store) {
    let row = code.sliver_length(Axis::Primary, symbol_size);
    let column = code.sliver_length(Axis::Secondary, symbol_size);
    let symbol = symbol_size as usize;
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
        combine(&generator, &symbols, expanded, store);
        for (cell, symbol) in systematic.iter_mut().zip(&symbols) {
            copy(symbol, cell, store);
        }
    }
}
