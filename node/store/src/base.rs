//! The one write transaction, as the closures grouped into it see it.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use redb::WriteTransaction;

use crate::StoreError;
use crate::changes::Changes;
use crate::counters::{Counters, footprint};
use crate::extents::{Extents, Place, SegmentUse};
use crate::log::{Change, Draft, End, Log, Segments};
use crate::rows::{Bounds, Rows, Visit, get_row, guarded, has_row, prefix_end, scan_rows};
use crate::tables::Table;
use crate::view::misshapen;

/// The tables of a write transaction.
pub(crate) struct Tables<'txn> {
    tables: [redb::Table<'txn, &'static [u8], &'static [u8]>; Table::COUNT],
    pub(crate) counters: Counters,
}

impl<'txn> Tables<'txn> {
    /// Opens all tables; of a new volume with the counters that it begins with.
    pub(crate) fn open(transaction: &'txn WriteTransaction, new: Option<Counters>) -> Result<Self, StoreError> {
        let mut tables = Vec::with_capacity(Table::COUNT);
        for table in Table::ALL {
            tables.push(guarded(table, || transaction.open_table(table.definition()))?);
        }
        let tables: [_; Table::COUNT] = tables.try_into().map_err(|_| misshapen(Table::Meta))?;
        let counters = if let Some(counters) = new {
            counters
        } else {
            let row = get_row(Table::Meta, &tables[Table::Meta as usize], Counters::KEY)?;
            Counters::decode(&row.ok_or_else(|| misshapen(Table::Meta))?)?
        };
        Ok(Self { tables, counters })
    }

    /// Makes a change. Returns how many rows it changed.
    pub(crate) fn make(&mut self, change: Change<'_>) -> Result<u64, StoreError> {
        match change {
            Change::Put(table, key, row) => self.insert(table, key, row).map(|()| 1),
            Change::Remove(table, key) => self.remove(table, key).map(u64::from),
            Change::RemovePrefix(table, prefix) => self.remove_prefix(table, prefix),
        }
    }

    /// Ends a transaction's content: with its counters, and where the log ends that it has the changes of.
    pub(crate) fn seal(mut self, end: End) -> Result<(), StoreError> {
        for (key, payload) in [(Counters::KEY, self.counters.encode()), (End::KEY, end.encode())] {
            // The rows replace others of the same size, so writing them doesn't change the use that they tell.
            let row = Table::Meta.seal(key, payload);
            let meta = &mut self.tables[Table::Meta as usize];
            guarded(Table::Meta, || meta.insert(key, row.as_slice()).map(drop))?;
        }
        Ok(())
    }

    fn insert(&mut self, table: Table, key: &[u8], payload: &[u8]) -> Result<(), StoreError> {
        let sealed = table.seal(key, payload.to_vec());
        let rows = &mut self.tables[table as usize];
        let old = guarded(table, || rows.insert(key, sealed.as_slice()).map(|old| old.map(|old| old.value().len())))?;
        self.counters.live_bytes += footprint(key.len(), sealed.len());
        self.forget(key.len(), old);
        Ok(())
    }

    fn remove(&mut self, table: Table, key: &[u8]) -> Result<bool, StoreError> {
        let rows = &mut self.tables[table as usize];
        let old = guarded(table, || rows.remove(key).map(|old| old.map(|old| old.value().len())))?;
        self.forget(key.len(), old);
        Ok(old.is_some())
    }

    fn remove_prefix(&mut self, table: Table, prefix: &[u8]) -> Result<u64, StoreError> {
        let end = prefix_end(prefix);
        let to = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let rows = &mut self.tables[table as usize];
        let (mut removed, mut freed) = (0, 0);
        guarded(table, || {
            rows.retain_in::<&[u8], _>((Bound::Included(prefix), to), |key, row| {
                removed += 1;
                freed += footprint(key.len(), row.len());
                false
            })
        })?;
        self.counters.live_bytes = self.counters.live_bytes.saturating_sub(freed);
        Ok(removed)
    }

    fn forget(&mut self, key: usize, old: Option<usize>) {
        if let Some(old) = old {
            self.counters.live_bytes = self.counters.live_bytes.saturating_sub(footprint(key, old));
        }
    }
}

