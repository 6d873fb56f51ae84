//! Opening a volume: its lock, its format, and what makes a new one.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use redb::{Database, Durability, ReadableDatabase, TableHandle};

use crate::base::Tables;
use crate::closing::Closing;
use crate::counters::Counters;
use crate::engine::{Core, Opened, begin};
use crate::gate::{Backend, Gate};
use crate::log::{Change, End, LOG_KEY, Sizes, Volume, holds_segments, recover};
use crate::poison::Poison;
use crate::rows::{Rows, contained, get_row, guarded, panic_text};
use crate::space::short;
use crate::tables::Table;
use crate::view::misshapen;
use crate::{Disk, DiskFile, FILE, Options, StoreError};

/// The format that this version writes, and the newest that it reads.
const FORMAT: u32 = 3;

/// The row of [`Table::Meta`] that holds the format: u32.
const FORMAT_KEY: &[u8] = b"format";

/// What an entry's index takes while it is made, and no less: its rows, as they are in the log and in the database.
const INDEX_BYTES: u64 = 512;

/// Name of the file while it is made.
const UNFINISHED: &str = "store.redb.new";

/// Least and most bytes of a file of the log, where nobody says otherwise.
const SEGMENT_BYTES: std::ops::RangeInclusive<u64> = 1 << 20..=1 << 30;

pub(crate) fn open(disk: Arc<dyn Disk>, options: &Options) -> Result<Core, StoreError> {
    let poison = Arc::new(Poison::default());
    let (gate, database) = match make(&*disk, &poison, options)? {
        Some(made) => made,
        None => open_database(open_file(&*disk, FILE)?, &poison, options)?,
    };
    // Without it a power cut after the first commits could take the name back: an empty volume, which had acknowledged data.
    // On every open, since who made the file may have died right here.
    disk.sync_dir().map_err(|source| StoreError::SyncDirectory { source: Arc::new(source) })?;
    let found = check_format(&database)?;
    gate.opened();
    match found {
        1 => {
            has_no_segments(&*disk)?;
            upgrade(&database, |tables| begin_log(&*disk, tables))?;
        }
        2 => {
            let free = disk.space().map_err(|source| StoreError::Space { source: Arc::new(source) })?.free;
            upgrade(&database, |tables| add_index(tables, free))?;
        }
        _ => {}
    }
    let capacity = disk.space().map_err(|source| StoreError::Space { source: Arc::new(source) })?.capacity;
    let segment_bytes = options
        .segment_bytes
        .unwrap_or_else(|| (capacity / 1024).max(*SEGMENT_BYTES.start()))
        .min(*SEGMENT_BYTES.end());
    let reserve = options.reserve_bytes.max(2 * segment_bytes);
    let sizes = Sizes { segment_bytes, short_bytes: short(reserve) };
    let volume = Volume::new(disk, poison.clone());
    let log = contained(|| recover(volume.clone(), &database, sizes)).inspect_err(|error| {
        // Closing the database would make durable what the log has yet to be.
        poison.set("opening the log", error);
    })?;
    Core::new(Opened { volume, gate, database, log, reserve })
}

/// Makes the file, where there is none.
///
/// redb can't open a file whose making lost power, and nothing must tell such a file from a rotten one; so it gets its name
/// when it is whole and durable.
fn make(disk: &dyn Disk, poison: &Arc<Poison>, options: &Options) -> Result<Option<(Arc<Gate>, Closing)>, StoreError> {
    let exists = || disk.exists(FILE).map_err(|source| file_error(FILE, source));
    if exists()? {
        return Ok(None);
    }
    let file = open_file(disk, UNFINISHED)?;
    // With the lock in hand: another process may have finished in between.
    if exists()? {
        return Ok(None);
    }
    has_no_segments(disk)?;
    file.set_len(0).map_err(|source| file_error(UNFINISHED, source))?;
    let (gate, database) = open_database(file, poison, options)?;
    format(disk, &database)?;
    disk.rename(UNFINISHED, FILE).map_err(|source| file_error(UNFINISHED, source))?;
    Ok(Some((gate, database)))
}

