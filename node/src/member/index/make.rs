//! The index of a volume from before there was one: made of its entries, once.

use std::collections::HashMap;

use weft_protocol::Entry;
use weft_redstuff::{BlobId, Hash};
use weft_store::{Room, Store, View};

use super::{BEFORE, BLOB, Changes, EXPIRY, LEFTOVER, SUMS, Sums, expires, expiry_of};
use crate::member::{MemberError, expire, records, rows::Kind};

/// Entries that are taken in by one commit.
const BATCH: usize = 4096;

/// Makes the index where there is none. Who died meanwhile begins anew.
pub(in crate::member) async fn make(store: &Store) -> Result<(), MemberError> {
    if store.view().state(SUMS)?.is_some() {
        return Ok(());
    }
    let entries = store.view().totals().entries;
    if entries > 0 {
        tracing::info!(entries, "the volume is of a version without an index of its registry, which is made now");
    }
    let begin = store.write(Room::Reserved, |tx| {
        for rows in [BLOB, LEFTOVER, EXPIRY, BEFORE] {
            tx.remove_index_of(&[rows]);
        }
        Ok::<_, MemberError>(())
    });
    begin.await?;
    let positions = positions(&store.view())?;
    let (mut sums, mut after, mut made) = (Sums::default(), None, 0);
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
            rows.push((blob, kind, expiry_of(&entry)));
        }
        made += rows.len();
        let write = store.write(Room::Reserved, move |tx| {
            let mut changes = Changes::default();
            for (blob, kind, expiry) in rows {
                changes.set(tx, blob, kind, expiry)?;
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
        Ok::<_, MemberError>(())
    });
    end.await?;
    Ok(())
}

/// Epochs and revisions of the views that are known.
fn positions(from: &impl View) -> Result<HashMap<Hash, (u64, u64)>, MemberError> {
    Ok(records::views(from)?.iter().map(|view| (view.view.hash(), view.view.position())).collect())
}
