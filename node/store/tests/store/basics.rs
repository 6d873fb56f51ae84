//! Uploads, holdings and slivers.

use std::sync::Arc;

use weft_store::fake::FakeDisk;
use weft_store::{Axis, HostDisk, IDENTITY, Options, Room, SliverKey, Store, StoreError, UploadNumber, View, Writer};

use crate::{Random, open};

const BLOB: [u8; 32] = [9; 32];
const SESSION: [u8; 16] = [4; 16];

fn place(upload: UploadNumber, stripe: u32, axis: Axis, index: u8) -> SliverKey {
    SliverKey { upload, stripe, axis, index }
}

fn write<R: Send + 'static>(
    store: &Store,
    work: impl FnOnce(&mut weft_store::Tx<'_>) -> Result<R, StoreError> + Send + 'static,
) -> R {
    store.write_blocking(Room::Reserved, work).unwrap().value
}

#[test]
fn who_hurries_gets_slivers_as_they_are_or_hears_that_they_must_be_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let host = Store::open(Arc::new(HostDisk::new(directory.path()).unwrap()), &Options::default()).unwrap();
    let (cached, uncached) = (FakeDisk::new(2), FakeDisk::new(3));
    uncached.set_cached(false);
    let [warm, cold] = [&cached, &uncached].map(|disk| open(disk, Writer::Thread).unwrap());
    // Of the host it depends on its filesystem.
    for (store, waits) in [(host, None), (warm, Some(false)), (cold, Some(true))] {
        let upload = write(&store, |tx| tx.hold(&BLOB));
        for (index, size) in [1, 700, 65_000, 3_000_000].into_iter().enumerate() {
            let (sliver, expected) = (Random(size as u64).bytes(size), Random(size as u64).bytes(size));
            let place = place(upload, 0, Axis::Secondary, index as u8);
            write(&store, move |tx| tx.put_sliver(&place, sliver));
            let view = store.view().hurried();
            let read = view.sliver(&place);
            assert!(waits.is_none_or(|waits| waits == view.would_wait()), "{size} bytes");
            if view.would_wait() {
                assert!(matches!(read, Err(StoreError::Read { .. })), "{size} bytes: {read:?}");
                assert_eq!(store.view().sliver(&place).unwrap(), Some(expected), "who has the time gets it");
            } else {
                assert_eq!(read.unwrap(), Some(expected), "{size} bytes");
            }
        }
        assert_eq!(store.health().read_failures, 0, "to wait is no failure");
    }
}

#[test]
fn slivers_of_all_sizes_come_back_whole() {
    let disk = FakeDisk::new(2);
    let store = open(&disk, Writer::Thread).unwrap();
    let upload = write(&store, |tx| tx.hold(&BLOB));
    let sizes = [0, 1, 511, 4095, 4096, 65_471, 65_472, 65_473, 130_944, 800_000, 3_000_000];
    for (index, size) in sizes.into_iter().enumerate() {
        let sliver = Random(size as u64).bytes(size);
        write(&store, move |tx| tx.put_sliver(&place(upload, 0, Axis::Secondary, index as u8), sliver));
    }
    for reopened in [false, true] {
        let view = if reopened { open(&disk, Writer::Inline).unwrap().view() } else { store.view() };
        for (index, size) in sizes.into_iter().enumerate() {
            let place = place(upload, 0, Axis::Secondary, index as u8);
            assert_eq!(view.sliver(&place).unwrap(), Some(Random(size as u64).bytes(size)), "{size} bytes");
            assert!(view.has_sliver(&place).unwrap());
        }
        assert_eq!(view.sliver(&place(upload, 0, Axis::Primary, 0)).unwrap(), None);
        if !reopened {
            drop(view);
            disk.crash();
        }
    }
}

#[test]
fn the_order_of_slivers_is_stripe_axis_index() {
    let store = open(&FakeDisk::new(2), Writer::Inline).unwrap();
    let upload = write(&store, |tx| tx.hold(&BLOB));
    let mut places = Vec::new();
    for stripe in [0, 1, 256] {
        for axis in [Axis::Primary, Axis::Secondary] {
            for index in [0, 5, 200] {
                places.push(place(upload, stripe, axis, index));
            }
        }
    }
    for at in places.clone().into_iter().rev() {
        write(&store, move |tx| tx.put_sliver(&at, vec![at.index; 10]));
    }
    let view = store.view();
    let listed: Vec<_> = view.slivers(upload, None, 100).unwrap().into_iter().map(|row| row.0).collect();
    assert_eq!(listed, places);
    assert_eq!(view.slivers(upload, Some(&places[7]), 2).unwrap(), [(places[8], 10), (places[9], 10)]);
    assert_eq!(view.slivers_of_stripe(upload, 1).unwrap().len(), 6);
}

#[test]
fn finishing_an_upload_is_one_step_and_a_late_sliver_of_a_dropped_one_is_refused() {
    let store = open(&FakeDisk::new(2), Writer::Inline).unwrap();
    let upload = write(&store, |tx| tx.open_upload(&SESSION, 1_700_000_000, b"by whom"));
    assert_eq!(store.view().upload(&SESSION).unwrap(), Some(upload.clone()));
    let at = place(upload.number, 0, Axis::Primary, 1);
    write(&store, move |tx| tx.put_sliver(&at, vec![1; 5000]));
    assert_eq!(write(&store, |tx| tx.finish_upload(&SESSION, &BLOB)), upload.number);
    let view = store.view();
    assert_eq!((view.holding(&BLOB).unwrap(), view.upload(&SESSION).unwrap()), (Some(upload.number), None));

    let second = write(&store, |tx| tx.open_upload(&SESSION, 1, b""));
    let again = store.write_blocking(Room::Reserved, |tx| tx.finish_upload(&SESSION, &BLOB));
    assert!(matches!(again, Err(StoreError::AlreadyHeld { number }) if number == upload.number));
    assert!(write(&store, |tx| tx.drop_upload(&SESSION)));
    let late = place(second.number, 0, Axis::Primary, 1);
    let late = store.write_blocking(Room::Reserved, move |tx| tx.put_sliver(&late, vec![1]));
    assert!(matches!(late, Err(StoreError::UnknownUpload { number }) if number == second.number));
}

