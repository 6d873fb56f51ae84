//! A disk in memory, for tests and the simulation: it loses power, fills up, rots and refuses.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{Disk, DiskFile, Space};

/// What a disk writes whole or not at all, bytes.
const SECTOR: usize = 512;

/// Blocks that count as allocated, bytes.
const BLOCK: u64 = 4096;

/// A disk in memory. Clones are the same disk.
///
/// Writes reach "the platter" only by [`DiskFile::sync`]. [`FakeDisk::crash`] throws away what wasn't synced, but for what
/// its random numbers let through: any sectors of any of those writes, as a real disk's cache would.
#[derive(Clone, Debug)]
pub struct FakeDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    random: u64,
    files: BTreeMap<String, FakeFile>,
    capacity: u64,
    /// Counts crashes: handles of an earlier life are dead.
    life: u64,
    /// Writes, resizes and syncs that still succeed before the power goes.
    power_left: Option<u64>,
    fail_syncs: u32,
    fail_writes: u32,
    counts: Counts,
}

#[derive(Debug, Default)]
struct FakeFile {
    /// As a reader sees it.
    seen: Vec<u8>,
    /// As it will be after a crash that loses everything unsynced.
    platter: Vec<u8>,
    pending: Vec<Change>,
    /// Whether the directory's entry is durable.
    named: bool,
    open: bool,
    unreadable: Vec<Range<u64>>,
    /// Blocks that were written at some time.
    blocks: std::collections::BTreeSet<u64>,
}

#[derive(Debug)]
enum Change {
    Length(usize),
    Bytes(usize, Vec<u8>),
}

/// What was asked of the disk so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Writes.
    pub writes: u64,
    /// Calls of [`DiskFile::sync`], failed ones too.
    pub syncs: u64,
    /// Writes, resizes and syncs of a file of which one had failed in this life. A store must make none.
    pub after_failure: u64,
    failed: bool,
}

#[derive(Debug)]
struct Handle {
    disk: FakeDisk,
    name: String,
    life: u64,
}

