//! A directory of the host. The one place of the store that renames and fsyncs.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, IoSliceMut};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rustix::io::ReadWriteFlags;

use crate::bypass::{Bypass, Staging};
use crate::disk::gather;
use crate::{Disk, DiskFile, Space};

/// A directory on a mounted volume.
#[derive(Debug)]
pub struct HostDisk {
    directory: PathBuf,
    staging: Staging,
}

#[derive(Debug)]
struct HostFile(File, Bypass);

impl HostDisk {
    /// The disk in `directory`, which is made when it is missing.
    pub fn new(directory: impl Into<PathBuf>) -> io::Result<Self> {
        let directory = directory.into();
        if !directory.is_dir() {
            fs::create_dir_all(&directory)?;
            // The directory's own name is an entry of its parent, and not durable before that is.
            if let Some(parent) = directory.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                File::open(parent)?.sync_all()?;
            }
        }
        Ok(Self { directory, staging: Staging::default() })
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

impl Disk for HostDisk {
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let path = self.directory.join(name);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
        // Two processes that write one database destroy it. The lock goes with the open file, so with the process too.
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::Error::from(io::ErrorKind::WouldBlock),
            TryLockError::Error(error) => error,
        })?;
        Ok(Box::new(HostFile(file, Bypass::new(path, &self.staging))))
    }

    fn exists(&self, name: &str) -> io::Result<bool> {
        self.directory.join(name).try_exists()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let name = |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
        fs::read_dir(&self.directory)?.map(name).collect()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.directory.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.directory.join(from), self.directory.join(to))
    }

    fn sync_dir(&self) -> io::Result<()> {
        // fsync of a file makes its bytes durable, not its name.
        File::open(&self.directory)?.sync_all()
    }

    fn random(&self, out: &mut [u8]) -> io::Result<()> {
        getrandom::fill(out).map_err(io::Error::other)
    }

    fn space(&self) -> io::Result<Space> {
        let stat = rustix::fs::statvfs(&self.directory)?;
        // Blocks for the unprivileged: the filesystem's own reserve isn't ours to use.
        Ok(Space { capacity: stat.f_blocks * stat.f_frsize, free: stat.f_bavail * stat.f_frsize })
    }
}

impl DiskFile for HostFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn allocated(&self) -> io::Result<u64> {
        const BLOCK: u64 = 512;
        Ok(self.0.metadata()?.blocks() * BLOCK)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }

    fn read_cached(&self, offset: u64, out: &mut [u8]) -> bool {
        let length = out.len();
        // Not every filesystem can tell; and what else fails, a read that waits says better.
        let read = rustix::io::preadv2(&self.0, &mut [IoSliceMut::new(out)], offset, ReadWriteFlags::NOWAIT);
        read.is_ok_and(|read| read == length)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }

    fn write_pieces(&self, offset: u64, pieces: &[Bytes]) -> io::Result<()> {
        if self.1.write(&self.0, offset, pieces)? { Ok(()) } else { gather(self, offset, pieces) }
    }

    fn sync(&self) -> io::Result<()> {
        // fdatasync: the bytes and what is needed to find them again (the length), not the times. After an error the
        // kernel has marked the pages clean, so that a second call would succeed without writing them: the caller must
        // not make one.
        self.0.sync_data()
    }

    fn close(&self) -> io::Result<()> {
        self.0.unlock()
    }
}
