//! Typed writes.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::changes::Changes;
use crate::counters::Counters;
use crate::extents::{Extents, Place, SegmentUse};
use crate::keys::{missing_key, slot_of};
use crate::rows::{Bounds, Rows, Visit, scan_prefix};
use crate::tables::Table;
use crate::view::misshapen;
use crate::{SliverKey, StoreError, Upload, UploadNumber, View};

/// Bytes of a sliver in one chunk of format 1.
const CHUNK: usize = 64 * 1024 - 64;

/// Largest sliver, and most that one write may bring, bytes.
pub const MAX_SLIVER: usize = 1 << 30;

/// A write in progress: reads (by [`View`]) and changes of one closure.
///
/// The changes take effect, together, when the closure returns `Ok`; when it returns `Err` or panics there are none.
pub struct Tx<'base> {
    base: &'base dyn Rows,
    changes: Changes,
}

impl std::fmt::Debug for Tx<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Tx").field("changes", &self.changes).finish_non_exhaustive()
    }
}

impl Rows for Tx<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.changes.get(self.base, table, key)
    }

    fn has(&self, table: Table, key: &[u8]) -> Result<bool, StoreError> {
        self.changes.has(self.base, table, key)
    }

    fn scan(&self, table: Table, bounds: Bounds<'_>, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        self.changes.scan(self.base, table, bounds, visit)
    }

    fn read(&self, place: Place) -> Result<Vec<u8>, StoreError> {
        if place.is_pending() {
            let piece = self.changes.pieces.get(place.offset as usize);
            return piece.map(|piece| piece.to_vec()).ok_or_else(|| misshapen(Table::Extents));
        }
        self.base.read(place)
    }

    fn counters(&self) -> Counters {
        self.changes.counters
    }
}

impl<'base> Tx<'base> {
    pub(crate) fn new(base: &'base dyn Rows) -> Self {
        Self { base, changes: Changes::new(base.counters()) }
    }

    pub(crate) fn into_changes(self) -> Changes {
        self.changes
    }

    /// The sequence number of the commit that this write will be part of (PROTOCOL R1).
    pub fn next_sequence(&self) -> u64 {
        self.changes.counters.sequence + 1
    }

    /// Sets a record of the node.
    pub fn put_state(&mut self, name: &str, record: impl Into<Bytes>) {
        self.changes.insert(Table::State, name.as_bytes(), record.into());
    }

    /// Removes a record of the node.
    pub fn remove_state(&mut self, name: &str) {
        self.changes.remove(Table::State, name.as_bytes());
    }

    /// Sets a row of the node's index.
    pub fn put_index(&mut self, key: &[u8], row: impl Into<Bytes>) {
        self.changes.insert(Table::Index, key, row.into());
    }

    /// Removes a row of the node's index.
    pub fn remove_index(&mut self, key: &[u8]) {
        self.changes.remove(Table::Index, key);
    }

    /// Removes all rows of the node's index whose keys begin with `prefix`.
    pub fn remove_index_of(&mut self, prefix: &[u8]) {
        self.changes.remove_prefix(Table::Index, prefix);
    }

    /// Sets the registry entry of a blob. True when there was none.
    pub fn put_entry(&mut self, blob: &[u8; 32], entry: impl Into<Bytes>) -> Result<bool, StoreError> {
        let new = !self.has(Table::Entries, blob)?;
        self.changes.insert(Table::Entries, blob, entry.into());
        self.changes.counters.totals.entries += u64::from(new);
        Ok(new)
    }

    /// Removes the registry entry of a blob. True when there was one.
    pub fn remove_entry(&mut self, blob: &[u8; 32]) -> Result<bool, StoreError> {
        let found = self.has(Table::Entries, blob)?;
        if found {
            self.changes.remove(Table::Entries, blob);
            self.changes.counters.totals.entries -= 1;
        }
        Ok(found)
    }

    /// Opens an upload session, or returns it when it is open already, with its time moved on.
    ///
    /// `used_at`: seconds since 1970. `note` is the node's; an open session keeps its own.
    pub fn open_upload(&mut self, session: &[u8; 16], used_at: u64, note: &[u8]) -> Result<Upload, StoreError> {
        if let Some(mut open) = self.upload(session)? {
            if open.used_at < used_at {
                open.used_at = used_at;
                self.changes.insert(Table::Uploads, session, open.encode().into());
            }
            return Ok(open);
        }
        let upload = Upload { number: self.new_number(), used_at, note: note.to_vec() };
        self.changes.insert(Table::Uploads, session, upload.encode().into());
        Ok(upload)
    }

    /// Drops an upload session with all that it brought. True when there was one.
    pub fn drop_upload(&mut self, session: &[u8; 16]) -> Result<bool, StoreError> {
        let Some(upload) = self.upload(session)? else { return Ok(false) };
        self.changes.remove(Table::Uploads, session);
        self.release(upload.number)?;
        Ok(true)
    }

