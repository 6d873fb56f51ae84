//! Bugs that are planted to see whether the simulation finds them. They sit in its own seams, not in the code.

use std::io;

use serde::{Deserialize, Serialize};
use weft_store::{Disk, DiskFile, Space, fake::FakeDisk};

/// A planted bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Bug {
    /// The store's fsync does nothing: what members acknowledge isn't durable.
    NoFsync,
    /// A client takes a put for stored though it failed: holders of fewer than n − f shards have receipted it (R8).
    EarlyAnswer,
    /// A client takes a delete for done before anybody has the tombstone (R13).
    EarlyDelete,
}

/// A disk whose fsync is a lie.
#[derive(Debug)]
pub(super) struct LyingDisk(pub(super) FakeDisk);

#[derive(Debug)]
struct LyingFile(Box<dyn DiskFile>);

impl Disk for LyingDisk {
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(LyingFile(self.0.open(name)?)))
    }

    fn exists(&self, name: &str) -> io::Result<bool> {
        self.0.exists(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.0.sync_dir()
    }

    fn space(&self) -> io::Result<Space> {
        self.0.space()
    }
}

impl DiskFile for LyingFile {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn allocated(&self) -> io::Result<u64> {
        self.0.allocated()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.0.close()
    }
}
