//! The disk as the store sees it: a directory with a few files.
//!
//! A trait, so that a simulation can own it. [`crate::HostDisk`] is the real one, [`crate::fake::FakeDisk`] the one
//! that loses power.

use std::fmt::Debug;
use std::io;

use bytes::Bytes;

/// Space on a disk, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Size of the filesystem.
    pub capacity: u64,
    /// What may still be written.
    pub free: u64,
}

/// A directory on a volume.
pub trait Disk: Debug + Send + Sync {
    /// Opens a file for reading and writing, and creates it when it is missing. The name of a created file isn't durable
    /// before [`Disk::sync_dir`], however often the file itself is synced.
    ///
    /// The file is locked until it is closed or dropped.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] when another handle, here or in another process, has it open.
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// Whether there is a file of that name.
    fn exists(&self, name: &str) -> io::Result<bool>;

    /// The names of all files.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Takes a file's name away; its room is free once nobody has it open. Durable with [`Disk::sync_dir`].
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Renames a file, open or not; one of the new name is replaced. Durable with [`Disk::sync_dir`], and whole before:
    /// after a crash the file has one name or the other.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Makes the names of created, renamed and removed files durable.
    fn sync_dir(&self) -> io::Result<()>;

    /// Fills `out` with bytes that nobody can guess.
    fn random(&self, out: &mut [u8]) -> io::Result<()>;

    /// Capacity and free space.
    fn space(&self) -> io::Result<Space>;
}

/// An open file. Offsets and lengths are bytes.
#[expect(clippy::len_without_is_empty, reason = "the length of a file on disk; nobody asks whether it is empty")]
pub trait DiskFile: Debug + Send + Sync {
    /// The file's length.
    fn len(&self) -> io::Result<u64>;

    /// Bytes that the disk has allocated for it; less than [`DiskFile::len`] where the file has holes.
    fn allocated(&self) -> io::Result<u64>;

    /// Fills `out` from `offset`; reading past the end is an error.
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;

    /// Fills `out` as [`DiskFile::read`] does, if that is known not to take any waiting for the disk; gives whether it did.
    fn read_cached(&self, _offset: u64, _out: &mut [u8]) -> bool {
        false
    }

    /// Grows (with zeros) or cuts the file.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Writes all of `data`. Not durable before [`DiskFile::sync`] returned.
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()>;

    /// Writes pieces one after another, as [`DiskFile::write`] does.
    fn write_pieces(&self, offset: u64, pieces: &[Bytes]) -> io::Result<()> {
        gather(self, offset, pieces)
    }

    /// Makes everything written so far durable. After an error nothing is known about any of it: never call it again.
    fn sync(&self) -> io::Result<()>;

    /// Gives the lock back.
    fn close(&self) -> io::Result<()>;
}

/// Smaller pieces are gathered before they are written, bytes.
const LARGE: usize = 64 << 10;

/// Writes pieces one after another; small ones together.
pub(crate) fn gather<F: DiskFile + ?Sized>(file: &F, mut at: u64, pieces: &[Bytes]) -> io::Result<()> {
    let mut gathered = Vec::new();
    let flush = |gathered: &mut Vec<u8>, at: &mut u64| {
        if !gathered.is_empty() {
            file.write(*at, gathered)?;
            *at += gathered.len() as u64;
            gathered.clear();
        }
        io::Result::Ok(())
    };
    for piece in pieces {
        if piece.len() < LARGE {
            gathered.extend_from_slice(piece);
            continue;
        }
        flush(&mut gathered, &mut at)?;
        file.write(at, piece)?;
        at += piece.len() as u64;
    }
    flush(&mut gathered, &mut at)
}
