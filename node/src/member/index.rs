//! The registry's index in memory: which blobs there are, and what a shard of them weighs.
//!
//! It is changed at the end of the closure that changes the registry, so before anything can be answered that rests on
//! the change: a digest that a standing names (R9) never leaves out a blob that was receipted before.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Bound,
    sync::{Mutex, MutexGuard, PoisonError},
};

use weft_protocol::{Entry, Rank};
use weft_redstuff::{Axis, BlobId, Hash};
use weft_store::View;

use super::{MemberError, expire, expiries::Expiries, records};

/// The registry is digested in parts, by the first byte of the ID: finding what two members don't share costs little
/// when they share nearly everything.
pub(super) const PARTS: usize = 256;

/// Rows read at a time when the index is made.
const PAGE: usize = 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Slivers and their bytes that one shard has of the blob; none of an inline one.
    Live {
        slivers: u64,
        bytes: u64,
        /// Epoch and revision of the certificate's view.
        position: (u64, u64),
    },
    /// The epoch and revision up to which certificates are void (R12).
    Void {
        position: (u64, u64),
    },
    Deleted,
    /// A tombstone or void that isn't told any more, since everyone has it (R14). It holds here as before.
    Hidden {
        rank: Rank,
    },
}

/// Bytes of a kind on the wire: a byte (1 live, 2 tombstone, 3 void), epoch and revision (big-endian; 0 of a tombstone).
const KIND: usize = 1 + 8 + 8;

/// Bytes of a row: a blob's ID, and its kind.
pub(crate) const ROW: usize = BlobId::LENGTH + KIND;

impl Kind {
    /// `position` finds that of a view by its hash.
    pub(crate) fn of(entry: &Entry, position: impl FnOnce(&Hash) -> (u64, u64)) -> Self {
        let rank = entry.rank(position);
        match entry {
            Entry::Deleted(_) => Self::Deleted,
            Entry::Void(_) => Self::Void { position: rank.position },
            Entry::Live { metadata, .. } => {
                let bytes = |axis| metadata.layout.iter().map(|stripe| stripe.sliver_length(axis) as u64).sum::<u64>();
                Self::Live {
                    slivers: 2 * u64::from(metadata.layout.stripes()),
                    bytes: bytes(Axis::Primary) + bytes(Axis::Secondary),
                    position: rank.position,
                }
            }
        }
    }

    pub(crate) fn rank(self) -> Rank {
        match self {
            Self::Live { position, .. } => Rank { deleted: false, position, void: false },
            Self::Void { position } => Rank { deleted: false, position, void: true },
            Self::Deleted => Rank { deleted: true, position: (0, 0), void: false },
            Self::Hidden { rank } => rank,
        }
    }

    pub(crate) fn is_live(self) -> bool {
        matches!(self, Self::Live { .. })
    }

    fn is_told(self) -> bool {
        !matches!(self, Self::Hidden { .. })
    }
}

/// When a live blob ends, if it does.
pub(super) fn expiry_of(entry: &Entry) -> Option<u64> {
    match entry {
        Entry::Live { metadata, .. } => metadata.expiry,
        Entry::Deleted(_) | Entry::Void(_) => None,
    }
}

/// A blob's row, as in `EntryIdsReply`.
pub(crate) fn row(blob: &BlobId, rank: Rank) -> [u8; ROW] {
    let Rank { deleted, position: (epoch, revision), void } = rank;
    let mut row = [0; ROW];
    let (id, kind) = row.split_at_mut(BlobId::LENGTH);
    id.copy_from_slice(blob.as_bytes());
    kind[0] = if deleted { 2 } else { 1 + 2 * u8::from(void) };
    kind[1..9].copy_from_slice(&epoch.to_be_bytes());
    kind[9..].copy_from_slice(&revision.to_be_bytes());
    row
}

