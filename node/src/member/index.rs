//! The registry's index in memory: which blobs there are, and what a shard of them weighs.
//!
//! It is changed at the end of the closure that changes the registry, so before anything can be answered that rests on
//! the change: a digest that a standing names (R9) never leaves out a blob that was receipted before.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Bound,
    sync::{Mutex, MutexGuard, PoisonError},
};

use weft_protocol::{Difference, Entry, Rank, Sketch};
use weft_redstuff::{BlobId, Hash};
use weft_store::View;

use super::{
    MemberError, expire,
    expiries::Expiries,
    records,
    rows::{Digest, Kind, PARTS, ROW, read_row, row, whole},
};

/// Cells kept of the registry's sketch: enough to find some 700 differences.
const CELLS: usize = 1024;

/// Rows read at a time when the index is made.
const PAGE: usize = 1024;

/// When a live blob ends, if it does.
pub(super) fn expiry_of(entry: &Entry) -> Option<u64> {
    match entry {
        Entry::Live { metadata, .. } => metadata.expiry,
        Entry::Deleted(_) | Entry::Void(_) => None,
    }
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

#[derive(Debug)]
struct Inner {
    blobs: BTreeMap<BlobId, Kind>,
    /// Blobs of which a tombstone or a void is left.
    leftovers: BTreeSet<BlobId>,
    expiries: Expiries,
    totals: Totals,
    digests: Digests,
    /// Of the rows that are told.
    sketch: Sketch<ROW>,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            blobs: BTreeMap::new(),
            leftovers: BTreeSet::new(),
            expiries: Expiries::default(),
            totals: Totals::default(),
            digests: Digests::default(),
            sketch: Sketch::empty(CELLS),
        }
    }
}

/// How another registry compares with this one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Compared {
    Equal,
    /// The rows that the other has, and this one hasn't, in order of ID.
    Lacks(Vec<(BlobId, Rank)>),
    /// They differ by more than the cells tell.
    Unclear,
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
        let Inner { blobs, leftovers, expiries, totals, digests, sketch } = &mut *inner;
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
            if before.is_told() {
                sketch.remove(&row(&blob, before.rank()));
            }
        }
        if let Some(kind) = kind {
            count(totals, kind, |total, by| total + by);
            if kind.is_told() {
                sketch.insert(&row(&blob, kind.rank()));
            }
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

    /// The digests of all parts, and the first cells of the sketch of all rows, of one moment.
    pub(crate) fn sketch(&self, cells: usize) -> (Vec<Hash>, Sketch<ROW>) {
        let mut inner = self.lock();
        (inner.digests(), inner.sketch.first(cells))
    }

    /// Finds what another registry has and this one hasn't, by its sketch. Its digests, of the same moment, prove that it is
    /// all: that takes the time of hashing the rows of all parts that differ.
    pub(crate) fn compare(&self, digests: &[Hash], theirs: &Sketch<ROW>) -> Compared {
        let (found, differ) = {
            let mut inner = self.lock();
            let parts = inner.digests().into_iter().zip(digests).zip(0..=u8::MAX);
            let differ: Vec<(u8, Hash)> = parts
                .filter(|((ours, theirs), _)| ours != *theirs)
                .map(|((_, theirs), part)| (part, *theirs))
                .collect();
            if differ.is_empty() {
                return Compared::Equal;
            }
            let Some(found) = inner.sketch.difference(theirs) else { return Compared::Unclear };
            let own = |(part, digest)| {
                let rows = rows(&inner.blobs, part, None).map(|(blob, kind)| (blob, kind.rank()));
                Differing { part, digest, own: rows.collect() }
            };
            (found, differ.into_iter().map(own).collect::<Vec<Differing>>())
        };
        prove(differ, &found).map_or(Compared::Unclear, Compared::Lacks)
    }

    /// How many rows more or less another registry has, by its sketch: at least so many differ.
    pub(crate) fn excess(&self, theirs: &Sketch<ROW>) -> u64 {
        self.lock().sketch.excess(theirs)
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

/// A part that differs: the other's digest of it, and the rows here.
struct Differing {
    part: u8,
    digest: Hash,
    own: BTreeMap<BlobId, Rank>,
}

/// The rows that the other has alone, where its rows of the parts that differ are those here but for the difference.
fn prove(differ: Vec<Differing>, found: &Difference<ROW>) -> Option<Vec<(BlobId, Rank)>> {
    let read = |side: &BTreeSet<[u8; ROW]>| side.iter().map(|row| read_row(row)).collect::<Option<Vec<_>>>();
    let (here, there) = (read(&found.here)?, read(&found.there)?);
    let in_part = |side: &[(BlobId, Rank)], part: u8| {
        let from = side.partition_point(|(blob, _)| blob.0[0] < part);
        let to = side.partition_point(|(blob, _)| blob.0[0] <= part);
        from..to
    };
    let mut proven = 0;
    for Differing { part, digest, own: mut theirs } in differ {
        for (blob, rank) in &here[in_part(&here, part)] {
            (theirs.remove(blob)? == *rank).then_some(())?;
        }
        let alone = in_part(&there, part);
        proven += alone.len();
        theirs.extend(there[alone].iter().copied());
        let mut told = Digest::default();
        for (blob, rank) in &theirs {
            told.add(blob, *rank);
        }
        (told.finish() == digest).then_some(())?;
    }
    // None of them is in a part that doesn't differ.
    (proven == there.len()).then_some(there)
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
    fn a_sketch_tells_what_the_other_registry_has_and_its_digests_prove_it() {
        let (one, other) = (Index::default(), Index::default());
        let live = |position| Kind::Live { slivers: 0, bytes: 0, position };
        let blob = |number: u32| BlobId(*blake3::hash(&number.to_le_bytes()).as_bytes());
        for number in 0..20_000 {
            one.set(blob(number), live((1, 0)));
            other.set(blob(number), live((1, 0)));
        }
        let (digests, sketch) = other.sketch(CELLS);
        assert_eq!(one.compare(&digests, &sketch), Compared::Equal);
        // Alone here, alone there, a later certificate there, a tombstone here, and what is told by nobody.
        (30_000..30_040).for_each(|number| one.set(blob(number), live((1, 0))));
        (40_000..40_040).for_each(|number| other.set(blob(number), live((2, 0))));
        other.set(blob(7), live((1, 3)));
        one.set(blob(8), Kind::Deleted);
        other.set(blob(9), Kind::Hidden { rank: Kind::Deleted.rank() });
        let mut lacked: Vec<(BlobId, Rank)> =
            (40_000..40_040).map(|number| (blob(number), live((2, 0)).rank())).collect();
        lacked.extend([(blob(7), live((1, 3)).rank()), (blob(8), live((1, 0)).rank())]);
        lacked.sort_unstable();
        let (digests, sketch) = other.sketch(256);
        assert_eq!(one.excess(&sketch), 1);
        assert_eq!(one.compare(&digests, &sketch), Compared::Lacks(lacked));
        assert_eq!(one.compare(&digests, &sketch.first(16)), Compared::Unclear);
        // A sketch of another moment, or a lie: it isn't what the digests are of.
        other.set(blob(50_000), live((1, 0)));
        let (later, _) = other.sketch(0);
        assert_eq!(one.compare(&later, &sketch), Compared::Unclear);
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