#[test]
fn an_upload_that_goes_on_is_not_old() {
    let store = open(&FakeDisk::new(2), Writer::Inline).unwrap();
    let opened = write(&store, |tx| tx.open_upload(&SESSION, 100, b"by whom"));
    write(&store, |tx| tx.open_upload(&SESSION, 700, b""));
    // A clock that went back changes nothing.
    let upload = write(&store, |tx| tx.open_upload(&SESSION, 50, b""));
    assert_eq!((upload.number, upload.used_at, &upload.note[..]), (opened.number, 700, &b"by whom"[..]));
    assert_eq!(store.view().upload(&SESSION).unwrap(), Some(upload));
}

#[test]
fn a_delete_empties_the_view_at_once_and_the_file_in_steps() {
    for writer in [Writer::Inline, Writer::Thread] {
        let disk = FakeDisk::new(2);
        let store = open(&disk, writer).unwrap();
        let upload = write(&store, |tx| tx.hold(&BLOB));
        for stripe in 0..40 {
            write(&store, move |tx| {
                tx.put_stripe(upload, stripe, vec![1; 900])?;
                tx.put_sliver(&place(upload, stripe, Axis::Primary, 0), vec![2; 600_000])
            });
        }
        let before = store.usage().unwrap();
        let old = store.view();
        assert!(write(&store, |tx| tx.release_blob(&BLOB)));
        assert_eq!(store.view().totals().sliver_bytes, 0);
        assert!(store.view().slivers(upload, None, 1).unwrap().is_empty());
        while store.has_trash() {
            if writer == Writer::Inline {
                store.sweep();
            } else {
                std::thread::yield_now();
            }
        }
        let after = store.usage().unwrap();
        assert!(after.live_bytes < before.live_bytes / 20, "{before:?}, then {after:?}");
        // A snapshot taken before is unmoved.
        assert_eq!(old.sliver(&place(upload, 39, Axis::Primary, 0)).unwrap(), Some(vec![2; 600_000]));
    }
}

#[test]
fn a_volume_is_empty_until_it_has_an_identity() {
    let disk = FakeDisk::new(2);
    let store = open(&disk, Writer::Thread).unwrap();
    assert!(store.is_empty_volume().unwrap());
    write(&store, |tx| {
        tx.put_state(IDENTITY, vec![1]);
        Ok(())
    });
    assert!(!store.is_empty_volume().unwrap());
    drop(store);
    assert!(!open(&disk, Writer::Thread).unwrap().is_empty_volume().unwrap());
}

#[test]
fn forgetting_keeps_what_is_held_and_nothing_else() {
    let store = open(&FakeDisk::new(7), Writer::Thread).unwrap();
    store
        .write_blocking(Room::Reserved, |tx| {
            let upload = tx.hold(&[1; 32])?;
            tx.put_stripe(upload, 0, vec![1])?;
            tx.mark_holding(&[1; 32], 9)?;
            tx.mark_holding(&[2; 32], 9)?;
            tx.put_state("record", vec![1]);
            tx.put_entry(&[1; 32], vec![1])?;
            tx.add_missing(&[1; 32], 3)?;
            Ok::<_, StoreError>(())
        })
        .unwrap();
    assert_eq!((store.view().mark(&[1; 32]).unwrap(), store.view().mark(&[2; 32]).unwrap()), (Some(9), None));
    let next = store.write_blocking(Room::Reserved, |tx| Ok::<_, StoreError>(tx.forget())).unwrap().value;
    let view = store.view();
    let held = view.holding(&[1; 32]).unwrap().unwrap();
    assert!(held < next && view.stripe(held, 0).unwrap().is_some());
    assert_eq!((view.state("record").unwrap(), view.entry(&[1; 32]).unwrap()), (None, None));
    assert_eq!((view.missing(None, 9).unwrap(), view.missing_counts().unwrap()), (vec![], vec![]));
    assert_eq!((view.totals().entries, view.totals().missing), (0, 0));
}

#[test]
fn records_are_found_by_the_beginning_of_their_names() {
    let store = open(&FakeDisk::new(2), Writer::Inline).unwrap();
    write(&store, |tx| {
        for name in ["a", "b/2", "b/1", "b", "c/1"] {
            tx.put_state(name, name.as_bytes().to_vec());
        }
        Ok(())
    });
    let row = |name: &str| (name.to_owned(), name.as_bytes().to_vec());
    let view = store.view();
    assert_eq!(view.states("b/", None, 9).unwrap(), [row("b/1"), row("b/2")]);
    assert_eq!(view.states("b/", Some("b/1"), 9).unwrap(), [row("b/2")]);
    assert_eq!(view.states("b/", None, 1).unwrap(), [row("b/1")]);
    assert_eq!(view.states("d", None, 9).unwrap(), []);
}
