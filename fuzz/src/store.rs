//! Volumes whose bytes were changed: a store opens with an error, or holds what it held.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use weft_store::fake::FakeDisk;
use weft_store::{Axis, FILE, Options, Room, SliverKey, Store, StoreError, Totals, Tx, UploadNumber, View, Writer};

use crate::Target;
use crate::input::{Input, noise};

pub(crate) const LOG: Target = Target { name: "store-log", run: changed_log, seeds, catches: true };
pub(crate) const VOLUME: Target = Target { name: "store-volume", run: changed_volume, seeds, catches: true };

/// What a volume holds, but for the bytes of slivers: those are told by their hashes, which the store doesn't know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Held {
    states: BTreeMap<String, Vec<u8>>,
    entries: BTreeMap<[u8; 32], Vec<u8>>,
    index: BTreeMap<Vec<u8>, Vec<u8>>,
    uploads: BTreeMap<[u8; 16], UploadNumber>,
    holdings: BTreeMap<[u8; 32], UploadNumber>,
    stripes: BTreeMap<(UploadNumber, u32), Vec<u8>>,
    slivers: BTreeMap<SliverKey, u32>,
    missing: BTreeSet<([u8; 32], u8)>,
    counts: Vec<((u8, u8), u64)>,
    totals: Totals,
}

impl Held {
    fn of(view: &impl View) -> Result<Self, StoreError> {
        let mut held = Self {
            states: view.states("", None, usize::MAX)?.into_iter().collect(),
            entries: view.entries(None, usize::MAX)?.into_iter().collect(),
            index: view.index_rows(&[], None, usize::MAX)?.into_iter().collect(),
            uploads: view.uploads(None, usize::MAX)?.into_iter().map(|(key, upload)| (key, upload.number)).collect(),
            holdings: view.holdings(None, usize::MAX)?.into_iter().collect(),
            missing: view.missing(None, usize::MAX)?.into_iter().collect(),
            counts: view.missing_counts()?,
            totals: view.totals(),
            ..Self::default()
        };
        for number in held.uploads.values().chain(held.holdings.values()) {
            let stripes = view.stripes(*number, None, usize::MAX)?;
            held.stripes.extend(stripes.into_iter().map(|(stripe, bytes)| ((*number, stripe), bytes)));
            held.slivers.extend(view.slivers(*number, None, usize::MAX)?);
        }
        Ok(held)
    }
}

/// A volume as its process left it, and all that it held after each of its commits.
struct Volume {
    files: BTreeMap<String, Vec<u8>>,
    history: BTreeMap<u64, Held>,
    /// Where in each file there are bytes other than zero, by blocks.
    written: BTreeMap<String, Vec<usize>>,
}

const BLOCK: usize = 512;

/// Small segments, so that there are several.
fn options() -> Options {
    Options { cache_bytes: 1 << 20, reserve_bytes: 0, writer: Writer::Inline, segment_bytes: Some(16 << 10) }
}

static VOLUMES: LazyLock<Vec<Volume>> = LazyLock::new(|| {
    let volumes = [(3, None), (60, None), (60, Some(40)), (150, Some(100))];
    volumes.map(|(commits, shutdown)| Volume::make(commits, shutdown)).into()
});

impl Volume {
    /// One of so many commits, ended as by a kill; before that it was shut down once, or not.
    fn make(commits: u64, shutdown: Option<u64>) -> Self {
        let disk = FakeDisk::new(commits);
        let mut store = Store::open(Arc::new(disk.clone()), &options()).expect("a new volume");
        let mut history = BTreeMap::from([(store.view().sequence(), Held::of(&store.view()).expect("it is sound"))]);
        for commit in 0..commits {
            if shutdown == Some(commit) {
                store.shutdown();
                drop(store);
                store = Store::open(Arc::new(disk.clone()), &options()).expect("it was shut down");
            }
            store.write_blocking(Room::Reserved, move |tx| step(tx, commit)).expect("a sound disk");
            let view = store.view();
            history.insert(view.sequence(), Held::of(&view).expect("it is sound"));
        }
        disk.kill();
        let files = disk.contents();
        let blocks = |bytes: &Vec<u8>| {
            let blocks = bytes.chunks(BLOCK).enumerate();
            blocks.filter(|(_, block)| block.iter().any(|byte| *byte != 0)).map(|(at, _)| at).collect()
        };
        let written = files.iter().map(|(name, bytes)| (name.clone(), blocks(bytes))).collect();
        Self { files, history, written }
    }
}

