//! How fast what is missing becomes less, from observations of it.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use serde::Serialize;

/// Older observations say nothing of the present.
const WINDOW: Duration = Duration::from_secs(60);

/// Observations of missing bytes. The status tells them some seconds apart, so only the moments count in which they
/// changed.
#[derive(Debug, Default)]
pub(super) struct Pace {
    last: Option<u64>,
    changes: VecDeque<(Instant, u64)>,
}

/// A repair's speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Repair {
    pub(super) bytes_per_second: u64,
    pub(super) seconds_left: u64,
}

impl Pace {
    pub(super) fn see(&mut self, now: Instant, missing: u64) {
        let before = self.last.replace(missing);
        if before.is_none_or(|before| before == missing) {
            return;
        }
        // Another loss: what was missing before is mended no slower for it.
        if before.is_some_and(|before| before < missing) {
            self.changes.clear();
        }
        self.changes.push_back((now, missing));
        while self.changes.front().is_some_and(|(then, _)| now.duration_since(*then) > WINDOW) {
            self.changes.pop_front();
        }
    }

    /// Known from the second change on.
    pub(super) fn repair(&self) -> Option<Repair> {
        let ((begun, before), (now, missing)) = (self.changes.front()?, self.changes.back()?);
        let seconds = now.duration_since(*begun).as_secs_f64();
        let rate = before.checked_sub(*missing).filter(|done| *done > 0)? as f64 / seconds;
        rate.is_normal()
            .then(|| Repair { bytes_per_second: rate as u64, seconds_left: (*missing as f64 / rate).ceil() as u64 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_known_from_the_second_change_on() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        // The status was written at some time before it was first read.
        for (seconds, missing) in [(0, 1000), (3, 1000), (5, 900), (9, 900)] {
            pace.see(at(seconds), missing);
            assert_eq!(pace.repair(), None);
        }
        pace.see(at(10), 800);
        assert_eq!(pace.repair(), Some(Repair { bytes_per_second: 20, seconds_left: 40 }));
        pace.see(at(12), 5000);
        assert_eq!(pace.repair(), None, "another loss begins anew");
        pace.see(at(22), 4000);
        assert_eq!(pace.repair(), Some(Repair { bytes_per_second: 100, seconds_left: 40 }));
        pace.see(at(100), 3900);
        assert_eq!(pace.repair(), None, "old observations are forgotten");
    }
}
