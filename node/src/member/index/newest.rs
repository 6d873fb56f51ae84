//! Live blobs in the order of creation, newest first.

use std::sync::Arc;

use weft_client::{Place, apart_unwinding, time};
use weft_protocol::Entry;
use weft_redstuff::BlobId;
use weft_store::{Room, Tx, View};

use super::{CREATED, blob_of, is_live};
use crate::member::{Member, MemberError};

/// Rows that are made, or looked at, by one commit.
const BATCH: usize = 1024;

/// The part of the time that they are made in while gateways ask for blobs: one in so many.
const PARTS: u32 = 4;

/// What a row takes, in the log and in the database, and no less: a full volume isn't to be filled up for them.
const ROW_BYTES: u64 = 256;

/// When a live blob was made, in milliseconds since 1970; 0 where it doesn't say.
pub(super) fn created_of(entry: &Entry) -> u64 {
    match entry {
        Entry::Live { metadata, .. } => time::created(&metadata.labels).unwrap_or_default(),
        Entry::Deleted(_) | Entry::Void(_) => 0,
    }
}

fn key(created: u64, blob: &BlobId) -> Vec<u8> {
    [&[CREATED], &(u64::MAX - created).to_be_bytes()[..], &blob.0].concat()
}

fn place_of(key: &[u8]) -> Result<Place, MemberError> {
    let created = key.get(1..).and_then(|key| key.first_chunk()).ok_or(MemberError::Malformed { field: "index" })?;
    Ok(Place::new(u64::MAX - u64::from_be_bytes(*created), blob_of(key)?))
}

pub(super) fn put(tx: &mut Tx<'_>, created: u64, blob: &BlobId) {
    tx.put_index(&key(created, blob), Vec::new());
}

/// Removes the row of a blob that is still live, and won't be.
pub(super) fn remove(tx: &mut Tx<'_>, blob: &BlobId) -> Result<(), MemberError> {
    if let Some(entry) = tx.entry(&blob.0)? {
        tx.remove_index(&key(created_of(&Entry::decode(&entry)?), blob));
    }
    Ok(())
}

/// A page of the places of live blobs, newest first.
pub(in crate::member) fn newest(
    from: &impl View,
    after: Option<Place>,
    limit: usize,
) -> Result<Vec<Place>, MemberError> {
    let after = after.map(|place| key(place.created(), &place.id()));
    let rows = from.index_rows(&[CREATED], after.as_deref(), limit)?;
    rows.into_iter().map(|(key, _)| place_of(&key)).collect()
}

impl Member {
    /// Gives all live blobs their rows in the order of creation, where a release that keeps none has had the volume.
    pub(crate) async fn order_by_creation(&self) -> Result<(), MemberError> {
        if self.index.is_ordered() {
            return Ok(());
        }
        tracing::info!("the volume has no order of creation, or one of before; it is made now");
        self.drop_stale_rows().await?;
        self.make_rows().await?;
        let index = Arc::clone(&self.index);
        let write = self.store.write(Room::Reserved, move |tx| {
            index.note_ordered(tx);
            Ok::<_, MemberError>(())
        });
        write.await?;
        tracing::info!("all live blobs are in the order of creation");
        Ok(())
    }

    /// Drops the rows of what isn't live any more.
    async fn drop_stale_rows(&self) -> Result<(), MemberError> {
        let mut after = None;
        loop {
            let (pace, view) = (self.begin_pace(), self.store.view());
            let page = apart_unwinding(move || newest(&view, after, BATCH)).await?;
            let Some(last) = page.last().copied() else { return Ok(()) };
            after = Some(last);
            let write = self.store.write(Room::Reserved, move |tx| {
                for place in page {
                    if !is_live(tx, &place.id())? {
                        tx.remove_index(&key(place.created(), &place.id()));
                    }
                }
                Ok::<_, MemberError>(())
            });
            write.await?;
            self.keep_pace(pace, 0, PARTS).await;
        }
    }

    async fn make_rows(&self) -> Result<(), MemberError> {
        let mut after: Option<[u8; 32]> = None;
        loop {
            let (pace, view) = (self.begin_pace(), self.store.view());
            let read = apart_unwinding(move || -> Result<_, MemberError> {
                let page = view.entries(after.as_ref(), BATCH)?;
                let last = page.last().map(|(blob, _)| *blob);
                let mut places = Vec::with_capacity(page.len());
                for (blob, entry) in page {
                    // What becomes live later gets its row then.
                    let entry = Entry::decode(&entry)?;
                    places.extend(entry.is_live().then(|| (created_of(&entry), BlobId(blob))));
                }
                Ok((places, last))
            });
            let (places, last) = read.await?;
            if last.is_none() {
                return Ok(());
            }
            after = last;
            let room = Room::Grows { bytes: ROW_BYTES * places.len() as u64 };
            let write = self.store.write(room, move |tx| {
                for (created, blob) in places {
                    // An earlier attempt may have made it, and the blob may have been deleted meanwhile.
                    if tx.index_row(&key(created, &blob))?.is_none() && is_live(tx, &blob)? {
                        put(tx, created, &blob);
                    }
                }
                Ok::<_, MemberError>(())
            });
            write.await?;
            self.keep_pace(pace, 0, PARTS).await;
        }
    }
}
