//! Every format that was ever written is read.

use weft_store::fake::FakeDisk;
use weft_store::{Axis, FILE, IDENTITY, Room, SliverKey, Store, StoreError, Totals, View, Writer};

use crate::{Random, open};

const FORMAT_1: &[u8] = include_bytes!("../fixtures/format-1.redb");
const FORMAT_2: &[u8] = include_bytes!("../fixtures/format-2.redb");
const FORMAT_2_EMPTY: &[u8] = include_bytes!("../fixtures/format-2-empty.redb");
const FORMAT_2_LOG: &[u8] = include_bytes!("../fixtures/format-2.segment");
const FORMAT_3: &[u8] = include_bytes!("../fixtures/format-3.redb");
const FORMAT_3_EMPTY: &[u8] = include_bytes!("../fixtures/format-3-empty.redb");
const FORMAT_3_LOG: &[u8] = include_bytes!("../fixtures/format-3.segment");

const SEGMENT: &str = "log-00000001";

const BLOB: [u8; 32] = [1; 32];
const SESSION: [u8; 16] = [2; 16];

fn fill(store: &Store) -> Result<u64, StoreError> {
    let written = store.write_blocking(Room::Reserved, |tx| {
        tx.put_state(IDENTITY, b"member 3".to_vec());
        tx.put_entry(&BLOB, b"an entry".to_vec())?;
        tx.put_index(b"key", b"a row".to_vec());
        let upload = tx.open_upload(&SESSION, 1_700_000_000, b"a note")?.number;
        tx.put_stripe(upload, 0, b"a stripe".to_vec())?;
        tx.put_sliver(&SliverKey { upload, stripe: 0, axis: Axis::Secondary, index: 200 }, b"small".to_vec())?;
        let upload = tx.hold(&BLOB)?;
        tx.put_sliver(&SliverKey { upload, stripe: 7, axis: Axis::Primary, index: 5 }, Random(1).bytes(70_000))?;
        tx.add_missing(&BLOB, 9)?;
        Ok::<_, StoreError>(())
    });
    written.map(|committed| committed.sequence)
}

fn check(store: &Store) -> Result<(), StoreError> {
    let view = store.view();
    assert_eq!(view.state(IDENTITY)?.as_deref(), Some(&b"member 3"[..]));
    assert_eq!(view.entries(None, 10)?, [(BLOB, b"an entry".to_vec())]);
    let upload = view.upload(&SESSION)?.expect("the session");
    assert_eq!((upload.used_at, &upload.note[..]), (1_700_000_000, &b"a note"[..]));
    assert_eq!(view.stripes(upload.number, None, 10)?, [(0, b"a stripe".to_vec())]);
    let place = SliverKey { upload: upload.number, stripe: 0, axis: Axis::Secondary, index: 200 };
    assert_eq!(view.sliver(&place)?.as_deref(), Some(&b"small"[..]));
    let upload = view.holding(&BLOB)?.expect("the holding");
    let place = SliverKey { upload, stripe: 7, axis: Axis::Primary, index: 5 };
    assert_eq!(view.sliver(&place)?, Some(Random(1).bytes(70_000)));
    assert_eq!(view.missing(None, 10)?, [(BLOB, 9)]);
    assert_eq!(view.totals(), Totals { slivers: 2, sliver_bytes: 70_005, entries: 1, missing: 1 });
    Ok(())
}

fn restored(files: &[(&str, &[u8])]) -> Store {
    let disk = FakeDisk::new(1);
    disk.restore(files.iter().map(|(name, contents)| ((*name).to_owned(), contents.to_vec())).collect());
    open(&disk, Writer::Inline).unwrap()
}

