//! Opening a volume: its lock, its format, and what makes a new one.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use redb::{Database, ReadableDatabase, TableHandle};

use crate::base::Base;
use crate::counters::Counters;
use crate::engine::{Core, begin};
use crate::gate::{Backend, Gate};
use crate::rows::{get_row, guarded, panic_text};
use crate::tables::Table;
use crate::view::misshapen;
use crate::{Disk, FILE, Options, StoreError};

/// The format that this version writes, and the newest that it reads.
const FORMAT: u32 = 1;

/// The row of [`Table::Meta`] that holds the format: u32.
const FORMAT_KEY: &[u8] = b"format";

pub(crate) fn open(disk: Arc<dyn Disk>, options: &Options) -> Result<Core, StoreError> {
    let file = disk.open(FILE).map_err(|source| {
        if source.kind() == io::ErrorKind::WouldBlock {
            StoreError::Locked { file: FILE.into() }
        } else {
            StoreError::OpenFile { file: FILE.into(), source: Arc::new(source) }
        }
    })?;
    // Without it a power cut after the first commits could leave a directory without the file: an empty volume which had
    // acknowledged data. On every open, since a process that made the file may have died right here.
    disk.sync_dir().map_err(|source| StoreError::SyncDirectory { source: Arc::new(source) })?;
    let gate =
        Gate::new(file).map_err(|source| StoreError::OpenFile { file: FILE.into(), source: Arc::new(source) })?;
    let gate = Arc::new(gate);
    let database = open_database(Backend(gate.clone()), options)?;
    gate.opened();
    if is_new(&database)? {
        format(&database)?;
        if let Some(reason) = gate.poisoned() {
            return Err(StoreError::ReadOnly { reason });
        }
    }
    check_format(&database)?;
    Core::new(disk, gate, options.reserve_bytes, database)
}

fn open_database(backend: Backend, options: &Options) -> Result<Database, StoreError> {
    let refused = |error: redb::Error| StoreError::OpenDatabase { source: Arc::new(error) };
    catch_unwind(AssertUnwindSafe(|| {
        redb::Builder::new().set_cache_size(options.cache_bytes).create_with_backend(backend)
    }))
    .unwrap_or_else(|panic| Err(redb::StorageError::Corrupted(panic_text(&*panic)).into()))
    .map_err(|error| refused(error.into()))
}

/// Whether the database was just made. The tables come with the first commit, so there are all of them or none.
fn is_new(database: &Database) -> Result<bool, StoreError> {
    let transaction = guarded(Table::Meta, || database.begin_read())?;
    let names: Vec<String> =
        guarded(Table::Meta, || transaction.list_tables())?.map(|table| table.name().to_owned()).collect();
    if names.is_empty() {
        return Ok(true);
    }
    if names.iter().any(|name| name == Table::Meta.name()) {
        return Ok(false);
    }
    Err(StoreError::NotAStore { found: names.join(", ") })
}

fn format(database: &Database) -> Result<(), StoreError> {
    let transaction = begin(database)?;
    let mut base = Base::open(&transaction, Some(Counters::default()))?;
    base.insert(Table::Meta, FORMAT_KEY, &FORMAT.to_be_bytes())?;
    base.seal()?;
    guarded(Table::Meta, || transaction.commit())
}

fn check_format(database: &Database) -> Result<(), StoreError> {
    let transaction = guarded(Table::Meta, || database.begin_read())?;
    let meta = guarded(Table::Meta, || transaction.open_table(Table::Meta.definition()))?;
    let row = get_row(Table::Meta, &meta, FORMAT_KEY)?.ok_or_else(|| misshapen(Table::Meta))?;
    let found = u32::from_be_bytes(row[..].try_into().map_err(|_| misshapen(Table::Meta))?);
    if found > FORMAT { Err(StoreError::NewerFormat { found, known: FORMAT }) } else { Ok(()) }
}
