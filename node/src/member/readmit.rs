//! A lost member's volume that came back (R25): it becomes a new incarnation, and keeps what it holds as candidates.
//!
//! Nothing that it promised or knew stays: name, key, fence, registry and work list are as a newcomer's. What it holds
//! of blobs stays where it is and counts for nothing: a blob's slivers count again when the blob is on the work list,
//! that is certified, and all that is held of it was read and matched against the hashes that its ID proves.

use weft_protocol::Entry;
use weft_redstuff::BlobId;
use weft_store::{Room, Tx, UploadNumber, View};

use super::{Identity, Member, MemberError, WhoAmI, index, must_hold, records, records::Candidates, slivers};

/// Holdings looked at in one commit.
const PAGE: usize = 256;

/// Whether a process is started to admit the volume again: as an incarnation between the one that it was made for and
/// the present one. One in between may have been started and have gone before anyone heard of it.
pub(super) fn is_meant(who: &WhoAmI, found: &Identity) -> bool {
    let number = found.incarnation.number;
    (who.fleet, who.member) == (found.fleet, found.member)
        && who.readmit.is_some_and(|from| (from..who.incarnation).contains(&number))
}

/// Drops everything but what is held of blobs.
pub(super) fn forget(tx: &mut Tx<'_>) {
    let below = tx.forget();
    records::put_candidates(tx, Candidates { below, swept: false });
}

impl Member {
    /// Counts what the volume held of a live blob before it was admitted again: what matches its committed hashes
    /// stays and needs no moving, the rest goes.
    pub(crate) async fn confirm(&self, blob: &BlobId) -> Result<(), MemberError> {
        let view = self.store.view();
        let (held, counted) = (view.holding(&blob.0)?, slivers::counted(&view, blob)?);
        let Some(upload) = held.filter(|_| counted.is_none()) else { return Ok(()) };
        let Some(Entry::Live { metadata, .. }) = self.entry(blob)? else { return Ok(()) };
        if slivers::are_of(&view, upload, &metadata)? != Some(true) {
            tracing::info!(%blob, "what the volume held is another blob's, or has not all its hashes; it goes");
            return self.release_candidate(*blob, upload).await;
        }
        for (place, _) in view.slivers(upload, None, usize::MAX)? {
            // A rotten one is dropped, and stays missing.
            self.read_sliver(blob, place.stripe, slivers::coded(place.axis), u16::from(place.index)).await?;
        }
        let (identity, blob) = (self.identity.clone(), *blob);
        let write = self.store.write(Room::Reserved, move |tx| {
            let Some(candidates) = records::candidates(tx)? else { return Ok(()) };
            if tx.holding(&blob.0)? != Some(upload) || !index::is_live(tx, &blob)? {
                return Ok(());
            }
            tx.mark_holding(&blob.0, candidates.below.0)?;
            let wanted = must_hold(&identity, &records::fence(tx)?, records::target(tx)?.as_ref());
            for shard in slivers::whole(tx, Some(upload), &metadata.layout, wanted)?.iter() {
                tx.remove_missing(&blob.0, shard)?;
            }
            Ok::<_, MemberError>(())
        });
        write.await?;
        Ok(())
    }

    async fn release_candidate(&self, blob: BlobId, upload: UploadNumber) -> Result<(), MemberError> {
        let write = self.store.write(Room::Reserved, move |tx| {
            if tx.holding(&blob.0)? == Some(upload) && slivers::counted(tx, &blob)?.is_none() {
                tx.release_blob(&blob.0)?;
            }
            Ok::<_, MemberError>(())
        });
        write.await?;
        Ok(())
    }

    /// Drops what the volume held of blobs that the fleet doesn't know, once this member knows what the fleet does: it
    /// was never acknowledged, or is gone.
    pub(crate) async fn drop_unclaimed(&self) -> Result<(), MemberError> {
        let candidates = records::candidates(&self.store.view())?;
        let Some(candidates) = candidates.filter(|candidates| !candidates.swept && self.counts()) else {
            return Ok(());
        };
        let mut after = None;
        while let Some(last) = self.drop_unclaimed_page(after, candidates.below).await? {
            after = Some(last);
        }
        let write = self.store.write(Room::Reserved, move |tx| {
            if records::candidates(tx)?.is_some_and(|now| now.below == candidates.below) {
                records::put_candidates(tx, Candidates { swept: true, ..candidates });
            }
            Ok::<_, MemberError>(())
        });
        write.await?;
        Ok(())
    }

    async fn drop_unclaimed_page(
        &self,
        after: Option<[u8; 32]>,
        below: UploadNumber,
    ) -> Result<Option<[u8; 32]>, MemberError> {
        let write = self.store.write(Room::Reserved, move |tx| {
            let page = tx.holdings(after.as_ref(), PAGE)?;
            let last = page.last().map(|(blob, _)| *blob);
            for (blob, upload) in page {
                if upload < below && tx.entry(&blob)?.is_none() {
                    tx.release_blob(&blob)?;
                }
            }
            Ok::<_, MemberError>(last)
        });
        Ok(write.await?.value)
    }
}