/// Reads a row; `None` where it is malformed.
pub(crate) fn read_row(bytes: &[u8]) -> Option<(BlobId, Rank)> {
    let (id, kind) = bytes.split_at_checked(BlobId::LENGTH)?;
    let (tag, position) = kind.split_first()?;
    let (epoch, revision) = position.split_first_chunk::<8>()?;
    let position = (u64::from_be_bytes(*epoch), u64::from_be_bytes(revision.try_into().ok()?));
    let rank = match tag {
        1 | 3 => Rank { deleted: false, position, void: *tag == 3 },
        2 if position == (0, 0) => Rank { deleted: true, position, void: false },
        _ => return None,
    };
    Some((BlobId::from_slice(id)?, rank))
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) live: u64,
    pub(crate) tombstones: u64,
    pub(crate) voids: u64,
    /// Slivers and bytes that one shard has of all blobs.
    pub(crate) slivers: u64,
    pub(crate) bytes: u64,
    /// Live blobs with slivers.
    pub(crate) blobs: u64,
}

#[derive(Debug, Default)]
struct Inner {
    blobs: BTreeMap<BlobId, Kind>,
    /// Blobs of which a tombstone or a void is left.
    leftovers: BTreeSet<BlobId>,
    expiries: Expiries,
    totals: Totals,
    digests: Digests,
}

/// Of what hasn't changed since it was digested.
#[derive(Debug)]
struct Digests {
    parts: Box<[Option<Hash>; PARTS]>,
    whole: Option<Hash>,
}

impl Default for Digests {
    fn default() -> Self {
        Self { parts: Box::new([None; PARTS]), whole: None }
    }
}

impl Inner {
    fn digests(&mut self) -> Vec<Hash> {
        let Self { blobs, digests, .. } = self;
        let digest = |part: u8| {
            let mut digest = Digest::default();
            for (blob, kind) in rows(blobs, part, None) {
                digest.add(&blob, kind.rank());
            }
            digest.finish()
        };
        let parts = digests.parts.iter_mut().enumerate();
        parts.map(|(part, known)| *known.get_or_insert_with(|| digest(part as u8))).collect()
    }
}

#[derive(Debug, Default)]
pub(crate) struct Index(Mutex<Inner>);

