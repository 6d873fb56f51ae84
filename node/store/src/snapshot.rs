//! A consistent view of one commit.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::{Database, ReadOnlyTable, ReadableDatabase};

use crate::StoreError;
use crate::counters::Counters;
use crate::engine::Core;
use crate::extents::Place;
use crate::log::Segments;
use crate::rows::{Bounds, Rows, Visit, get_row, guarded, has_row, scan_rows};
use crate::tables::Table;
use crate::view::misshapen;

/// The tables as of a commit. As long as it lives redb reuses none of their pages.
pub(crate) struct Snapshot {
    tables: [ReadOnlyTable<&'static [u8], &'static [u8]>; Table::COUNT],
    counters: Counters,
    /// The files that rows name; none of them is removed as long as it lives.
    segments: Arc<Segments>,
}

impl Snapshot {
    /// A snapshot of the newest commit of `database`.
    pub(crate) fn of(database: &Database, segments: Arc<Segments>) -> Result<Self, StoreError> {
        let transaction = guarded(Table::Meta, || database.begin_read())?;
        let mut tables = Vec::with_capacity(Table::COUNT);
        for table in Table::ALL {
            tables.push(guarded(table, || transaction.open_table(table.definition()))?);
        }
        let tables: [_; Table::COUNT] = tables.try_into().map_err(|_| misshapen(Table::Meta))?;
        let row = get_row(Table::Meta, &tables[Table::Meta as usize], Counters::KEY)?;
        let counters = Counters::decode(&row.ok_or_else(|| misshapen(Table::Meta))?)?;
        Ok(Self { tables, counters, segments })
    }

    pub(crate) fn counters(&self) -> Counters {
        self.counters
    }

    pub(crate) fn segments(&self) -> &Segments {
        &self.segments
    }

    /// Whether uploads of format 1 wait to be swept.
    pub(crate) fn has_trash(&self) -> bool {
        let mut found = false;
        let scanned = scan_rows(
            Table::Trash,
            &self.tables[Table::Trash as usize],
            (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded),
            &mut |_, _| {
                found = true;
                Ok(false)
            },
        );
        scanned.is_ok() && found
    }
}

/// A snapshot to read from (by [`crate::View`]), unmoved by later writes.
///
/// Pages of a snapshot aren't reused while it lives, so keep it for a request, not for a day.
#[derive(Clone)]
pub struct ReadTx {
    snapshot: Arc<Snapshot>,
    /// Keeps the database open.
    core: Arc<Core>,
    patience: Patience,
}

/// Whether reads of slivers wait for the disk.
#[derive(Debug, Clone)]
enum Patience {
    Waits,
    /// They fail instead; whether one has.
    Hurries(Arc<AtomicBool>),
}

impl ReadTx {
    pub(crate) fn new(snapshot: Arc<Snapshot>, core: Arc<Core>) -> Self {
        Self { snapshot, core, patience: Patience::Waits }
    }

    /// Reads no slivers that the disk must be waited for: see [`ReadTx::would_wait`].
    #[must_use]
    pub fn hurried(self) -> Self {
        Self { patience: Patience::Hurries(Arc::default()), ..self }
    }

    /// Whether a sliver would have had to be waited for. What was read then is worth nothing: another snapshot must.
    pub fn would_wait(&self) -> bool {
        matches!(&self.patience, Patience::Hurries(failed) if failed.load(Ordering::Relaxed))
    }
}

impl std::fmt::Debug for ReadTx {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ReadTx").field("counters", &self.snapshot.counters).finish_non_exhaustive()
    }
}

impl Rows for ReadTx {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        get_row(table, &self.snapshot.tables[table as usize], key)
    }

    fn has(&self, table: Table, key: &[u8]) -> Result<bool, StoreError> {
        has_row(table, &self.snapshot.tables[table as usize], key)
    }

    fn scan(&self, table: Table, bounds: Bounds<'_>, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        scan_rows(table, &self.snapshot.tables[table as usize], bounds, visit)
    }

    fn read(&self, place: Place) -> Result<Vec<u8>, StoreError> {
        self.core.read();
        let Patience::Hurries(failed) = &self.patience else { return self.snapshot.segments.read(place) };
        self.snapshot.segments.read_cached(place)?.ok_or_else(|| {
            failed.store(true, Ordering::Relaxed);
            StoreError::Read { table: Table::Extents, source: Arc::new(io::ErrorKind::WouldBlock.into()) }
        })
    }

    fn counters(&self) -> Counters {
        self.snapshot.counters
    }
}
