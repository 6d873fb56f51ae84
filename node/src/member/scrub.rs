//! Reading again what is held, and how far a pass of that is.

use std::{sync::atomic::Ordering, time::Duration};

use weft_protocol::Entry;
use weft_redstuff::{Axis, BlobId};
use weft_store::{Room, View};

use super::{Member, MemberError, records, slivers};

/// A pass through everything that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pass {
    /// Seconds since 1970.
    pub(crate) began: u64,
    /// The last blob all of whose slivers were read.
    pub(crate) after: Option<BlobId>,
    /// Stripes of the next one that were.
    pub(crate) stripe: u32,
    /// Slivers that were rotten, or gone without anybody's knowing.
    pub(crate) found: u64,
}

impl Pass {
    pub(crate) fn begin(now: u64) -> Self {
        Self { began: now, after: None, stripe: 0, found: 0 }
    }

    /// The next stripe of a blob was read.
    pub(crate) fn go_on(&mut self, blob: BlobId, read: Scrubbed) {
        self.found += read.rotten;
        if read.more {
            self.stripe += 1;
        } else {
            (self.after, self.stripe) = (Some(blob), 0);
        }
    }
}

/// What came of reading a stripe.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Scrubbed {
    pub(crate) bytes: u64,
    pub(crate) rotten: u64,
    /// Whether the blob has more stripes.
    pub(crate) more: bool,
}

impl Member {
    /// The time in which everything is to be read once; `None`: nothing is.
    pub(crate) fn scrub_period(&self) -> Option<Duration> {
        let seconds = self.scrub_period.load(Ordering::Relaxed);
        (seconds > 0).then(|| Duration::from_secs(seconds))
    }

    /// The pass that was recorded last.
    pub(crate) fn pass(&self) -> Result<Option<Pass>, MemberError> {
        records::pass(&self.store.view())
    }

    pub(crate) async fn record_pass(&self, pass: Pass) -> Result<(), MemberError> {
        let write = self.store.write(Room::Reserved, move |tx| {
            records::put_pass(tx, &pass);
            Ok::<_, MemberError>(())
        });
        write.await.map(drop)
    }

    /// Reads all that is held of a stripe, spare copies too. What is rotten goes on the work list, and so does, with the last
    /// stripe, what should be there and isn't, by nobody's knowledge.
    pub(crate) async fn scrub(&self, blob: &BlobId, stripe: u32) -> Result<Scrubbed, MemberError> {
        let mut scrubbed = Scrubbed::default();
        let Some(Entry::Live { metadata, .. }) = self.entry(blob)? else { return Ok(scrubbed) };
        for (axis, index) in self.held_slivers(blob, stripe)? {
            // Not there any more: it was released meanwhile.
            let Some(found) = self.read_slivers(blob, stripe, move |_, _| Ok(vec![(axis, index)])).await? else {
                break;
            };
            scrubbed.bytes += found.sound.iter().map(|(_, _, data)| data.len() as u64).sum::<u64>();
            scrubbed.rotten += found.rotten.len() as u64;
        }
        scrubbed.more = stripe + 1 < metadata.layout.stripes();
        if !scrubbed.more {
            scrubbed.rotten += self.mark_lost(blob, &metadata).await?;
        }
        self.metrics.scrubbed(scrubbed.bytes);
        Ok(scrubbed)
    }

    /// Puts the shards of a blob on the work list that aren't whole here and should be, and aren't on it.
    async fn mark_lost(&self, blob: &BlobId, metadata: &weft_redstuff::Metadata) -> Result<u64, MemberError> {
        let lost = {
            let view = self.store.view();
            let wanted = self.must_hold().intersection(records::work(&view)?);
            let mut lost =
                wanted.difference(slivers::whole(&view, slivers::counted(&view, blob)?, &metadata.layout, wanted)?);
            view.missing_of(&blob.0)?.into_iter().for_each(|shard| lost.remove(shard));
            lost
        };
        for shard in lost.iter() {
            tracing::warn!(%blob, shard, "slivers are gone that nobody deleted; they will be rebuilt");
            let index = metadata.code().sliver_index(u16::from(shard), Axis::Primary);
            self.mark_missing(*blob, Axis::Primary, index).await?;
        }
        Ok(u64::from(lost.len()))
    }
}
