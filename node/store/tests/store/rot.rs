//! Bit rot and misplaced rows surface as errors, never as other data (RELIABILITY rows 6 and 7).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use redb::{Database, ReadableTable, TableDefinition};
use weft_store::fake::FakeDisk;
use weft_store::{FILE, HostDisk, Options, Room, Store, StoreError, Table, View, Writer};

use crate::model::Model;
use crate::{Random, open};

fn entry(blob: u8) -> Vec<u8> {
    Random(u64::from(blob)).bytes(200)
}

fn put_entries(store: &Store) {
    let put = store.write_blocking(Room::Reserved, |tx| {
        for blob in 0..100 {
            tx.put_entry(&[blob; 32], entry(blob))?;
            tx.add_missing(&[blob; 32], 3)?;
        }
        Ok::<_, StoreError>(())
    });
    put.unwrap();
}

#[test]
fn a_flipped_bit_in_a_row_is_an_error() {
    let disk = FakeDisk::new(1);
    put_entries(&open(&disk, Writer::Inline).unwrap());
    let (_, at) = disk.find(&entry(42)).into_iter().find(|(name, _)| name == FILE).unwrap();
    assert!(disk.flip_bit(FILE, at + 100, 3));
    let store = open(&disk, Writer::Inline).unwrap();
    for blob in 0..100 {
        let read = store.view().entry(&[blob; 32]);
        if blob == 42 {
            assert!(matches!(read, Err(StoreError::Corrupt { table: Table::Entries, .. })), "{read:?}");
        } else {
            assert_eq!(read.unwrap(), Some(entry(blob)));
        }
    }
}

/// Flips bits anywhere, the database's own pages too.
#[test]
fn flipped_bits_never_give_other_rows_nor_a_panic() {
    let pristine = FakeDisk::new(1);
    put_entries(&open(&pristine, Writer::Inline).unwrap());
    let contents = pristine.contents();
    let mut random = Random(77);
    let (mut flipped, mut found, mut refused) = (0, 0, 0);
    for _ in 0..300 {
        let disk = FakeDisk::new(1);
        disk.restore(contents.clone());
        disk.flip_bit(FILE, random.below(contents[FILE].len() as u64), random.next() as u8);
        flipped += 1;
        let Ok(store) = open(&disk, Writer::Inline) else {
            refused += 1;
            continue;
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let view = store.view();
            let mut errors = 0;
            for blob in 0..100 {
                match view.entry(&[blob; 32]) {
                    Ok(Some(read)) => assert_eq!(read, entry(blob)),
                    Ok(None) | Err(_) => errors += 1,
                }
            }
            // A write on such a file may fail, and must not panic.
            let _ = store.write_blocking(Room::Reserved, |tx| tx.remove_entry(&[50; 32]));
            errors
        }));
        found += usize::from(outcome.expect("no panic gets out") > 0);
    }
    println!("bits flipped {flipped}: {refused} at opening, {found} met by reads, the others in bytes nobody reads");
}

/// The head of a page says where its rows begin and end: redb takes it at its word when a row is looked at.
#[test]
fn a_page_that_lies_of_its_rows_panics_no_scan() {
    const PAGE: u64 = 4096;
    let pristine = FakeDisk::new(1);
    put_entries(&open(&pristine, Writer::Inline).unwrap());
    let contents = pristine.contents();
    let (_, at) = pristine.find(&entry(42)).into_iter().find(|(name, _)| name == FILE).unwrap();
    let mut errors = 0;
    for byte in 0..128 {
        for bit in [0, 6] {
            let disk = FakeDisk::new(1);
            disk.restore(contents.clone());
            assert!(disk.flip_bit(FILE, at / PAGE * PAGE + byte, bit));
            let Ok(store) = open(&disk, Writer::Inline) else { continue };
            let scanned = catch_unwind(AssertUnwindSafe(|| store.view().entries(None, usize::MAX)));
            match scanned.expect("no panic gets out") {
                Ok(page) => assert!(page.iter().all(|(blob, read)| *read == entry(blob[0]))),
                Err(_) => errors += 1,
            }
        }
    }
    assert!(errors > 100, "{errors} scans met it");
}

#[test]
fn rows_at_wrong_places_are_errors() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Arc::new(HostDisk::new(directory.path()).unwrap());
    put_entries(&Store::open(disk.clone(), &Options::default()).unwrap());
    let database = Database::open(directory.path().join(FILE)).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let entries = TableDefinition::<&[u8], &[u8]>::new("entries");
        let mut entries = transaction.open_table(entries).unwrap();
        let take = |table: &redb::Table<'_, &'static [u8], &'static [u8]>, blob: u8| {
            table.get([blob; 32].as_slice()).unwrap().unwrap().value().to_vec()
        };
        let (one, other) = (take(&entries, 1), take(&entries, 2));
        entries.insert([1; 32].as_slice(), other.as_slice()).unwrap();
        entries.insert([2; 32].as_slice(), one.as_slice()).unwrap();
    }
    transaction.commit().unwrap();
    drop(database);
    let view = Store::open(disk, &Options::default()).unwrap().view();
    for (blob, swapped) in [(0, false), (1, true), (2, true), (3, false)] {
        assert_eq!(view.entry(&[blob; 32]).is_err(), swapped, "blob {blob}");
    }
    assert!(Model::of(&view).is_err());
    println!("found 2 / swapped 2");
}

#[test]
fn a_foreign_file_is_refused() {
    let disk = FakeDisk::new(1);
    disk.restore([(FILE.to_owned(), Random(1).bytes(200_000))].into());
    assert!(matches!(open(&disk, Writer::Inline), Err(StoreError::OpenDatabase { .. })));

    let directory = tempfile::tempdir().unwrap();
    let database = Database::create(directory.path().join(FILE)).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(TableDefinition::<u64, u64>::new("accounts")).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let opened = Store::open(Arc::new(HostDisk::new(directory.path()).unwrap()), &Options::default());
    assert!(matches!(opened, Err(StoreError::NotAStore { found }) if found == "accounts"));
}
