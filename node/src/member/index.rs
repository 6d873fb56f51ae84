//! The registry's index in memory: which blobs there are, and what a shard of them weighs.
//!
//! It is changed at the end of the closure that changes the registry, so before anything can be answered that rests on
//! the change: a digest that a standing names (R9) never leaves out a blob that was receipted before.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Mutex, MutexGuard, PoisonError},
};

use weft_protocol::Entry;
use weft_redstuff::{Axis, BlobId, Hash};
use weft_store::View;

use super::MemberError;

/// Rows read at a time when the index is made.
const PAGE: usize = 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Slivers and their bytes that one shard has of the blob; none of an inline one.
    Live {
        slivers: u64,
        bytes: u64,
    },
    Deleted,
}

impl Kind {
    pub(crate) fn of(entry: &Entry) -> Self {
        match entry {
            Entry::Deleted(_) => Self::Deleted,
            Entry::Live { metadata, .. } => {
                let bytes = |axis| metadata.layout.iter().map(|stripe| stripe.sliver_length(axis) as u64).sum::<u64>();
                Self::Live {
                    slivers: 2 * u64::from(metadata.layout.stripes()),
                    bytes: bytes(Axis::Primary) + bytes(Axis::Secondary),
                }
            }
        }
    }

    /// As in `EntryIdsReply`.
    pub(crate) fn wire(self) -> u8 {
        match self {
            Self::Live { .. } => 1,
            Self::Deleted => 2,
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) live: u64,
    pub(crate) tombstones: u64,
    /// Slivers and bytes that one shard has of all blobs.
    pub(crate) slivers: u64,
    pub(crate) bytes: u64,
    /// Live blobs with slivers.
    pub(crate) blobs: u64,
}

#[derive(Debug, Default)]
struct Inner {
    blobs: BTreeMap<BlobId, Kind>,
    totals: Totals,
    digest: Option<Hash>,
}

#[derive(Debug, Default)]
pub(crate) struct Index(Mutex<Inner>);

impl Index {
    pub(crate) fn load(from: &impl View) -> Result<Self, MemberError> {
        let index = Self::default();
        let mut after = None;
        loop {
            let page = from.entries(after.as_ref(), PAGE)?;
            let Some((last, _)) = page.last() else { return Ok(index) };
            after = Some(*last);
            for (blob, entry) in &page {
                index.set(BlobId(*blob), Kind::of(&Entry::decode(entry)?));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set(&self, blob: BlobId, kind: Kind) {
        let mut inner = self.lock();
        let Inner { blobs, totals, digest } = &mut *inner;
        let count = |totals: &mut Totals, kind: Kind, by: fn(u64, u64) -> u64| match kind {
            Kind::Deleted => totals.tombstones = by(totals.tombstones, 1),
            Kind::Live { slivers, bytes } => {
                totals.live = by(totals.live, 1);
                totals.slivers = by(totals.slivers, slivers);
                totals.bytes = by(totals.bytes, bytes);
                totals.blobs = by(totals.blobs, u64::from(slivers > 0));
            }
        };
        if let Some(before) = blobs.insert(blob, kind) {
            count(totals, before, |total, by| total - by);
        }
        count(totals, kind, |total, by| total + by);
        *digest = None;
    }

    pub(crate) fn get(&self, blob: &BlobId) -> Option<Kind> {
        self.lock().blobs.get(blob).copied()
    }

    pub(crate) fn totals(&self) -> Totals {
        self.lock().totals
    }

    /// BLAKE3 over what [`Index::page`] gives, of all blobs.
    pub(crate) fn digest(&self) -> Hash {
        let mut inner = self.lock();
        if let Some(digest) = inner.digest {
            return digest;
        }
        let mut digest = Digest::default();
        for (blob, kind) in &inner.blobs {
            digest.add(blob, kind.wire());
        }
        let digest = digest.finish();
        inner.digest = Some(digest);
        digest
    }

    /// IDs and kinds, in order of ID, and whether there are more.
    pub(crate) fn page(&self, after: Option<BlobId>, limit: usize) -> (Vec<(BlobId, Kind)>, bool) {
        let inner = self.lock();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rows = inner.blobs.range((from, Bound::Unbounded)).map(|(blob, kind)| (*blob, *kind));
        let page = rows.by_ref().take(limit).collect();
        (page, rows.next().is_some())
    }
}

/// The digest of a registry, from its rows in order of ID.
#[derive(Debug, Default)]
pub(crate) struct Digest(blake3::Hasher);

impl Digest {
    pub(crate) fn add(&mut self, blob: &BlobId, wire: u8) {
        self.0.update(blob.as_bytes());
        self.0.update(&[wire]);
    }

    pub(crate) fn finish(&self) -> Hash {
        self.0.finalize().into()
    }
}
