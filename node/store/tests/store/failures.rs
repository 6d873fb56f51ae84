//! A failed write or fsync is never acknowledged and never repeated (RELIABILITY row 4); reads survive it.

use weft_store::fake::FakeDisk;
use weft_store::{Axis, Room, SliverKey, Store, StoreError, View, Writer};

use crate::{Random, open};

fn put(store: &Store, name: &'static str, value: u8) -> Result<u64, StoreError> {
    let written = store.write_blocking(Room::Reserved, move |tx| {
        tx.put_state(name, vec![value; 10_000]);
        Ok::<_, StoreError>(())
    });
    written.map(|committed| committed.sequence)
}

fn assert_read_only(result: &Result<u64, StoreError>) {
    assert!(matches!(result, Err(StoreError::ReadOnly { .. })), "{result:?}");
}

#[test]
fn a_failed_fsync_is_never_acknowledged_and_ends_writing() {
    let mut injections = 0;
    for seed in 0..40 {
        for injection in [FakeDisk::fail_next_sync, FakeDisk::fail_next_write] {
            let disk = FakeDisk::new(seed);
            let store = open(&disk, Writer::Inline).unwrap();
            put(&store, "before", 1).unwrap();
            let snapshot = store.view();
            injection(&disk);
            injections += 1;

            assert_read_only(&put(&store, "during", 2));
            assert_read_only(&put(&store, "after", 3));
            assert!(store.health().read_only.is_some());
            assert_eq!(disk.counts().after_failure, 0, "the disk was written to after it failed");

            for view in [snapshot, store.view()] {
                assert_eq!(view.state("before").unwrap(), Some(vec![1; 10_000]));
                assert_eq!(view.state("during").unwrap(), None, "a write that failed is visible");
            }
            drop(store);
            assert_eq!(disk.counts().after_failure, 0, "the disk was written to when the store was closed");

            disk.crash();
            let store = open(&disk, Writer::Inline).unwrap();
            assert_eq!(store.view().state("before").unwrap(), Some(vec![1; 10_000]));
            put(&store, "again", 4).unwrap();
        }
    }
    println!("false acknowledgements 0 / injections {injections}");
}

#[test]
fn reads_of_much_data_go_on_after_a_failure() {
    let disk = FakeDisk::new(5);
    let store = open(&disk, Writer::Thread).unwrap();
    let place = |index| SliverKey { upload: weft_store::UploadNumber(0), stripe: 0, axis: Axis::Primary, index };
    let sliver = |index: u8| Random(u64::from(index)).bytes(300_000);
    for index in 0..30 {
        let put = store.write_blocking(Room::Reserved, move |tx| {
            tx.hold(&[1; 32])?;
            tx.put_sliver(&place(index), sliver(index))
        });
        put.unwrap();
    }
    disk.fail_next_sync();
    let failed = store.write_blocking(Room::Reserved, |tx| tx.release_blob(&[1; 32]));
    assert!(matches!(failed, Err(StoreError::ReadOnly { .. })));
    for index in 0..30 {
        assert_eq!(store.view().sliver(&place(index)).unwrap().as_deref(), Some(&sliver(index)[..]));
    }
}

#[test]
fn an_unreadable_sector_fails_what_needs_it_and_nothing_else() {
    let disk = FakeDisk::new(3);
    let store = open(&disk, Writer::Inline).unwrap();
    let place = |index| SliverKey { upload: weft_store::UploadNumber(0), stripe: 0, axis: Axis::Secondary, index };
    for index in 0..20 {
        let put = store.write_blocking(Room::Reserved, move |tx| {
            tx.hold(&[1; 32])?;
            tx.put_sliver(&place(index), vec![index; 200_000])
        });
        put.unwrap();
    }
    drop(store);
    let (segment, at) = disk.find(&vec![7; 60_000]).remove(0);
    let store = open(&disk, Writer::Inline).unwrap();
    disk.make_unreadable(&segment, at..at + 512);
    for index in 0..20 {
        let read = store.view().sliver(&place(index));
        if index == 7 {
            assert!(matches!(read, Err(StoreError::Read { .. })));
        } else {
            assert_eq!(read.unwrap(), Some(vec![index; 200_000]));
        }
    }
    assert_eq!(store.health().read_only, None);
    assert!(store.health().read_failures > 0);
    put(&store, "still", 1).unwrap();
}

#[test]
fn a_panic_in_a_closure_has_no_effect_and_the_writer_goes_on() {
    let store = open(&FakeDisk::new(1), Writer::Thread).unwrap();
    let panicked = store.write_blocking(Room::Reserved, |tx| -> Result<(), StoreError> {
        tx.put_state("half", vec![1]);
        panic!("on purpose")
    });
    assert!(matches!(&panicked, Err(StoreError::Panicked { what }) if what == "on purpose"), "{panicked:?}");
    assert_eq!(store.view().state("half").unwrap(), None);
    put(&store, "whole", 1).unwrap();
}
