//! Maintenance windows: when the operator begins what can wait of what takes members away.

use std::time::Duration;

use crate::{Timestamp, draft::Draft};

const DAY_MILLIS: i64 = 24 * 3600 * 1000;

/// 1970-01-01 was a Thursday, the fourth day of its week.
const FIRST_WEEKDAY: i64 = 3;

/// A stretch of time that comes again on the same days of every week, by UTC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaintenanceWindow {
    /// On which days it begins, from Monday.
    pub days: [bool; 7],
    /// When, since midnight.
    pub start: Duration,
    pub duration: Duration,
}

impl MaintenanceWindow {
    /// When it begins, from a week before `now` to a week after.
    fn starts(&self, now: Timestamp) -> impl Iterator<Item = Timestamp> {
        let today = now.0.div_euclid(DAY_MILLIS);
        let weekday = |day: i64| (day + FIRST_WEEKDAY).rem_euclid(7) as usize;
        let days = (today - 7..=today + 7).filter(move |day| self.days[weekday(*day)]);
        days.map(|day| Timestamp(day * DAY_MILLIS) + self.start)
    }

    fn is_open(&self, now: Timestamp) -> bool {
        self.starts(now).any(|start| (start..start + self.duration).contains(&now))
    }
}

/// When the next window opens. `None`: one is open, or there are none, and any time will do.
pub(crate) fn next_opening(draft: &Draft<'_>) -> Option<Timestamp> {
    let windows = &draft.world.committee.maintenance;
    if windows.iter().any(|window| window.is_open(draft.now)) {
        return None;
    }
    windows.iter().flat_map(|window| window.starts(draft.now)).filter(|start| *start > draft.now).min()
}

/// Why something waits for a window; asks to be called again when one opens.
pub(crate) fn closed(draft: &mut Draft<'_>) -> Option<String> {
    let opens = next_opening(draft)?;
    draft.wake(opens);
    Some(format!("maintenance: the next window opens at {opens}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    /// Saturday and Sunday, from 22:00 on.
    fn weekend(hours: u32) -> MaintenanceWindow {
        let days = [false, false, false, false, false, true, true];
        MaintenanceWindow { days, start: 22 * HOUR, duration: hours * HOUR }
    }

    /// Hours since Monday, 2024-01-01 00:00 UTC.
    fn hour(hours: u32) -> Timestamp {
        Timestamp(1_704_067_200_000) + hours * HOUR
    }

    #[test]
    fn a_window_is_open_from_its_start_on_and_past_midnight() {
        let window = weekend(6);
        let (saturday, sunday, monday) = (5 * 24, 6 * 24, 7 * 24);
        let open = [saturday + 22, saturday + 23, sunday, sunday + 3, sunday + 22, monday, monday + 3];
        let closed = [4, saturday, saturday + 21, sunday + 4, sunday + 21, monday + 4, 4 * 24 + 23];
        assert!(open.iter().all(|hours| window.is_open(hour(*hours))));
        assert!(!closed.iter().any(|hours| window.is_open(hour(*hours))));
        assert!(!window.is_open(Timestamp(hour(saturday + 22).0 - 1)));
        assert!(!window.is_open(hour(sunday + 4)), "its end is no part of it");
    }

    #[test]
    fn a_window_of_a_week_is_always_open() {
        assert!((0..7 * 24).all(|hours| weekend(7 * 24).is_open(hour(hours))));
    }

    #[test]
    fn the_next_start_is_within_a_week() {
        let next = |hours| weekend(6).starts(hour(hours)).filter(|start| *start > hour(hours)).min();
        assert_eq!(next(0), Some(hour(5 * 24 + 22)));
        assert_eq!(next(5 * 24 + 22), Some(hour(6 * 24 + 22)));
        assert_eq!(next(6 * 24 + 22), Some(hour(12 * 24 + 22)));
        assert_eq!(hour(5 * 24 + 22).to_string(), "2024-01-06T22:00:00Z");
    }
}
