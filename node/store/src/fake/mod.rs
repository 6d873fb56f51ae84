//! A disk in memory, for tests and the simulation: it loses power, fills up, rots and refuses.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{Disk, DiskFile, Space};

mod file;

use file::{FakeFile, Handle};

/// Size of a new disk, bytes: 1 TiB.
const CAPACITY: u64 = 1 << 40;

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
    /// Reads needn't wait.
    cached: bool,
    /// By number, as inodes are: a file that lost its name may still be open.
    files: BTreeMap<u64, FakeFile>,
    /// The directory as a reader sees it.
    names: BTreeMap<String, u64>,
    /// The directory as it will be after a crash that loses everything unsynced, and what isn't.
    durable_names: BTreeMap<String, u64>,
    pending_names: Vec<Naming>,
    next_file: u64,
    capacity: u64,
    /// Counts crashes: handles of an earlier life are dead.
    life: u64,
    /// Writes, resizes and syncs that still succeed before the power goes.
    power_left: Option<u64>,
    fail_syncs: u32,
    /// Syncs that succeed before those.
    spare_syncs: u64,
    fail_writes: u32,
    counts: Counts,
}

/// A change to the directory.
#[derive(Clone, Debug)]
enum Naming {
    Set(String, u64),
    Remove(String),
    /// Either name, never both or none.
    Rename(String, String, u64),
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

impl FakeDisk {
    /// An empty disk of 1 TiB whose random choices follow from `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                cached: true,
                random: seed,
                files: BTreeMap::new(),
                names: BTreeMap::new(),
                durable_names: BTreeMap::new(),
                pending_names: Vec::new(),
                next_file: 0,
                capacity: CAPACITY,
                life: 0,
                power_left: None,
                fail_syncs: 0,
                spare_syncs: 0,
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
        let names = &mut state.durable_names;
        for naming in std::mem::take(&mut state.pending_names) {
            if keep() {
                naming.apply(names);
            }
        }
        state.names.clone_from(names);
        let named: BTreeSet<u64> = state.names.values().copied().collect();
        state.files.retain(|number, _| named.contains(number));
        state.files.values_mut().for_each(|file| file.lose_power(&mut keep));
    }

    /// Ends whoever has files open, as a killed process: what it wrote stays to be read, and may still be lost.
    pub fn kill(&self) {
        let state = &mut *self.lock();
        state.life += 1;
        state.power_left = None;
        state.counts.failed = false;
        state.files.values_mut().for_each(|file| file.open = false);
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

    /// The same of a later one.
    pub fn fail_sync_after(&self, syncs: u64) {
        let mut state = self.lock();
        state.spare_syncs = syncs;
        state.fail_syncs = 1;
    }

    /// Makes the next write fail, half done.
    pub fn fail_next_write(&self) {
        self.lock().fail_writes += 1;
    }

    /// Whether what was written can be read without a wait for the disk, as it can unless this has said otherwise.
    pub fn set_cached(&self, cached: bool) {
        self.lock().cached = cached;
    }

    /// Sets the disk's size: what would take more fails with "no space".
    pub fn set_capacity(&self, bytes: u64) {
        self.lock().capacity = bytes;
    }

    /// Takes back what was to fail, and gives the disk its size again.
    pub fn mend(&self) {
        let state = &mut *self.lock();
        (state.fail_syncs, state.spare_syncs, state.fail_writes, state.capacity) = (0, 0, 0, CAPACITY);
    }

    /// Bytes in use.
    pub fn used(&self) -> u64 {
        self.lock().used()
    }

    /// Length of a file; none when it isn't there.
    pub fn file_len(&self, name: &str) -> Option<u64> {
        self.lock().file(name).map(|file| file.seen.len() as u64)
    }

    /// Flips a bit of a file, on the platter too. Returns whether there is such a bit.
    pub fn flip_bit(&self, name: &str, byte: u64, bit: u8) -> bool {
        let mut state = self.lock();
        state.file_mut(name).is_some_and(|file| file.flip(byte as usize, 1 << (bit % 8)))
    }

    /// Where `needle` stands: names of the files that have it, and where it is first in each.
    pub fn find(&self, needle: &[u8]) -> Vec<(String, u64)> {
        let state = self.lock();
        let find = |(name, number): (&String, &u64)| {
            let seen = &state.files.get(number)?.seen;
            let found = seen.windows(needle.len()).position(|window| window == needle)?;
            Some((name.clone(), found as u64))
        };
        state.names.iter().filter_map(find).collect()
    }

    /// Makes a range of a file's bytes unreadable.
    pub fn make_unreadable(&self, name: &str, range: Range<u64>) {
        if let Some(file) = self.lock().file_mut(name) {
            file.unreadable.push(range);
        }
    }

    /// All files as a reader sees them, by their names.
    pub fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.lock();
        let contents = |(name, number): (&String, &u64)| Some((name.clone(), state.files.get(number)?.seen.clone()));
        state.names.iter().filter_map(contents).collect()
    }

