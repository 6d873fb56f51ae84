//! Which part of the time repair takes while gateways ask for something: a small one, unless the work list grows under it,
//! or a blob is endangered.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::member::{Lacking, Member, MemberError};

/// One part of so many, as long as that is enough.
const PARTS: u32 = 16;

/// Between two looks at how long the list is.
const LOOK: Duration = Duration::from_secs(30);

/// For how long what was found is believed: of endangered blobs, and that gateways ask for something.
const FRESH: Duration = Duration::from_secs(1);

/// What new puts lack of a member that is gone would otherwise come faster than it is rebuilt for as long as clients put,
/// and an epoch's targets would never be whole.
#[derive(Debug)]
pub(super) struct Share {
    parts: u32,
    /// When the list was looked at, and its rows then.
    seen: Option<(Instant, u64)>,
}

impl Default for Share {
    fn default() -> Self {
        Self { parts: PARTS, seen: None }
    }
}

impl Share {
    /// Repair takes one part of the time in so many: twice as large a part if the list grew since the last look, half as large
    /// a one if it didn't: what is left may be what nobody can mend.
    pub(super) fn parts(&mut self, now: Instant, missing: u64) -> u32 {
        let Some((then, before)) = self.seen else {
            self.seen = Some((now, missing));
            return self.parts;
        };
        if now.duration_since(then) >= LOOK {
            self.seen = Some((now, missing));
            self.parts = if missing > before { (self.parts / 2).max(1) } else { (self.parts * 2).min(PARTS) };
        }
        self.parts
    }
}

/// How endangered blobs are, as it was lately: to find out takes a look at all that is missing and all that came in of late.
#[derive(Debug, Default)]
pub(super) struct Urgency {
    seen: Option<(Instant, Arc<Lacking>)>,
}

impl Urgency {
    pub(super) fn look(&mut self, member: &Member, now: Instant) -> Result<Arc<Lacking>, MemberError> {
        if let Some((then, lacking)) = &self.seen
            && now.duration_since(*then) < FRESH
        {
            return Ok(lacking.clone());
        }
        let lacking = Arc::new(member.endangered()?);
        self.seen = Some((now, lacking.clone()));
        Ok(lacking)
    }
}

/// What gateways ask for, as it was seen at the last look.
#[derive(Debug, Default)]
pub(super) struct Asks {
    count: Option<u64>,
    last: Option<Instant>,
}

impl Asks {
    /// Whether they asked for anything in the last second, by the `count` of what they have asked for; they may have before the
    /// first look.
    pub(super) fn are_of_late(&mut self, count: u64, now: Instant) -> bool {
        match self.count.replace(count) {
            None => return true,
            Some(before) if before == count => {}
            Some(_) => self.last = Some(now),
        }
        self.last.is_some_and(|last| now.duration_since(last) < FRESH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_grows_gets_more_of_the_time_and_a_list_that_shrinks_less() {
        let (mut share, start) = (Share::default(), Instant::now());
        let told: [(u64, u64, u32); 14] = [
            (0, 100, 16),
            (29, 500, 16),
            // A look: it has grown.
            (30, 400, 8),
            (45, 900, 8),
            (60, 500, 4),
            (90, 600, 2),
            (120, 700, 1),
            (150, 800, 1),
            // It is as long as before.
            (180, 800, 2),
            (210, 799, 4),
            (270, 100, 8),
            (300, 50, 16),
            (330, 40, 16),
            (360, 10, 16),
        ];
        for (second, missing, parts) in told {
            assert_eq!(share.parts(start + Duration::from_secs(second), missing), parts, "at {second} s");
        }
    }

    #[test]
    fn gateways_ask_of_late_for_a_second_after_each_request() {
        let (mut asks, start) = (Asks::default(), Instant::now());
        let told: [(u64, u64, bool); 7] = [
            (0, 7, true),
            (10, 7, false),
            (100, 8, true),
            (1000, 9, true),
            (1999, 9, true),
            (2000, 9, false),
            (9000, 10, true),
        ];
        for (at, count, are) in told {
            assert_eq!(asks.are_of_late(count, start + Duration::from_millis(at)), are, "at {at} ms");
        }
    }
}