    /// Finishes an upload session: from this commit on the blob is held under its number.
    ///
    /// # Errors
    ///
    /// [`StoreError::UnknownSession`]; [`StoreError::AlreadyHeld`] when the blob has a holding, which is left as it is.
    pub fn finish_upload(&mut self, session: &[u8; 16], blob: &[u8; 32]) -> Result<UploadNumber, StoreError> {
        let upload = self.upload(session)?.ok_or(StoreError::UnknownSession)?;
        if let Some(number) = self.holding(blob)? {
            return Err(StoreError::AlreadyHeld { number });
        }
        self.changes.remove(Table::Uploads, session);
        self.changes.insert(Table::Holdings, blob, upload.number.key().to_vec().into());
        Ok(upload.number)
    }

    /// The upload under which a blob is held, made when there is none: where repair and migration put slivers.
    pub fn hold(&mut self, blob: &[u8; 32]) -> Result<UploadNumber, StoreError> {
        if let Some(number) = self.holding(blob)? {
            return Ok(number);
        }
        let number = self.new_number();
        self.changes.insert(Table::Holdings, blob, number.key().to_vec().into());
        Ok(number)
    }

    /// Removes what is held of a blob: holding, stripes and slivers. True when it was held.
    ///
    /// The slivers are gone from every view at once; the room they take is given back after it, in bounded steps.
    pub fn release_blob(&mut self, blob: &[u8; 32]) -> Result<bool, StoreError> {
        let Some(number) = self.holding(blob)? else { return Ok(false) };
        self.changes.remove(Table::Holdings, blob);
        self.release(number)?;
        Ok(true)
    }

    /// Marks what is held of a blob, so that [`View::mark`] tells it; nothing when it isn't held.
    pub fn mark_holding(&mut self, blob: &[u8; 32], mark: u64) -> Result<(), StoreError> {
        if let Some(number) = self.holding(blob)? {
            let row = [number.key(), mark.to_be_bytes()].concat();
            self.changes.insert(Table::Holdings, blob, row.into());
        }
        Ok(())
    }

    /// Removes every record, registry entry, row of the node's index and of what is missing; what is held of blobs and what open sessions
    /// brought stays. Gives the number that the next upload gets: what stays has lower ones.
    pub fn forget(&mut self) -> UploadNumber {
        for table in [Table::State, Table::Entries, Table::Index, Table::Missing, Table::MissingCounts] {
            self.changes.remove_prefix(table, &[]);
        }
        self.changes.counters.totals.entries = 0;
        self.changes.counters.totals.missing = 0;
        UploadNumber(self.changes.counters.next_upload)
    }

    /// Sets the description of a stripe: its symbol size and the hashes of its slivers, as the node encodes them.
    pub fn put_stripe(
        &mut self,
        upload: UploadNumber,
        stripe: u32,
        description: impl Into<Bytes>,
    ) -> Result<(), StoreError> {
        self.must_be_live(upload)?;
        self.changes.insert(Table::Stripes, &upload.stripe_key(stripe), description.into());
        Ok(())
    }

    /// Puts a sliver, which the caller has verified against its hash. Replaces one that is there.
    ///
    /// # Errors
    ///
    /// [`StoreError::UnknownUpload`] when nothing holds that upload any more, [`StoreError::SliverTooLarge`].
    pub fn put_sliver(&mut self, place: &SliverKey, sliver: impl Into<Bytes>) -> Result<(), StoreError> {
        let sliver: Bytes = sliver.into();
        // Of one write too: a commit has to fit a frame.
        let bytes = self.changes.pieces.iter().map(Bytes::len).sum::<usize>() + sliver.len();
        if bytes > MAX_SLIVER {
            return Err(StoreError::SliverTooLarge { bytes: bytes as u64, most: MAX_SLIVER as u64 });
        }
        self.must_be_live(place.upload)?;
        self.remove_sliver(place)?;
        let length = sliver.len() as u32;
        let pending = Place::pending(self.changes.pieces.len(), length);
        self.changes.pieces.push(sliver);
        let mut extents = self.extents(place.upload, place.stripe)?;
        extents.set(place.axis, place.index, pending);
        self.changes.insert(Table::Extents, &place.upload.stripe_key(place.stripe), extents.encode().into());
        self.changes.counters.totals.slivers += 1;
        self.changes.counters.totals.sliver_bytes += u64::from(length);
        Ok(())
    }

    /// Removes a sliver. True when it was there.
    pub fn remove_sliver(&mut self, place: &SliverKey) -> Result<bool, StoreError> {
        let mut extents = self.extents(place.upload, place.stripe)?;
        let length = if let Some(held) = extents.remove(place.axis, place.index) {
            let row = place.upload.stripe_key(place.stripe);
            if extents.is_empty() {
                self.changes.remove(Table::Extents, &row);
            } else {
                self.changes.insert(Table::Extents, &row, extents.encode().into());
            }
            self.free([held])?;
            held.length
        } else if let Some(length) = self.old_sliver_length(place)? {
            self.changes.remove(Table::Slivers, &place.key());
            for chunk in 0..chunks(length) {
                self.changes.remove(Table::Chunks, &place.chunk_key(chunk));
            }
            length
        } else {
            return Ok(false);
        };
        self.changes.counters.totals.slivers -= 1;
        self.changes.counters.totals.sliver_bytes -= u64::from(length);
        Ok(true)
    }

