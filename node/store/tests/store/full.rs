//! A full disk is survived (RELIABILITY row 5).

use std::sync::Arc;

use weft_store::fake::FakeDisk;
use weft_store::{Axis, Options, Room, SliverKey, Store, StoreError, View, Writer};

const CAPACITY: u64 = 12 << 20;
const SLIVER: usize = 150_000;

fn small_disk() -> (FakeDisk, Options) {
    let disk = FakeDisk::new(9);
    disk.set_capacity(CAPACITY);
    (disk, Options { cache_bytes: 1 << 20, reserve_bytes: 3 << 20, writer: Writer::Inline, segment_bytes: None })
}

fn put_blob(store: &Store, blob: u8) -> Result<(), StoreError> {
    let put = store.write_blocking(Room::Grows { bytes: SLIVER as u64 }, move |tx| {
        let upload = tx.hold(&[blob; 32])?;
        tx.put_sliver(&SliverKey { upload, stripe: 0, axis: Axis::Primary, index: 0 }, vec![blob; SLIVER])
    });
    put.map(|_| ())
}

fn read_blob(store: &Store, blob: u8) -> Option<Vec<u8>> {
    let view = store.view();
    let upload = view.holding(&[blob; 32]).unwrap()?;
    view.sliver(&SliverKey { upload, stripe: 0, axis: Axis::Primary, index: 0 }).unwrap()
}

fn fill(store: &Store, blobs: std::ops::Range<u8>) -> u8 {
    for blob in blobs.clone() {
        match put_blob(store, blob) {
            Ok(()) => {}
            Err(StoreError::Full { .. }) => return blob,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the disk never fills up with {blobs:?}");
}

#[test]
fn a_full_disk_refuses_new_data_and_takes_deletes_and_records() {
    let (disk, options) = small_disk();
    let store = Store::open(Arc::new(disk.clone()), &options).unwrap();
    let mut full_at = fill(&store, 0..200);
    assert!(full_at > 40, "only {full_at} blobs fit");
    // Many rounds: what deletes give back must not leak away, nor the reserve.
    for round in 0..5 {
        for record in 0..50_u8 {
            store
                .write_blocking(Room::Reserved, move |tx| {
                    tx.put_state("record", vec![record; 2000]);
                    Ok::<_, StoreError>(())
                })
                .unwrap();
        }
        let oldest = full_at - 30;
        for blob in oldest..full_at {
            assert!(store.write_blocking(Room::Reserved, move |tx| tx.release_blob(&[blob; 32])).unwrap().value);
        }
        while store.has_trash() {
            store.sweep();
        }
        let again = fill(&store, oldest..u8::MAX);
        assert!(again.abs_diff(full_at) < 6, "round {round}: room for {again} blobs instead of {full_at}");
        full_at = again;
    }
    assert_eq!(store.health().read_only, None);
    for blob in 0..full_at {
        assert_eq!(read_blob(&store, blob), Some(vec![blob; SLIVER]), "blob {blob}");
    }
    println!("losses 0; {} of {CAPACITY} bytes used", disk.used());
}

/// Volumes grow while they are used: what was refused for want of room is taken, by the same process.
#[test]
fn a_disk_that_grows_takes_more_at_once() {
    let (disk, options) = small_disk();
    let store = Store::open(Arc::new(disk.clone()), &options).unwrap();
    let full_at = fill(&store, 0..u8::MAX);
    let before = store.usage().unwrap();
    disk.set_capacity(2 * CAPACITY);
    let after = store.usage().unwrap();
    assert_eq!((before.capacity, after.capacity), (CAPACITY, 2 * CAPACITY));
    assert_eq!(after.free, before.free + CAPACITY);
    let again = fill(&store, full_at..u8::MAX);
    assert!(again >= 2 * full_at - 6, "room for {again} blobs, and for {full_at} before");
}

#[test]
fn a_disk_that_others_filled_ends_writing_and_loses_nothing() {
    let (disk, options) = small_disk();
    let store = Store::open(Arc::new(disk.clone()), &options).unwrap();
    for blob in 0..10 {
        put_blob(&store, blob).unwrap();
    }
    disk.set_capacity(disk.used());
    let mut failed = None;
    for record in 0..200_u8 {
        let write = store.write_blocking(Room::Reserved, move |tx| {
            tx.put_state(&format!("record {record}"), vec![record; 100_000]);
            Ok::<_, StoreError>(())
        });
        if let Err(error) = write {
            failed = Some(error);
            break;
        }
    }
    assert!(matches!(failed, Some(StoreError::ReadOnly { .. })), "{failed:?}");
    assert_eq!(read_blob(&store, 3), Some(vec![3; SLIVER]));
    drop(store);

    disk.crash();
    disk.set_capacity(2 * CAPACITY);
    let store = Store::open(Arc::new(disk), &options).unwrap();
    for blob in 0..10 {
        assert_eq!(read_blob(&store, blob), Some(vec![blob; SLIVER]));
    }
    put_blob(&store, 11).unwrap();
}
