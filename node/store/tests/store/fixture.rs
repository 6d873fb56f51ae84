//! Every format that was ever written is read.

use weft_store::fake::FakeDisk;
use weft_store::{Axis, FILE, IDENTITY, Room, SliverKey, Store, StoreError, Totals, View, Writer};

use crate::{Random, open};

const FORMAT_1: &[u8] = include_bytes!("../fixtures/format-1.redb");

const BLOB: [u8; 32] = [1; 32];
const SESSION: [u8; 16] = [2; 16];

fn fill(store: &Store) -> Result<u64, StoreError> {
    let written = store.write_blocking(Room::Reserved, |tx| {
        tx.put_state(IDENTITY, b"member 3".to_vec());
        tx.put_entry(&BLOB, b"an entry".to_vec())?;
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
    assert_eq!(view.sequence(), 2);
    Ok(())
}

#[test]
fn format_1_is_read_and_written_on() {
    let disk = FakeDisk::new(1);
    disk.restore(FILE, FORMAT_1.to_vec());
    let store = open(&disk, Writer::Inline).unwrap();
    check(&store).unwrap();
    let deleted = store.write_blocking(Room::Reserved, |tx| tx.release_blob(&BLOB)).unwrap();
    assert!(deleted.value && deleted.sequence == 3);
}

/// Writes the fixture of the present format, for a new format's first release; the ones that were released never change.
#[test]
#[ignore = "writes the fixture"]
fn write_the_fixture() {
    let disk = FakeDisk::new(1);
    let store = open(&disk, Writer::Inline).unwrap();
    fill(&store).unwrap();
    check(&store).unwrap();
    drop(store);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/format-1.redb");
    std::fs::write(path, disk.contents(FILE).unwrap()).unwrap();
}
