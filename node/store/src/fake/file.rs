//! Files of the fake disk.

use std::collections::BTreeSet;
use std::io;
use std::mem;
use std::ops::Range;

use super::{FakeDisk, State, next};
use crate::DiskFile;

/// What a disk writes whole or not at all, bytes.
const SECTOR: usize = 512;

/// What a filesystem allocates, bytes.
pub(super) const BLOCK: u64 = 4096;

#[derive(Debug, Default)]
pub(super) struct FakeFile {
    /// As a reader sees it.
    pub(super) seen: Vec<u8>,
    /// As it will be after a crash that loses everything unsynced.
    platter: Vec<u8>,
    pending: Vec<Change>,
    pub(super) open: bool,
    pub(super) unreadable: Vec<Range<u64>>,
    /// Blocks that were written at some time.
    blocks: BTreeSet<u64>,
}

#[derive(Debug)]
enum Change {
    Length(usize),
    Bytes(usize, Vec<u8>),
}

impl FakeFile {
    /// A file with durable contents.
    pub(super) fn of(contents: Vec<u8>) -> Self {
        let blocks = (0..(contents.len() as u64).div_ceil(BLOCK)).collect();
        Self { seen: contents.clone(), platter: contents, blocks, ..Self::default() }
    }

    pub(super) fn allocated(&self) -> u64 {
        self.blocks.len() as u64 * BLOCK
    }

    pub(super) fn flip(&mut self, byte: usize, mask: u8) -> bool {
        if let Some(platter) = self.platter.get_mut(byte) {
            *platter ^= mask;
        }
        self.seen.get_mut(byte).map(|seen| *seen ^= mask).is_some()
    }

    pub(super) fn lose_power(&mut self, keep: &mut impl FnMut() -> bool) {
        self.settle(keep);
        self.seen.clone_from(&self.platter);
        self.open = false;
    }

    /// Brings to the platter what `keep` says of what is pending, sector by sector.
    fn settle(&mut self, keep: &mut impl FnMut() -> bool) {
        for change in mem::take(&mut self.pending) {
            match change {
                Change::Length(length) => {
                    if keep() {
                        self.platter.resize(length, 0);
                    }
                }
                Change::Bytes(offset, data) => {
                    let mut at = 0;
                    while at < data.len() {
                        let end = data.len().min(at + SECTOR - (offset + at) % SECTOR);
                        if keep() {
                            put(&mut self.platter, offset + at, &data[at..end]);
                        }
                        at = end;
                    }
                }
            }
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        put(&mut self.seen, offset as usize, data);
        self.blocks.extend(blocks_of(offset, data.len()));
        self.pending.push(Change::Bytes(offset as usize, data.to_vec()));
    }
}

fn put(contents: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if contents.len() < end {
        contents.resize(end, 0);
    }
    contents[offset..end].copy_from_slice(data);
}

fn blocks_of(offset: u64, length: usize) -> Range<u64> {
    offset / BLOCK..(offset + length as u64).div_ceil(BLOCK)
}

#[derive(Debug)]
pub(super) struct Handle {
    pub(super) disk: FakeDisk,
    pub(super) number: u64,
    /// The disk's life in which it was opened.
    pub(super) life: u64,
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
        self.with(|state| action(state.files.get_mut(&self.number).ok_or(io::ErrorKind::NotFound)?))
    }
}

impl DiskFile for Handle {
    fn len(&self) -> io::Result<u64> {
        self.with_file(|file| Ok(file.seen.len() as u64))
    }

    fn allocated(&self) -> io::Result<u64> {
        self.with_file(|file| Ok(file.allocated()))
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

    fn read_cached(&self, offset: u64, out: &mut [u8]) -> bool {
        self.with(|state| Ok(state.cached)).is_ok_and(|cached| cached && self.read(offset, out).is_ok())
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
        self.with(|state| {
            state.counts.writes += 1;
            state.spend()?;
            let (used, capacity) = (state.used(), state.capacity);
            let half = state.fail_writes > 0;
            let file = state.files.get_mut(&self.number).ok_or(io::ErrorKind::NotFound)?;
            let new = blocks_of(offset, data.len()).filter(|block| !file.blocks.contains(block)).count() as u64;
            if used + new * BLOCK > capacity {
                state.counts.failed = true;
                return Err(io::ErrorKind::StorageFull.into());
            }
            if half {
                file.write(offset, &data[..data.len() / 2]);
                state.fail_writes -= 1;
                return Err(state.fail("injected failure of a write"));
            }
            file.write(offset, data);
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.with(|state| {
            state.counts.syncs += 1;
            state.spend()?;
            let fails = state.fail_syncs > 0 && state.spare_syncs == 0;
            state.spare_syncs = state.spare_syncs.saturating_sub(1);
            let State { files, random, .. } = state;
            let file = files.get_mut(&self.number).ok_or(io::ErrorKind::NotFound)?;
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
