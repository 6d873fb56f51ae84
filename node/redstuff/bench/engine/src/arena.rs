//! The memory that all engines of a process work on.

use std::ops::{Deref, DerefMut};

use memmap2::{Advice, MmapMut};

/// Bytes that begin at a page, in huge pages where the system has them: no library is held up by where its results lie.
#[derive(Debug, Default)]
pub struct Memory(Option<MmapMut>);

impl Memory {
    /// Zeros. Memory that is held already goes before.
    fn make(&mut self, length: usize) {
        self.0 = None;
        let map = MmapMut::map_anon(length).expect("memory for what is measured");
        // A system without them refuses.
        let _ = map.advise(Advice::HugePage);
        self.0 = Some(map);
    }
}

impl Deref for Memory {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl DerefMut for Memory {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.0.as_deref_mut().unwrap_or_default()
    }
}

/// Buffers, filled once with bytes that don't compress: pages are there before anything is timed.
#[derive(Debug, Default)]
pub struct Arena {
    pub source: Memory,
    pub parity: Memory,
    pub columns: Memory,
    pub out: Memory,
}

/// What results overwrite: bytes that were never set show.
const POISON: u8 = 0xa5;

impl Arena {
    /// Makes buffers at least this long: source, parity, columns, decoded.
    pub fn reserve(&mut self, [source, parity, columns]: [usize; 3], out: usize) {
        if self.source.len() < source {
            self.source.make(source);
            let mut state = 0_u64;
            for word in self.source.chunks_mut(8) {
                // SplitMix64.
                state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                word.copy_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes()[..word.len()]);
            }
        }
        for (buffer, length) in [(&mut self.parity, parity), (&mut self.columns, columns), (&mut self.out, out)] {
            if buffer.len() < length {
                buffer.make(length);
                buffer.fill(POISON);
            }
        }
    }

    /// Overwrites all results.
    pub fn poison(&mut self) {
        for buffer in [&mut self.parity, &mut self.columns, &mut self.out] {
            buffer.fill(POISON);
        }
    }

    /// Gives all memory back.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}
