//! What a member takes from the world besides its disk: time, randomness, channels. Traits, so that a simulation can
//! own them.

use std::{
    fmt::Debug,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures::future::BoxFuture;
use tokio::time::Instant;
use weft_client::Connector;

/// Time. Nothing that is safe rests on it.
pub trait Clock: Debug + Send + Sync {
    /// Monotonic.
    fn now(&self) -> Instant;

    /// Seconds since 1970 (UTC).
    fn unix_seconds(&self) -> u64;

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
}

/// Secret randomness, for keys and names.
pub trait Entropy: Debug + Send + Sync {
    fn fill(&self, out: &mut [u8]);
}

/// The world as a member sees it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Env {
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub connector: Arc<dyn Connector>,
    /// For how long after a change of the view tombstones from before it aren't collected (R14): puts that began before
    /// it, and go on for longer, are refused from then on.
    pub keep_tombstones: Duration,
}

impl Env {
    /// The host's clock and randomness.
    pub fn host(connector: Arc<dyn Connector>) -> Self {
        let keep_tombstones = Duration::from_secs(3600);
        Self { clock: Arc::new(HostClock), entropy: Arc::new(HostEntropy), connector, keep_tombstones }
    }

    /// Fresh random bytes.
    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.entropy.fill(&mut bytes);
        bytes
    }
}

/// The host's clock.
#[derive(Debug, Clone, Copy)]
pub struct HostClock;

impl Clock for HostClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn unix_seconds(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// The kernel's randomness.
#[derive(Debug, Clone, Copy)]
pub struct HostEntropy;

impl Entropy for HostEntropy {
    /// # Panics
    /// When the kernel has no randomness to give: no key may be made then.
    fn fill(&self, out: &mut [u8]) {
        getrandom::fill(out).expect("the kernel gives randomness");
    }
}
