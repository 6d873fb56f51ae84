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
use crate::{Disk, DiskFile, FILE, Options, StoreError};

/// The format that this version writes, and the newest that it reads.
const FORMAT: u32 = 1;

/// The row of [`Table::Meta`] that holds the format: u32.
const FORMAT_KEY: &[u8] = b"format";

/// Name of the file while it is made.
const UNFINISHED: &str = "store.redb.new";

pub(crate) fn open(disk: Arc<dyn Disk>, options: &Options) -> Result<Core, StoreError> {
    let (gate, database) = match make(&*disk, options)? {
        Some(made) => made,
        None => open_database(open_file(&*disk, FILE)?, options)?,
    };
    // Without it a power cut after the first commits could take the name back: an empty volume, which had acknowledged data.
    // On every open, since who made the file may have died right here.
    disk.sync_dir().map_err(|source| StoreError::SyncDirectory { source: Arc::new(source) })?;
    check_format(&database)?;
    gate.opened();
    Core::new(disk, gate, options.reserve_bytes, database)
}

/// Makes the file, where there is none.
///
/// redb can't open a file whose making lost power, and nothing must tell such a file from a rotten one; so it gets its name
/// when it is whole and durable.
fn make(disk: &dyn Disk, options: &Options) -> Result<Option<(Arc<Gate>, Database)>, StoreError> {
    let exists = || disk.exists(FILE).map_err(|source| file_error(FILE, source));
    if exists()? {
        return Ok(None);
    }
    let file = open_file(disk, UNFINISHED)?;
    // With the lock in hand: another process may have finished in between.
    if exists()? {
        return Ok(None);
    }
    file.set_len(0).map_err(|source| file_error(UNFINISHED, source))?;
    let (gate, database) = open_database(file, options)?;
    format(&database)?;
    disk.rename(UNFINISHED, FILE).map_err(|source| file_error(UNFINISHED, source))?;
    Ok(Some((gate, database)))
}

fn open_file(disk: &dyn Disk, name: &str) -> Result<Box<dyn DiskFile>, StoreError> {
    disk.open(name).map_err(|source| file_error(name, source))
}

fn file_error(name: &str, source: io::Error) -> StoreError {
    let file = name.to_owned();
    if source.kind() == io::ErrorKind::WouldBlock {
        StoreError::Locked { file }
    } else {
        StoreError::OpenFile { file, source: Arc::new(source) }
    }
}

fn open_database(file: Box<dyn DiskFile>, options: &Options) -> Result<(Arc<Gate>, Database), StoreError> {
    let gate = Arc::new(Gate::new(file).map_err(|source| file_error(FILE, source))?);
    let backend = Backend(gate.clone());
    let opened = catch_unwind(AssertUnwindSafe(|| {
        redb::Builder::new().set_cache_size(options.cache_bytes).create_with_backend(backend)
    }))
    .unwrap_or_else(|panic| Err(redb::StorageError::Corrupted(panic_text(&*panic)).into()));
    match opened {
        Ok(database) => Ok((gate, database)),
        Err(error) => Err(StoreError::OpenDatabase { source: Arc::new(error.into()) }),
    }
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
    let names: Vec<String> =
        guarded(Table::Meta, || transaction.list_tables())?.map(|table| table.name().to_owned()).collect();
    if names.iter().all(|name| name != Table::Meta.name()) {
        return Err(StoreError::NotAStore { found: names.join(", ") });
    }
    let meta = guarded(Table::Meta, || transaction.open_table(Table::Meta.definition()))?;
    let row = get_row(Table::Meta, &meta, FORMAT_KEY)?.ok_or_else(|| misshapen(Table::Meta))?;
    let found = u32::from_be_bytes(row[..].try_into().map_err(|_| misshapen(Table::Meta))?);
    if found > FORMAT { Err(StoreError::NewerFormat { found, known: FORMAT }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::FakeDisk;
    use crate::{Store, Writer};

    #[test]
    fn a_newer_format_is_refused_and_left_as_it_is() {
        let disk = FakeDisk::new(1);
        let options = Options { writer: Writer::Inline, ..Options::default() };
        drop(Store::open(Arc::new(disk.clone()), &options).unwrap());
        {
            let (_, database) = open_database(disk.open(FILE).unwrap(), &options).unwrap();
            let transaction = begin(&database).unwrap();
            let mut base = Base::open(&transaction, None).unwrap();
            base.insert(Table::Meta, FORMAT_KEY, &(FORMAT + 1).to_be_bytes()).unwrap();
            base.seal().unwrap();
            transaction.commit().unwrap();
        }
        for _ in 0..2 {
            let refused = Store::open(Arc::new(disk.clone()), &options).unwrap_err();
            assert!(matches!(refused, StoreError::NewerFormat { found: 2, known: 1 }));
            assert_eq!(
                refused.to_string(),
                "the volume has format 2, this version reads up to 1: run a version that knows it"
            );
        }
    }
}
