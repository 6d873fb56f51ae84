//! The log: what it gives back, and what it makes of files that aren't as they were written.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use weft_store::fake::FakeDisk;
use weft_store::{Axis, FILE, Options, Room, SliverKey, Store, StoreError, Tx, UploadNumber, View, Writer};

use crate::{Random, open, options};

const SMALL: usize = 1024;

fn blob(number: u32) -> [u8; 32] {
    let mut blob = [0; 32];
    blob[..4].copy_from_slice(&number.to_be_bytes());
    blob
}

fn place(upload: UploadNumber) -> SliverKey {
    SliverKey { upload, stripe: 0, axis: Axis::Primary, index: 0 }
}

fn bytes(number: u32, length: usize) -> Vec<u8> {
    Random(u64::from(number)).bytes(length)
}

fn put(store: &Store, number: u32, length: usize) -> Result<(), StoreError> {
    let put = store.write_blocking(Room::Reserved, move |tx| {
        let upload = tx.hold(&blob(number))?;
        tx.put_sliver(&place(upload), bytes(number, length))
    });
    put.map(drop)
}

fn read(view: &impl View, number: u32) -> Result<Option<Vec<u8>>, StoreError> {
    let Some(upload) = view.holding(&blob(number))? else { return Ok(None) };
    view.sliver(&place(upload))
}

fn release(store: &Store, number: u32) {
    assert!(store.write_blocking(Room::Reserved, move |tx| tx.release_blob(&blob(number))).unwrap().value);
}

fn sweep(store: &Store) {
    while store.has_trash() {
        store.sweep();
    }
}

/// Bytes of the segments, and how many there are.
fn segments(disk: &FakeDisk) -> (usize, usize) {
    let contents = disk.contents();
    let lengths: Vec<usize> = contents.iter().filter(|(name, _)| *name != FILE).map(|(_, file)| file.len()).collect();
    (lengths.iter().sum(), lengths.len())
}

#[test]
fn many_small_blobs_are_few_files_and_deletes_give_their_room_back() {
    let disk = FakeDisk::new(1);
    let store = open(&disk, Writer::Inline).unwrap();
    for number in 0..3000 {
        put(&store, number, SMALL).unwrap();
    }
    let (before, files) = segments(&disk);
    assert!(files <= before / (256 << 10) + 1, "{files} files for {before} bytes");
    let mut random = Random(5);
    let kept: Vec<u32> = (0..3000).filter(|_| random.below(5) == 0).collect();
    for number in (0..3000).filter(|number| !kept.contains(number)) {
        release(&store, number);
    }
    sweep(&store);
    let (after, files) = segments(&disk);
    let held = kept.len() * SMALL;
    println!("{before} bytes of segments; {held} are held, and {after} left in {files} files");
    // A quarter may be waste, and what each commit has beside the slivers; the segment that is written to comes on top.
    assert!(after < 2 * held + (512 << 10), "{after} bytes for {held}");
    let check = |store: &Store| {
        for number in 0..3000 {
            let expected = kept.contains(&number).then(|| bytes(number, SMALL));
            assert_eq!(read(&store.view(), number).unwrap(), expected, "blob {number}");
        }
    };
    check(&store);
    drop(store);
    disk.crash();
    check(&open(&disk, Writer::Inline).unwrap());
}