/// The commits of a volume: each kind of row comes and goes.
fn step(tx: &mut Tx<'_>, commit: u64) -> Result<(), StoreError> {
    let (blob, session) = ([(commit / 5 % 7) as u8; 32], [(commit / 5 % 7) as u8; 16]);
    match commit % 5 {
        0 => {
            tx.put_state("term", commit.to_be_bytes().to_vec());
            tx.release_blob(&blob)?;
            tx.open_upload(&session, commit, b"note")?;
        }
        1 => put_slivers(tx, &session, commit)?,
        2 => {
            let _finished = tx.finish_upload(&session, &blob);
            tx.put_entry(&blob, noise(300, &commit.to_le_bytes()))?;
            tx.put_index(&blob, noise(40, &commit.to_le_bytes()));
        }
        3 => {
            tx.add_missing(&blob, commit as u8)?;
            tx.mark_holding(&blob, commit)?;
        }
        _ => {
            tx.remove_missing_of(&blob)?;
            tx.remove_entry(&[(commit / 10 % 7) as u8; 32])?;
            tx.remove_state("none");
            tx.remove_index_of(&blob[..4]);
        }
    }
    Ok(())
}

fn put_slivers(tx: &mut Tx<'_>, session: &[u8; 16], seed: u64) -> Result<(), StoreError> {
    let Some(upload) = tx.upload(session)? else { return Ok(()) };
    for stripe in 0..2 {
        tx.put_stripe(upload.number, stripe, noise(80, &seed.to_le_bytes()))?;
        for (axis, length) in [(Axis::Primary, 700), (Axis::Secondary, 0), (Axis::Secondary, 1300)] {
            let key = SliverKey { upload: upload.number, stripe, axis, index: (length % 255) as u8 };
            tx.put_sliver(&key, noise(length, &seed.to_le_bytes()))?;
        }
    }
    Ok(())
}

/// Changes some of a volume's files.
fn change(files: &mut BTreeMap<String, Vec<u8>>, names: &[String], volume: &Volume, input: &mut Input<'_>) {
    for _ in 0..=input.byte() % 6 {
        let name = &names[usize::from(input.byte()) % names.len()];
        let other = &names[usize::from(input.byte()) % names.len()];
        let blocks = &volume.written[name];
        let kind = input.byte();
        // Where something is, rather than among zeros.
        let block = blocks.get(usize::from(input.u16()) % blocks.len().max(1)).copied().unwrap_or_default();
        let at = block * BLOCK + usize::from(input.u16()) % BLOCK;
        let Some(bytes) = files.get_mut(name) else { continue };
        match kind % 10 {
            0 => bytes.truncate(at),
            1 => bytes.resize(bytes.len() + usize::from(input.u16()), 0),
            2 => {
                let part = bytes.get(at..bytes.len().min(at + usize::from(input.u16()))).unwrap_or_default().to_vec();
                let to = usize::from(input.u16()) * 16 % (bytes.len() + 1);
                let end = bytes.len().min(to + part.len());
                bytes[to..end].copy_from_slice(&part[..end - to]);
            }
            3 => drop(files.remove(name)),
            4 => {
                let (one, two) = (files.remove(name), files.remove(other));
                files.extend(one.map(|bytes| (other.clone(), bytes)));
                files.extend(two.map(|bytes| (name.clone(), bytes)));
            }
            5 => {
                let copy = bytes.clone();
                files.insert(format!("log-{:08x}", input.byte()), copy);
            }
            kind => {
                let most = if kind < 8 { 1 } else { 8 };
                let (given, end) = (input.take(most), bytes.len());
                bytes[at.min(end)..].iter_mut().zip(given).for_each(|(byte, given)| *byte ^= given);
            }
        }
    }
}

fn opened(files: BTreeMap<String, Vec<u8>>) -> (FakeDisk, Result<Store, StoreError>) {
    let disk = FakeDisk::new(1);
    disk.restore(files);
    let store = Store::open(Arc::new(disk.clone()), &options());
    (disk, store)
}

