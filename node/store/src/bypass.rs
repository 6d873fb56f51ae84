//! The way past the page cache, for large writes.
//!
//! What is written in one go is synced at once, so the cache has nothing to gather; a copy in it costs processor time, and
//! pages that others read: of what a put brings, few bytes are read before it is mended. So whole blocks go to the disk
//! directly (`O_DIRECT`), from memory that is used again; the edges, which share blocks with what is before and after, go
//! the usual way. Where a filesystem can't, or asks for larger blocks, everything does.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;

/// Smaller writes go the usual way, bytes.
const FROM: u64 = 256 << 10;

/// What most disks and filesystems can write, bytes: addresses, offsets and lengths are multiples of it.
const BLOCK: usize = 4096;

/// Bytes that are written at once.
const CHUNK: usize = 2 << 20;

/// Memory from which blocks are written: one for all files of a volume, which has one writer. Empty until it is needed.
pub(crate) type Staging = Arc<Mutex<Vec<u8>>>;

/// The way to one file.
#[derive(Debug)]
pub(crate) struct Bypass {
    path: PathBuf,
    staging: Staging,
    /// None where the filesystem has no such way.
    file: OnceLock<Option<File>>,
    refused: AtomicBool,
}

impl Bypass {
    pub(crate) fn new(path: PathBuf, staging: &Staging) -> Self {
        Self { path, staging: staging.clone(), file: OnceLock::new(), refused: AtomicBool::new(false) }
    }

    /// Writes pieces one after another, beside `cached`, another handle of the same file. False: nothing is written, for it is
    /// too little, or there is no such way.
    pub(crate) fn write(&self, cached: &File, offset: u64, pieces: &[Bytes]) -> io::Result<bool> {
        let length: u64 = pieces.iter().map(|piece| piece.len() as u64).sum();
        if length < FROM {
            return Ok(false);
        }
        let Some(direct) = self.file(cached)? else { return Ok(false) };
        let (end, block) = (offset + length, BLOCK as u64);
        let (mut at, to) = (offset.next_multiple_of(block), end / block * block);
        let (mut pieces, mut edge) = (Pieces(pieces, 0), [0; BLOCK]);
        let head = &mut edge[..(at - offset) as usize];
        pieces.fill(head);
        cached.write_all_at(head, offset)?;
        let mut staging = self.staging.lock().unwrap_or_else(PoisonError::into_inner);
        staging.resize(CHUNK + BLOCK, 0);
        let aligned = staging.as_ptr().align_offset(BLOCK);
        let staged = &mut staging[aligned..aligned + CHUNK];
        while at < to {
            let chunk = &mut staged[..(to - at).min(CHUNK as u64) as usize];
            pieces.fill(chunk);
            self.put(direct, cached, chunk, at)?;
            at += chunk.len() as u64;
        }
        let tail = &mut edge[..(end - to) as usize];
        pieces.fill(tail);
        cached.write_all_at(tail, to)?;
        Ok(true)
    }

    /// The handle that goes past the cache. Not that of another file, whatever has become of the name.
    fn file(&self, cached: &File) -> io::Result<Option<&File>> {
        if let Some(file) = self.file.get() {
            return Ok(file.as_ref());
        }
        let direct = rustix::fs::OFlags::DIRECT.bits() as i32;
        let opened = OpenOptions::new().write(true).custom_flags(direct).open(&self.path);
        let same = |file: &File| -> io::Result<bool> {
            let (one, other) = (file.metadata()?, cached.metadata()?);
            Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
        };
        let file = match opened {
            Ok(file) => same(&file)?.then_some(file),
            Err(_) => None,
        };
        Ok(self.file.get_or_init(|| file).as_ref())
    }

    /// Writes whole blocks; what isn't taken directly, the usual way.
    fn put(&self, direct: &File, cached: &File, blocks: &[u8], at: u64) -> io::Result<()> {
        let taken = if self.refused.load(Ordering::Relaxed) {
            0
        } else {
            match direct.write_at(blocks, at) {
                Ok(taken) => taken,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                // Its blocks are larger ones.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    self.refused.store(true, Ordering::Relaxed);
                    0
                }
                Err(error) => return Err(error),
            }
        };
        cached.write_all_at(&blocks[taken..], at + taken as u64)
    }
}

/// Pieces one after another, and how many bytes of the first are done with.
struct Pieces<'p>(&'p [Bytes], usize);

impl Pieces<'_> {
    /// Takes the next bytes.
    fn fill(&mut self, mut out: &mut [u8]) {
        while let Some((first, rest)) = self.0.split_first().filter(|_| !out.is_empty()) {
            let left = &first[self.1..];
            let taken = left.len().min(out.len());
            let (here, beyond) = out.split_at_mut(taken);
            here.copy_from_slice(&left[..taken]);
            out = beyond;
            self.1 += taken;
            if self.1 == first.len() {
                *self = Pieces(rest, 0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(seed: u32, length: usize) -> Bytes {
        let mut bytes = vec![0; length];
        blake3::Hasher::new().update(&seed.to_be_bytes()).finalize_xof().fill(&mut bytes);
        bytes.into()
    }

    fn file(path: &std::path::Path) -> File {
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).unwrap()
    }

    /// Writes many frames of odd lengths, one over the end of the other; the file is what was written, whichever way.
    fn appended(path: &std::path::Path, bypass: &Bypass) -> usize {
        let cached = file(path);
        cached.set_len(0).unwrap();
        let (mut model, mut direct) = (Vec::new(), 0);
        for (frame, length) in [1, 300_000, 16, 262_144, 5_000_000, 262_143, 0, 4096, 1_000_001].into_iter().enumerate()
        {
            let seed = frame as u32 * 100;
            let pieces: Vec<Bytes> =
                [(seed, 48), (seed + 1, length / 3), (seed + 2, 0), (seed + 3, length - length / 3)]
                    .map(|(seed, length)| piece(seed, length))
                    .into();
            let at = model.len() as u64;
            if bypass.write(&cached, at, &pieces).unwrap() {
                direct += 1;
            } else {
                cached.write_all_at(&pieces.concat(), at).unwrap();
            }
            model.extend(pieces.concat());
            // What is written is read through the cache, also where that had older bytes of the same blocks.
            assert_eq!(std::fs::read(path).unwrap(), model, "frame {frame}");
            // Zeros that were written ahead are replaced.
            cached.write_all_at(&vec![0; 700_000], model.len() as u64).unwrap();
            std::fs::read(path).unwrap();
            cached.set_len(model.len() as u64).unwrap();
        }
        direct
    }

    #[test]
    fn large_writes_are_read_back_whichever_way_they_went() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let bypass = Bypass::new(path.clone(), &Staging::default());
        assert_eq!(appended(&path, &bypass), 5, "those that are long enough");
    }

    #[test]
    fn who_may_not_go_past_the_cache_goes_through_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let bypass = Bypass::new(path.clone(), &Staging::default());
        bypass.refused.store(true, Ordering::Relaxed);
        appended(&path, &bypass);
        let gone = folder.path().join("another");
        let bypass = Bypass::new(gone.clone(), &Staging::default());
        assert_eq!(appended(&path, &bypass), 0, "the name is nobody's");
        drop(file(&gone));
        let bypass = Bypass::new(gone.clone(), &Staging::default());
        assert_eq!(appended(&path, &bypass), 0, "the name is another file's");
        assert_eq!(std::fs::metadata(&gone).unwrap().len(), 0);
    }
}
