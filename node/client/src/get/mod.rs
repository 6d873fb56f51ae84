//! Reading blobs: whole or in part, each byte checked against what the blob's ID commits to (R17).

mod decode;
mod hashes;
mod held;
mod locate;
mod lookup;
mod stripe;

use std::{
    fmt,
    ops::{Range, RangeInclusive},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures::{
    Stream, StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use thiserror::Error;
use tokio::time::sleep;
use weft_proto::{SMALL_BLOB, v1::SourceRows};
use weft_redstuff::{Axis, BlobId, Hash, Metadata, StripeLayout};

use self::lookup::Live;
pub(crate) use self::lookup::Want;
use self::stripe::{Rows, RowsError, read_rows};
pub use self::{
    held::HeldSliver,
    locate::{Holding, Placement},
};
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
    /// What can be read of it contradicts itself: its writer lied, and no retry helps (R17, R19).
    #[error("blob {blob} isn't what its writer committed to: {what}")]
    Inconsistent { blob: BlobId, what: String },
    #[error("blob {blob} has {length} bytes: none at {start}")]
    Range { blob: BlobId, length: u64, start: u64 },
}

/// How much is checked before a byte is returned (R17).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Consistency {
    /// Bytes match the committed hashes of the source rows. Of a bad writer's blob, readers may get bytes or an error.
    #[default]
    Committed,
    /// The whole stripe is encoded again, and all its slivers must have their committed hashes, before any of its bytes
    /// is returned: whatever slivers another reader gets, it reads the same. The last stripe's bytes of a whole blob
    /// come only if the content has its digest. A bad stripe after good ones breaks the content off.
    Strict,
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
        let live = self.lookup(id, Want::Entry).await?;
        live.must_be_valid(id)?;
        Ok(live.metadata)
    }

    /// A blob's content, or the part of it in `range`. The first bytes have been read when this returns.
    pub async fn get(&self, id: BlobId, range: Option<ByteRange>) -> Result<Content, GetError> {
        self.read(id, range, Consistency::Committed).await
    }

    /// The same, with as much checked as is asked for.
    pub async fn read(
        &self,
        id: BlobId,
        range: Option<ByteRange>,
        consistency: Consistency,
    ) -> Result<Content, GetError> {
        // A part of a blob may be less than what would come with its entry. Where memory is scarce, what needs none isn't to
        // wait for it.
        let room = if range.is_none() { self.read_memory.try_room(SMALL_BLOB) } else { None };
        let want = if room.is_some() { Want::Content } else { Want::Entry };
        let live = self.lookup(id, want).await?;
        live.must_be_valid(id)?;
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
            // The entry proves it: it is in the blob's root and digest.
            let part = content.slice(range.start as usize..range.end as usize);
            return Ok(Content { metadata, range, bytes: stream::once(async { Ok(part) }).boxed() });
        }
        let (client, range_read) = (self.clone(), range.clone());
        // A small blob's is held until its bytes have been read; of others each stripe asks for its own.
        let room = room.filter(|_| is_small(&metadata));
        let has_room = room.is_some();
        let reader = Reader {
            client,
            id,
            metadata: metadata.clone(),
            range: range_read,
            consistency,
            came: live.rows,
            has_room,
        };
        let mut rows = Box::pin(Arc::new(reader).rows());
        let first = rows.try_next().await?;
        drop(room);
        let bytes = stream::iter(first.map(Ok)).chain(rows).boxed();
        Ok(Content { metadata, range, bytes })
    }
}

impl Live {
    /// Refuses what reads as invalid everywhere, whatever slivers a reader would get.
    fn must_be_valid(&self, blob: BlobId) -> Result<(), GetError> {
        let what = || "the fleet has proven that its slivers contradict each other".to_owned();
        if self.invalid { Err(GetError::Inconsistent { blob, what: what() }) } else { Ok(()) }
    }
}

struct Reader {
    client: Client,
    id: BlobId,
    metadata: Metadata,
    range: Range<u64>,
    consistency: Consistency,
    /// What came with the entry of a small blob.
    came: Vec<SourceRows>,
    /// Whether there is memory for its only stripe.
    has_room: bool,
}

/// Whether a blob's content comes with its entry.
fn is_small(metadata: &Metadata) -> bool {
    !metadata.layout.is_inline() && metadata.layout.stripes() == 1 && metadata.length() <= SMALL_BLOB
}

