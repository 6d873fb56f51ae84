//! When the writer's thread gives room back: on a busy volume seldom enough that writes hardly wait for it.

use std::time::{Duration, Instant};

/// Bytes that are moved or swept in a commit with nothing else to do.
pub(crate) const ALONE: u64 = 2 << 20;

/// Bytes that are in one for others.
pub(crate) const BESIDE: u64 = 256 << 10;

/// Nobody may have written or read for so long before there is nothing else to do.
const QUIET: Duration = Duration::from_millis(100);

/// One part of so many of a busy volume's time.
const PARTS: u32 = 8;

/// Between two looks at how much room there is.
const LOOK: Duration = Duration::from_secs(1);

/// Whose turn it is.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    /// When a write came last.
    came: Option<Instant>,
    /// How much had been read when it was looked at last, and when that had changed.
    reads: (u64, Option<Instant>),
    /// Until when nothing is given back while others want something.
    rest: Option<Instant>,
    /// Whether the volume needed its room, and when that was.
    needs_room: Option<(Instant, bool)>,
}

impl Turns {
    /// When to look again whether there is nothing else to do.
    pub(crate) fn next_look(&self, now: Instant) -> Instant {
        let quiet = self.came.map_or(now, |came| came + QUIET);
        self.rest.filter(|_| self.is_read_from(now)).map_or(quiet, |rest| rest.max(quiet))
    }

    /// How much to do in a commit for others: a part of the time's worth, and more where the volume `needs_room`.
    pub(crate) fn beside(&mut self, now: Instant, needs_room: impl FnOnce() -> bool) -> u64 {
        self.came = Some(now);
        if !self.rests(now) || self.needs_room(now, needs_room) { BESIDE } else { 0 }
    }

    /// How much to do where no write waits; `reads` have been done by now.
    pub(crate) fn alone(&mut self, now: Instant, reads: u64, needs_room: impl FnOnce() -> bool) -> u64 {
        if reads != self.reads.0 {
            self.reads = (reads, Some(now));
        }
        if !self.is_read_from(now) || self.needs_room(now, needs_room) {
            return ALONE;
        }
        if self.rests(now) { 0 } else { BESIDE }
    }

    fn is_read_from(&self, now: Instant) -> bool {
        self.reads.1.is_some_and(|read| now.duration_since(read) < QUIET)
    }

    fn rests(&self, now: Instant) -> bool {
        self.rest.is_some_and(|rest| now < rest)
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
        assert_eq!(turns.next_look(start), start, "no write has come");
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
        assert_eq!(turns.next_look(at(80)), at(180));
        turns.took(at(90), Duration::from_secs(10));
        assert_eq!(beside(&mut turns, 900, true), 0, "it has looked lately");
        assert_eq!(looks.get(), 1);
        for now in [1010, 1500] {
            assert_eq!(beside(&mut turns, now, true), BESIDE, "at {now} ms");
        }
        assert_eq!(looks.get(), 2);
    }

    #[test]
    fn who_reads_is_given_way_to_as_well() {
        let (mut turns, start) = (Turns::default(), Instant::now());
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        assert_eq!(turns.alone(at(0), 0, || false), ALONE);
        turns.took(at(50), Duration::from_millis(50));
        assert_eq!(turns.next_look(at(50)), at(50));
        assert_eq!(turns.alone(at(50), 7, || false), 0, "somebody has begun to read");
        assert_eq!(turns.next_look(at(50)), at(400));
        assert_eq!(turns.alone(at(400), 9, || false), BESIDE);
        turns.took(at(410), Duration::from_millis(10));
        assert_eq!(turns.alone(at(480), 12, || false), BESIDE);
        turns.took(at(500), Duration::from_millis(20));
        assert_eq!(turns.alone(at(510), 13, || true), 0, "it had room a moment ago");
        assert_eq!(turns.alone(at(1100), 14, || true), ALONE, "room is needed");
        turns.took(at(1200), Duration::from_millis(100));
        assert_eq!(turns.alone(at(1250), 14, || false), ALONE, "nobody reads any more");
    }
}