impl Rows for Tables<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        get_row(table, &self.tables[table as usize], key)
    }

    fn has(&self, table: Table, key: &[u8]) -> Result<bool, StoreError> {
        has_row(table, &self.tables[table as usize], key)
    }

    fn scan(&self, table: Table, bounds: Bounds<'_>, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        scan_rows(table, &self.tables[table as usize], bounds, visit)
    }

    fn read(&self, place: Place) -> Result<Vec<u8>, StoreError> {
        Err(StoreError::Corrupt { table: Table::Extents, what: format!("{place:?} can't be read without the log") })
    }

    fn counters(&self) -> Counters {
        self.counters
    }
}

/// The transaction, and the frame that it will be in the log.
pub(crate) struct Base<'txn> {
    tables: Tables<'txn>,
    segments: &'txn Segments,
    draft: Draft,
    /// The frame of slivers that are moved in this commit, and how many bytes of which segments those are.
    moved: Option<Draft>,
    moved_from: BTreeMap<u32, u64>,
    changed: bool,
    /// Rows that it changed.
    rows: u64,
    /// Rows of [`Table::Segments`] that it changed; none where one is gone.
    uses: BTreeMap<u32, Option<SegmentUse>>,
}

/// A transaction whose changes are all made: what goes to the log before it is committed.
pub(crate) struct Sealed<'txn> {
    pub(crate) tables: Tables<'txn>,
    pub(crate) draft: Draft,
    pub(crate) moved: Option<Draft>,
    pub(crate) rows: u64,
    pub(crate) uses: BTreeMap<u32, Option<SegmentUse>>,
}

impl Rows for Base<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.tables.get(table, key)
    }

    fn has(&self, table: Table, key: &[u8]) -> Result<bool, StoreError> {
        self.tables.has(table, key)
    }

    fn scan(&self, table: Table, bounds: Bounds<'_>, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        self.tables.scan(table, bounds, visit)
    }

    fn read(&self, place: Place) -> Result<Vec<u8>, StoreError> {
        match self.draft.read(place).or_else(|| self.moved.as_ref()?.read(place)) {
            Some(piece) => Ok(piece.to_vec()),
            None => self.segments.read(place),
        }
    }

    fn counters(&self) -> Counters {
        self.tables.counters
    }
}

