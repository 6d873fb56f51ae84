//! Clock, randomness and network, behind one trait so that a simulation can own them.

use std::{
    fmt,
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use weft_client::{Connector, TlsConnector};
use weft_planner::Timestamp;

use crate::certs::Leaf;

/// What the operator takes from the world beside Kubernetes.
pub trait Env: fmt::Debug + Send + Sync + 'static {
    fn now(&self) -> Timestamp;

    /// The time since some moment before, by a clock that nobody sets.
    fn monotonic(&self) -> Duration;

    /// Fills a buffer with secret randomness.
    fn fill(&self, buffer: &mut [u8]) -> Result<(), getrandom::Error>;

    /// Channels to the members of a fleet. `trusted` (one authority, or more) and `leaf` are PEM.
    fn connector(&self, trusted: &str, leaf: &Leaf) -> Arc<dyn Connector>;
}

/// The machine's own clock, randomness and network.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEnv;

impl Env for SystemEnv {
    fn now(&self) -> Timestamp {
        Timestamp(jiff::Timestamp::now().as_millisecond())
    }

    fn monotonic(&self) -> Duration {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        START.elapsed()
    }

    fn fill(&self, buffer: &mut [u8]) -> Result<(), getrandom::Error> {
        getrandom::fill(buffer)
    }

    fn connector(&self, trusted: &str, leaf: &Leaf) -> Arc<dyn Connector> {
        Arc::new(TlsConnector::new(trusted.as_bytes(), leaf.certificate.as_bytes(), leaf.key.as_bytes()))
    }
}

/// The planner's milliseconds as a calendar time; out of range only for clocks that are absurd.
pub fn calendar(time: Timestamp) -> jiff::Timestamp {
    jiff::Timestamp::from_millisecond(time.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
}

/// The other way round.
pub fn instant(time: jiff::Timestamp) -> Timestamp {
    Timestamp(time.as_millisecond())
}