    /// Adds a shard of a blob to the list of what is missing. True when it wasn't on it.
    pub fn add_missing(&mut self, blob: &[u8; 32], shard: u8) -> Result<bool, StoreError> {
        if self.is_missing(blob, shard)? {
            return Ok(false);
        }
        self.changes.insert(Table::Missing, &missing_key(blob, shard), Bytes::new());
        self.changes.counters.totals.missing += 1;
        self.set_missing_count(shard, slot_of(blob), |count| count + 1)?;
        Ok(true)
    }

    /// Takes a shard of a blob off the list of what is missing. True when it was on it.
    pub fn remove_missing(&mut self, blob: &[u8; 32], shard: u8) -> Result<bool, StoreError> {
        if !self.is_missing(blob, shard)? {
            return Ok(false);
        }
        self.changes.remove(Table::Missing, &missing_key(blob, shard));
        self.changes.counters.totals.missing -= 1;
        self.set_missing_count(shard, slot_of(blob), |count| count.saturating_sub(1))?;
        Ok(true)
    }

    /// Takes a blob off the list of what is missing. Returns the number of its shards that were on it.
    pub fn remove_missing_of(&mut self, blob: &[u8; 32]) -> Result<usize, StoreError> {
        let shards = self.missing_of(blob)?;
        for shard in &shards {
            self.remove_missing(blob, *shard)?;
        }
        Ok(shards.len())
    }

    fn set_missing_count(&mut self, shard: u8, slot: u8, step: impl Fn(u64) -> u64) -> Result<(), StoreError> {
        match step(self.missing_in_slot(shard, slot)?) {
            0 => self.changes.remove(Table::MissingCounts, &[shard, slot]),
            count => self.changes.insert(Table::MissingCounts, &[shard, slot], count.to_be_bytes().to_vec().into()),
        }
        Ok(())
    }

    fn new_number(&mut self) -> UploadNumber {
        let number = UploadNumber(self.changes.counters.next_upload);
        self.changes.counters.next_upload += 1;
        self.changes.insert(Table::Live, &number.key(), Bytes::new());
        number
    }

    fn must_be_live(&self, number: UploadNumber) -> Result<(), StoreError> {
        if self.has(Table::Live, &number.key())? { Ok(()) } else { Err(StoreError::UnknownUpload { number }) }
    }

    /// Removes an upload's stripes and where its slivers lie; their room is given back later.
    fn release(&mut self, number: UploadNumber) -> Result<(), StoreError> {
        let prefix = number.key();
        let mut held = Vec::new();
        scan_prefix(self, Table::Extents, &prefix, None, &mut |_, row| {
            held.extend(Extents::decode(row)?.places());
            Ok(true)
        })?;
        let mut old = Vec::new();
        scan_prefix(self, Table::Slivers, &prefix, None, &mut |_, length| {
            old.push(u32::from_be_bytes(length.try_into().map_err(|_| misshapen(Table::Slivers))?));
            Ok(true)
        })?;
        for table in [Table::Extents, Table::Slivers, Table::Stripes] {
            self.changes.remove_prefix(table, &prefix);
        }
        self.changes.remove(Table::Live, &prefix);
        if old.iter().any(|length| *length > 0) {
            self.changes.insert(Table::Trash, &prefix, Bytes::new());
        }
        let totals = &mut self.changes.counters.totals;
        totals.slivers -= (held.len() + old.len()) as u64;
        let lengths = held.iter().map(|place| place.length).chain(old);
        totals.sliver_bytes -= lengths.map(u64::from).sum::<u64>();
        self.free(held)
    }

    /// Counts places as held no more.
    fn free(&mut self, places: impl IntoIterator<Item = Place>) -> Result<(), StoreError> {
        let mut freed = BTreeMap::<u32, u64>::new();
        for place in places.into_iter().filter(|place| !place.is_pending()) {
            *freed.entry(place.segment).or_default() += u64::from(place.length);
        }
        for (segment, bytes) in freed {
            self.changes.counters.segment_bytes = self.changes.counters.segment_bytes.saturating_sub(bytes);
            // Of no bytes, a place may be in a segment that is gone.
            let Some(row) = self.get(Table::Segments, &segment.to_be_bytes())? else { continue };
            let mut used = SegmentUse::decode(&row)?;
            used.live = used.live.saturating_sub(bytes);
            self.changes.insert(Table::Segments, &segment.to_be_bytes(), used.encode().into());
        }
        Ok(())
    }
}

fn chunks(length: u32) -> u16 {
    (length as usize).div_ceil(CHUNK) as u16
}