impl Index {
    pub(crate) fn load(from: &impl View) -> Result<Self, MemberError> {
        let index = Self::default();
        let views: HashMap<Hash, (u64, u64)> =
            records::views(from)?.iter().map(|view| (view.view.hash(), view.view.position())).collect();
        let position = |hash: &Hash| views.get(hash).copied().unwrap_or_default();
        let mut after = None;
        loop {
            let page = from.entries(after.as_ref(), PAGE)?;
            let Some((last, _)) = page.last() else { break };
            after = Some(*last);
            for (blob, entry) in &page {
                let (blob, entry) = (BlobId(*blob), Entry::decode(entry)?);
                let kind = Kind::of(&entry, position);
                let hidden = !entry.is_live() && records::is_hidden(from, &blob)?;
                index.set(blob, if hidden { Kind::Hidden { rank: kind.rank() } } else { kind });
                index.expires(blob, expiry_of(&entry));
            }
        }
        for (blob, expiry) in expire::acked_expiries(from)? {
            index.expires(blob, Some(expiry));
        }
        Ok(index)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set(&self, blob: BlobId, kind: Kind) {
        self.put(blob, Some(kind));
    }

    pub(crate) fn remove(&self, blob: BlobId) {
        self.put(blob, None);
    }

    fn put(&self, blob: BlobId, kind: Option<Kind>) {
        let mut inner = self.lock();
        let Inner { blobs, leftovers, expiries, totals, digests } = &mut *inner;
        let count = |totals: &mut Totals, kind: Kind, by: fn(u64, u64) -> u64| match kind {
            Kind::Hidden { .. } => {}
            Kind::Deleted => totals.tombstones = by(totals.tombstones, 1),
            Kind::Void { .. } => totals.voids = by(totals.voids, 1),
            Kind::Live { slivers, bytes, position: _ } => {
                totals.live = by(totals.live, 1);
                totals.slivers = by(totals.slivers, slivers);
                totals.bytes = by(totals.bytes, bytes);
                totals.blobs = by(totals.blobs, u64::from(slivers > 0));
            }
        };
        let before = match kind {
            Some(kind) => blobs.insert(blob, kind),
            None => blobs.remove(&blob),
        };
        if let Some(before) = before {
            count(totals, before, |total, by| total - by);
        }
        if let Some(kind) = kind {
            count(totals, kind, |total, by| total + by);
        }
        if kind.is_some_and(|kind| !kind.is_live()) {
            leftovers.insert(blob)
        } else {
            leftovers.remove(&blob)
        };
        expiries.remove(&blob);
        digests.parts[usize::from(blob.0[0])] = None;
        digests.whole = None;
    }

    /// Notes when a blob ends that is live, or was acked here; to be said after what else there is of it.
    pub(crate) fn expires(&self, blob: BlobId, expiry: Option<u64>) {
        if let Some(expiry) = expiry {
            self.lock().expiries.set(blob, expiry);
        }
    }

    pub(crate) fn never_expires(&self, blob: &BlobId) {
        self.lock().expiries.remove(blob);
    }

    /// The first of the blobs that end at `floor` (seconds since 1970) or before, in order of time.
    pub(crate) fn due(&self, floor: u64, limit: usize) -> Vec<BlobId> {
        self.lock().expiries.due(floor, limit)
    }

    pub(crate) fn get(&self, blob: &BlobId) -> Option<Kind> {
        self.lock().blobs.get(blob).copied()
    }

    pub(crate) fn totals(&self) -> Totals {
        self.lock().totals
    }

    /// The digests of all parts.
    pub(crate) fn digests(&self) -> Vec<Hash> {
        self.lock().digests()
    }

    /// The digest of the whole registry.
    pub(crate) fn digest(&self) -> Hash {
        let mut inner = self.lock();
        if let Some(digest) = inner.digests.whole {
            return digest;
        }
        let digest = whole(&inner.digests());
        *inner.digests.whole.insert(digest)
    }

    /// Blobs of which a tombstone or a void is left, hidden ones too, in order of ID.
    pub(crate) fn leftovers(&self, after: Option<BlobId>, limit: usize) -> Vec<(BlobId, Kind)> {
        let inner = self.lock();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let found = inner.leftovers.range((from, Bound::Unbounded)).take(limit);
        found.filter_map(|blob| Some((*blob, *inner.blobs.get(blob)?))).collect()
    }

    /// IDs and kinds of what is told of the given parts (ascending; none: all), in order of ID, and whether there are
    /// more.
    pub(crate) fn page(&self, parts: &[u8], after: Option<BlobId>, limit: usize) -> (Vec<(BlobId, Kind)>, bool) {
        let inner = self.lock();
        let all: Vec<u8> = (0..=u8::MAX).collect();
        let parts = if parts.is_empty() { &all } else { parts };
        let first = after.map_or(0, |blob| blob.0[0]);
        let parts = parts.iter().filter(|part| **part >= first);
        let mut found = parts.flat_map(|part| rows(&inner.blobs, *part, after.filter(|blob| blob.0[0] == *part)));
        let page = found.by_ref().take(limit).collect();
        (page, found.next().is_some())
    }
}

/// The rows of a part, in order of ID, without what isn't told.
fn rows(
    blobs: &BTreeMap<BlobId, Kind>,
    part: u8,
    after: Option<BlobId>,
) -> impl Iterator<Item = (BlobId, Kind)> + use<'_> {
    let edge = |part: u8, rest: u8| {
        let mut id = [rest; BlobId::LENGTH];
        id[0] = part;
        BlobId(id)
    };
    let from = after.map_or(Bound::Included(edge(part, 0)), Bound::Excluded);
    let rows = blobs.range((from, Bound::Included(edge(part, u8::MAX)))).map(|(blob, kind)| (*blob, *kind));
    rows.filter(|(_, kind)| kind.is_told())
}

/// The digest of a registry, from those of its parts.
pub(crate) fn whole(digests: &[Hash]) -> Hash {
    let mut hasher = blake3::Hasher::new();
    for digest in digests {
        hasher.update(digest.as_bytes());
    }
    hasher.finalize().into()
}

/// Reads the digests of all parts.
pub(crate) fn read_digests(bytes: &[u8]) -> Option<Vec<Hash>> {
    let digests: Vec<Hash> = bytes.chunks(Hash::LENGTH).map(Hash::from_slice).collect::<Option<_>>()?;
    (digests.len() == PARTS).then_some(digests)
}

