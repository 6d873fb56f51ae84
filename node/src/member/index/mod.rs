//! The registry's index: which blobs there are, and what a shard of them weighs, without reading their entries.
//!
//! Its rows are on the volume and change in the commits in which entries do; nothing is read whole at a start. What is summed over
//! all rows ([`Sums`]) is in memory. It is written now and then, and each commit notes what its blobs' rows were at that time: so a start
//! needs the last sums, and the rows that changed since.
//!
//! The sums change when the closure of a write has succeeded, before its commit, so before anything can be answered that rests on
//! the change: a digest that a standing names (R9) never leaves out a blob that was receipted before.

mod changes;
mod make;
mod newest;
mod older;
mod row;
mod sums;

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use weft_protocol::{Difference, Entry, Rank, Sketch};
use weft_redstuff::{BlobId, Hash};
use weft_store::{Pending, Room, Store, Tx, View};

use self::{changes::Change, older::Older, row::Row, sums::Sums};
use super::{
    MemberError,
    rows::{DigestKind, Kind, ROW, read_row},
};
pub(super) use changes::{Changes, Times};
pub(super) use make::make;
pub(super) use newest::newest;
pub(crate) use sums::Totals;

/// Begins the keys of blobs' rows; the ID follows.
const BLOB: u8 = b'b';
/// Of blobs of which a tombstone or a void is left; the ID follows.
const LEFTOVER: u8 = b'l';
/// Of what ends: when (seconds since 1970, big-endian) and the ID follow.
const EXPIRY: u8 = b'e';
/// Of live blobs, newest first: when each was made, from the end of time (milliseconds, big-endian), and the ID follow.
const CREATED: u8 = b'c';
/// Of the rows that were there when the sums were last written, and have changed since; the ID follows.
const BEFORE: u8 = b's';

/// The record of the sums.
const SUMS: &str = "sums";

/// The record that all live blobs have their rows in the order of creation: the registry's digest as of the last commit that
/// kept them. A release of before leaves it as it is when it changes the registry.
const NEWEST: &str = "newest";

/// Rows may change so often before the sums are written again.
const UNSUMMED: u64 = 16 * 1024;

/// Rows read at a time.
const PAGE: usize = 1024;

/// Begins the index of a new volume.
pub(super) fn begin(tx: &mut Tx<'_>) {
    tx.put_state(SUMS, Vec::new());
    tx.put_state(NEWEST, Sums::default().digest().0.to_vec());
}

/// When a live blob ends, if it does.
pub(super) fn expiry_of(entry: &Entry) -> Option<u64> {
    match entry {
        Entry::Live { metadata, .. } => metadata.expiry,
        Entry::Deleted(_) | Entry::Void(_) => None,
    }
}

fn key(of: u8, blob: &BlobId) -> Vec<u8> {
    [&[of], &blob.0[..]].concat()
}

fn expiry_key(expiry: u64, blob: &BlobId) -> Vec<u8> {
    [&[EXPIRY], &expiry.to_be_bytes()[..], &blob.0].concat()
}

/// The ID that a key ends with.
fn blob_of(key: &[u8]) -> Result<BlobId, MemberError> {
    let id = key.len().checked_sub(BlobId::LENGTH).and_then(|at| BlobId::from_slice(&key[at..]));
    id.ok_or(MemberError::Malformed { field: "index" })
}

fn row_of(from: &impl View, blob: &BlobId) -> Result<Option<Row>, MemberError> {
    from.index_row(&key(BLOB, blob))?.map(|row| Row::decode(&row)).transpose()
}

/// What the registry has of a blob.
pub(crate) fn kind(from: &impl View, blob: &BlobId) -> Result<Option<Kind>, MemberError> {
    Ok(row_of(from, blob)?.map(|row| row.kind))
}

/// Whether a blob is live.
pub(super) fn is_live(from: &impl View, blob: &BlobId) -> Result<bool, MemberError> {
    Ok(kind(from, blob)?.is_some_and(Kind::is_live))
}

/// The first of the blobs that end at `floor` (seconds since 1970) or before, in order of time, each with its time.
pub(super) fn due(from: &impl View, floor: u64, limit: usize) -> Result<Vec<(u64, BlobId)>, MemberError> {
    let mut due = Vec::new();
    for (key, _) in from.index_rows(&[EXPIRY], None, limit)? {
        let expiry = key[1..].first_chunk().map(|time| u64::from_be_bytes(*time));
        let expiry = expiry.ok_or(MemberError::Malformed { field: "index" })?;
        if expiry > floor {
            break;
        }
        due.push((expiry, blob_of(&key)?));
    }
    Ok(due)
}

