//! The time floor's arithmetic (R15), by its properties.

use std::time::Duration;

use proptest::prelude::*;
use weft_planner::{FloorClock, Timestamp};

/// Milliseconds since 1970.
const NOW: i64 = 1_800_000_000_000;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// How long each step takes, and what the clock on the wall shows then, which may be anything.
fn steps() -> impl Strategy<Value = Vec<(u64, i64)>> {
    let wall = prop_oneof![NOW - 1_000_000..NOW + 1_000_000, any::<i64>()];
    proptest::collection::vec((0_u64..100_000, wall), 1..50)
}

fn told() -> impl Strategy<Value = Option<u64>> {
    proptest::option::of(NOW as u64 / 1000 - 1000..NOW as u64 / 1000 + 1000)
}

proptest! {
    /// Over any time, not only since it began: what a clock that was behind has saved can't be spent at once.
    #[test]
    fn r15_it_never_falls_and_is_never_more_than_twice_as_fast(told in told(), steps in steps()) {
        let (mut monotonic, first) = (7_u64, steps[0].1);
        let mut clock = FloorClock::begin(told, Timestamp(first), ms(monotonic));
        let mut seen = vec![(monotonic, clock.advance(Timestamp(first), ms(monotonic)))];
        if let Some(told) = told {
            prop_assert_eq!(seen[0].1, told, "it begins with what members told, whatever the clock shows");
        }
        for (step, wall) in steps {
            monotonic += step;
            let floor = clock.advance(Timestamp(wall), ms(monotonic));
            for (then, before) in &seen {
                prop_assert!(floor >= *before, "it falls from {} to {}", before, floor);
                // A second more, as both are whole seconds.
                let most = (2 * (monotonic - then)).div_ceil(1000) + 1;
                prop_assert!(floor - before <= most, "{} s within {} ms", floor - before, monotonic - then);
            }
            seen.push((monotonic, floor));
        }
    }

    #[test]
    fn r15_it_reaches_the_clock_and_stays_with_it(behind in 0_u64..100_000, pace in 1_u64..20_000) {
        let mut clock = FloorClock::begin(Some(NOW as u64 / 1000 - behind), Timestamp(NOW), ms(0));
        let (mut passed, mut floor) = (0, 0);
        let wall = |passed: u64| Timestamp(NOW + passed as i64);
        while passed <= behind * 1000 {
            passed += pace;
            floor = clock.advance(wall(passed), ms(passed));
        }
        prop_assert_eq!(floor, wall(passed).0 as u64 / 1000);
        passed += pace;
        prop_assert_eq!(clock.advance(wall(passed), ms(passed)), wall(passed).0 as u64 / 1000);
    }

    #[test]
    fn r15_it_is_never_ahead_of_a_clock_that_is_right(behind in 0_u64..10_000, pace in 1_u64..20_000) {
        let mut clock = FloorClock::begin(Some(NOW as u64 / 1000 - behind), Timestamp(NOW), ms(0));
        for step in 1..100 {
            let now = Timestamp(NOW + (step * pace) as i64);
            prop_assert!(clock.advance(now, ms(step * pace)) <= now.0 as u64 / 1000);
        }
    }
}

#[test]
fn r15_a_fleet_without_a_floor_begins_with_the_clock() {
    let mut clock = FloorClock::begin(None, Timestamp(NOW), ms(50));
    assert_eq!(clock.advance(Timestamp(NOW), ms(50)), NOW as u64 / 1000);
    // A year ahead a moment later: it takes half a year.
    let ahead = Timestamp(NOW) + Duration::from_secs(365 * 86_400);
    assert_eq!(clock.advance(ahead, ms(60_050)), NOW as u64 / 1000 + 120);
}
