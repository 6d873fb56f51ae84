//! The files of slivers: those of the log, and those that slivers were moved to.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::extents::Place;
use crate::log::frame::{ALIGN, HEADER, Header, Key};
use crate::poison::Poison;
use crate::tables::Table;
use crate::{Disk, DiskFile, StoreError};

/// Bytes that are read at once where frames are looked for.
const WINDOW: u64 = 1 << 20;

/// Which segment. No two of a volume have the same number, whatever they are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Id {
    pub(crate) number: u32,
    /// Slivers were moved here; it isn't of the log.
    pub(crate) moved: bool,
}

impl Id {
    /// The name of its file.
    pub(crate) fn name(self) -> String {
        format!("{}-{:08x}", if self.moved { "moved" } else { "log" }, self.number)
    }

    /// Whose file it is that has this name.
    pub(crate) fn of(name: &str) -> Option<Self> {
        let (kind, number) = name.split_once('-')?;
        let id = Self { number: u32::from_str_radix(number, 16).ok()?, moved: kind == "moved" };
        (id.name() == name).then_some(id)
    }
}

/// What all segments of a volume share.
#[derive(Debug)]
pub(crate) struct Volume {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) poison: Arc<Poison>,
    /// Names of files that nobody reads any more. The writer removes them: a reader shouldn't wait for that.
    graves: Mutex<Vec<String>>,
}

impl Volume {
    pub(crate) fn new(disk: Arc<dyn Disk>, poison: Arc<Poison>) -> Arc<Self> {
        Arc::new(Self { disk, poison, graves: Mutex::default() })
    }

    fn graves(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.graves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn has_graves(&self) -> bool {
        !self.graves().is_empty()
    }

    /// Removes what nobody reads any more. What stays is removed when the volume is next opened.
    pub(crate) fn bury(&self) {
        for name in std::mem::take(&mut *self.graves()) {
            if self.poison.reason().is_none() {
                let _ = self.disk.remove(&name);
            }
        }
    }
}

/// A segment. Its file is opened when it is first read, and can go with the last snapshot that knows it once it is doomed.
#[derive(Debug)]
pub(crate) struct Segment {
    id: Id,
    volume: Arc<Volume>,
    file: OnceLock<Box<dyn DiskFile>>,
    /// Held by who opens the file.
    opening: Mutex<()>,
    /// Bytes of frames, and of what was written ahead of them.
    length: AtomicU64,
    doomed: AtomicBool,
}

impl Segment {
    /// A segment that is there, or is about to be made.
    pub(crate) fn new(volume: &Arc<Volume>, id: Id, length: u64) -> Self {
        let (volume, file, opening) = (volume.clone(), OnceLock::new(), Mutex::default());
        Self { id, volume, file, opening, length: AtomicU64::new(length), doomed: AtomicBool::new(false) }
    }

    pub(crate) fn id(&self) -> Id {
        self.id
    }

    /// Length of the file, bytes.
    pub(crate) fn length(&self) -> u64 {
        self.length.load(Ordering::SeqCst)
    }

    pub(crate) fn set_length(&self, length: u64) {
        self.length.store(length, Ordering::SeqCst);
    }

    /// Makes the file.
    pub(crate) fn create(&self) -> io::Result<()> {
        let file = self.volume.disk.open(&self.id.name())?;
        let _ = self.file.set(file);
        self.volume.disk.sync_dir()
    }