/// Reads what the fixture has, beside what is written now, and deletes it.
fn go_on(store: &Store, sequence: u64) {
    check(store).unwrap();
    assert_eq!(store.view().sequence(), sequence);
    let place = |upload, stripe| SliverKey { upload, stripe, axis: Axis::Primary, index: 5 };
    let upload = store.view().holding(&BLOB).unwrap().unwrap();
    let put = store.write_blocking(Room::Reserved, move |tx| {
        tx.put_sliver(&place(upload, 3), b"before".to_vec())?;
        tx.put_sliver(&place(upload, 9), b"behind".to_vec())
    });
    assert_eq!(put.unwrap().sequence, sequence + 1);
    let slivers = [(3, 6), (7, 70_000), (9, 6)].map(|(stripe, length)| (place(upload, stripe), length));
    assert_eq!(store.view().slivers(upload, None, 10).unwrap(), slivers);
    assert_eq!(store.view().slivers(upload, Some(&slivers[0].0), 1).unwrap(), slivers[1..2]);
    for (stripe, sliver) in [(3, &b"before"[..]), (9, b"behind")] {
        assert_eq!(store.view().sliver(&place(upload, stripe)).unwrap().as_deref(), Some(sliver));
    }
    let indexed = store.write_blocking(Room::Reserved, |tx| {
        tx.put_index(b"new", b"row".to_vec());
        Ok::<_, StoreError>(())
    });
    indexed.unwrap();
    assert_eq!(store.view().index_row(b"new").unwrap().as_deref(), Some(&b"row"[..]));
    let replaced =
        store.write_blocking(Room::Reserved, move |tx| tx.put_sliver(&place(upload, 7), b"instead".to_vec()));
    replaced.unwrap();
    assert_eq!(store.view().sliver(&place(upload, 7)).unwrap().as_deref(), Some(&b"instead"[..]));
    assert!(store.write_blocking(Room::Reserved, |tx| tx.release_blob(&BLOB)).unwrap().value);
    assert_eq!(store.view().totals(), Totals { slivers: 1, sliver_bytes: 5, entries: 1, missing: 1 });
}

#[test]
fn format_1_is_read_and_written_on() {
    let store = restored(&[(FILE, FORMAT_1)]);
    let before = store.usage().unwrap();
    go_on(&store, 2);
    while store.has_trash() {
        store.sweep();
    }
    let after = store.usage().unwrap();
    assert!(after.live_bytes + 60_000 < before.live_bytes, "{before:?}, then {after:?}");
}

#[test]
fn format_2_is_read_and_written_on() {
    go_on(&restored(&[(FILE, FORMAT_2), (SEGMENT, FORMAT_2_LOG)]), 2);
}

/// The same volume, whose process was killed: what the log has and the database hasn't is made again.
#[test]
fn format_2_is_made_whole_from_its_log() {
    go_on(&restored(&[(FILE, FORMAT_2_EMPTY), (SEGMENT, FORMAT_2_LOG)]), 2);
}

#[test]
fn format_2_stays_where_there_is_no_room_for_the_next() {
    let disk = FakeDisk::new(1);
    let files = [(FILE, FORMAT_2), (SEGMENT, FORMAT_2_LOG)];
    disk.restore(files.map(|(name, contents)| (name.to_owned(), contents.to_vec())).into());
    disk.set_capacity(disk.used() + 500);
    for _ in 0..2 {
        let refused = open(&disk, Writer::Inline).unwrap_err();
        assert!(matches!(refused, StoreError::NoRoomToUpgrade { needed: 512, free: 500 }), "{refused}");
    }
    disk.set_capacity(disk.used() + (64 << 20));
    go_on(&open(&disk, Writer::Inline).unwrap(), 2);
}

#[test]
fn format_3_is_read_and_written_on() {
    let store = restored(&[(FILE, FORMAT_3), (SEGMENT, FORMAT_3_LOG)]);
    assert_eq!(store.view().index_row(b"key").unwrap().as_deref(), Some(&b"a row"[..]));
    go_on(&store, 2);
}

#[test]
fn format_3_is_made_whole_from_its_log() {
    let store = restored(&[(FILE, FORMAT_3_EMPTY), (SEGMENT, FORMAT_3_LOG)]);
    assert_eq!(store.view().index_rows(b"k", None, 9).unwrap(), [(b"key".to_vec(), b"a row".to_vec())]);
    go_on(&store, 2);
}

/// Writes the fixture of the present format, for a new format's first release; the ones that were released never change.
#[test]
#[ignore = "writes the fixture"]
fn write_the_fixture() {
    let disk = FakeDisk::new(1);
    let write = |name: &str, contents: &[u8]| {
        std::fs::write(format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR")), contents).unwrap();
    };
    drop(open(&disk, Writer::Inline).unwrap());
    write("format-3-empty.redb", &disk.contents()[FILE]);
    fill(&open(&disk, Writer::Inline).unwrap()).unwrap();
    write("format-3.redb", &disk.contents()[FILE]);
    write("format-3.segment", &disk.contents()[SEGMENT]);
}
