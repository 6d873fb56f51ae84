//! The index on a store whose disk is a fake.

use futures::executor::block_on;
use weft_store::{Options, StoreError, Writer, fake::FakeDisk};

use super::{sums::CELLS, *};
use crate::member::rows::PARTS;

/// An index, and the volume that it is of.
struct Indexed {
    disk: FakeDisk,
    store: Store,
    index: Arc<Index>,
}

/// What is set of a blob: nothing, or its kind and when it ends.
type Set = (BlobId, Option<(Kind, Option<u64>)>);

fn open(disk: &FakeDisk) -> Store {
    let options = Options { writer: Writer::Inline, reserve_bytes: 0, ..Options::default() };
    Store::open(Arc::new(disk.clone()), &options).unwrap()
}

impl Indexed {
    fn new() -> Self {
        let disk = FakeDisk::new(1);
        let store = open(&disk);
        let begun = store.write_blocking(Room::Reserved, |tx| {
            begin(tx);
            Ok::<_, StoreError>(())
        });
        begun.unwrap();
        let index = Arc::new(Index::load(&store.view()).unwrap());
        Self { disk, store, index }
    }

    /// As after a crash.
    fn reopened(self) -> Self {
        let Self { disk, store, .. } = self;
        disk.crash();
        drop(store);
        let store = open(&disk);
        let index = Arc::new(Index::load(&store.view()).unwrap());
        Self { disk, store, index }
    }

    fn change(&self, rows: Vec<Set>, fails: bool) -> Result<(), MemberError> {
        let write = write(&self.store, &self.index, move |tx, changes| {
            for (blob, row) in rows {
                match row {
                    Some((kind, expiry)) => changes.set(tx, blob, kind, Times { expiry, created: 0 })?,
                    None => changes.remove(tx, blob)?,
                }
            }
            if fails { Err(MemberError::NoSeat) } else { Ok(()) }
        });
        block_on(write).map(drop)
    }

    fn set(&self, blob: BlobId, kind: Kind) {
        self.change(vec![(blob, Some((kind, None)))], false).unwrap();
    }

    fn remove(&self, blob: BlobId) {
        self.change(vec![(blob, None)], false).unwrap();
    }

    fn digests(&self) -> Vec<Hash> {
        self.index.digests(DigestKind::Sets, &self.store.view()).unwrap()
    }

    fn get(&self, blob: &BlobId) -> Option<Kind> {
        kind(&self.store.view(), blob).unwrap()
    }

    /// The sums, made of the rows alone.
    fn summed(&self) -> Sums {
        let mut sums = Sums::default();
        for (key, row) in self.store.view().index_rows(&[BLOB], None, usize::MAX).unwrap() {
            sums.change(&blob_of(&key).unwrap(), None, Some(Row::decode(&row).unwrap().kind));
        }
        sums
    }
}

fn id(first: u8, last: u8) -> BlobId {
    let mut id = [0; 32];
    (id[0], id[31]) = (first, last);
    BlobId(id)
}

fn blob(number: u32) -> BlobId {
    BlobId(*blake3::hash(&number.to_le_bytes()).as_bytes())
}

fn live(position: (u64, u64)) -> Kind {
    Kind::Live { slivers: 2, bytes: 10, position }
}

const HIDDEN: Kind = Kind::Hidden { rank: Rank { deleted: true, position: (0, 0), void: false } };

#[test]
fn only_the_part_that_changed_has_another_digest() {
    let (one, other) = (Indexed::new(), Indexed::new());
    for (first, last) in [(0, 1), (7, 1), (7, 2), (255, 9)] {
        one.set(id(first, last), Kind::Deleted);
        other.set(id(first, last), Kind::Deleted);
    }
    assert_eq!(one.digests(), other.digests());
    other.set(id(7, 3), live((1, 0)));
    let differ = one.digests().iter().zip(other.digests()).map(|(a, b)| *a != b).collect::<Vec<_>>();
    assert_eq!(differ.iter().position(|differs| *differs), Some(7));
    assert_eq!(differ.iter().filter(|differs| **differs).count(), 1);
    assert_ne!(one.index.digest(), other.index.digest());
}

#[test]
fn what_is_hidden_is_in_no_digest_and_no_page_and_is_known_all_the_same() {
    let (one, other) = (Indexed::new(), Indexed::new());
    one.set(id(7, 1), Kind::Deleted);
    other.set(id(7, 1), Kind::Deleted);
    other.set(id(7, 2), Kind::Deleted);
    assert_ne!(one.digests(), other.digests());
    other.set(id(7, 2), HIDDEN);
    assert_eq!(one.digests(), other.digests());
    assert_eq!(page(&other.store.view(), &[], None, 9).unwrap().0, vec![(id(7, 1), Kind::Deleted)]);
    assert_eq!(other.get(&id(7, 2)), Some(HIDDEN));
    let left = |other: &Indexed| leftovers(&other.store.view(), None, 9).unwrap().len();
    assert_eq!((left(&other), other.index.totals().tombstones), (2, 1));
    other.remove(id(7, 2));
    assert_eq!((other.get(&id(7, 2)), left(&other)), (None, 1));
}

