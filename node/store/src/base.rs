//! The one write transaction, as the closures grouped into it see it.

use std::ops::Bound;

use redb::WriteTransaction;

use crate::StoreError;
use crate::changes::Changes;
use crate::counters::{Counters, footprint};
use crate::rows::{Bounds, Rows, Visit, get_row, guarded, has_row, prefix_end, scan_rows};
use crate::tables::Table;
use crate::view::misshapen;

/// Bytes of chunks that one commit sweeps at most: bounds what a large delete adds to the commits after it.
const SWEEP_BYTES: u64 = 8 << 20;

pub(crate) struct Base<'txn> {
    tables: [redb::Table<'txn, &'static [u8], &'static [u8]>; Table::COUNT],
    counters: Counters,
    changed: bool,
}

impl Rows for Base<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        get_row(table, &self.tables[table as usize], key)
    }

    fn has(&self, table: Table, key: &[u8]) -> Result<bool, StoreError> {
        has_row(table, &self.tables[table as usize], key)
    }

    fn scan(&self, table: Table, bounds: Bounds<'_>, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        scan_rows(table, &self.tables[table as usize], bounds, visit)
    }

    fn counters(&self) -> Counters {
        self.counters
    }
}

impl<'txn> Base<'txn> {
    /// Opens all tables; with `counters`, those of a new volume.
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
        Ok(Self { tables, counters, changed: false })
    }

    /// Makes a closure's changes part of the transaction. An error leaves the transaction unfit to commit.
    pub(crate) fn apply(&mut self, changes: Changes) -> Result<(), StoreError> {
        self.changed |= !changes.is_empty();
        // Closures know nothing of the file's use, which `insert` and `remove` count from here on.
        self.counters = Counters { live_bytes: self.counters.live_bytes, ..changes.counters };
        for (table, changes) in changes.into_tables() {
            for prefix in &changes.removed_prefixes {
                self.remove_prefix(table, prefix)?;
            }
            for (key, row) in &changes.rows {
                match row {
                    Some(row) => self.insert(table, key, row)?,
                    None => self.remove(table, key)?,
                }
            }
        }
        Ok(())
    }

    /// Removes chunks of released uploads, up to [`SWEEP_BYTES`].
    pub(crate) fn sweep(&mut self) -> Result<(), StoreError> {
        let mut budget = SWEEP_BYTES;
        while let Some(upload) = self.first_trash()? {
            if !self.sweep_upload(&upload, &mut budget)? {
                break;
            }
            self.remove(Table::Trash, &upload)?;
        }
        Ok(())
    }

    /// Whether there is something to commit.
    pub(crate) fn changed(&self) -> bool {
        self.changed
    }

    /// Ends the transaction's content with its counters. Returns the sequence number of the commit.
    pub(crate) fn seal(mut self) -> Result<u64, StoreError> {
        self.counters.sequence += 1;
        // The row replaces one of the same size, so writing it doesn't change the use that it tells.
        let row = Table::Meta.seal(Counters::KEY, self.counters.encode());
        let meta = &mut self.tables[Table::Meta as usize];
        guarded(Table::Meta, || meta.insert(Counters::KEY, row.as_slice()).map(drop))?;
        Ok(self.counters.sequence)
    }

    pub(crate) fn insert(&mut self, table: Table, key: &[u8], payload: &[u8]) -> Result<(), StoreError> {
        let sealed;
        let row = if matches!(table, Table::Chunks) {
            payload
        } else {
            sealed = table.seal(key, payload.to_vec());
            &sealed
        };
        let rows = &mut self.tables[table as usize];
        let old = guarded(table, || rows.insert(key, row).map(|old| old.map(|old| old.value().len())))?;
        self.counters.live_bytes += footprint(key.len(), row.len());
        self.forget(key.len(), old);
        Ok(())
    }

    fn remove(&mut self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        let rows = &mut self.tables[table as usize];
        let old = guarded(table, || rows.remove(key).map(|old| old.map(|old| old.value().len())))?;
        self.forget(key.len(), old);
        self.changed |= old.is_some();
        Ok(())
    }

    fn remove_prefix(&mut self, table: Table, prefix: &[u8]) -> Result<(), StoreError> {
        let end = prefix_end(prefix);
        let to = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let rows = &mut self.tables[table as usize];
        let mut freed = 0;
        guarded(table, || {
            rows.retain_in::<&[u8], _>((Bound::Included(prefix), to), |key, row| {
                freed += footprint(key.len(), row.len());
                false
            })
        })?;
        self.counters.live_bytes = self.counters.live_bytes.saturating_sub(freed);
        Ok(())
    }

    fn forget(&mut self, key: usize, old: Option<usize>) {
        if let Some(old) = old {
            self.counters.live_bytes = self.counters.live_bytes.saturating_sub(footprint(key, old));
        }
    }

    fn first_trash(&self) -> Result<Option<Vec<u8>>, StoreError> {
        let mut first = None;
        self.scan(Table::Trash, (Bound::Unbounded, Bound::Unbounded), &mut |key, _| {
            first = Some(key.to_vec());
            Ok(false)
        })?;
        Ok(first)
    }

    /// True when nothing of the upload is left.
    fn sweep_upload(&mut self, upload: &[u8], budget: &mut u64) -> Result<bool, StoreError> {
        let end = prefix_end(upload);
        let to = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let chunks = &mut self.tables[Table::Chunks as usize];
        let mut freed = 0;
        let finished = guarded(Table::Chunks, || {
            let mut removed = chunks.extract_from_if::<&[u8], _>((Bound::Included(upload), to), |_, _| true)?;
            while *budget > 0 {
                let Some((key, chunk)) = removed.next().transpose()? else { return Ok::<_, redb::StorageError>(true) };
                let bytes = footprint(key.value().len(), chunk.value().len());
                freed += bytes;
                *budget = budget.saturating_sub(bytes);
            }
            removed.close()?;
            Ok(false)
        })?;
        self.counters.live_bytes = self.counters.live_bytes.saturating_sub(freed);
        self.changed |= freed > 0;
        Ok(finished)
    }
}