    pub(crate) fn file(&self) -> io::Result<&dyn DiskFile> {
        if let Some(file) = self.file.get() {
            return Ok(&**file);
        }
        let _alone = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = self.file.get() {
            return Ok(&**file);
        }
        let name = self.id.name();
        // Opening would make it.
        if !self.volume.disk.exists(&name)? {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("{name} is not on the volume")));
        }
        let file = self.volume.disk.open(&name)?;
        Ok(&**self.file.get_or_init(|| file))
    }

    pub(crate) fn read(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = memory(length);
        self.file()?.read(offset, &mut bytes)?;
        Ok(bytes)
    }

    /// The same where the disk needn't be waited for.
    fn read_cached(&self, offset: u64, length: usize) -> Option<Vec<u8>> {
        // Opening it would take a wait.
        let file = self.file.get()?;
        let mut bytes = memory(length);
        file.read_cached(offset, &mut bytes).then_some(bytes)
    }

    /// The frame that begins at `offset`, and its changes; none when there is none, or it isn't what was written.
    pub(crate) fn frame(&self, key: &Key, offset: u64) -> io::Result<Option<(Header, Vec<u8>)>> {
        let length = self.file()?.len()?;
        if offset + HEADER as u64 > length {
            return Ok(None);
        }
        let mut head = [0; HEADER];
        self.file()?.read(offset, &mut head)?;
        let Some(header) = Header::decode(&head, key) else { return Ok(None) };
        let here = (header.segment, u64::from(header.offset)) == (self.id.number, offset);
        if !here || header.changes_at() + u64::from(header.changes) > length {
            return Ok(None);
        }
        let changes = self.read(header.changes_at(), header.changes as usize)?;
        Ok(header.has(&changes, key).then_some((header, changes)))
    }

    /// The payload of a frame; none when it isn't what was written.
    pub(crate) fn payload(&self, header: &Header) -> io::Result<Option<Vec<u8>>> {
        let payload = self.read(header.payload_at(), header.payload as usize)?;
        Ok(Some(payload).filter(|payload| header.has_payload(payload)))
    }

    /// The first whole frame at `offset` or after it.
    pub(crate) fn frame_after(&self, key: &Key, offset: u64) -> io::Result<Option<(Header, Vec<u8>)>> {
        let mut at = offset.next_multiple_of(u64::from(ALIGN));
        if let Some(frame) = self.frame(key, at)? {
            return Ok(Some(frame));
        }
        let length = self.file()?.len()?;
        while at < length {
            let window = self.read(at, (length - at).min(WINDOW) as usize)?;
            for (number, head) in window.chunks(ALIGN as usize).enumerate() {
                if Header::begins(head)
                    && let Some(frame) = self.frame(key, at + number as u64 * u64::from(ALIGN))?
                {
                    return Ok(Some(frame));
                }
            }
            at += window.len() as u64;
        }
        Ok(None)
    }

    /// Has the file removed once no snapshot knows it any more.
    pub(crate) fn doom(&self) {
        self.doomed.store(true, Ordering::SeqCst);
    }
}

/// Memory that is read into. It isn't asked for as zeros: for those jemalloc gives pages that were used back to the system and has
/// it clear others, at a page fault for each.
fn memory(length: usize) -> Vec<u8> {
    /// Not zero, lest the compiler asks for zeros.
    const ANYTHING: u8 = 0xa5;
    let mut bytes = Vec::with_capacity(length);
    bytes.resize(length, ANYTHING);
    bytes
}

impl Drop for Segment {
    fn drop(&mut self) {
        if self.doomed.load(Ordering::SeqCst) {
            drop(self.file.take());
            self.volume.graves().push(self.id.name());
        }
    }
}

/// The segments as of a commit, and the key of their tags.
#[derive(Clone, Debug)]
pub(crate) struct Segments {
    key: Key,
    all: BTreeMap<u32, Arc<Segment>>,
}

impl Segments {
    pub(crate) fn new(key: Key) -> Self {
        Self { key, all: BTreeMap::new() }
    }

    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    pub(crate) fn get(&self, number: u32) -> Option<&Arc<Segment>> {
        self.all.get(&number)
    }

    /// Those of the log that come after one, in their order.
    pub(crate) fn log_after(&self, number: u32) -> impl Iterator<Item = &Arc<Segment>> {
        let later = self.all.range((Bound::Excluded(number), Bound::Unbounded));
        later.map(|(_, segment)| segment).filter(|segment| !segment.id.moved)
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = Id> {
        self.all.values().map(|segment| segment.id)
    }

    pub(crate) fn add(&mut self, segment: Arc<Segment>) {
        self.all.insert(segment.id.number, segment);
    }

    pub(crate) fn remove(&mut self, number: u32) -> Option<Arc<Segment>> {
        self.all.remove(&number)
    }

    /// Bytes of all files.
    pub(crate) fn bytes(&self) -> u64 {
        self.all.values().map(|segment| segment.length()).sum()
    }

    /// Reads a sliver's bytes, unverified.
    pub(crate) fn read(&self, place: Place) -> Result<Vec<u8>, StoreError> {
        let Some(segment) = self.segment_of(place)? else { return Ok(Vec::new()) };
        segment.read(u64::from(place.offset), place.length as usize).map_err(|source| {
            segment.volume.poison.note_read_failure();
            StoreError::Read { table: Table::Extents, source: Arc::new(source) }
        })
    }

    /// The same where the disk needn't be waited for.
    pub(crate) fn read_cached(&self, place: Place) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(segment) = self.segment_of(place)? else { return Ok(Some(Vec::new())) };
        Ok(segment.read_cached(u64::from(place.offset), place.length as usize))
    }

    /// Where a place is. One of no bytes may be in a segment that is gone.
    fn segment_of(&self, place: Place) -> Result<Option<&Segment>, StoreError> {
        if place.length == 0 {
            return Ok(None);
        }
        self.get(place.segment).map(|segment| Some(&**segment)).ok_or_else(|| StoreError::Corrupt {
            table: Table::Extents,
            what: format!("it names segment {}, which the volume hasn't", place.segment),
        })
    }
}