/// Segments are made after the database that they belong to is named. A database without any that begins a log isn't theirs.
fn has_no_segments(disk: &dyn Disk) -> Result<(), StoreError> {
    let holds = holds_segments(disk).map_err(|source| file_error(FILE, source))?;
    if holds { Err(StoreError::ForeignLog) } else { Ok(()) }
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

fn open_database(
    file: Box<dyn DiskFile>,
    poison: &Arc<Poison>,
    options: &Options,
) -> Result<(Arc<Gate>, Closing), StoreError> {
    let gate = Arc::new(Gate::new(file, poison.clone()).map_err(|source| file_error(FILE, source))?);
    let backend = Backend(gate.clone());
    let opened = catch_unwind(AssertUnwindSafe(|| {
        redb::Builder::new().set_cache_size(options.cache_bytes).create_with_backend(backend)
    }))
    .unwrap_or_else(|panic| Err(redb::StorageError::Corrupted(panic_text(&*panic)).into()));
    match opened {
        Ok(database) => Ok((gate, Closing::new(database))),
        Err(error) => Err(StoreError::OpenDatabase { source: Arc::new(error.into()) }),
    }
}

fn format(disk: &dyn Disk, database: &Database) -> Result<(), StoreError> {
    let transaction = begin(database, Durability::Immediate)?;
    let tables = Tables::open(&transaction, Some(Counters { sequence: 1, ..Counters::default() }))?;
    begin_log(disk, tables)?;
    guarded(Table::Meta, || transaction.commit())
}

/// Makes a volume of an older format one of this.
fn upgrade(database: &Database, change: impl FnOnce(Tables<'_>) -> Result<(), StoreError>) -> Result<(), StoreError> {
    let transaction = begin(database, Durability::Immediate)?;
    change(Tables::open(&transaction, None)?)?;
    guarded(Table::Meta, || transaction.commit())
}

/// Format 2 had no [`Table::Index`], which is there since the tables were opened. The log stays as it is. So does all where there is no room for what
/// the node writes there: the version before still reads it.
fn add_index(mut tables: Tables<'_>, free: u64) -> Result<(), StoreError> {
    let needed = tables.counters.totals.entries * INDEX_BYTES;
    if needed > free {
        return Err(StoreError::NoRoomToUpgrade { needed, free });
    }
    let end = tables.get(Table::Meta, End::KEY)?.ok_or_else(|| misshapen(Table::Meta))?;
    tables.make(Change::Put(Table::Meta, FORMAT_KEY, &FORMAT.to_be_bytes()))?;
    tables.seal(End::decode(&end)?)
}

/// Gives a new volume, or one of format 1, a log. What the latter holds stays in the database until it is deleted.
fn begin_log(disk: &dyn Disk, mut tables: Tables<'_>) -> Result<(), StoreError> {
    let mut key = [0; 32];
    disk.random(&mut key).map_err(|source| file_error(FILE, source))?;
    tables.make(Change::Put(Table::Meta, FORMAT_KEY, &FORMAT.to_be_bytes()))?;
    tables.make(Change::Put(Table::Meta, LOG_KEY, &key))?;
    tables.seal(End::START)
}

/// The volume's format, which this version knows.
fn check_format(database: &Database) -> Result<u32, StoreError> {
    let transaction = guarded(Table::Meta, || database.begin_read())?;
    let names: Vec<String> =
        guarded(Table::Meta, || transaction.list_tables())?.map(|table| table.name().to_owned()).collect();
    if names.iter().all(|name| name != Table::Meta.name()) {
        return Err(StoreError::NotAStore { found: names.join(", ") });
    }
    let meta = guarded(Table::Meta, || transaction.open_table(Table::Meta.definition()))?;
    let row = get_row(Table::Meta, &meta, FORMAT_KEY)?.ok_or_else(|| misshapen(Table::Meta))?;
    let found = u32::from_be_bytes(row[..].try_into().map_err(|_| misshapen(Table::Meta))?);
    if found > FORMAT { Err(StoreError::NewerFormat { found, known: FORMAT }) } else { Ok(found) }
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
            let file = disk.open(FILE).unwrap();
            let (_, database) = open_database(file, &Arc::new(Poison::default()), &options).unwrap();
            let transaction = begin(&database, Durability::Immediate).unwrap();
            let mut tables = Tables::open(&transaction, None).unwrap();
            tables.make(Change::Put(Table::Meta, FORMAT_KEY, &(FORMAT + 1).to_be_bytes())).unwrap();
            drop(tables);
            transaction.commit().unwrap();
        }
        for _ in 0..2 {
            let refused = Store::open(Arc::new(disk.clone()), &options).unwrap_err();
            assert!(matches!(refused, StoreError::NewerFormat { found: 4, known: 3 }));
            assert_eq!(
                refused.to_string(),
                "the volume has format 4, this version reads up to 3: run a version that knows it"
            );
        }
    }
}
