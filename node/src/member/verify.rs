//! Reading again what is held of a shard, before anybody may drop the old copy (R23).

use weft_redstuff::{Axis, BlobId};
use weft_store::Room;

use super::{Member, MemberError, records, unrecoverable::lacks};

/// Blobs looked up at a time.
const PAGE: usize = 256;

impl Member {
    /// A shard that this member must hold, of which nothing is missing but what is set aside, and which has not been
    /// read again.
    pub(crate) fn unverified(&self) -> Result<Option<u8>, MemberError> {
        let known = self.known();
        let (view, listed) = (self.store.view(), self.aside());
        for shard in self.must_hold().intersection(known.work).difference(known.verified).iter() {
            if !lacks(&view, shard, &listed)? {
                return Ok(Some(shard));
            }
        }
        Ok(None)
    }

    /// Reads every sliver of a shard against its hash. Rotten ones go on the work list, and the shard stays unverified.
    pub(crate) async fn verify(&self, shard: u8) -> Result<(), MemberError> {
        let listed = self.aside();
        let mut after = None;
        loop {
            let (page, _) = self.entry_ids(&[], after, PAGE)?;
            let Some((last, _)) = page.last() else { break };
            after = Some(*last);
            for (blob, kind) in page {
                if !kind.is_live() {
                    continue;
                }
                if !self.verify_blob(&blob, shard, listed.contains(&blob)).await? {
                    return Ok(());
                }
            }
        }
        let write = self.store.write(Room::Reserved, move |tx| {
            let mut verified = records::verified(tx)?;
            if !lacks(tx, shard, &listed)? && records::work(tx)?.contains(shard) {
                verified.insert(shard);
                records::put_verified(tx, verified);
            }
            Ok::<_, MemberError>(())
        });
        write.await?;
        tracing::info!(shard, "every sliver of the shard matches its hash");
        self.refresh()
    }

    /// Whether what is held of the blob is sound; also when it was deleted meanwhile. Of one that is set aside a part may
    /// be held.
    async fn verify_blob(&self, blob: &BlobId, shard: u8, aside: bool) -> Result<bool, MemberError> {
        let Some(weft_protocol::Entry::Live { metadata, .. }) = self.entry(blob)? else { return Ok(true) };
        for stripe in 0..metadata.layout.stripes() {
            for axis in Axis::BOTH {
                let index = metadata.code().sliver_index(u16::from(shard), axis);
                if aside && !self.held_slivers(blob, stripe)?.contains(&(axis, index)) {
                    continue;
                }
                if self.read_sliver(blob, stripe, axis, index).await?.is_none() && self.is_live(blob)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}
