//! Writes that wait share a commit.

use std::sync::mpsc;
use std::thread;

use futures::executor::block_on;
use futures::future::join_all;
use weft_store::fake::FakeDisk;
use weft_store::{Room, StoreError, View, Writer};

use crate::open;

#[test]
fn writes_that_come_during_a_commit_share_the_next() {
    let disk = FakeDisk::new(1);
    let store = open(&disk, Writer::Thread).unwrap();
    let before = store.view().sequence();
    let (release, held) = mpsc::channel::<()>();
    let (begin, begun) = mpsc::channel::<()>();
    // Holds the writer until all others wait.
    let first = store.write(Room::Reserved, move |tx| {
        begin.send(()).unwrap();
        tx.put_state("first", vec![0]);
        held.recv().unwrap();
        Ok::<_, StoreError>(())
    });
    begun.recv().unwrap();
    let others: Vec<_> = (0..100_u32)
        .map(|number| {
            store.write(Room::Reserved, move |tx| {
                // Each sees what those before it in the group did.
                let seen = tx.state("count")?.map_or(0, |record| u32::from_be_bytes(record[..].try_into().unwrap()));
                assert_eq!(seen, number);
                tx.put_state("count", (number + 1).to_be_bytes().to_vec());
                Ok::<_, StoreError>(tx.next_sequence())
            })
        })
        .collect();
    release.send(()).unwrap();
    let first = block_on(first).unwrap();
    let others: Vec<_> = block_on(join_all(others)).into_iter().map(Result::unwrap).collect();
    assert!(others.iter().all(|write| write.sequence == write.value && write.sequence > first.sequence));
    let commits = store.view().sequence() - before;
    println!("101 writes in {commits} commits");
    assert_eq!(commits, 2);
}

#[test]
fn concurrent_writers_need_fewer_commits_than_writes() {
    let directory = tempfile::tempdir().unwrap();
    let disk = std::sync::Arc::new(weft_store::HostDisk::new(directory.path()).unwrap());
    let store = weft_store::Store::open(disk, &crate::options(Writer::Thread)).unwrap();
    let before = store.view().sequence();
    thread::scope(|scope| {
        for writer in 0..8 {
            let store = &store;
            scope.spawn(move || {
                for value in 0..20_u8 {
                    let write = store.write_blocking(Room::Reserved, move |tx| {
                        tx.put_state(&format!("writer {writer}"), vec![value]);
                        Ok::<_, StoreError>(())
                    });
                    write.unwrap();
                }
            });
        }
    });
    let commits = store.view().sequence() - before;
    println!("160 writes in {commits} commits");
    assert!(commits < 160);
}

#[test]
fn an_error_has_no_effect_and_spares_the_group() {
    let store = open(&FakeDisk::new(1), Writer::Thread).unwrap();
    let (release, held) = mpsc::channel::<()>();
    let good = store.write(Room::Reserved, move |tx| {
        tx.put_state("good", vec![1]);
        held.recv().unwrap();
        Ok::<_, StoreError>(())
    });
    let bad = store.write(Room::Reserved, |tx| {
        tx.put_state("good", vec![2]);
        tx.put_state("bad", vec![2]);
        Err::<(), _>(StoreError::UnknownSession)
    });
    release.send(()).unwrap();
    block_on(good).unwrap();
    assert!(matches!(block_on(bad), Err(StoreError::UnknownSession)));
    assert_eq!(store.view().state("good").unwrap(), Some(vec![1]));
    assert_eq!(store.view().state("bad").unwrap(), None);
}

#[test]
fn waiting_writes_are_done_at_shutdown_and_later_ones_refused() {
    let disk = FakeDisk::new(1);
    let store = open(&disk, Writer::Thread).unwrap();
    let pending: Vec<_> = (0..20_u8)
        .map(|number| {
            store.write(Room::Reserved, move |tx| {
                tx.put_state(&format!("record {number}"), vec![number]);
                Ok::<_, StoreError>(())
            })
        })
        .collect();
    store.shutdown();
    assert!(block_on(join_all(pending)).iter().all(Result::is_ok));
    let late = store.write_blocking(Room::Reserved, |tx| {
        tx.remove_state("record 0");
        Ok::<_, StoreError>(())
    });
    assert!(matches!(late, Err(StoreError::Closed)));
    assert_eq!(store.view().state("record 0").unwrap(), Some(vec![0]));
}

#[test]
fn a_write_without_changes_makes_no_commit() {
    let store = open(&FakeDisk::new(1), Writer::Inline).unwrap();
    let before = store.view().sequence();
    let read = store.write_blocking(Room::Reserved, |tx| tx.state("nothing")).unwrap();
    assert_eq!((read.value, read.sequence), (None, before));
    assert_eq!(store.view().sequence(), before);
}