impl FakeDisk {
    /// An empty disk of 1 TiB, whose random choices follow from `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                random: seed,
                files: BTreeMap::new(),
                capacity: 1 << 40,
                life: 0,
                power_left: None,
                fail_syncs: 0,
                fail_writes: 0,
                counts: Counts::default(),
            })),
        }
    }

    /// Loses power now, and comes back: unsynced writes are lost, torn or reordered, open handles are dead.
    pub fn crash(&self) {
        let state = &mut *self.lock();
        state.life += 1;
        state.power_left = None;
        state.counts.failed = false;
        // Some crashes lose everything, some nothing, most some of it.
        let keep_of_8 = next(&mut state.random) % 9;
        let random = &mut state.random;
        let mut keep = || next(random) % 8 < keep_of_8;
        state.files.retain(|_, file| file.named || keep());
        for file in state.files.values_mut() {
            file.settle(&mut keep);
            file.seen.clone_from(&file.platter);
            file.named = true;
            file.open = false;
        }
    }

    /// Lets that many more writes, resizes and syncs through; from then on everything fails until [`FakeDisk::crash`].
    pub fn cut_power_after(&self, operations: u64) {
        self.lock().power_left = Some(operations);
    }

    /// Whether the power is gone, so that nothing succeeds before [`FakeDisk::crash`].
    pub fn is_dead(&self) -> bool {
        self.lock().power_left == Some(0)
    }

    /// Makes the next sync fail. As under Linux its writes stay visible to readers, some reach the platter and some never
    /// will, whatever later syncs say.
    pub fn fail_next_sync(&self) {
        self.lock().fail_syncs += 1;
    }

    /// Makes the next write fail, half done.
    pub fn fail_next_write(&self) {
        self.lock().fail_writes += 1;
    }

    /// Sets the disk's size: what would take more fails with "no space".
    pub fn set_capacity(&self, bytes: u64) {
        self.lock().capacity = bytes;
    }

    /// Bytes in use.
    pub fn used(&self) -> u64 {
        self.lock().used()
    }

    /// Length of a file; none when it isn't there.
    pub fn file_len(&self, name: &str) -> Option<u64> {
        self.lock().files.get(name).map(|file| file.seen.len() as u64)
    }

    /// Flips a bit of a file, on the platter too. Returns whether there is such a bit.
    pub fn flip_bit(&self, name: &str, byte: u64, bit: u8) -> bool {
        let mut state = self.lock();
        let Some(file) = state.files.get_mut(name) else { return false };
        let Some(seen) = file.seen.get_mut(byte as usize) else { return false };
        *seen ^= 1 << (bit % 8);
        if let Some(platter) = file.platter.get_mut(byte as usize) {
            *platter ^= 1 << (bit % 8);
        }
        true
    }

    /// Where `needle` stands in a file.
    pub fn find(&self, name: &str, needle: &[u8]) -> Option<u64> {
        let state = self.lock();
        let found = state.files.get(name)?.seen.windows(needle.len()).position(|window| window == needle)?;
        Some(found as u64)
    }

    /// Makes a range of a file's bytes unreadable.
    pub fn make_unreadable(&self, name: &str, range: Range<u64>) {
        if let Some(file) = self.lock().files.get_mut(name) {
            file.unreadable.push(range);
        }
    }

    /// A file's bytes as a reader sees them.
    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        self.lock().files.get(name).map(|file| file.seen.clone())
    }

    /// Puts a file there, durably: a fixture, or a snapshot that is restored.
    pub fn restore(&self, name: &str, contents: Vec<u8>) {
        let blocks = (0..(contents.len() as u64).div_ceil(BLOCK)).collect();
        let file = FakeFile { seen: contents.clone(), platter: contents, named: true, blocks, ..FakeFile::default() };
        self.lock().files.insert(name.to_owned(), file);
    }

    /// What was asked of the disk so far.
    pub fn counts(&self) -> Counts {
        self.lock().counts
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014).
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

impl State {
    fn used(&self) -> u64 {
        self.files.values().map(|file| file.blocks.len() as u64 * BLOCK).sum()
    }