/// All that is read of slivers comes in its length, or as an error.
fn read_slivers(store: &Store, held: &Held) {
    for (key, length) in &held.slivers {
        let read = store.view().sliver(key);
        assert!(read.is_err() || read.is_ok_and(|bytes| bytes.is_some_and(|bytes| bytes.len() == *length as usize)));
    }
}

fn write(store: &Store) -> Result<(), StoreError> {
    let commit = |commit| store.write_blocking(Room::Reserved, move |tx| step(tx, commit)).map(drop);
    (1000..1010).try_for_each(commit)
}

/// The log's files are changed, and the database isn't: what opens holds what was held at some commit that the database doesn't have
/// yet, whole.
fn changed_log(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let volume = &VOLUMES[usize::from(input.byte()) % VOLUMES.len()];
    let mut files = volume.files.clone();
    let names: Vec<String> = files.keys().filter(|name| *name != FILE).cloned().collect();
    change(&mut files, &names, volume, &mut input);
    let (disk, Ok(store)) = opened(files) else { return };
    let sequence = store.view().sequence();
    let held = Held::of(&store.view()).expect("the database is whole");
    assert!(volume.history.get(&sequence) == Some(&held), "it isn't what it was after commit {sequence}");
    read_slivers(&store, &held);
    if write(&store).is_err() {
        assert!(store.health().read_only.is_some() || store.health().read_failures > 0, "{:?}", store.health());
    }
    let (sequence, held) = (store.view().sequence(), Held::of(&store.view()).expect("the database is whole"));
    let read_only = store.health().read_only.is_some();
    drop(store);
    disk.kill();
    // What was acknowledged on top of it stays.
    match Store::open(Arc::new(disk), &options()) {
        Ok(store) => {
            let again = Held::of(&store.view()).expect("the database is whole");
            assert!(read_only || (store.view().sequence(), &again) == (sequence, &held), "writes went missing");
        }
        Err(error) => assert!(read_only, "what opened and was written to doesn't open again: {error}"),
    }
}

/// The database is changed too: no row is other than it once was.
fn changed_volume(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let volume = &VOLUMES[usize::from(input.byte()) % VOLUMES.len()];
    let mut files = volume.files.clone();
    let names: Vec<String> = files.keys().cloned().chain(vec![FILE.to_owned(); 8]).collect();
    change(&mut files, &names, volume, &mut input);
    let (_, Ok(store)) = opened(files) else { return };
    let view = store.view();
    let ever = |is: &dyn Fn(&Held) -> bool| volume.history.values().any(is);
    for (blob, read) in (0..8).map(|blob| ([blob; 32], view.entry(&[blob; 32]))) {
        let known = |entry: &Vec<u8>| ever(&|held| held.entries.get(&blob) == Some(entry));
        assert!(read.is_err() || read.is_ok_and(|read| read.as_ref().is_none_or(known)), "another entry");
        if let Ok(Some(row)) = view.index_row(&blob) {
            assert!(ever(&|held| held.index.get(&blob[..]) == Some(&row)), "another row of the index");
        }
        if let Ok(Some(number)) = view.holding(&blob) {
            assert!(ever(&|held| held.holdings.get(&blob) == Some(&number)), "another holding");
        }
    }
    if let Ok(Some(term)) = view.state("term") {
        assert!(ever(&|held| held.states.get("term") == Some(&term)), "another record");
    }
    if let Ok(held) = Held::of(&view) {
        held.slivers.keys().for_each(|key| drop(view.sliver(key)));
        for (key, bytes) in &held.stripes {
            assert!(ever(&|held| held.stripes.get(key) == Some(bytes)), "another stripe");
        }
    }
    drop(view);
    let written = write(&store);
    assert!(!matches!(written, Err(StoreError::Panicked { .. })), "{written:?}");
    let _ = (store.audit(), store.usage(), store.is_empty_volume(), store.has_trash());
    store.sweep();
    store.shutdown();
}

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for volume in 0..4_u8 {
        for kind in 0..10 {
            seeds.push([&[volume, 0, kind, 1, kind][..], &noise(20, &[volume, kind])].concat());
        }
    }
    seeds
}
