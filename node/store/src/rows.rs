//! Rows as bytes: what a snapshot and a write in progress have in common.

use std::cell::RefCell;
use std::io;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use redb::ReadableTable;

use crate::StoreError;
use crate::counters::Counters;
use crate::extents::Place;
use crate::tables::Table;

/// Bounds of a range of keys.
pub(crate) type Bounds<'key> = (Bound<&'key [u8]>, Bound<&'key [u8]>);

/// Called with key and payload of each row of a scan; false ends it.
pub(crate) type Visit<'visit> = dyn FnMut(&[u8], &[u8]) -> Result<bool, StoreError> + 'visit;

/// Rows of the tables, checked and unsealed. Hidden behind [`crate::View`].
pub trait Rows {
    #[doc(hidden)]
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;
    #[doc(hidden)]
    fn has(&self, table: Table, key: &[u8]) -> Result<bool, StoreError>;
    #[doc(hidden)]
    fn scan(&self, table: Table, bounds: Bounds<'_>, visit: &mut Visit<'_>) -> Result<(), StoreError>;
    #[doc(hidden)]
    fn read(&self, place: Place) -> Result<Vec<u8>, StoreError>;
    #[doc(hidden)]
    fn counters(&self) -> Counters;
}

/// The first key after all keys that start with `prefix`; none when there is no such key.
pub(crate) fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

/// Whether bounds are empty by themselves; ordered maps panic on some of those.
pub(crate) fn no_key_between((from, to): Bounds<'_>) -> bool {
    match (from, to) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (Bound::Included(from) | Bound::Excluded(from), Bound::Included(to) | Bound::Excluded(to)) => from >= to,
    }
}

/// Runs a scan over all rows whose key starts with `prefix` and comes after `after`.
pub(crate) fn scan_prefix<R: Rows + ?Sized>(
    rows: &R,
    table: Table,
    prefix: &[u8],
    after: Option<&[u8]>,
    visit: &mut Visit<'_>,
) -> Result<(), StoreError> {
    let end = prefix_end(prefix);
    let from = after.map_or(Bound::Included(prefix), Bound::Excluded);
    let to = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    rows.scan(table, (from, to), visit)
}

/// Runs one call into redb so that neither its panics (a damaged page may meet an `unreachable!`) nor a read that the
/// disk refused (see [`crate::gate`]) get past it as anything but an error.
pub(crate) fn guarded<R, E: Into<redb::Error>>(
    table: Table,
    call: impl FnOnce() -> Result<R, E>,
) -> Result<R, StoreError> {
    take_read_failure();
    let outcome = catch_unwind(AssertUnwindSafe(call));
    if let Some(source) = take_read_failure() {
        return Err(StoreError::Read { table, source: Arc::new(source) });
    }
    match outcome {
        Ok(result) => result.map_err(|error| StoreError::of_redb(table, error.into())),
        Err(panic) => Err(StoreError::Corrupt { table, what: panic_text(&*panic) }),
    }
}

/// Runs what transactions come and go in: one that goes on its way out with an error isn't [`guarded`], and redb panics once more
/// where a panic has left its locks poisoned.
pub(crate) fn contained<R>(call: impl FnOnce() -> Result<R, StoreError>) -> Result<R, StoreError> {
    catch_unwind(AssertUnwindSafe(call))
        .unwrap_or_else(|panic| Err(StoreError::Corrupt { table: Table::Meta, what: panic_text(&*panic) }))
}

/// What a caught panic said.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a message").to_owned()
}

thread_local! {
    static READ_FAILURE: RefCell<Option<io::Error>> = const { RefCell::new(None) };
}

/// Notes that the disk refused a read of this thread.
pub(crate) fn note_read_failure(error: io::Error) {
    READ_FAILURE.with_borrow_mut(|slot| *slot = Some(error));
}

pub(crate) fn take_read_failure() -> Option<io::Error> {
    READ_FAILURE.with_borrow_mut(Option::take)
}

/// [`Rows::get`] on a redb table.
pub(crate) fn get_row(
    table: Table,
    from: &impl ReadableTable<&'static [u8], &'static [u8]>,
    key: &[u8],
) -> Result<Option<Vec<u8>>, StoreError> {
    let row = guarded(table, || from.get(key).map(|row| row.map(|row| row.value().to_vec())))?;
    row.map(|mut row| {
        let payload = table.unseal(key, &row)?.len();
        row.truncate(payload);
        Ok(row)
    })
    .transpose()
}

/// [`Rows::has`] on a redb table.
pub(crate) fn has_row(
    table: Table,
    from: &impl ReadableTable<&'static [u8], &'static [u8]>,
    key: &[u8],
) -> Result<bool, StoreError> {
    guarded(table, || from.get(key).map(|row| row.is_some()))
}

/// [`Rows::scan`] on a redb table.
pub(crate) fn scan_rows(
    table: Table,
    from: &impl ReadableTable<&'static [u8], &'static [u8]>,
    bounds: Bounds<'_>,
    visit: &mut Visit<'_>,
) -> Result<(), StoreError> {
    if no_key_between(bounds) {
        return Ok(());
    }
    let mut rows = guarded(table, || from.range::<&[u8]>(bounds))?;
    while let Some((key, row)) = guarded(table, || rows.next().transpose())? {
        // A damaged page may say that they lie beyond it.
        let (key, row) = guarded(table, || Ok::<_, redb::Error>((key.value(), row.value())))?;
        if !visit(key, table.unseal(key, row)?)? {
            break;
        }
    }
    Ok(())
}