    /// Puts files there, durably, in place of all that there are: a fixture, or a snapshot that is restored.
    pub fn restore(&self, contents: BTreeMap<String, Vec<u8>>) {
        let state = &mut *self.lock();
        state.names.clear();
        state.files.clear();
        for (name, contents) in contents {
            let number = state.create(&name);
            state.files.insert(number, FakeFile::of(contents));
        }
        state.durable_names.clone_from(&state.names);
        state.pending_names.clear();
    }

    /// What was asked of the disk so far.
    pub fn counts(&self) -> Counts {
        self.lock().counts
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Naming {
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            Self::Set(name, number) => {
                names.insert(name.clone(), *number);
            }
            Self::Remove(name) => {
                names.remove(name);
            }
            Self::Rename(from, to, number) => {
                names.remove(from);
                names.insert(to.clone(), *number);
            }
        }
    }
}

/// `SplitMix64` (Steele, Lea, Flood 2014).
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

impl State {
    fn file(&self, name: &str) -> Option<&FakeFile> {
        self.files.get(self.names.get(name)?)
    }

    fn file_mut(&mut self, name: &str) -> Option<&mut FakeFile> {
        self.files.get_mut(self.names.get(name)?)
    }

    fn create(&mut self, name: &str) -> u64 {
        let number = self.next_file;
        self.next_file += 1;
        self.files.insert(number, FakeFile::default());
        self.name(Naming::Set(name.to_owned(), number));
        number
    }

    /// Changes the directory, not durably.
    fn name(&mut self, naming: Naming) {
        naming.apply(&mut self.names);
        self.pending_names.push(naming);
    }

    /// What files with a name take: a removed one has given its room back, though a crash may still bring it back.
    fn used(&self) -> u64 {
        self.names.values().filter_map(|number| self.files.get(number)).map(FakeFile::allocated).sum()
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

impl Disk for FakeDisk {
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let state = &mut *self.lock();
        if state.power_left == Some(0) {
            return Err(io::Error::other("the power is gone"));
        }
        let number = state.names.get(name).copied().unwrap_or_else(|| state.create(name));
        let file = state.files.get_mut(&number).ok_or(io::ErrorKind::NotFound)?;
        if file.open {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        file.open = true;
        Ok(Box::new(Handle { disk: self.clone(), number, life: state.life }))
    }

    fn exists(&self, name: &str) -> io::Result<bool> {
        Ok(self.lock().names.contains_key(name))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.lock().names.keys().cloned().collect())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let state = &mut *self.lock();
        state.spend()?;
        state.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        state.name(Naming::Remove(name.to_owned()));
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let state = &mut *self.lock();
        state.spend()?;
        let number = *state.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        state.name(Naming::Rename(from.to_owned(), to.to_owned(), number));
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let state = &mut *self.lock();
        state.spend()?;
        state.durable_names.clone_from(&state.names);
        state.pending_names.clear();
        let named: BTreeSet<u64> = state.names.values().copied().collect();
        state.files.retain(|number, file| named.contains(number) || file.open);
        Ok(())
    }

    fn random(&self, out: &mut [u8]) -> io::Result<()> {
        let random = &mut self.lock().random;
        for piece in out.chunks_mut(8) {
            piece.copy_from_slice(&next(random).to_le_bytes()[..piece.len()]);
        }
        Ok(())
    }

    fn space(&self) -> io::Result<Space> {
        let state = self.lock();
        Ok(Space { capacity: state.capacity, free: state.capacity.saturating_sub(state.used()) })
    }
}
