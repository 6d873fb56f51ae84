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
//! - a read that failed returns zeros, which are no page of redb's, and is remembered for the call that caused it
//!   (`rows::guarded`), whatever that call makes of the zeros.

use std::fmt::Display;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::rows::note_read_failure;
use crate::{DiskFile, Health};

#[derive(Debug)]
pub(crate) struct Gate {
    file: Box<dyn DiskFile>,
    /// While the database is opened redb itself must see errors: it can't proceed with zeros.
    opening: AtomicBool,
    poisoned: OnceLock<Arc<str>>,
    read_failures: AtomicU64,
    /// The length that redb believes in.
    length: AtomicU64,
}

/// What redb owns of the gate.
#[derive(Debug)]
pub(crate) struct Backend(pub(crate) Arc<Gate>);

impl Gate {
    pub(crate) fn new(file: Box<dyn DiskFile>) -> io::Result<Self> {
        let length = AtomicU64::new(file.len()?);
        Ok(Self {
            file,
            opening: AtomicBool::new(true),
            poisoned: OnceLock::new(),
            read_failures: AtomicU64::new(0),
            length,
        })
    }

    pub(crate) fn opened(&self) {
        self.opening.store(false, Ordering::SeqCst);
    }

    /// Ends writing, for the first reason given.
    pub(crate) fn poison(&self, step: &str, error: &dyn Display) -> Arc<str> {
        self.poisoned.get_or_init(|| format!("{step}: {error}").into()).clone()
    }

    pub(crate) fn poisoned(&self) -> Option<Arc<str>> {
        self.poisoned.get().cloned()
    }

    pub(crate) fn health(&self) -> Health {
        Health { read_only: self.poisoned(), read_failures: self.read_failures.load(Ordering::Relaxed) }
    }

    pub(crate) fn allocated(&self) -> io::Result<u64> {
        self.file.allocated()
    }

    /// Does a write of some kind, unless an earlier one failed.
    fn change(&self, step: &str, action: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        if self.poisoned.get().is_some() {
            return Ok(());
        }
        let Err(error) = action() else { return Ok(()) };
        self.poison(step, &error);
        if self.opening.load(Ordering::SeqCst) { Err(error) } else { Ok(()) }
    }
}

impl redb::StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.length.load(Ordering::SeqCst))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let Err(error) = self.0.file.read(offset, out) else { return Ok(()) };
        self.0.read_failures.fetch_add(1, Ordering::Relaxed);
        if self.0.opening.load(Ordering::SeqCst) {
            return Err(error);
        }
        out.fill(0);
        note_read_failure(error);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.change("resizing the file", || self.0.file.set_len(len))?;
        self.0.length.store(len, Ordering::SeqCst);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.change("fsync", || self.0.file.sync())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.change("writing", || self.0.file.write(offset, data))
    }

    fn close(&self) -> io::Result<()> {
        self.0.file.close()
    }
}
