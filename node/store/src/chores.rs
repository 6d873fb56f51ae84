//! When the writer's thread gives room back: on a busy volume seldom enough that writes hardly wait for it.

use std::time::{Duration, Instant};

/// Bytes that are moved or swept in a commit with nothing else to do.
pub(crate) const ALONE: u64 = 2 << 20;

/// Bytes that are in one for others.
pub(crate) const BESIDE: u64 = 256 << 10;

/// No write may have come for so long before there is nothing else to do.
const QUIET: Duration = Duration::from_millis(100);

/// One part of so many of a busy writer's time.
const PARTS: u32 = 8;

/// Between two looks at how much room there is.
const LOOK: Duration = Duration::from_secs(1);

/// Whose turn it is.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    /// When a write came last.
    came: Option<Instant>,
    /// Until when nothing is given back while writes come.
    rest: Option<Instant>,
    /// Whether the volume needed its room, and when that was.
    needs_room: Option<(Instant, bool)>,
}

impl Turns {
    /// From when on there is nothing else to do.
    pub(crate) fn idle_from(&self) -> Instant {
        self.came.map_or_else(Instant::now, |came| came + QUIET)
    }

    /// How much to do in a commit for others: a part of the time's worth, and more where the volume `needs_room`.
    pub(crate) fn beside(&mut self, now: Instant, needs_room: impl FnOnce() -> bool) -> u64 {
        self.came = Some(now);
        let rests = self.rest.is_some_and(|rest| now < rest);
        if !rests || self.needs_room(now, needs_room) { BESIDE } else { 0 }
    }

    fn needs_room(&mut self, now: Instant, look: impl FnOnce() -> bool) -> bool {
        let seen = self.needs_room.filter(|(seen, _)| now.duration_since(*seen) < LOOK);
        let (_, needs) = *self.needs_room.insert(seen.unwrap_or_else(|| (now, look())));
        needs
    }

    /// Notes how long a commit took in which something was given back.
    pub(crate) fn took(&mut self, now: Instant, time: Duration) {
        self.rest = Some(now + time * (PARTS - 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_volume_gives_room_back_an_eighth_of_the_time_and_one_without_room_always() {
        let (mut turns, start) = (Turns::default(), Instant::now());
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        assert!(turns.idle_from() <= Instant::now(), "no write has come");
        let looks = std::cell::Cell::new(0);
        let beside = |turns: &mut Turns, now, needs_room| {
            turns.beside(at(now), || {
                looks.set(looks.get() + 1);
                needs_room
            })
        };
        assert_eq!(beside(&mut turns, 0, false), BESIDE);
        turns.took(at(10), Duration::from_millis(10));
        for now in [10, 40, 79] {
            assert_eq!(beside(&mut turns, now, false), 0, "at {now} ms");
        }
        assert_eq!(beside(&mut turns, 80, false), BESIDE);
        assert_eq!(turns.idle_from(), at(180));
        turns.took(at(90), Duration::from_secs(10));
        assert_eq!(beside(&mut turns, 900, true), 0, "it has looked lately");
        assert_eq!(looks.get(), 1);
        for now in [1010, 1500] {
            assert_eq!(beside(&mut turns, now, true), BESIDE, "at {now} ms");
        }
        assert_eq!(looks.get(), 2);
    }
}
