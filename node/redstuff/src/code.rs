//! The parameters of the code, and who owns what in the grid.

use thiserror::Error;

/// Why a code can't have these parameters.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum CodeError {
    #[error("a code has 4 to 255 shards, not {shards}")]
    Shards { shards: u16 },
    #[error("a code of {shards} shards tolerates 1 to {most} faults, not {fault_tolerance}", most = (.shards - 1) / 3)]
    FaultTolerance { shards: u16, fault_tolerance: u16 },
}

/// The direction of a sliver in the grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Axis {
    /// A row: `k2` symbols.
    Primary,
    /// A column: `k1` symbols.
    Secondary,
}

impl Axis {
    pub const BOTH: [Self; 2] = [Self::Primary, Self::Secondary];

    /// The axis of the slivers that cross a sliver of this one.
    #[must_use]
    pub const fn crossing(self) -> Self {
        match self {
            Self::Primary => Self::Secondary,
            Self::Secondary => Self::Primary,
        }
    }

    /// `primary` or `secondary`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Secondary => "secondary",
        }
    }
}

/// A code of `n` shards, of which `f` may be missing or lying: `4 ≤ n ≤ 255`, `1 ≤ f ≤ ⌊(n−1)/3⌋`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code {
    shards: u8,
    fault_tolerance: u8,
}

impl Code {
    pub const MIN_SHARDS: u16 = 4;
    pub const MAX_SHARDS: u16 = 255;

    /// A code of `shards` (`n`) places that survives the loss of `fault_tolerance` (`f`) of them.
    pub const fn new(shards: u16, fault_tolerance: u16) -> Result<Self, CodeError> {
        if shards < Self::MIN_SHARDS || shards > Self::MAX_SHARDS {
            return Err(CodeError::Shards { shards });
        }
        if fault_tolerance < 1 || fault_tolerance > (shards - 1) / 3 {
            return Err(CodeError::FaultTolerance { shards, fault_tolerance });
        }
        Ok(Self { shards: shards as u8, fault_tolerance: fault_tolerance as u8 })
    }

    /// A code of `shards` places with the greatest fault tolerance, `⌊(n−1)/3⌋`.
    pub const fn with_shards(shards: u16) -> Result<Self, CodeError> {
        Self::new(shards, shards.saturating_sub(1) / 3)
    }

    /// `n`: the number of shards, of primary slivers and of secondary slivers.
    pub const fn shards(self) -> u16 {
        self.shards as u16
    }

    /// `f`: how many shards may be missing or lying.
    pub const fn fault_tolerance(self) -> u16 {
        self.fault_tolerance as u16
    }

    /// `k1 = n − 2f`: source rows; primaries that are enough to decode; symbols of a secondary.
    pub const fn source_rows(self) -> u16 {
        self.shards() - 2 * self.fault_tolerance()
    }

    /// `k2 = n − f`: source columns; secondaries that are enough to decode; symbols of a primary. Also the write quorum.
    pub const fn source_columns(self) -> u16 {
        self.shards() - self.fault_tolerance()
    }

    /// `k1 · k2`: symbols in a stripe's source.
    pub const fn source_symbols(self) -> u32 {
        self.source_rows() as u32 * self.source_columns() as u32
    }

    /// How many symbols a sliver of this axis has: `k2` for a primary, `k1` for a secondary. As many crossing slivers rebuild it.
    pub const fn sliver_symbols(self, axis: Axis) -> u16 {
        match axis {
            Axis::Primary => self.source_columns(),
            Axis::Secondary => self.source_rows(),
        }
    }

    /// How many slivers of this axis decode a stripe: `k1` primaries, `k2` secondaries.
    pub const fn slivers_to_decode(self, axis: Axis) -> u16 {
        self.sliver_symbols(axis.crossing())
    }

    /// Whether a stripe can be had back from so many of its primaries and secondaries: k1 of the ones, or k2 of the others.
    ///
    /// Less of both is not enough, however much of both there is: `p` primaries and `s` secondaries give
    /// `p·k2 + s·k1 − p·s` independent symbols, which is `k1·k2 − (k1 − p)(k2 − s)`, and nothing can be rebuilt from them
    /// that they don't contain.
    pub const fn is_decodable(self, primaries: u16, secondaries: u16) -> bool {
        primaries >= self.slivers_to_decode(Axis::Primary) || secondaries >= self.slivers_to_decode(Axis::Secondary)
    }

    /// Bytes of a sliver of this axis, from the stripe's symbol size in bytes.
    pub const fn sliver_length(self, axis: Axis, symbol_size: u32) -> usize {
        self.sliver_symbols(axis) as usize * symbol_size as usize
    }

    /// Bytes of a stripe's source, `k1 · k2` symbols, from the stripe's symbol size in bytes.
    pub const fn stripe_capacity(self, symbol_size: u32) -> u64 {
        self.source_symbols() as u64 * symbol_size as u64
    }

    /// The index of the sliver that a shard owns: primary `shard`, secondary `n − 1 − shard`.
    ///
    /// # Panics
    /// When `shard` isn't below `n`.
    pub const fn sliver_index(self, shard: u16, axis: Axis) -> u16 {
        assert!(shard < self.shards(), "shard out of range");
        match axis {
            Axis::Primary => shard,
            Axis::Secondary => self.shards() - 1 - shard,
        }
    }

    /// The shard that owns a sliver; the inverse of [`Code::sliver_index`].
    ///
    /// # Panics
    /// When `index` isn't below `n`.
    pub const fn shard_of(self, axis: Axis, index: u16) -> u16 {
        self.sliver_index(index, axis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_outside_the_bounds_are_refused() {
        assert_eq!(Code::new(3, 1), Err(CodeError::Shards { shards: 3 }));
        assert_eq!(Code::new(256, 1), Err(CodeError::Shards { shards: 256 }));
        for (shards, fault_tolerance) in [(4, 0), (4, 2), (255, 85), (10, 4)] {
            assert_eq!(Code::new(shards, fault_tolerance), Err(CodeError::FaultTolerance { shards, fault_tolerance }));
        }
        assert!(Code::new(4, 1).is_ok() && Code::new(255, 84).is_ok());
    }

    #[test]
    fn the_default_fleet_has_10_rows_and_19_columns() {
        let code = Code::with_shards(28).unwrap();
        assert_eq!((code.fault_tolerance(), code.source_rows(), code.source_columns()), (9, 10, 19));
        assert_eq!((code.slivers_to_decode(Axis::Primary), code.slivers_to_decode(Axis::Secondary)), (10, 19));
    }

    #[test]
    fn shards_and_slivers_correspond() {
        let code = Code::with_shards(31).unwrap();
        for shard in 0..31 {
            assert_eq!(code.sliver_index(shard, Axis::Primary), shard);
            assert_eq!(code.sliver_index(shard, Axis::Secondary), 30 - shard);
            for axis in Axis::BOTH {
                assert_eq!(code.shard_of(axis, code.sliver_index(shard, axis)), shard);
            }
        }
    }
}