#[test]
fn a_sketch_tells_what_the_other_registry_has_and_its_digests_prove_it() {
    let (one, other) = (Indexed::new(), Indexed::new());
    let both: Vec<Set> = (0..3_000).map(|number| (blob(number), Some((live((1, 0)), None)))).collect();
    one.change(both.clone(), false).unwrap();
    other.change(both, false).unwrap();
    let (digests, sketch) = other.index.sketch(CELLS);
    assert_eq!(one.index.compare(&digests, &sketch), Compared::Equal);
    // Alone here, alone there, a later certificate there, a tombstone here, and what is told by nobody.
    (30_000..30_040).for_each(|number| one.set(blob(number), live((1, 0))));
    (40_000..40_040).for_each(|number| other.set(blob(number), live((2, 0))));
    other.set(blob(7), live((1, 3)));
    one.set(blob(8), Kind::Deleted);
    other.set(blob(9), HIDDEN);
    let mut lacked: Vec<(BlobId, Rank)> = (40_000..40_040).map(|number| (blob(number), live((2, 0)).rank())).collect();
    lacked.extend([(blob(7), live((1, 3)).rank()), (blob(8), live((1, 0)).rank())]);
    lacked.sort_unstable();
    let (digests, sketch) = other.index.sketch(256);
    assert_eq!(one.index.excess(&sketch), 1);
    assert_eq!(one.index.compare(&digests, &sketch), Compared::Lacks(lacked));
    assert_eq!(one.index.compare(&digests, &sketch.first(16)), Compared::Unclear);
    // A sketch of another moment, or a lie: it isn't what the digests are of.
    other.set(blob(50_000), live((1, 0)));
    let (later, _) = other.index.sketch(0);
    assert_eq!(one.index.compare(&later, &sketch), Compared::Unclear);
}

#[test]
fn pages_go_through_the_wanted_parts_in_order() {
    let indexed = Indexed::new();
    let all = [id(0, 1), id(7, 1), id(7, 2), id(8, 0), id(255, 255)];
    for blob in all {
        indexed.set(blob, Kind::Deleted);
    }
    for hidden in [id(7, 0), id(7, 9), id(8, 1)] {
        indexed.set(hidden, HIDDEN);
    }
    let page = |parts: &[u8], after, limit| {
        let (rows, more) = page(&indexed.store.view(), parts, after, limit).unwrap();
        (rows.into_iter().map(|(blob, _)| blob).collect::<Vec<_>>(), more)
    };
    assert_eq!(page(&[], None, 9), (all.to_vec(), false));
    assert_eq!(page(&[7, 255], None, 2), (all[1..3].to_vec(), true));
    assert_eq!(page(&[7, 255], Some(all[2]), 2), (vec![all[4]], false));
    assert_eq!(page(&[], Some(all[1]), 2), (all[2..4].to_vec(), true));
}

#[test]
fn r15_what_is_due_comes_in_order_of_time_and_once_for_each_blob() {
    let indexed = Indexed::new();
    let [one, two, three] = [1, 2, 3].map(|first| id(first, 0));
    let ends = |blob, expiry| (blob, Some((live((1, 0)), Some(expiry))));
    indexed.change(vec![ends(one, 30), ends(two, 10)], false).unwrap();
    let acked = |blob: BlobId, expiry| {
        let write = move |tx: &mut Tx<'_>| {
            expires(tx, &blob, expiry);
            Ok::<_, MemberError>(())
        };
        indexed.store.write_blocking(Room::Reserved, write).unwrap();
    };
    let settled = |blob: BlobId, expiry| {
        let write = move |tx: &mut Tx<'_>| settle_expiry(tx, &blob, expiry);
        indexed.store.write_blocking(Room::Reserved, write).unwrap();
    };
    acked(two, 10);
    acked(three, 20);
    let due = |floor, limit| due(&indexed.store.view(), floor, limit).unwrap();
    assert_eq!(due(9, 9), []);
    assert_eq!(due(20, 9), [(10, two), (20, three)]);
    assert_eq!(due(30, 2), [(10, two), (20, three)]);
    settled(two, 10);
    assert_eq!(due(20, 9), [(10, two), (20, three)], "it is live and ends");
    settled(three, 20);
    indexed.set(two, Kind::Deleted);
    assert_eq!(due(99, 9), [(30, one)]);
    indexed.remove(one);
    assert_eq!(due(99, 9), []);
}

