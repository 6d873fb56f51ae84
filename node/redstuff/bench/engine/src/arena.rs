//! The memory that all engines of a process work on.

/// Buffers, filled once with bytes that don't compress: pages are there before anything is timed.
#[derive(Debug, Default)]
pub struct Arena {
    pub source: Vec<u8>,
    pub parity: Vec<u8>,
    pub columns: Vec<u8>,
    pub out: Vec<u8>,
    state: u64,
}

/// What results overwrite: bytes that were never set show.
const POISON: u8 = 0xa5;

impl Arena {
    /// Makes buffers at least this long: source, parity, columns, decoded.
    pub fn reserve(&mut self, [source, parity, columns]: [usize; 3], out: usize) {
        let Self { state, .. } = self;
        let random = || {
            // SplitMix64.
            *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (mixed ^ (mixed >> 31)).to_le_bytes()
        };
        let missing = source.saturating_sub(self.source.len()).div_ceil(8);
        self.source.reserve_exact(missing * 8);
        self.source.extend(std::iter::repeat_with(random).take(missing).flatten());
        for (buffer, length) in [(&mut self.parity, parity), (&mut self.columns, columns), (&mut self.out, out)] {
            if buffer.len() < length {
                // Growing in place could hold both lengths at a time.
                *buffer = Vec::new();
                buffer.resize(length, POISON);
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
