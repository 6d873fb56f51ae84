//! Reading again what is held, and how far a pass of that is.

use std::{sync::atomic::Ordering, time::Duration};

use weft_protocol::{Decoder, Encoder, Entry};
use weft_redstuff::{Axis, BlobId};
use weft_store::{Room, Tx, View};

use super::{Member, MemberError, records, slivers};

const PASS: &str = "scrub";

/// A pass through everything that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pass {
    /// Seconds since 1970.
    pub(crate) began: u64,
    /// The last blob all of whose slivers were read.
    pub(crate) after: Option<BlobId>,
    /// A later one that is being read, and its stripes that were.
    pub(crate) at: Option<(BlobId, u32)>,
    /// Slivers that were rotten, or gone without anybody's knowing.
    pub(crate) found: u64,
    /// When the pass before was over, in seconds since 1970.
    pub(crate) ended: Option<u64>,
}

impl Pass {
    pub(crate) fn begin(now: u64, ended: Option<u64>) -> Self {
        Self { began: now, after: None, at: None, found: 0, ended }
    }

    /// The stripe of a blob that is to be read next.
    pub(crate) fn stripe(&self, blob: &BlobId) -> u32 {
        self.at.filter(|(at, _)| at == blob).map_or(0, |(_, stripe)| stripe)
    }

    /// That stripe was read.
    pub(crate) fn go_on(&mut self, blob: BlobId, read: Scrubbed) {
        self.found += read.rotten;
        if read.more {
            self.at = Some((blob, self.stripe(&blob) + 1));
        } else {
            (self.after, self.at) = (Some(blob), None);
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
        pass(&self.store.view())
    }

    pub(crate) async fn record_pass(&self, pass: Pass) -> Result<(), MemberError> {
        let write = self.store.write(Room::Reserved, move |tx| {
            put_pass(tx, &pass);
            Ok::<_, MemberError>(())
        });
        write.await.map(drop)
    }

    /// Reads all that is held of a stripe, spare copies too. What is rotten goes on the work list, and so does, with the last
    /// stripe, what should be there and isn't, by nobody's knowledge. What the disk doesn't give, twice in a row, is as good as
    /// rotten, unless it gave nothing else before either: a disk that is gone as a whole isn't to be emptied. `readable` is
    /// whether the last sliver could be read.
    pub(crate) async fn scrub(&self, blob: &BlobId, stripe: u32, readable: &mut bool) -> Result<Scrubbed, MemberError> {
        let mut scrubbed = Scrubbed::default();
        let Some(Entry::Live { metadata, .. }) = self.entry(blob)? else { return Ok(scrubbed) };
        scrubbed.more = stripe + 1 < metadata.layout.stripes();
        for (axis, index) in self.held_slivers(blob, stripe)? {
            let read = || self.read_slivers(blob, stripe, move |_, _| Ok(vec![(axis, index)]));
            let Some(mut found) = read().await? else {
                scrubbed.rotten += self.drop_undescribed(blob, stripe).await?;
                break;
            };
            if !found.unread.is_empty() {
                found = read().await?.unwrap_or(found);
            }
            scrubbed.bytes += found.sound.iter().map(|(_, _, data)| data.len() as u64).sum::<u64>();
            scrubbed.rotten += found.rotten.len() as u64;
            for (place, error) in &found.unread {
                tracing::warn!(%blob, stripe, axis = axis.name(), index, %error, dropped = *readable, "scrub: a sliver can't be read");
                if *readable {
                    self.metrics.sliver_rotten();
                    self.drop_rotten(*blob, *place).await?;
                    scrubbed.rotten += 1;
                }
            }
            *readable = found.unread.is_empty();
        }
        if !scrubbed.more {
            scrubbed.rotten += self.mark_lost(blob, &metadata).await?;
        }
        self.metrics.scrubbed(scrubbed.bytes);
        Ok(scrubbed)
    }

    /// Drops slivers of a stripe whose hashes are gone, so that nobody could read them; none where the blob is.
    async fn drop_undescribed(&self, blob: &BlobId, stripe: u32) -> Result<u64, MemberError> {
        let places = {
            let view = self.store.view();
            let is_live = self.is_live(blob)?;
            let Some(upload) = view.holding(&blob.0)?.filter(|_| is_live) else { return Ok(0) };
            if view.stripe(upload, stripe)?.is_some() {
                return Ok(0);
            }
            view.slivers_of_stripe(upload, stripe)?
        };
        for (place, _) in &places {
            self.drop_rotten(*blob, *place).await?;
        }
        Ok(places.len() as u64)
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
        if !self.is_live(blob)? {
            return Ok(0);
        }
        for shard in lost.iter() {
            tracing::warn!(%blob, shard, "slivers are gone that nobody deleted; they will be rebuilt");
            let index = metadata.code().sliver_index(u16::from(shard), Axis::Primary);
            self.mark_missing(*blob, Axis::Primary, index).await?;
        }
        Ok(u64::from(lost.len()))
    }
}

/// How far the scrub is.
fn pass(from: &impl View) -> Result<Option<Pass>, MemberError> {
    records::load(from, PASS, |from| {
        Ok(Pass {
            began: from.u64()?,
            after: from.option(|from| from.fixed().map(BlobId))?,
            at: from.option(|from| Ok((BlobId(from.fixed()?), from.u32()?)))?,
            found: from.u64()?,
            ended: from.option(Decoder::u64)?,
        })
    })
}

fn put_pass(to: &mut Tx<'_>, pass: &Pass) {
    let Pass { began, after, at, found, ended } = pass;
    let bytes = Encoder::new()
        .u64(*began)
        .option(after.as_ref(), |to, blob| to.fixed(&blob.0))
        .option(at.as_ref(), |to, (blob, stripe)| to.fixed(&blob.0).u32(*stripe))
        .u64(*found)
        .option(ended.as_ref(), |to, ended| to.u64(*ended));
    to.put_state(PASS, bytes.finish());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_begins_a_blob_anew_that_it_was_not_at() {
        let (mut pass, id) = (Pass::begin(7, None), |n| BlobId([n; 32]));
        let read = |more| Scrubbed { bytes: 1, rotten: 1, more };
        pass.go_on(id(5), read(true));
        pass.go_on(id(5), read(true));
        assert_eq!((pass.stripe(&id(5)), pass.stripe(&id(4)), pass.after), (2, 0, None));
        // One that was put meanwhile comes first.
        pass.go_on(id(4), read(false));
        assert_eq!((pass.stripe(&id(5)), pass.after, pass.found), (0, Some(id(4)), 3));
    }
}
