//! The fleet's time floor, as a leader advances it (R15).
//!
//! It is a bound on how wrong a leader's clock may make the fleet: whatever the clock shows, a second of the floor takes
//! half a second at least. A leader begins where the one before ended, by what members tell; only a fleet that has no
//! floor yet, and so nothing that expires, begins with the clock.

use std::time::Duration;

use crate::Timestamp;

/// By how much the floor may be faster than the leader's monotonic clock.
const FASTEST: u32 = 2;

/// One leader's floor. Time is an argument: `wall` is what the clock on the wall shows, `monotonic` what has passed since
/// any one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FloorClock {
    floor: Timestamp,
    /// When it was last advanced.
    at: Duration,
}

impl FloorClock {
    /// `told`: the latest floor that members know, in seconds since 1970.
    pub fn begin(told: Option<u64>, wall: Timestamp, monotonic: Duration) -> Self {
        let told = told.map(|seconds| Timestamp(i64::try_from(seconds.saturating_mul(1000)).unwrap_or(i64::MAX)));
        Self { floor: told.unwrap_or(wall), at: monotonic }
    }

    /// Advances the floor to the clock on the wall, as far as it may, and gives it, in seconds since 1970.
    pub fn advance(&mut self, wall: Timestamp, monotonic: Duration) -> u64 {
        let most = self.floor + monotonic.saturating_sub(self.at) * FASTEST;
        self.floor = self.floor.max(wall.min(most));
        self.at = self.at.max(monotonic);
        u64::try_from(self.floor.0 / 1000).unwrap_or(0)
    }
}
