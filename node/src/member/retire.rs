//! Dropping spare copies (R23): only on the operator's order, which names the view in effect, and no copy of a blob that
//! is listed (R19, R20).

use weft_protocol::{Entry, FenceError, ShardSet};
use weft_redstuff::{BlobId, Hash};
use weft_store::{Room, View};

use super::{Blobs, Member, MemberError, must_hold, records, slivers};

/// Blobs whose spare slivers go in one commit.
const PAGE: usize = 64;

/// What may be dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Retire {
    /// Hash of the view in effect under which the copies are spare.
    pub(crate) view: Hash,
    pub(crate) shards: ShardSet,
    /// Blobs of which everything stays.
    pub(crate) keeps: Blobs,
}

impl Member {
    /// Drops the copies of shards that neither the view nor the target gives this member. Once for each order.
    pub(crate) async fn retire(&self, retire: Retire) -> Result<(), MemberError> {
        let Ok(mut last) = self.retiring.try_lock() else { return Ok(()) };
        if last.as_ref() == Some(&retire) {
            return Ok(());
        }
        self.must_be_healthy()?;
        let mut after = None;
        while let Some(next) = self.retire_page(after, &retire).await? {
            after = Some(next);
        }
        tracing::info!(shards = ?retire.shards, kept = retire.keeps.len(), "dropped spare copies");
        *last = Some(retire);
        Ok(())
    }

    async fn retire_page(&self, after: Option<[u8; 32]>, retire: &Retire) -> Result<Option<[u8; 32]>, MemberError> {
        let (identity, Retire { view, shards, keeps }) = (self.identity.clone(), retire.clone());
        let write = self.store.write(Room::Reserved, move |tx| {
            let fence = records::fence(tx)?;
            if fence.newest().map(|newest| newest.view.hash()) != Some(view) || fence.successor().is_some() {
                let newest = fence.newest().ok_or(MemberError::order(FenceError::NoView))?.view.id();
                return Err(MemberError::order(FenceError::NotNewest { asked: view, newest }));
            }
            let spare = shards.difference(must_hold(&identity, &fence, records::target(tx)?.as_ref()));
            if spare != shards {
                return Err(MemberError::Retire("the view or the target gives them to this member"));
            }
            let page = tx.holdings(after.as_ref(), PAGE)?;
            let last = page.last().map(|(blob, _)| *blob);
            for (blob, upload) in page.into_iter().filter(|(blob, _)| !keeps.contains(&BlobId(*blob))) {
                let Some(entry) = tx.entry(&blob)? else { continue };
                let Entry::Live { metadata, .. } = Entry::decode(&entry)? else { continue };
                for (place, _) in tx.slivers(upload, None, usize::MAX)? {
                    let shard = metadata.code().shard_of(slivers::coded(place.axis), u16::from(place.index)) as u8;
                    if spare.contains(shard) {
                        tx.remove_sliver(&place)?;
                    }
                }
            }
            Ok::<_, MemberError>(last)
        });
        Ok(write.await?.value)
    }
}
