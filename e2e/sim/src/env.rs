//! Time and randomness, simulated.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures::future::BoxFuture;
use tokio::time::Instant;
use weft_node::env::{Clock, Entropy};
use weft_planner::Timestamp;

use super::{dice::Dice, trace::elapsed};

/// When every simulation starts: milliseconds since 1970.
const START: i64 = 1_700_000_000_000;

/// What the operator's clock shows.
pub(super) fn now() -> Timestamp {
    at(elapsed())
}

pub(super) fn at(elapsed: Duration) -> Timestamp {
    Timestamp(START + elapsed.as_millis() as i64)
}

/// The true time, in seconds since 1970.
pub(super) fn unix(elapsed: Duration) -> u64 {
    at(elapsed).0 as u64 / 1000
}

/// The host's paused clock.
#[derive(Debug)]
pub(super) struct SimClock;

impl Clock for SimClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn unix_seconds(&self) -> u64 {
        unix(elapsed())
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

#[derive(Debug)]
pub(super) struct SimEntropy(Mutex<Dice>);

impl SimEntropy {
    pub(super) fn new(dice: Dice) -> Self {
        Self(Mutex::new(dice))
    }
}

impl Entropy for SimEntropy {
    fn fill(&self, out: &mut [u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill(out);
    }
}
