//! Source rows from other slivers, off the threads that serve everyone, and checked (R17).

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use weft_redstuff::{
    Axis, Code, SliverError, StripeHashes, StripeLayout, decode_from_secondaries, encode_stripe, rebuild_source_rows,
};

use super::stripe::RowsError;
use crate::apart;

/// Source rows by their indexes, and the slivers that they came from.
pub(super) struct Decoded {
    pub(super) rows: Vec<(u16, Bytes)>,
    pub(super) given: BTreeMap<u16, Bytes>,
}

/// The `missing` source rows from enough hash-checked slivers of one axis. If they aren't those that were committed to,
/// the writer lied (R19).
pub(super) async fn decode(
    code: Code,
    layout: StripeLayout,
    axis: Axis,
    given: BTreeMap<u16, Bytes>,
    missing: Vec<u16>,
    hashes: &Arc<StripeHashes>,
) -> Result<Decoded, RowsError> {
    let hashes = Arc::clone(hashes);
    let work = move || {
        let slivers: Vec<(u16, &[u8])> = given.iter().map(|(index, bytes)| (*index, &bytes[..])).collect();
        let rows = rebuild(code, layout.symbol_size, axis, &slivers, &missing);
        let rows = rows.map_err(|error| RowsError::TooFew(vec![error.to_string()]))?;
        let rows: Vec<(u16, Bytes)> = missing.into_iter().zip(rows).collect();
        match rows.iter().find(|(index, row)| !hashes.matches(Axis::Primary, *index, row)) {
            Some((index, _)) => {
                let (stripe, from) = (layout.index, axis.name());
                let told = format!("row {index} of stripe {stripe}, decoded from {from} slivers, has another hash");
                Err(RowsError::Inconsistent(told))
            }
            None => Ok(Decoded { rows, given }),
        }
    };
    apart(work).await.unwrap_or_else(|error| Err(RowsError::TooFew(vec![error.to_string()])))
}

fn rebuild(
    code: Code,
    symbol_size: u32,
    axis: Axis,
    slivers: &[(u16, &[u8])],
    missing: &[u16],
) -> Result<Vec<Bytes>, SliverError> {
    match axis {
        Axis::Primary => Ok(rebuild_source_rows(code, slivers, missing)?.into_iter().map(Bytes::from).collect()),
        Axis::Secondary => {
            let source = Bytes::from(decode_from_secondaries(code, symbol_size, slivers)?);
            let row = code.sliver_length(Axis::Primary, symbol_size);
            Ok(missing
                .iter()
                .map(|index| source.slice(usize::from(*index) * row..(usize::from(*index) + 1) * row))
                .collect())
        }
    }
}

/// Whether all slivers of a stripe, encoded again from its source rows, have the hashes that were committed to.
pub(super) async fn is_consistent(
    code: Code,
    symbol_size: u32,
    rows: Vec<Bytes>,
    hashes: Arc<StripeHashes>,
) -> Result<bool, RowsError> {
    let work =
        move || encode_stripe(code, symbol_size, rows.concat().into()).map(|encoded| *encoded.hashes() == *hashes);
    let failed = |reason: String| RowsError::TooFew(vec![reason]);
    let encoded = apart(work).await.map_err(|error| failed(error.to_string()))?;
    encoded.map_err(|error| failed(error.to_string()))
}
