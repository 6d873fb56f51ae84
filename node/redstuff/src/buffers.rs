//! Memory for stripes and their slivers that is used again: fresh pages would cost about as much as the arithmetic.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Where vectors of any instruction set can be written past the caches.
const ALIGNMENT: usize = 64;

/// What is in memory before something is written to it; not zero, lest the compiler asks for zeros.
const ANYTHING: u8 = 0xa5;

/// Memory that comes back when nobody needs what is in it. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Buffers(Arc<Mutex<Kept>>);

/// What came back, and how many bytes of it are kept at most.
#[derive(Debug, Default)]
struct Kept {
    most: usize,
    bytes: usize,
    free: VecDeque<Vec<u8>>,
}

impl Buffers {
    /// Keeps up to `most` bytes for the next stripes.
    pub fn keeping(most: usize) -> Self {
        Self(Arc::new(Mutex::new(Kept { most, ..Kept::default() })))
    }

    /// `length` bytes of anything.
    pub fn take(&self, length: usize) -> Buffer {
        let fits = |buffer: &Vec<u8>| buffer.len() >= length + ALIGNMENT && buffer.len() / 2 <= length + ALIGNMENT;
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.free.iter().position(fits);
        let bytes = at.and_then(|at| kept.free.remove(at));
        kept.bytes -= bytes.as_ref().map_or(0, Vec::len);
        drop(kept);
        let bytes = bytes.unwrap_or_else(|| fresh(length + ALIGNMENT));
        let start = bytes.as_ptr().addr().next_multiple_of(ALIGNMENT) - bytes.as_ptr().addr();
        Buffer { bytes, start, length, home: self.clone() }
    }
}

/// Memory that isn't asked for as zeros: for those jemalloc gives pages that were used back to the system and has it clear others,
/// at a page fault for each.
fn fresh(length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length);
    bytes.resize(length, ANYTHING);
    bytes
}

/// Some memory of [`Buffers`], which goes back with its last use.
#[derive(Debug)]
pub struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    length: usize,
    home: Buffers,
}

impl Buffer {
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..][..self.length]
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[self.start..][..self.length]
    }
}

impl From<Buffer> for Bytes {
    fn from(buffer: Buffer) -> Self {
        Self::from_owner(buffer)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut kept = self.home.0.lock().unwrap_or_else(PoisonError::into_inner);
        if self.bytes.len() > kept.most {
            return;
        }
        // What was kept longest makes room: otherwise small ones would keep large ones out for ever.
        while kept.bytes + self.bytes.len() > kept.most {
            let Some(oldest) = kept.free.pop_front() else { break };
            kept.bytes -= oldest.len();
        }
        kept.bytes += self.bytes.len();
        kept.free.push_back(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_comes_back_with_its_last_use() {
        let buffers = Buffers::keeping(20_000);
        let first = buffers.take(5000);
        let place = first.as_ref().as_ptr();
        assert!(place.addr().is_multiple_of(ALIGNMENT));
        let bytes = Bytes::from(first);
        let part = bytes.slice(10..20);
        drop(bytes);
        let second = buffers.take(5000);
        assert_ne!(second.as_ref().as_ptr(), place, "a part of it is in use");
        drop(part);
        assert_eq!(buffers.take(4900).as_ref().as_ptr(), place);
    }

    #[test]
    fn no_more_is_kept_than_was_said_nor_is_much_given_for_little() {
        let buffers = Buffers::keeping(10_000);
        let kept = || buffers.0.lock().unwrap().free.len();
        drop([buffers.take(9000), buffers.take(9000)]);
        assert_eq!(kept(), 1);
        let short = buffers.take(100);
        assert_eq!((short.as_ref().len(), kept()), (100, 1), "the long one wasn't taken");
        drop((0..50).map(|_| buffers.take(100)).collect::<Vec<_>>());
        let long = buffers.take(9000);
        let place = long.as_ref().as_ptr();
        drop(long);
        assert_eq!(buffers.take(9000).as_ref().as_ptr(), place, "short ones keep no long one out");
        drop(Buffers::default().take(100));
    }
}
