//! Between redb and the disk: where a store is poisoned.
//!
//! redb answers every call after an I/O error with an error, reads too. The store promises otherwise (a volume that no
//! longer takes writes still serves what it holds), so errors stop here and redb is told that all went well. What makes
//! that sound:
//!
//! - after the first failed write, resize or fsync nothing reaches the file any more. On disk it is then a file that lost
//!   power in the middle of a commit, which redb recovers from;
//! - the failure is looked at before and after each commit, so a commit that redb believes in is never acknowledged
//!   or shown: readers stay on the snapshot of the last good commit, whose pages are neither overwritten nor reused
//!   as long as it is open;
//! - what redb would have written is kept in memory and read from there: it evicts pages of commits that are shown;
//! - a read that failed returns zeros, which are no page of redb's, and is remembered for the call that caused it
//!   (`rows::guarded`), whatever that call makes of the zeros.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::DiskFile;
use crate::poison::Poison;
use crate::rows::note_read_failure;

/// Bytes of a piece of what is kept in memory.
const BLOCK: u64 = 4096;

type Block = [u8; BLOCK as usize];

#[derive(Debug)]
pub(crate) struct Gate {
    file: Box<dyn DiskFile>,
    /// While the database is opened redb itself must see errors: it can't proceed with zeros.
    opening: AtomicBool,
    poison: Arc<Poison>,
    /// The length that redb believes in.
    length: AtomicU64,
    /// What wasn't written any more, by number of the block.
    kept: Mutex<BTreeMap<u64, Box<Block>>>,
}

/// What redb owns of the gate.
#[derive(Debug)]
pub(crate) struct Backend(pub(crate) Arc<Gate>);

impl Gate {
    pub(crate) fn new(file: Box<dyn DiskFile>, poison: Arc<Poison>) -> io::Result<Self> {
        let length = AtomicU64::new(file.len()?);
        Ok(Self { file, opening: AtomicBool::new(true), poison, length, kept: Mutex::default() })
    }

    pub(crate) fn opened(&self) {
        self.opening.store(false, Ordering::SeqCst);
    }

    pub(crate) fn allocated(&self) -> io::Result<u64> {
        self.file.allocated()
    }

    /// Does a write of some kind, unless an earlier one failed. False when it isn't done.
    fn change(&self, step: &str, action: impl FnOnce() -> io::Result<()>) -> io::Result<bool> {
        if self.poison.reason().is_some() {
            return Ok(false);
        }
        let Err(error) = action() else { return Ok(true) };
        self.poison.set(step, &error);
        if self.opening.load(Ordering::SeqCst) { Err(error) } else { Ok(false) }
    }

    /// Keeps in memory what the file doesn't get.
    fn keep(&self, offset: u64, data: &[u8]) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        for (block, within, piece) in blocks(offset, data.len()) {
            let bytes = kept.entry(block).or_insert_with(|| {
                let mut bytes = Box::new([0; BLOCK as usize]);
                // Beyond the end of the file there are zeros.
                let _ = self.file.read(block * BLOCK, &mut bytes[..]);
                bytes
            });
            bytes[within..within + piece.len()].copy_from_slice(&data[piece]);
        }
    }

    /// Puts what is kept over what was read.
    fn overlay(&self, offset: u64, out: &mut [u8]) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.is_empty() {
            return;
        }
        for (block, within, piece) in blocks(offset, out.len()) {
            if let Some(bytes) = kept.get(&block) {
                let length = piece.len();
                out[piece].copy_from_slice(&bytes[within..within + length]);
            }
        }
    }

    /// Reads from the file, where it may be shorter than redb believes since it isn't written to any more.
    fn read_file(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if self.poison.reason().is_none() {
            return self.file.read(offset, out);
        }
        let there = self.file.len()?.saturating_sub(offset).min(out.len() as u64) as usize;
        let (out, beyond) = out.split_at_mut(there);
        beyond.fill(0);
        self.file.read(offset, out)
    }
}

/// The blocks that a range of bytes touches: their numbers, where in the block, and which of the bytes.
fn blocks(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at == length {
            return None;
        }
        let begin = offset + at as u64;
        let within = (begin % BLOCK) as usize;
        let end = length.min(at + BLOCK as usize - within);
        let piece = at..end;
        at = end;
        Some((begin / BLOCK, within, piece))
    })
}

impl redb::StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.length.load(Ordering::SeqCst))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if let Err(error) = self.0.read_file(offset, out) {
            self.0.poison.note_read_failure();
            if self.0.opening.load(Ordering::SeqCst) {
                return Err(error);
            }
            out.fill(0);
            note_read_failure(error);
        }
        self.0.overlay(offset, out);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.change("resizing the file", || self.0.file.set_len(len))?;
        self.0.length.store(len, Ordering::SeqCst);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.change("fsync", || self.0.file.sync()).map(drop)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if !self.0.change("writing", || self.0.file.write(offset, data))? {
            self.0.keep(offset, data);
        }
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.0.file.close()
    }
}

#[cfg(test)]
mod tests {
    use redb::StorageBackend;

    use super::*;
    use crate::Disk;
    use crate::fake::FakeDisk;

    /// After a failure redb goes on in memory, and reads what it wrote, beyond the file's end too.
    #[test]
    fn what_the_file_doesn_t_get_is_read_all_the_same() {
        let disk = FakeDisk::new(1);
        let poison = Arc::new(Poison::default());
        let gate = Arc::new(Gate::new(disk.open("file").unwrap(), poison.clone()).unwrap());
        let backend = Backend(gate.clone());
        backend.set_len(8192).unwrap();
        backend.write(0, &[1; 8192]).unwrap();
        gate.opened();
        disk.fail_next_write();
        backend.write(4096, &[2; 4096]).unwrap();
        assert!(poison.reason().is_some());
        backend.set_len(20_000).unwrap();
        backend.write(12_288, &[3; 4096]).unwrap();
        backend.write(5000, &[4; 10]).unwrap();

        let read = |offset, length| {
            let mut out = vec![9; length];
            backend.read(offset, &mut out).unwrap();
            out
        };
        assert_eq!(read(0, 4096), [1; 4096]);
        assert_eq!(read(4096, 904), [2; 904]);
        assert_eq!(read(5000, 10), [4; 10]);
        assert_eq!(read(8192, 4096), [0; 4096], "nothing was written there");
        assert_eq!(read(12_280, 16), [[0; 8], [3; 8]].concat());
        assert_eq!(backend.len().unwrap(), 20_000);
        assert_eq!(disk.file_len("file"), Some(8192));
        assert_eq!(disk.counts().after_failure, 0);
    }
}
