//! The work list: what a member must hold and doesn't (R9). It follows the view and the target.

use weft_protocol::{Entry, ShardSet};
use weft_redstuff::BlobId;
use weft_store::{Room, View};

use super::{Member, MemberError, must_hold, records, slivers};

/// Entries looked at in one commit.
const PAGE: usize = 256;

impl Member {
    /// Whether the list was made for other shards than are this member's now.
    pub(crate) fn work_is_stale(&self) -> bool {
        self.known().work != self.must_hold()
    }

    /// Makes the list anew for the shards that came, and takes off those that went. Until it ends, inventories count
    /// the shards that came as missing altogether.
    pub(crate) async fn renew_work(&self) -> Result<(), MemberError> {
        let (wanted, done) = (self.must_hold(), self.known().work);
        let (gained, lost) = (wanted.difference(done), done.difference(wanted));
        tracing::info!(?gained, ?lost, "the member's shards changed; the work list is made anew");
        let mut after = None;
        while let Some(last) = self.renew_page(after, gained, lost).await? {
            after = Some(last);
        }
        let identity = self.identity.clone();
        let write = self.store.write(Room::Reserved, move |tx| {
            let now = must_hold(&identity, &records::fence(tx)?, records::target(tx)?.as_ref());
            // The view changed meanwhile: what was done holds for the shards that are still this member's.
            records::put_work(tx, wanted.intersection(now));
            records::put_verified(tx, records::verified(tx)?.intersection(done).intersection(now));
            Ok::<_, MemberError>(())
        });
        write.await?;
        self.refresh()
    }

    async fn renew_page(
        &self,
        after: Option<[u8; 32]>,
        gained: ShardSet,
        lost: ShardSet,
    ) -> Result<Option<[u8; 32]>, MemberError> {
        let write = self.store.write(Room::Reserved, move |tx| {
            let page = tx.entries(after.as_ref(), PAGE)?;
            let last = page.last().map(|(blob, _)| *blob);
            for (blob, entry) in page {
                let Entry::Live { metadata, .. } = Entry::decode(&entry)? else { continue };
                let held = slivers::whole(tx, slivers::counted(tx, &BlobId(blob))?, &metadata.layout, gained)?;
                for shard in gained.difference(held).iter() {
                    tx.add_missing(&blob, shard)?;
                }
                for shard in lost.iter() {
                    tx.remove_missing(&blob, shard)?;
                }
            }
            Ok::<_, MemberError>(last)
        });
        Ok(write.await?.value)
    }
}
