//! Numbers that every commit carries forward, in one row.

use crate::tables::Table;
use crate::{StoreError, Totals};

/// The row `counters` of [`Table::Meta`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Number of the commit that wrote this row (PROTOCOL R1).
    pub(crate) sequence: u64,
    /// The number that the next upload gets.
    pub(crate) next_upload: u64,
    pub(crate) totals: Totals,
    /// Estimated bytes that live rows take in the database's file. See [`footprint`].
    pub(crate) live_bytes: u64,
    /// Bytes of slivers that are held in segments.
    pub(crate) segment_bytes: u64,
}

impl Counters {
    pub(crate) const KEY: &'static [u8] = b"counters";

    pub(crate) fn encode(&self) -> Vec<u8> {
        let Self { sequence, next_upload, totals, live_bytes, segment_bytes } = self;
        let Totals { slivers, sliver_bytes, entries, missing } = totals;
        [sequence, next_upload, slivers, sliver_bytes, entries, missing, live_bytes, segment_bytes]
            .into_iter()
            .flat_map(|number| number.to_be_bytes())
            .collect()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let damaged =
            || StoreError::Corrupt { table: Table::Meta, what: "the row of counters has a wrong length".into() };
        let mut numbers: Vec<u64> =
            bytes.chunks_exact(8).filter_map(|chunk| Some(u64::from_be_bytes(chunk.try_into().ok()?))).collect();
        // Format 1 had no segments.
        if numbers.len() == 7 {
            numbers.push(0);
        }
        let [sequence, next_upload, slivers, sliver_bytes, entries, missing, live_bytes, segment_bytes] =
            numbers[..].try_into().map_err(|_| damaged())?;
        let totals = Totals { slivers, sliver_bytes, entries, missing };
        Ok(Self { sequence, next_upload, totals, live_bytes, segment_bytes })
    }
}

/// redb's page.
pub(crate) const PAGE: u64 = 4096;

/// Estimated bytes of the file that a row of `key` and `value` bytes takes.
///
/// A row larger than a page has a leaf of its own, of a power of two pages. Smaller ones share leaves, which are between
/// a third full and full.
pub(crate) fn footprint(key: usize, value: usize) -> u64 {
    const OVERHEAD: u64 = 12;
    let bytes = (key + value) as u64 + OVERHEAD;
    if bytes >= PAGE { bytes.next_power_of_two() } else { 2 * bytes }
}