/// Blobs of which a tombstone or a void is left, hidden ones too, in order of ID.
pub(super) fn leftovers(
    from: &impl View,
    after: Option<BlobId>,
    limit: usize,
) -> Result<Vec<(BlobId, Kind)>, MemberError> {
    let after = after.map(|blob| key(LEFTOVER, &blob));
    let mut found = Vec::new();
    for (key, _) in from.index_rows(&[LEFTOVER], after.as_deref(), limit)? {
        let blob = blob_of(&key)?;
        found.extend(kind(from, &blob)?.map(|kind| (blob, kind)));
    }
    Ok(found)
}

/// IDs and kinds of what is told of the given parts (ascending; none: all), in order of ID, and whether there are more.
pub(super) fn page(
    from: &impl View,
    parts: &[u8],
    after: Option<BlobId>,
    limit: usize,
) -> Result<(Vec<(BlobId, Kind)>, bool), MemberError> {
    let all: Vec<u8> = (0..=u8::MAX).collect();
    let parts = if parts.is_empty() { &all } else { parts };
    let first = after.map_or(0, |blob| blob.0[0]);
    let mut found = Vec::new();
    for part in parts.iter().filter(|part| **part >= first) {
        let mut after = after.filter(|blob| blob.0[0] == *part).map(|blob| key(BLOB, &blob));
        loop {
            let wanted = limit + 1 - found.len();
            let rows = from.index_rows(&[BLOB, *part], after.as_deref(), wanted)?;
            let is_last = rows.len() < wanted;
            after = rows.last().map(|(key, _)| key.clone());
            for (key, row) in rows {
                let kind = Row::decode(&row)?.kind;
                if kind.is_told() {
                    found.push((blob_of(&key)?, kind));
                }
            }
            if found.len() > limit {
                found.truncate(limit);
                return Ok((found, true));
            }
            if is_last {
                break;
            }
        }
    }
    Ok((found, false))
}

/// Notes that a blob ends which was acked here, and has no certificate yet.
pub(super) fn expires(tx: &mut Tx<'_>, blob: &BlobId, expiry: u64) {
    tx.put_index(&expiry_key(expiry, blob), Vec::new());
}

/// Forgets when a blob ends, unless it is live and does.
pub(super) fn settle_expiry(tx: &mut Tx<'_>, blob: &BlobId, expiry: u64) -> Result<(), MemberError> {
    if row_of(tx, blob)?.is_none_or(|row| row.expiry != Some(expiry)) {
        tx.remove_index(&expiry_key(expiry, blob));
    }
    Ok(())
}