impl<'txn> Base<'txn> {
    pub(crate) fn open(
        transaction: &'txn WriteTransaction,
        segments: &'txn Segments,
        draft: Draft,
    ) -> Result<Self, StoreError> {
        let tables = Tables::open(transaction, None)?;
        let (moved_from, uses) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { tables, segments, draft, moved: None, moved_from, changed: false, rows: 0, uses })
    }

    pub(crate) fn segments(&self) -> &'txn Segments {
        self.segments
    }

    /// Makes a closure's changes part of the transaction. An error leaves the transaction unfit to commit.
    pub(crate) fn apply(&mut self, changes: Changes) -> Result<(), StoreError> {
        // Closures know nothing of the database's use, which `Tables` counts.
        let counters = Counters { live_bytes: self.tables.counters.live_bytes, ..changes.counters };
        self.changed |= counters != self.tables.counters;
        self.tables.counters = counters;
        let (tables, pieces) = changes.into_parts();
        let before = self.payload();
        for (table, changes) in tables {
            for prefix in &changes.removed_prefixes {
                self.make(Change::RemovePrefix(table, prefix))?;
            }
            for (key, row) in &changes.rows {
                match row {
                    Some(row) if table == Table::Extents => self.put_extents(key, row, &pieces)?,
                    Some(row) => self.make(Change::Put(table, key, row))?,
                    None => self.make(Change::Remove(table, key))?,
                }
            }
        }
        let placed = self.payload() - before;
        if placed == 0 {
            return Ok(());
        }
        self.tables.counters.segment_bytes += placed;
        // At once: the next closure of the group may let go of them.
        let segment = self.draft.segment();
        let used = self.segment_use(segment)?.unwrap_or_default();
        self.put_use(segment, SegmentUse { live: used.live + placed, ..used })
    }

    /// Makes and notes a change.
    pub(crate) fn make(&mut self, change: Change<'_>) -> Result<(), StoreError> {
        let rows = self.tables.make(change)?;
        if rows > 0 {
            self.changed = true;
            self.rows += rows;
            self.draft.note(change);
            match change {
                Change::Put(Table::Segments, key, row) => self.note_use(key, Some(SegmentUse::decode(row)?)),
                Change::Remove(Table::Segments, key) => self.note_use(key, None),
                _ => {}
            }
        }
        Ok(())
    }

    /// Bytes of slivers that it brings so far.
    pub(crate) fn payload(&self) -> u64 {
        u64::from(self.draft.payload())
    }

    /// Takes bytes that are moved, for a place in the frame of those.
    pub(crate) fn place_moved(&mut self, log: &mut Log, piece: Bytes) -> Result<Place, StoreError> {
        let moved = match &mut self.moved {
            Some(moved) => moved,
            None => self.moved.insert(log.moved_draft()?),
        };
        place(moved, piece)
    }

    /// Puts a row of [`Table::Extents`] of which so many bytes were moved out of a segment.
    pub(crate) fn put_moved(&mut self, key: &[u8], row: &[u8], segment: u32, bytes: u64) -> Result<(), StoreError> {
        let change = Change::Put(Table::Extents, key, row);
        if let Some(moved) = &mut self.moved {
            moved.note(change);
        }
        *self.moved_from.entry(segment).or_default() += bytes;
        self.make(change)
    }

    /// Bytes of a segment that are held, without those that are moved in this commit.
    pub(crate) fn held_of(&self, segment: u32) -> Result<Option<u64>, StoreError> {
        let moved = self.moved_from.get(&segment).copied().unwrap_or_default();
        Ok(self.segment_use(segment)?.map(|used| used.live.saturating_sub(moved)))
    }

    /// Takes a segment off the list of those that the volume has.
    pub(crate) fn drop_segment(&mut self, segment: u32) -> Result<(), StoreError> {
        self.moved_from.remove(&segment);
        self.make(Change::Remove(Table::Segments, &segment.to_be_bytes()))
    }

    fn put_use(&mut self, segment: u32, used: SegmentUse) -> Result<(), StoreError> {
        self.make(Change::Put(Table::Segments, &segment.to_be_bytes(), &used.encode()))
    }

    fn segment_use(&self, segment: u32) -> Result<Option<SegmentUse>, StoreError> {
        let row = self.get(Table::Segments, &segment.to_be_bytes())?;
        row.map(|row| SegmentUse::decode(&row)).transpose()
    }

    /// Whether there is something to commit.
    pub(crate) fn changed(&self) -> bool {
        self.changed
    }

    /// Ends the transaction's content but for what [`Tables::seal`] adds: with what became of segments, and the number of the
    /// commit.
    pub(crate) fn seal(mut self, closed: &[(u32, u64)]) -> Result<Sealed<'txn>, StoreError> {
        for (segment, length) in closed {
            let used = self.segment_use(*segment)?.unwrap_or_default();
            self.put_use(*segment, SegmentUse { length: *length, full: *length, ..used })?;
        }
        let segment = self.draft.segment();
        if self.segment_use(segment)?.is_none() {
            self.put_use(segment, SegmentUse::default())?;
        }
        for (segment, bytes) in std::mem::take(&mut self.moved_from) {
            let used = self.segment_use(segment)?.unwrap_or_default();
            self.put_use(segment, SegmentUse { live: used.live.saturating_sub(bytes), ..used })?;
        }
        if let Some((segment, bytes, end)) =
            self.moved.as_ref().map(|moved| (moved.segment(), u64::from(moved.payload()), moved.end()))
        {
            let used = self.segment_use(segment)?.unwrap_or_default();
            let (live, full) = (used.live + bytes, used.full + bytes);
            self.put_use(segment, SegmentUse { live, full, length: end, moved: true })?;
        }
        let Self { mut tables, mut draft, moved, rows, uses, .. } = self;
        tables.counters.sequence += 1;
        draft.note(Change::Put(Table::Meta, Counters::KEY, &tables.counters.encode()));
        Ok(Sealed { tables, draft, moved, rows, uses })
    }

    fn put_extents(&mut self, key: &[u8], row: &[u8], pieces: &[Bytes]) -> Result<(), StoreError> {
        let mut extents = Extents::decode(row)?;
        for place in extents.places_mut().filter(|place| place.is_pending()) {
            let piece = pieces.get(place.offset as usize).ok_or_else(|| misshapen(Table::Extents))?;
            *place = self::place(&mut self.draft, piece.clone())?;
        }
        self.make(Change::Put(Table::Extents, key, &extents.encode()))
    }

    fn note_use(&mut self, key: &[u8], used: Option<SegmentUse>) {
        if let Ok(number) = key.try_into() {
            self.uses.insert(u32::from_be_bytes(number), used);
        }
    }
}

fn place(draft: &mut Draft, piece: Bytes) -> Result<Place, StoreError> {
    let bytes = piece.len() as u64;
    draft.place(piece).ok_or(StoreError::SliverTooLarge { bytes, most: u64::from(u32::MAX) })
}
