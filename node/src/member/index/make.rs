//! The index of a volume from before there was one: made of its entries, once.

use std::collections::HashMap;

use weft_protocol::Entry;
use weft_redstuff::{BlobId, Hash};
use weft_store::{Room, Store, View};

use super::{BEFORE, BLOB, Changes, Row, SUMS, Sums, Times, blob_of, expires, key};
use crate::member::{MemberError, expire, records, rows::Kind};

/// Entries that are taken in by one commit.
const BATCH: usize = 4096;

/// Makes the index where there is none, or goes on with it where somebody died meanwhile: nothing else changes before it is whole.
pub(in crate::member) async fn make(store: &Store) -> Result<(), MemberError> {
    if store.view().state(SUMS)?.is_some() {
        return Ok(());
    }
    let entries = store.view().totals().entries;
    if entries > 0 {
        tracing::info!(entries, "the volume is of a version without an index of its registry, which is made now");
    }
    let positions = positions(&store.view())?;
    let (mut sums, mut after, mut made) = made_before(&store.view())?;
    loop {
        let page = store.view().entries(after.as_ref(), BATCH)?;
        let Some((last, _)) = page.last() else { break };
        after = Some(*last);
        let (view, mut rows) = (store.view(), Vec::with_capacity(page.len()));
        for (blob, entry) in &page {
            let (blob, entry) = (BlobId(*blob), Entry::decode(entry)?);
            let kind = Kind::of(&entry, |view| positions.get(view).copied().unwrap_or_default());
            let hidden = !entry.is_live() && records::is_hidden(&view, &blob)?;
            let kind = if hidden { Kind::Hidden { rank: kind.rank() } } else { kind };
            sums.change(&blob, None, Some(kind));
            rows.push((blob, kind, Times::of(&entry)));
        }
        made += rows.len();
        let write = store.write(Room::Reserved, move |tx| {
            let mut changes = Changes::default();
            for (blob, kind, times) in rows {
                changes.set(tx, blob, kind, times)?;
            }
            Ok::<_, MemberError>(())
        });
        write.await?;
        tracing::info!(made, entries, "making the registry's index");
    }
    let sums = sums.encode();
    let end = store.write(Room::Reserved, move |tx| {
        for (blob, expiry) in expire::acked_expiries(tx)? {
            expires(tx, &blob, expiry);
        }
        tx.put_state(SUMS, sums);
        tx.remove_index_of(&[BEFORE]);
        Ok::<_, MemberError>(())
    });
    end.await?;
    Ok(())
}

/// What is there already: its sums, its last blob and how many they are.
pub(super) fn made_before(from: &impl View) -> Result<(Sums, Option<[u8; 32]>, usize), MemberError> {
    let (mut sums, mut last, mut made) = (Sums::default(), None::<BlobId>, 0);
    loop {
        let after = last.map(|blob| key(BLOB, &blob));
        let rows = from.index_rows(&[BLOB], after.as_deref(), BATCH)?;
        if rows.is_empty() {
            return Ok((sums, last.map(|blob| blob.0), made));
        }
        made += rows.len();
        for (key, row) in rows {
            let blob = blob_of(&key)?;
            sums.change(&blob, None, Some(Row::decode(&row)?.kind));
            last = Some(blob);
        }
    }
}

/// Epochs and revisions of the views that are known.
fn positions(from: &impl View) -> Result<HashMap<Hash, (u64, u64)>, MemberError> {
    Ok(records::views(from)?.iter().map(|view| (view.view.hash(), view.view.position())).collect())
}