/// Makes a write, and takes what it changes of the index into the sums.
pub(super) fn write<R: Send + 'static>(
    store: &Store,
    index: &Arc<Index>,
    write: impl FnOnce(&mut Tx<'_>, &mut Changes) -> Result<R, MemberError> + Send + 'static,
) -> Pending<R, MemberError> {
    let index = Arc::clone(index);
    store.write(Room::Reserved, move |tx| {
        let mut changes = Changes::default();
        let value = write(tx, &mut changes)?;
        index.apply(tx, changes)?;
        Ok(value)
    })
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

/// What is summed over the index.
#[derive(Debug)]
pub(crate) struct Index {
    sums: Mutex<Sums>,
    older: Older,
    /// Whether all live blobs have their rows in the order of creation.
    ordered: AtomicBool,
}

impl Index {
    /// Reads the sums that were last written, and takes in what has changed since. Where either is damaged they are made of the rows.
    pub(super) fn load(from: &impl View) -> Result<Self, MemberError> {
        let sums = Self::written(from).or_else(|error| {
            tracing::warn!(%error, "the sums of the registry's index are made anew");
            Ok::<_, MemberError>(make::made_before(from)?.0)
        });
        let mut sums = sums?;
        let is_ordered = from.state(NEWEST)?.is_some_and(|kept| kept == sums.digest().0);
        Ok(Self { sums: Mutex::new(sums), older: Older::default(), ordered: is_ordered.into() })
    }

    /// Whether all live blobs have their rows in the order of creation.
    pub(super) fn is_ordered(&self) -> bool {
        self.ordered.load(Ordering::Acquire)
    }

    /// Notes that they have.
    fn note_ordered(&self, tx: &mut Tx<'_>) {
        tx.put_state(NEWEST, self.lock().digest().0.to_vec());
        self.ordered.store(true, Ordering::Release);
    }

    fn written(from: &impl View) -> Result<Sums, MemberError> {
        let mut sums = match from.state(SUMS)?.filter(|sums| !sums.is_empty()) {
            Some(sums) => Sums::decode(&sums)?,
            None => Sums::default(),
        };
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = from.index_rows(&[BEFORE], after.as_deref(), PAGE)?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            for (key, before) in page {
                let blob = blob_of(&key)?;
                let before = if before.is_empty() { None } else { Some(Row::decode(&before)?) };
                sums.change(&blob, before.map(|row| row.kind), kind(from, &blob)?);
                sums.unsummed += 1;
            }
        }
        Ok(sums)
    }

    fn lock(&self) -> MutexGuard<'_, Sums> {
        self.sums.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a write's changes into the sums: the last that can fail in its closure.
    fn apply(&self, tx: &mut Tx<'_>, Changes(changes): Changes) -> Result<(), MemberError> {
        if changes.is_empty() {
            return Ok(());
        }
        let mut changed = 0;
        for Change { blob, from, .. } in &changes {
            let key = key(BEFORE, blob);
            if tx.index_row(&key)?.is_none() {
                tx.put_index(&key, from.map(|row| row.encode()).unwrap_or_default());
                changed += 1;
            }
        }
        self.older.change(tx.next_sequence(), changes.iter().map(|change| change.blob));
        let mut sums = self.lock();
        for Change { blob, from, to } in changes {
            sums.change(&blob, from.map(|row| row.kind), to.map(|row| row.kind));
        }
        sums.unsummed += changed;
        if sums.unsummed >= UNSUMMED {
            sums.unsummed = 0;
            tx.put_state(SUMS, sums.encode());
            tx.remove_index_of(&[BEFORE]);
        }
        if self.is_ordered() {
            tx.put_state(NEWEST, sums.digest().0.to_vec());
        }
        Ok(())
    }

    pub(crate) fn totals(&self) -> Totals {
        self.lock().totals
    }

    /// The digests of all parts; those of rows are of a snapshot that is taken now.
    pub(crate) fn digests(&self, kind: DigestKind, newest: &impl View) -> Result<Vec<Hash>, MemberError> {
        match kind {
            DigestKind::Sets => Ok(self.lock().digests()),
            DigestKind::Rows => self.older.digests(newest),
        }
    }

    /// The digest of the whole registry, by [`DigestKind::Sets`].
    pub(crate) fn digest(&self) -> Hash {
        self.lock().digest()
    }

    /// The digests of all parts, and the first cells of the sketch of all rows, of one moment.
    pub(crate) fn sketch(&self, cells: usize) -> (Vec<Hash>, Sketch<ROW>) {
        let mut sums = self.lock();
        (sums.digests(), sums.sketch.first(cells))
    }

    /// Finds what another registry has and this one hasn't, by its sketch. Its digests, of the same moment, prove that it is
    /// all, at a cost that follows the difference.
    pub(crate) fn compare(&self, digests: &[Hash], theirs: &Sketch<ROW>) -> Compared {
        let (found, differ) = {
            let mut sums = self.lock();
            let parts = sums.digests().into_iter().zip(digests).zip(0..=u8::MAX);
            let differ: Vec<(u8, Hash)> = parts
                .filter(|((ours, theirs), _)| ours != *theirs)
                .map(|((_, theirs), part)| (part, *theirs))
                .collect();
            if differ.is_empty() {
                return Compared::Equal;
            }
            let Some(found) = sums.sketch.difference(theirs) else { return Compared::Unclear };
            let own = |(part, digest)| Differing { part, digest, own: sums.set(part).clone() };
            (found, differ.into_iter().map(own).collect::<Vec<Differing>>())
        };
        prove(differ, &found).map_or(Compared::Unclear, Compared::Lacks)
    }

    /// How many rows more or less another registry has, by its sketch: at least so many differ.
    pub(crate) fn excess(&self, theirs: &Sketch<ROW>) -> u64 {
        self.lock().sketch.excess(theirs)
    }
}

/// A part that differs: the other's digest of it, and the set here.
struct Differing {
    part: u8,
    digest: Hash,
    own: weft_protocol::SetHash,
}

/// The rows that the other has alone, where its sets of the parts that differ are those here but for the difference.
fn prove(differ: Vec<Differing>, found: &Difference<ROW>) -> Option<Vec<(BlobId, Rank)>> {
    let of = |part: u8| move |row: &&[u8; ROW]| row[0] == part;
    let mut proven = 0;
    for Differing { part, digest, own: mut theirs } in differ {
        found.here.iter().filter(of(part)).for_each(|row| theirs.remove(row));
        for row in found.there.iter().filter(of(part)) {
            theirs.insert(row);
            proven += 1;
        }
        (theirs.digest() == digest).then_some(())?;
    }
    // None of them is in a part that doesn't differ.
    (proven == found.there.len()).then_some(())?;
    found.there.iter().map(|row| read_row(row)).collect()
}

#[cfg(test)]
mod tests;
