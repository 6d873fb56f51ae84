//! Reading blobs: whole or in part, each byte checked against what the blob's ID commits to (R17).

mod hashes;
mod lookup;
mod stripe;

use std::{fmt, ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{
    Stream, StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use thiserror::Error;
use tokio::time::sleep;
use weft_redstuff::{BlobId, Metadata, StripeLayout};

use crate::{Client, Fleet, FleetError};

/// Stripes on their way while one is read.
const AHEAD: usize = 2;
/// Pauses before a stripe is asked for again: members restart, views change.
const PAUSES: [Duration; 3] = [Duration::from_millis(200), Duration::from_millis(500), Duration::from_secs(1)];

/// Why a blob can't be read.
#[derive(Debug, Error)]
pub enum GetError {
    #[error("the fleet's view isn't known")]
    Fleet(#[from] FleetError),
    #[error("no blob {0}")]
    NotFound(BlobId),
    #[error("blob {0} was deleted")]
    Deleted(BlobId),
    #[error("blob {blob} can't be read now: {}", reasons.join("; "))]
    Unavailable { blob: BlobId, reasons: Vec<String> },
    #[error("blob {blob} has {length} bytes: none at {start}")]
    Range { blob: BlobId, length: u64, start: u64 },
}

/// Which bytes of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteRange {
    /// From an offset to another, inclusive, or to the end.
    From(u64, Option<u64>),
    /// The last so many.
    Last(u64),
}

impl ByteRange {
    /// The range in a blob of `length` bytes, or `None` when none of its bytes are in it (RFC 9110, section 14.1.2).
    pub fn within(self, length: u64) -> Option<Range<u64>> {
        let range = match self {
            Self::From(first, last) => first..last.map_or(length, |last| last.saturating_add(1).min(length)),
            Self::Last(count) => length.saturating_sub(count)..length,
        };
        (range.start < range.end).then_some(range)
    }
}

/// A blob's content, or a part of it, as it comes.
pub struct Content {
    pub metadata: Metadata,
    /// The bytes that come.
    pub range: Range<u64>,
    pub bytes: BoxStream<'static, Result<Bytes, GetError>>,
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content").field("metadata", &self.metadata).field("range", &self.range).finish_non_exhaustive()
    }
}

impl Client {
    /// What is known of a blob.
    pub async fn stat(&self, id: BlobId) -> Result<Metadata, GetError> {
        Ok(self.lookup(id).await?.metadata)
    }

    /// A blob's content, or the part of it in `range`. The first bytes have been read when this returns.
    pub async fn get(&self, id: BlobId, range: Option<ByteRange>) -> Result<Content, GetError> {
        let live = self.lookup(id).await?;
        let length = live.metadata.length();
        let range = match range {
            None => 0..length,
            Some(asked) => asked.within(length).ok_or_else(|| GetError::Range {
                blob: id,
                length,
                start: if let ByteRange::From(first, _) = asked { first } else { length },
            })?,
        };
        let metadata = live.metadata;
        if let Some(content) = live.inline {
            let part = content.slice(range.start as usize..range.end as usize);
            return Ok(Content { metadata, range, bytes: stream::once(async { Ok(part) }).boxed() });
        }
        let reader = Arc::new(Reader { client: self.clone(), id, metadata: metadata.clone(), range: range.clone() });
        let mut rows = Box::pin(reader.rows());
        let first = rows.try_next().await?;
        let bytes = stream::iter(first.map(Ok)).chain(rows).boxed();
        Ok(Content { metadata, range, bytes })
    }
}

struct Reader {
    client: Client,
    id: BlobId,
    metadata: Metadata,
    range: Range<u64>,
}

impl Reader {
    /// The range, in pieces of up to a row.
    fn rows(self: Arc<Self>) -> impl Stream<Item = Result<Bytes, GetError>> + Send + 'static {
        let range = self.range.clone();
        let inside =
            move |stripe: &StripeLayout| stripe.offset < range.end && range.start < stripe.offset + stripe.length;
        let stripes = self.metadata.layout.iter().filter(inside);
        let read = move |stripe: StripeLayout| {
            let reader = Arc::clone(&self);
            async move { reader.stripe(stripe).await }
        };
        stream::iter(stripes)
            .map(read)
            .buffered(AHEAD)
            .map_ok(|rows| stream::iter(rows.into_iter().map(Ok)))
            .try_flatten()
    }

    /// The part of one stripe that is in the range.
    async fn stripe(&self, layout: StripeLayout) -> Result<Vec<Bytes>, GetError> {
        let row = layout.sliver_length(weft_redstuff::Axis::Primary) as u64;
        let begin = self.range.start.max(layout.offset) - layout.offset;
        let end = self.range.end.min(layout.offset + layout.length) - layout.offset;
        let (first, last) = ((begin / row) as u16, ((end - 1) / row) as u16);
        let memory = self.metadata.code().stripe_capacity(layout.symbol_size);
        let _room = self.client.read_memory.room(memory).await;
        let rows = self.fetch(layout.index, first..=last).await?;
        let cut = |(index, bytes): (u16, Bytes)| {
            let at = u64::from(index) * row;
            bytes.slice(begin.saturating_sub(at) as usize..(end - at).min(row) as usize)
        };
        Ok((first..=last).zip(rows).map(cut).collect())
    }

    async fn fetch(&self, stripe: u32, wanted: std::ops::RangeInclusive<u16>) -> Result<Vec<Bytes>, GetError> {
        let mut pauses = PAUSES.into_iter();
        loop {
            let current = self.fleet().current().await?;
            let reasons = match stripe::read_rows(&current, self.id, &self.metadata, stripe, wanted.clone()).await {
                Ok(rows) => return Ok(rows),
                Err(reasons) => reasons,
            };
            // Members that have the tombstone have no slivers.
            if let Err(error @ GetError::Deleted(_)) = self.client.lookup(self.id).await {
                return Err(error);
            }
            let Some(pause) = pauses.next() else {
                return Err(GetError::Unavailable { blob: self.id, reasons });
            };
            sleep(pause).await;
            self.fleet().refresh().await?;
        }
    }

    fn fleet(&self) -> &Fleet {
        self.client.fleet()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_to_the_blob() {
        assert_eq!(ByteRange::From(0, None).within(10), Some(0..10));
        assert_eq!(ByteRange::From(3, Some(5)).within(10), Some(3..6));
        assert_eq!(ByteRange::From(3, Some(u64::MAX)).within(10), Some(3..10));
        assert_eq!(ByteRange::Last(4).within(10), Some(6..10));
        assert_eq!(ByteRange::Last(40).within(10), Some(0..10));
        for outside in [ByteRange::From(10, None), ByteRange::From(5, Some(4)), ByteRange::Last(0)] {
            assert_eq!(outside.within(10), None, "{outside:?}");
        }
        assert_eq!(ByteRange::Last(1).within(0), None);
    }
}
