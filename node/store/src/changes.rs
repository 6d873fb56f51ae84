//! What a closure wants written, kept apart until it returned `Ok`.
//!
//! redb has no nested transactions, and one transaction carries the closures of many callers; so a closure writes here,
//! and its changes reach the transaction together or not at all.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use bytes::Bytes;

use crate::StoreError;
use crate::counters::Counters;
use crate::rows::{Bounds, Rows, Visit, no_key_between, prefix_end};
use crate::tables::Table;

/// Changes to all tables, and the counters that go with them.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) counters: Counters,
    /// Bytes of slivers, which pending places count.
    pub(crate) pieces: Vec<Bytes>,
    tables: [TableChanges; Table::COUNT],
}

/// Changes to one table: first the removed prefixes, then the rows, where none is a removal.
#[derive(Debug, Default)]
pub(crate) struct TableChanges {
    pub(crate) removed_prefixes: Vec<Vec<u8>>,
    pub(crate) rows: BTreeMap<Vec<u8>, Option<Bytes>>,
}

impl TableChanges {
    fn removes(&self, key: &[u8]) -> bool {
        self.removed_prefixes.iter().any(|prefix| key.starts_with(prefix))
    }
}

impl Changes {
    pub(crate) fn new(counters: Counters) -> Self {
        Self { counters, ..Self::default() }
    }

    pub(crate) fn insert(&mut self, table: Table, key: &[u8], value: Bytes) {
        self.tables[table as usize].rows.insert(key.to_vec(), Some(value));
    }

    pub(crate) fn remove(&mut self, table: Table, key: &[u8]) {
        self.tables[table as usize].rows.insert(key.to_vec(), None);
    }

    pub(crate) fn remove_prefix(&mut self, table: Table, prefix: &[u8]) {
        let changes = &mut self.tables[table as usize];
        let end = prefix_end(prefix);
        let to = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let within: Vec<Vec<u8>> =
            changes.rows.range::<[u8], _>((Bound::Included(prefix), to)).map(|(key, _)| key.clone()).collect();
        for key in within {
            changes.rows.remove(&key);
        }
        changes.removed_prefixes.push(prefix.to_vec());
    }

    /// The changes to each table, and the pieces.
    pub(crate) fn into_parts(self) -> (impl Iterator<Item = (Table, TableChanges)>, Vec<Bytes>) {
        (Table::ALL.into_iter().zip(self.tables), self.pieces)
    }

    /// [`Rows::get`] of `base` as changed.
    pub(crate) fn get(&self, base: &dyn Rows, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let changes = &self.tables[table as usize];
        match changes.rows.get(key) {
            Some(row) => Ok(row.as_ref().map(|row| row.to_vec())),
            None if changes.removes(key) => Ok(None),
            None => base.get(table, key),
        }
    }

    /// [`Rows::has`] of `base` as changed.
    pub(crate) fn has(&self, base: &dyn Rows, table: Table, key: &[u8]) -> Result<bool, StoreError> {
        let changes = &self.tables[table as usize];
        match changes.rows.get(key) {
            Some(row) => Ok(row.is_some()),
            None if changes.removes(key) => Ok(false),
            None => base.has(table, key),
        }
    }

    /// [`Rows::scan`] of `base` as changed: a merge of two ordered sequences, where the changes win.
    pub(crate) fn scan(
        &self,
        base: &dyn Rows,
        table: Table,
        bounds: Bounds<'_>,
        visit: &mut Visit<'_>,
    ) -> Result<(), StoreError> {
        if no_key_between(bounds) {
            return Ok(());
        }
        let changes = &self.tables[table as usize];
        let mut own = changes.rows.range::<[u8], _>(bounds).peekable();
        let mut flow = ControlFlow::Continue(());
        base.scan(table, bounds, &mut |key, row| {
            while let Some((changed, value)) = own.next_if(|(changed, _)| changed.as_slice() < key) {
                if let Some(value) = value
                    && !visit(changed, value)?
                {
                    flow = ControlFlow::Break(());
                    return Ok(false);
                }
            }
            if own.peek().is_some_and(|(changed, _)| changed.as_slice() == key) || changes.removes(key) {
                return Ok(true);
            }
            let more = visit(key, row)?;
            if !more {
                flow = ControlFlow::Break(());
            }
            Ok(more)
        })?;
        if flow.is_continue() {
            for (changed, value) in own {
                if let Some(value) = value
                    && !visit(changed, value)?
                {
                    break;
                }
            }
        }
        Ok(())
    }
}