    /// Counts one operation that changes something, and refuses it without power.
    fn spend(&mut self) -> io::Result<()> {
        self.counts.after_failure += u64::from(self.counts.failed);
        match &mut self.power_left {
            Some(0) => Err(self.fail("the power is gone")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn fail(&mut self, what: &str) -> io::Error {
        self.counts.failed = true;
        io::Error::other(what.to_owned())
    }
}

impl FakeFile {
    fn apply(contents: &mut Vec<u8>, offset: usize, data: &[u8]) {
        if contents.len() < offset + data.len() {
            contents.resize(offset + data.len(), 0);
        }
        contents[offset..offset + data.len()].copy_from_slice(data);
    }

    /// Brings to the platter what `keep` says of what is pending, sector by sector.
    fn settle(&mut self, keep: &mut impl FnMut() -> bool) {
        for change in std::mem::take(&mut self.pending) {
            match change {
                Change::Length(length) => {
                    if keep() {
                        self.platter.resize(length, 0);
                    }
                }
                Change::Bytes(offset, data) => {
                    let mut at = 0;
                    while at < data.len() {
                        let sector_end = SECTOR - (offset + at) % SECTOR;
                        let end = data.len().min(at + sector_end);
                        if keep() {
                            Self::apply(&mut self.platter, offset + at, &data[at..end]);
                        }
                        at = end;
                    }
                }
            }
        }
    }
}

impl Disk for FakeDisk {
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let state = &mut *self.lock();
        if state.power_left == Some(0) {
            return Err(io::Error::other("the power is gone"));
        }
        let file = state.files.entry(name.to_owned()).or_default();
        if file.open {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        file.open = true;
        Ok(Box::new(Handle { disk: self.clone(), name: name.to_owned(), life: state.life }))
    }

    fn exists(&self, name: &str) -> io::Result<bool> {
        Ok(self.lock().files.contains_key(name))
    }

    fn sync_dir(&self) -> io::Result<()> {
        let state = &mut *self.lock();
        state.spend()?;
        state.files.values_mut().for_each(|file| file.named = true);
        Ok(())
    }

    fn space(&self) -> io::Result<Space> {
        let state = self.lock();
        Ok(Space { capacity: state.capacity, free: state.capacity.saturating_sub(state.used()) })
    }
}

impl Handle {
    fn with<R>(&self, action: impl FnOnce(&mut State) -> io::Result<R>) -> io::Result<R> {
        let mut state = self.disk.lock();
        if state.life != self.life {
            return Err(io::Error::other("the disk lost power since this file was opened"));
        }
        action(&mut state)
    }

    fn with_file<R>(&self, action: impl FnOnce(&mut FakeFile) -> io::Result<R>) -> io::Result<R> {
        self.with(|state| action(state.files.get_mut(&self.name).ok_or(io::ErrorKind::NotFound)?))
    }
}

impl DiskFile for Handle {
    fn len(&self) -> io::Result<u64> {
        self.with_file(|file| Ok(file.seen.len() as u64))
    }

    fn allocated(&self) -> io::Result<u64> {
        self.with_file(|file| Ok(file.blocks.len() as u64 * BLOCK))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let wanted = offset..offset + out.len() as u64;
        self.with_file(|file| {
            if file.unreadable.iter().any(|bad| bad.start < wanted.end && wanted.start < bad.end) {
                return Err(io::Error::other("unreadable sector"));
            }
            let range = wanted.start as usize..wanted.end as usize;
            out.copy_from_slice(file.seen.get(range).ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.with(State::spend)?;
        self.with_file(|file| {
            file.seen.resize(len as usize, 0);
            file.blocks.retain(|block| block * BLOCK < len);
            file.pending.push(Change::Length(len as usize));
            Ok(())
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut data = data;
        let result = self.with(|state| {
            state.counts.writes += 1;
            state.spend()?;
            let used = state.used();
            let file = state.files.get(&self.name).ok_or(io::ErrorKind::NotFound)?;
            let blocks = offset / BLOCK..(offset + data.len() as u64).div_ceil(BLOCK);
            let new = blocks.filter(|block| !file.blocks.contains(block)).count() as u64;
            if used + new * BLOCK > state.capacity {
                state.counts.failed = true;
                return Err(io::ErrorKind::StorageFull.into());
            }
            if state.fail_writes > 0 {
                state.fail_writes -= 1;
                data = &data[..data.len() / 2];
                return Err(state.fail("injected failure of a write"));
            }
            Ok(())
        });
        if let Err(error) = &result
            && (error.kind() == io::ErrorKind::StorageFull || self.disk.is_dead())
        {
            return result;
        }
        self.with_file(|file| {
            FakeFile::apply(&mut file.seen, offset as usize, data);
            file.blocks.extend(offset / BLOCK..(offset + data.len() as u64).div_ceil(BLOCK));
            file.pending.push(Change::Bytes(offset as usize, data.to_vec()));
            Ok(())
        })?;
        result
    }

    fn sync(&self) -> io::Result<()> {
        self.with(|state| {
            state.counts.syncs += 1;
            state.spend()?;
            let fails = state.fail_syncs > 0;
            let State { files, random, .. } = state;
            let file = files.get_mut(&self.name).ok_or(io::ErrorKind::NotFound)?;
            if fails {
                file.settle(&mut || next(random).is_multiple_of(2));
                state.fail_syncs -= 1;
                return Err(state.fail("injected failure of fsync"));
            }
            file.settle(&mut || true);
            Ok(())
        })
    }

    fn close(&self) -> io::Result<()> {
        self.with_file(|file| {
            file.open = false;
            Ok(())
        })
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // A handle of an earlier life has nothing to give back.
        let _ = self.close();
    }
}
