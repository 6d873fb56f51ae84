//! Clients that keep reading and writing, each operation tried once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::DemoError;
use super::gateway::{Gateway, Stored};

/// So many wait for their answers at once; beyond that the rate falls, which the report shows.
const IN_FLIGHT: usize = 200;
/// Written blobs have up to so many bytes; most have far fewer, as most things have.
const LONGEST: f64 = 65_536.0;
/// Blobs that are read have up to so many bytes, once in a while more: the load shall be many operations, not many bytes.
const READ_LONGEST: u64 = 256 << 10;
const SELDOM_LONGEST: u64 = 4 << 20;
const SELDOM: u64 = 50;

/// What became of the operations.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Reads that were answered with the right bytes.
    pub reads: u64,
    /// Writes that were answered.
    pub writes: u64,
    /// Failed reads, by kind.
    pub failed_reads: BTreeMap<String, u64>,
    /// Failed writes, by kind.
    pub failed_writes: BTreeMap<String, u64>,
    /// Reads that were answered with other bytes.
    pub different: u64,
    /// How long each took that succeeded, in milliseconds.
    pub took: Vec<u32>,
    /// How long the load went on.
    pub lasted: Duration,
    /// Every blob that was written.
    pub written: Vec<Stored>,
}

impl Tally {
    /// All operations that were begun and have ended.
    pub fn operations(&self) -> u64 {
        self.reads + self.writes + self.different + total(&self.failed_reads) + total(&self.failed_writes)
    }

    /// Operations a second.
    pub fn rate(&self) -> f64 {
        self.operations() as f64 / self.lasted.as_secs_f64().max(f64::EPSILON)
    }

    /// The time within which a share of the operations (0 to 1) was answered.
    pub fn within(&self, share: f64) -> Duration {
        let mut took = self.took.clone();
        took.sort_unstable();
        let last = took.len().saturating_sub(1);
        Duration::from_millis(took.get((last as f64 * share) as usize).copied().unwrap_or_default().into())
    }
}

/// The sum over all kinds.
pub(crate) fn total(kinds: &BTreeMap<String, u64>) -> u64 {
    kinds.values().sum()
}

/// A load that goes on until it is stopped or dropped.
#[derive(Debug)]
pub struct Load {
    tally: Arc<Mutex<Tally>>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    started: Instant,
}

impl Load {
    /// The demonstration's: an operation every 40 ms, so 25 a second.
    pub const DEMO: Duration = Duration::from_millis(40);

    /// Begins an operation every `period`: every other one writes new bytes, the others read `stored` blobs and those written
    /// meanwhile.
    pub fn begin(gateway: Gateway, stored: &[Stored], period: Duration) -> Self {
        let (stop, stopped) = watch::channel(false);
        let tally = Arc::new(Mutex::new(Tally::default()));
        let client = Arc::new(Client {
            gateway,
            run: format!("load-{:?}", SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()),
            tally: Arc::clone(&tally),
            often: stored.iter().filter(|blob| blob.length <= READ_LONGEST).cloned().collect(),
            seldom: stored.iter().filter(|blob| blob.length <= SELDOM_LONGEST).cloned().collect(),
        });
        Self { tally, stop, task: tokio::spawn(keep_on(client, period, stopped)), started: Instant::now() }
    }

    /// What it came to until now.
    pub fn so_far(&self) -> Tally {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner).clone();
        tally.lasted = self.started.elapsed();
        tally
    }

    /// Begins nothing new, waits for what is on the way, and says what it came to.
    pub async fn end(self) -> Result<Tally, DemoError> {
        let lasted = self.started.elapsed();
        // Only the task itself could have dropped its end.
        let _ = self.stop.send(true);
        self.task.await?;
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner).clone();
        tally.lasted = lasted;
        Ok(tally)
    }
}

async fn keep_on(client: Arc<Client>, period: Duration, mut stopped: watch::Receiver<bool>) {
    let permits = Arc::new(Semaphore::new(IN_FLIGHT));
    let mut clock = interval(period);
    clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for number in 0_u64.. {
        tokio::select! {
            _ = clock.tick() => {}
            _ = stopped.changed() => break,
        }
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { break };
        let client = Arc::clone(&client);
        tokio::spawn(async move {
            client.operate(number).await;
            drop(permit);
        });
    }
    // All permits are back when nothing is on the way any more; the semaphore is never closed.
    drop(permits.acquire_many(IN_FLIGHT as u32).await);
}

struct Client {
    gateway: Gateway,
    /// Makes this load's keys its own: a repeated key would be answered with an old blob.
    run: String,
    tally: Arc<Mutex<Tally>>,
    often: Vec<Stored>,
    seldom: Vec<Stored>,
}

impl Client {
    async fn operate(&self, number: u64) {
        let draw = draw(number);
        if number.is_multiple_of(2) {
            self.write(number, draw).await;
        } else if let Some(blob) = self.choose(number, draw) {
            self.read(blob).await;
        }
    }

    async fn write(&self, number: u64, draw: u64) {
        let bytes = content(number, (LONGEST * ((draw >> 40) as f64 / f64::from(1 << 24)).powi(4)) as usize);
        let hash = blake3::hash(&bytes);
        let length = bytes.len() as u64;
        let started = Instant::now();
        let outcome = self.gateway.put(format!("{}-{number}", self.run), bytes.into()).await;
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(id) => {
                tally.writes += 1;
                tally.took.push(started.elapsed().as_millis() as u32);
                tally.written.push(Stored { id, hash, length, name: format!("write {number}") });
            }
            Err(kind) => *tally.failed_writes.entry(kind).or_default() += 1,
        }
    }

    async fn read(&self, blob: Stored) {
        let started = Instant::now();
        let outcome = self.gateway.get(&blob.id).await;
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(bytes) if blake3::hash(&bytes) == blob.hash => {
                tally.reads += 1;
                tally.took.push(started.elapsed().as_millis() as u32);
            }
            Ok(_) => tally.different += 1,
            Err(kind) => *tally.failed_reads.entry(kind).or_default() += 1,
        }
    }

    /// Half of the reads are of what was written under load, the others of what was there before.
    fn choose(&self, number: u64, draw: u64) -> Option<Stored> {
        let any = |blobs: &[Stored]| blobs.get((draw >> 8) as usize % blobs.len().max(1)).cloned();
        if draw.is_multiple_of(SELDOM) {
            return any(&self.seldom);
        }
        let written = || any(&self.tally.lock().unwrap_or_else(PoisonError::into_inner).written);
        if number % 4 == 1 { any(&self.often).or_else(written) } else { written().or_else(|| any(&self.often)) }
    }
}

/// Bytes that no other operation writes.
fn content(number: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new_derive_key("weft demo content").update(&number.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// What chance decides for an operation, the same in every run.
fn draw(number: u64) -> u64 {
    let hash = blake3::derive_key("weft demo choice", &number.to_le_bytes());
    u64::from_le_bytes([hash[0], hash[1], hash[2], hash[3], hash[4], hash[5], hash[6], hash[7]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_operations_is_answered_within_a_time() {
        let tally = Tally { took: (0..=100).rev().collect(), ..Tally::default() };
        assert_eq!(tally.within(0.5), Duration::from_millis(50));
        assert_eq!(tally.within(1.0), Duration::from_millis(100));
        assert_eq!(Tally::default().within(0.5), Duration::ZERO);
    }

    #[test]
    fn contents_differ() {
        assert_ne!(content(1, 40), content(2, 40));
        assert_eq!(content(1, 40), content(1, 40));
    }
}