#[test]
fn the_sums_are_those_of_the_rows_whatever_fails_and_whenever_the_volume_is_opened() {
    let mut indexed = Indexed::new();
    let kinds =
        [Some((live((1, 0)), Some(50))), Some((Kind::Void { position: (2, 1) }, None)), None, Some((HIDDEN, None))];
    // Often enough for the sums to be written on the way, and rows to change again behind that.
    for round in 0..60_u32 {
        let at = |number: u32| blob(number % 17_000);
        let rows: Vec<Set> = (round * 500..round * 500 + 500)
            .map(|number| (at(number), kinds[((number / 17_000 + number) % 4) as usize]))
            .chain([(at(round), Some((Kind::Deleted, None))), (at(round), Some((live((3, round.into())), None)))])
            .collect();
        let before = indexed.digests();
        let fails = round % 7 == 3;
        assert_eq!(indexed.change(rows, fails).is_err(), fails);
        assert_eq!(indexed.digests() == before, fails, "a write that failed changes nothing");
        if round % 5 == 0 {
            indexed = indexed.reopened();
        }
        let (expected, found) = (indexed.summed(), indexed.index.lock());
        assert_eq!(found.encode(), expected.encode(), "after round {round}");
    }
    let written = indexed.store.view().state(SUMS).unwrap().unwrap();
    assert!(!written.is_empty(), "the sums were written on the way");
    assert!(indexed.index.lock().unsummed < UNSUMMED);
}

#[test]
fn damaged_sums_are_made_of_the_rows() {
    let indexed = Indexed::new();
    for number in 0..50 {
        indexed.set(blob(number), live((1, u64::from(number))));
    }
    let sums = indexed.index.lock().encode();
    let put = |name: &'static str, record: &'static [u8]| {
        let write = move |tx: &mut Tx<'_>| {
            tx.put_state(name, record);
            Ok::<_, MemberError>(())
        };
        indexed.store.write_blocking(Room::Reserved, write).unwrap();
        Index::load(&indexed.store.view()).unwrap()
    };
    assert_eq!(put(SUMS, b"damaged").lock().encode(), sums);
    assert_eq!(put(SUMS, b"").lock().encode(), sums, "there were none yet");
}

#[test]
fn digests_of_rows_are_those_that_peers_of_before_make() {
    let indexed = Indexed::new();
    let kinds = [live((1, 0)), Kind::Deleted, Kind::Void { position: (2, 1) }, HIDDEN];
    let mut expected = vec![blake3::Hasher::new(); PARTS];
    let mut blobs: Vec<BlobId> = (0..600).map(blob).collect();
    blobs.sort_unstable();
    for (at, blob) in blobs.iter().enumerate() {
        let kind = kinds[at % 4];
        indexed.set(*blob, kind);
        if kind.is_told() {
            expected[usize::from(blob.0[0])].update(&crate::member::rows::row(blob, kind.rank()));
        }
    }
    let digests = || indexed.index.digests(DigestKind::Rows, &indexed.store.view()).unwrap();
    let expected: Vec<Hash> = expected.iter().map(|hasher| hasher.finalize().into()).collect();
    assert_eq!(digests(), expected);
    assert_eq!(digests(), expected, "as they are remembered");
    indexed.set(blobs[0], Kind::Deleted);
    let differ = digests().iter().zip(&expected).map(|(now, before)| now != before).collect::<Vec<_>>();
    assert_eq!(differ.iter().position(|differs| *differs), Some(usize::from(blobs[0].0[0])));
    assert_eq!(differ.iter().filter(|differs| **differs).count(), 1);
}

/// What travels to find them is as much as between small registries.
#[test]
#[ignore = "it makes two millions of rows"]
fn a_hundred_differences_are_found_among_a_million_blobs() {
    let (one, other) = (Indexed::new(), Indexed::new());
    for indexed in [&one, &other] {
        for first in (0..1_000_000).step_by(8192) {
            let rows = (first..(first + 8192).min(1_000_000)).map(|number| (blob(number), Some((live((1, 0)), None))));
            indexed.change(rows.collect(), false).unwrap();
        }
    }
    (2_000_000..2_000_050).for_each(|number| one.set(blob(number), live((2, 0))));
    (3_000_000..3_000_050).for_each(|number| other.set(blob(number), live((2, 0))));
    let start = std::time::Instant::now();
    let (digests, sketch) = other.index.sketch(256);
    let travels = digests.len() * Hash::LENGTH + sketch.encode().len();
    let Compared::Lacks(lacked) = one.index.compare(&digests, &sketch) else { panic!("256 cells are enough") };
    let took = start.elapsed();
    println!("{} rows were found in {took:?}, by {travels} bytes", lacked.len());
    assert_eq!(lacked.len(), 50);
    assert!(travels < 32 << 10);
}