/// The digest of a part, from its rows in order of ID.
#[derive(Debug, Default)]
pub(crate) struct Digest(blake3::Hasher);

impl Digest {
    pub(crate) fn add(&mut self, blob: &BlobId, rank: Rank) {
        self.0.update(&row(blob, rank));
    }

    pub(crate) fn finish(&self) -> Hash {
        self.0.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(first: u8, last: u8) -> BlobId {
        let mut id = [0; 32];
        (id[0], id[31]) = (first, last);
        BlobId(id)
    }

    #[test]
    fn only_the_part_that_changed_has_another_digest() {
        let (one, other) = (Index::default(), Index::default());
        for (first, last) in [(0, 1), (7, 1), (7, 2), (255, 9)] {
            one.set(id(first, last), Kind::Deleted);
            other.set(id(first, last), Kind::Deleted);
        }
        assert_eq!(one.digest(), other.digest());
        other.set(id(7, 3), Kind::Live { slivers: 2, bytes: 10, position: (1, 0) });
        assert_ne!(one.digest(), other.digest());
        let differ = one.digests().iter().zip(other.digests()).map(|(a, b)| *a != b).collect::<Vec<_>>();
        assert_eq!(differ.iter().position(|differs| *differs), Some(7));
        assert_eq!(differ.iter().filter(|differs| **differs).count(), 1);
    }

    #[test]
    fn what_is_hidden_is_in_no_digest_and_no_page_and_is_known_all_the_same() {
        let (one, other) = (Index::default(), Index::default());
        one.set(id(7, 1), Kind::Deleted);
        other.set(id(7, 1), Kind::Deleted);
        other.set(id(7, 2), Kind::Deleted);
        assert_ne!(one.digest(), other.digest());
        let hidden = Kind::Hidden { rank: Kind::Deleted.rank() };
        other.set(id(7, 2), hidden);
        assert_eq!(one.digest(), other.digest());
        assert_eq!(other.page(&[], None, 9).0, vec![(id(7, 1), Kind::Deleted)]);
        assert_eq!(other.get(&id(7, 2)), Some(hidden));
        assert_eq!((other.leftovers(None, 9).len(), other.totals().tombstones), (2, 1));
        other.remove(id(7, 2));
        assert_eq!((other.get(&id(7, 2)), other.leftovers(None, 9).len()), (None, 1));
    }

    #[test]
    fn a_row_says_what_holds_of_a_blob() {
        let live = |position| Kind::Live { slivers: 0, bytes: 0, position };
        for kind in [live((1, 2)), live((7, 0)), Kind::Void { position: (3, 4) }, Kind::Deleted] {
            assert_eq!(read_row(&row(&id(1, 2), kind.rank())), Some((id(1, 2), kind.rank())));
        }
        let mut malformed = row(&id(1, 2), Kind::Deleted.rank());
        malformed[BlobId::LENGTH] = 9;
        assert_eq!(read_row(&malformed), None);
        let order = [live((1, 2)), Kind::Void { position: (1, 2) }, live((1, 3)), Kind::Deleted].map(Kind::rank);
        assert!(order.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn pages_go_through_the_wanted_parts_in_order() {
        let index = Index::default();
        let all = [id(0, 1), id(7, 1), id(7, 2), id(8, 0), id(255, 255)];
        for blob in all {
            index.set(blob, Kind::Deleted);
        }
        let page = |parts: &[u8], after, limit| {
            let (rows, more) = index.page(parts, after, limit);
            (rows.into_iter().map(|(blob, _)| blob).collect::<Vec<_>>(), more)
        };
        assert_eq!(page(&[], None, 9), (all.to_vec(), false));
        assert_eq!(page(&[7, 255], None, 2), (all[1..3].to_vec(), true));
        assert_eq!(page(&[7, 255], Some(all[2]), 2), (vec![all[4]], false));
        assert_eq!(page(&[], Some(all[1]), 2), (all[2..4].to_vec(), true));
    }
}