#[test]
fn room_comes_back_while_writes_keep_coming_and_when_none_come_any_more() {
    for busy in [true, false] {
        let disk = FakeDisk::new(1);
        let store = open(&disk, Writer::Thread).unwrap();
        for number in 0..1000 {
            put(&store, number, 4 * SMALL).unwrap();
        }
        let (before, _) = segments(&disk);
        for number in (0..1000).filter(|number| number % 5 != 0) {
            release(&store, number);
        }
        let started = Instant::now();
        while segments(&disk).0 > before / 2 {
            assert!(started.elapsed() < Duration::from_secs(60), "{} of {before} bytes are left", segments(&disk).0);
            if busy {
                let write = |tx: &mut Tx<'_>| {
                    tx.put_state("busy", vec![1]);
                    Ok::<_, StoreError>(())
                };
                store.write_blocking(Room::Reserved, write).unwrap();
            } else {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        for number in (0..1000).filter(|number| number % 5 == 0) {
            assert_eq!(read(&store.view(), number).unwrap(), Some(bytes(number, 4 * SMALL)), "blob {number}");
        }
    }
}

#[test]
fn a_snapshot_reads_what_was_moved_and_deleted_and_files_go_with_it() {
    let disk = FakeDisk::new(1);
    let store = open(&disk, Writer::Inline).unwrap();
    for number in 0..400 {
        put(&store, number, 8 * SMALL).unwrap();
    }
    let snapshot = store.view();
    for number in (0..400).filter(|number| number % 10 != 0) {
        release(&store, number);
    }
    sweep(&store);
    let (with, _) = segments(&disk);
    for number in 0..400 {
        assert_eq!(read(&snapshot, number).unwrap(), Some(bytes(number, 8 * SMALL)), "blob {number}");
        let now = (number % 10 == 0).then(|| bytes(number, 8 * SMALL));
        assert_eq!(read(&store.view(), number).unwrap(), now);
    }
    drop(snapshot);
    sweep(&store);
    let (without, _) = segments(&disk);
    assert!(without < with / 4, "{without} of {with} bytes are left");
}

/// What an fsync failed to write may be read back after it: whoever starts on that volume must not rely on it (row 4).
#[test]
fn what_a_failed_fsync_left_in_the_kernel_is_written_again() {
    let (mut seen, mut injections) = (0, 0);
    for seed in 0..120 {
        // Small frames are written over zeros, large ones make the file longer.
        let length = if seed % 2 == 0 { 5000 } else { 300_000 };
        let disk = FakeDisk::new(seed);
        let store = open(&disk, Writer::Inline).unwrap();
        // redb syncs its file once more after it was opened.
        (10..14).for_each(|number| put(&store, number, 5000).unwrap());
        put(&store, 1, 5000).unwrap();
        let before = disk.counts();
        disk.fail_next_sync();
        injections += 1;
        assert!(matches!(put(&store, 2, length), Err(StoreError::ReadOnly { .. })));
        assert_eq!(disk.counts().syncs, before.syncs + 1);
        drop(store);

        // Other processes, the same kernel; some don't even finish opening.
        let mut random = Random(seed);
        for _ in 0..random.below(3) {
            disk.cut_power_after(random.below(12));
            drop(open(&disk, Writer::Inline));
            disk.kill();
        }
        let store = open(&disk, Writer::Inline).unwrap();
        let there = read(&store.view(), 2).unwrap();
        seen += u32::from(there.is_some());
        let sequence = store.view().sequence();
        put(&store, 3, 5000).unwrap();
        assert_eq!(store.view().sequence(), sequence + 1, "opening makes no commit of its own (R1)");
        disk.crash();
        drop(store);
        let store = open(&disk, Writer::Inline).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!(store.view().sequence(), sequence + 1, "seed {seed}");
        assert_eq!(read(&store.view(), 1).unwrap(), Some(bytes(1, 5000)));
        assert_eq!(read(&store.view(), 2).unwrap(), there, "seed {seed}: it was seen, and is lost");
        assert_eq!(read(&store.view(), 3).unwrap(), Some(bytes(3, 5000)));
    }
    println!("{injections} failed fsyncs, {seen} of them seen by the next process, losses 0");
    assert!(seen > 0);
}

/// Emptying a segment ends, however small slivers are beside what is written about them.
#[test]
fn giving_room_back_comes_to_an_end() {
    for (length, slivers) in [(1, 1), (40, 2), (250, 1), (60, 8), (900, 1)] {
        for is_short in [false, true] {
            let disk = FakeDisk::new(1);
            // Room is short below twice the reserve.
            let options = Options { reserve_bytes: if is_short { 8 << 20 } else { 0 }, ..options(Writer::Inline) };
            let store = Store::open(Arc::new(disk.clone()), &options).unwrap();
            let blobs = 600_000 / (slivers * (length + 80));
            for some in 0..blobs / 100 {
                let put = store.write_blocking(Room::Reserved, move |tx| {
                    for number in (100 * some..100 * (some + 1)).map(|number| number as u32) {
                        let upload = tx.hold(&blob(number))?;
                        for index in 0..slivers as u8 {
                            tx.put_sliver(&SliverKey { index, ..place(upload) }, bytes(number, length))?;
                        }
                    }
                    Ok::<_, StoreError>(())
                });
                put.unwrap();
            }
            if is_short {
                disk.set_capacity(disk.used() + (10 << 20));
            }
            let before = segments(&disk).0;
            for number in (0..blobs / 100 * 100).filter(|number| number % 10 < 3) {
                release(&store, number as u32);
            }
            let mut sweeps = 0;
            while store.has_trash() {
                store.sweep();
                sweeps += 1;
                assert!(sweeps < 2000, "{length} bytes, {slivers} slivers, short of room: {is_short}");
            }
            store.audit().unwrap();
            let after = segments(&disk).0;
            // Deletes are logged too, and each file that is written to may be a whole one.
            assert!(after < before + (256 << 10), "{after} bytes, and {before} before");
            assert_eq!(store.health().read_only, None);
            for number in (0..blobs / 100 * 100).map(|number| number as u32) {
                let held = (number % 10 >= 3).then(|| bytes(number, length));
                assert_eq!(read(&store.view(), number).unwrap(), held);
            }
        }
    }
}

/// Readers keep the files that they know; on a full disk nothing more is moved meanwhile than there is room for.
#[test]
fn a_reader_that_stays_long_ends_no_writing_on_a_full_disk() {
    let disk = FakeDisk::new(1);
    let store = open(&disk, Writer::Inline).unwrap();
    for number in 0..400 {
        put(&store, number, 20_000).unwrap();
    }
    disk.set_capacity(disk.used() + (1 << 20));
    let reader = store.view();
    for number in (0..400).filter(|number| number % 10 == 0) {
        release(&store, number);
        (0..20).for_each(|_| store.sweep());
    }
    assert_eq!(store.health().read_only, None);
    assert_eq!(read(&reader, 0).unwrap(), Some(bytes(0, 20_000)));
    drop(reader);
    let before = disk.used();
    sweep(&store);
    assert_eq!(store.health().read_only, None);
    assert!(disk.used() < before, "{} bytes, and {before} before", disk.used());
    for number in 0..400 {
        assert_eq!(read(&store.view(), number).unwrap(), (number % 10 != 0).then(|| bytes(number, 20_000)));
    }
}

/// A row that rots is an error to who reads it, and to nobody else.
#[test]
fn a_rotten_row_keeps_its_sliver_and_no_others() {
    const LENGTH: usize = 0x1_2345;
    let disk = FakeDisk::new(1);
    let store = open(&disk, Writer::Inline).unwrap();
    for number in 0..40 {
        put(&store, number, if number == 1 { LENGTH } else { 20_000 }).unwrap();
    }
    store.shutdown();
    drop(store);
    let (_, at) = disk.find(&(LENGTH as u32).to_be_bytes()).into_iter().find(|(name, _)| name == FILE).unwrap();
    assert!(disk.flip_bit(FILE, at + 5, 1));
    let store = open(&disk, Writer::Inline).unwrap();
    for number in 2..30 {
        release(&store, number);
    }
    sweep(&store);
    assert_eq!(store.health().read_only, None);
    assert!(matches!(read(&store.view(), 1), Err(StoreError::Corrupt { .. })));
    for number in (0..40).filter(|number| *number != 1) {
        let held = (number == 0 || number >= 30).then(|| bytes(number, 20_000));
        assert_eq!(read(&store.view(), number).unwrap(), held, "blob {number}");
    }
    put(&store, 50, 20_000).unwrap();
}

#[test]
fn a_database_beside_another_ones_log_is_refused() {
    let disk = FakeDisk::new(1);
    drop(open(&disk, Writer::Inline).unwrap());
    let mut contents = disk.contents();
    contents.remove(FILE);
    let refused = open(&restored(&contents), Writer::Inline).map(drop).unwrap_err();
    assert!(matches!(refused, StoreError::ForeignLog), "{refused}");
    assert_eq!(restored(&contents).contents().len(), contents.len(), "nothing is removed");
}

/// A volume as a crash leaves it: its database is that of a new volume, everything is in the log.
fn volume(blobs: u32) -> BTreeMap<String, Vec<u8>> {
    let disk = FakeDisk::new(1);
    let store = open(&disk, Writer::Inline).unwrap();
    for number in 0..blobs {
        put(&store, number, 700).unwrap();
    }
    disk.crash();
    let contents = disk.contents();
    drop(store);
    contents
}

fn restored(contents: &BTreeMap<String, Vec<u8>>) -> FakeDisk {
    let disk = FakeDisk::new(1);
    disk.restore(contents.clone());
    disk
}

#[test]
fn every_bit_that_flips_in_the_log_is_seen() {
    let pristine = volume(6);
    let (segment, log) = pristine.iter().find(|(name, _)| *name != FILE).unwrap();
    let (mut refused, mut cut, mut unharmed) = (0, 0, 0);
    let mut random = Random(3);
    let end = log.iter().rposition(|byte| *byte != 0).unwrap() as u64;
    for _ in 0..400 {
        let disk = restored(&pristine);
        disk.flip_bit(segment, random.below(end), random.next() as u8);
        let store = match open(&disk, Writer::Inline) {
            Ok(store) => store,
            Err(StoreError::LogDamaged { .. }) => {
                refused += 1;
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        let view = store.view();
        let mut wrong = 0;
        for number in 0..6 {
            if let Some(found) = read(&view, number).unwrap() {
                wrong += u32::from(found != bytes(number, 700));
            } else {
                // Of the last commit nobody can tell whether it was ever whole.
                assert_eq!(number, 5, "only the last commit may go");
                cut += 1;
            }
        }
        assert!(wrong <= 1, "one bit, {wrong} slivers");
        unharmed += 1;
    }
    println!("refused {refused}, the last commit cut off {cut}, opened {unharmed}");
    assert!(refused > 0 && cut > 0 && unharmed > 0);
}

#[test]
fn a_log_that_lost_a_file_or_its_end_is_refused() {
    let disk = FakeDisk::new(1);
    let store = open(&disk, Writer::Inline).unwrap();
    for number in 0..100 {
        put(&store, number, 20_000).unwrap();
    }
    store.shutdown();
    drop(store);
    let whole = disk.contents();
    let last = whole.keys().rfind(|name| name.starts_with("log-")).unwrap().clone();

    let mut without = whole.clone();
    without.remove(&last);
    let refused = open(&restored(&without), Writer::Inline).map(drop).unwrap_err();
    assert!(matches!(refused, StoreError::LogDamaged { .. }), "{refused}");
    let mut shorter = whole.clone();
    shorter.get_mut(&last).unwrap().truncate(100);
    let refused = open(&restored(&shorter), Writer::Inline).map(drop).unwrap_err();
    assert!(refused.to_string().contains("replace the volume, and its data is rebuilt"), "{refused}");

    // Slivers in a file that is gone are errors, and nothing else is.
    let mut holed = whole.clone();
    holed.remove("log-00000001");
    let disk = restored(&holed);
    let store = open(&disk, Writer::Inline).unwrap();
    let results: Vec<_> = (0..100).map(|number| read(&store.view(), number)).collect();
    assert!(results.iter().any(|result| matches!(result, Err(StoreError::Read { .. }))));
    assert!(results.iter().any(|result| matches!(result, Ok(Some(_)))));
    put(&store, 100, 20_000).unwrap();
}

#[test]
fn files_that_no_commit_names_are_removed() {
    let mut contents = volume(2);
    contents.insert("log-00000009".to_owned(), vec![1; 5000]);
    contents.insert("lost+found".to_owned(), Vec::new());
    let disk = restored(&contents);
    let store = open(&disk, Writer::Inline).unwrap();
    assert_eq!(read(&store.view(), 1).unwrap(), Some(bytes(1, 700)));
    assert_eq!(disk.file_len("log-00000009"), None);
    assert_eq!(disk.file_len("lost+found"), Some(0));
}

/// What a commit costs: one write and one fsync, whatever it changes.
#[test]
fn a_commit_is_one_write_and_one_fsync() {
    let disk = FakeDisk::new(1);
    let store = open(&disk, Writer::Inline).unwrap();
    (0..4).for_each(|number| put(&store, number, 3000).unwrap());
    let before = disk.counts();
    (4..24).for_each(|number| put(&store, number, 3000).unwrap());
    let after = disk.counts();
    assert_eq!((after.writes - before.writes, after.syncs - before.syncs), (20, 20));
}

/// Writes of one group that let go of what others of it brought: nothing of a file is counted as held for ever.
#[test]
fn what_one_group_brings_and_lets_go_keeps_no_file() {
    let disk = FakeDisk::new(1);
    let store = open(&disk, Writer::Thread).unwrap();
    let (release, held) = std::sync::mpsc::channel::<()>();
    let (begin, begun) = std::sync::mpsc::channel::<()>();
    // Holds the writer until all others wait.
    let first = store.write(Room::Reserved, move |_| {
        begin.send(()).unwrap();
        held.recv().unwrap();
        Ok::<_, StoreError>(())
    });
    begun.recv().unwrap();
    let writes: Vec<_> = (0..40)
        .map(|number| {
            store.write(Room::Reserved, move |tx| {
                let upload = tx.hold(&blob(number % 10))?;
                tx.put_sliver(&place(upload), bytes(number, 20_000))?;
                if number >= 35 {
                    tx.release_blob(&blob(number - 30))?;
                }
                Ok::<_, StoreError>(())
            })
        })
        .collect();
    release.send(()).unwrap();
    futures::executor::block_on(first).unwrap();
    for write in writes {
        futures::executor::block_on(write).unwrap();
    }
    store.audit().unwrap();
    for number in 0..5 {
        assert_eq!(read(&store.view(), number).unwrap(), Some(bytes(number + 30, 20_000)));
    }
}

/// What can't be read now may be read another time: nothing is cut off for it.
#[test]
fn a_last_commit_that_can_t_be_read_is_kept() {
    let pristine = volume(6);
    let disk = restored(&pristine);
    let (name, at) = disk.find(&bytes(5, 700)).remove(0);
    disk.make_unreadable(&name, at..at + 512);
    let refused = open(&disk, Writer::Inline).map(drop).unwrap_err();
    assert!(matches!(refused, StoreError::ReadLog { .. }), "{refused}");
    let again = restored(&disk.contents());
    let store = open(&again, Writer::Inline).unwrap();
    assert_eq!(read(&store.view(), 5).unwrap(), Some(bytes(5, 700)));
}