impl Reader {
    /// The range, in pieces of up to a row.
    fn rows(self: Arc<Self>) -> impl Stream<Item = Result<Bytes, GetError>> + Send + 'static {
        let range = self.range.clone();
        let inside =
            move |stripe: &StripeLayout| stripe.offset < range.end && range.start < stripe.offset + stripe.length;
        let stripes = self.metadata.layout.iter().filter(inside);
        let mut digest = Digest::of(&self);
        let read = move |stripe: StripeLayout| {
            let reader = Arc::clone(&self);
            async move { reader.stripe(stripe).await }
        };
        stream::iter(stripes)
            .map(read)
            .buffered(AHEAD)
            .map(move |rows| digest.check(rows?))
            .map_ok(|rows| stream::iter(rows.into_iter().map(Ok)))
            .try_flatten()
    }

    /// The part of one stripe that is in the range.
    async fn stripe(&self, layout: StripeLayout) -> Result<Vec<Bytes>, GetError> {
        let row = layout.sliver_length(Axis::Primary) as u64;
        let begin = self.range.start.max(layout.offset) - layout.offset;
        let end = self.range.end.min(layout.offset + layout.length) - layout.offset;
        let (first, last) = ((begin / row) as u16, ((end - 1) / row) as u16);
        let code = self.metadata.code();
        let room = self.client.read_memory.room(code.stripe_capacity(layout.symbol_size));
        let _room = if self.has_room { None } else { Some(room.await) };
        let rows = match self.consistency {
            Consistency::Committed => self.fetch(layout, first..=last).await?.rows,
            Consistency::Strict => {
                let Rows { rows, hashes } = self.fetch(layout, 0..=code.source_rows() - 1).await?;
                let consistent = decode::is_consistent(code, layout.symbol_size, rows.clone(), hashes).await;
                if !consistent.map_err(|error| self.failed(error))? {
                    return Err(self.inconsistent(format!("stripe {} encodes to other slivers", layout.index)));
                }
                rows[usize::from(first)..=usize::from(last)].to_vec()
            }
        };
        let cut = |(index, bytes): (u16, Bytes)| {
            let at = u64::from(index) * row;
            bytes.slice(begin.saturating_sub(at) as usize..(end - at).min(row) as usize)
        };
        Ok((first..=last).zip(rows).map(cut).collect())
    }

    async fn fetch(&self, layout: StripeLayout, wanted: RangeInclusive<u16>) -> Result<Rows, GetError> {
        let mut pauses = PAUSES.into_iter();
        loop {
            let current = self.fleet().current().await?;
            let error = match read_rows(&current, self.id, &self.metadata, layout, wanted.clone(), &self.came).await {
                Ok(rows) => return Ok(rows),
                Err(error) => self.failed(error),
            };
            if matches!(error, GetError::Inconsistent { .. }) {
                return Err(error);
            }
            // Members that have the tombstone have no slivers; nor is anything left of what has expired.
            if let Err(error @ (GetError::Deleted(_) | GetError::NotFound(_))) =
                self.client.lookup(self.id, Want::Entry).await
            {
                return Err(error);
            }
            let Some(pause) = pauses.next() else { return Err(error) };
            sleep(pause).await;
            self.fleet().refresh().await?;
        }
    }

    fn failed(&self, error: RowsError) -> GetError {
        match error {
            RowsError::TooFew(reasons) => GetError::Unavailable { blob: self.id, reasons },
            RowsError::Inconsistent(what) => self.inconsistent(what),
        }
    }

    fn inconsistent(&self, what: String) -> GetError {
        GetError::Inconsistent { blob: self.id, what }
    }

    fn fleet(&self) -> &Fleet {
        self.client.fleet()
    }
}

/// The digest of a whole blob that is read strictly.
struct Digest {
    blob: BlobId,
    hasher: blake3::Hasher,
    left: u64,
    /// `None` where it isn't to be checked.
    expected: Option<Hash>,
}

impl Digest {
    fn of(reader: &Reader) -> Self {
        let whole = reader.range == (0..reader.metadata.length());
        let expected = (whole && reader.consistency == Consistency::Strict).then_some(reader.metadata.digest);
        Self { blob: reader.id, hasher: blake3::Hasher::new(), left: reader.metadata.length(), expected }
    }

    /// Lets rows pass, the last ones only if all were the content.
    fn check(&mut self, rows: Vec<Bytes>) -> Result<Vec<Bytes>, GetError> {
        let Some(expected) = self.expected else { return Ok(rows) };
        for row in &rows {
            self.hasher.update(row);
            self.left -= row.len() as u64;
        }
        if self.left > 0 || Hash::from(self.hasher.finalize()) == expected {
            return Ok(rows);
        }
        Err(GetError::Inconsistent { blob: self.blob, what: "its content has another digest".to_owned() })
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
