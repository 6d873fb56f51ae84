//! One run: so many committees begin, rest, and lose pods one after another.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::DeleteParams};
use tokio::task::JoinSet;
use weft_e2e::{AuditLog, Beside, Calls};

use crate::{
    Failure, MEMBERS,
    binder::{Binder, Seat},
    cluster::Cluster,
    committees::{Committees, Name},
    figures::Process,
    fleet::Fleet,
    report::{Figures, Rest},
};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// For all committees to be ready, beside this much for each.
const BEGIN: Duration = Duration::from_secs(300);
const BEGIN_EACH: Duration = Duration::from_secs(2);
/// So long without a write is rest; and so long it is waited for: who never rests is measured as well.
const STILL: Duration = Duration::from_secs(30);
const RESTLESS: Duration = Duration::from_secs(300);
/// Pods that are deleted, one after another, with so much time between two.
const DELETIONS: u64 = 240;
const APART: Duration = Duration::from_millis(500);
/// For a pod that isn't made again.
const PATIENCE: Duration = Duration::from_secs(60);

struct Run {
    // In the order in which they are to end.
    operator: Beside,
    binder: Binder,
    committees: Committees,
    fleet: Arc<Fleet>,
    cluster: Cluster,
    audit: AuditLog,
    count: usize,
    began: Instant,
}

/// Measures the operator with so many committees, at rest for this long.
pub(crate) async fn run(count: usize, window: Duration) -> Result<Figures, Failure> {
    let cluster = Cluster::start(count).await?;
    let fleet = Arc::new(Fleet::listen()?);
    let binder = Binder::start(&cluster.client, &cluster.nodes, Arc::clone(&fleet));
    let (committees, audit) = (Committees::watch(&cluster.client), cluster.audit_log());
    let operator = cluster.operator()?;
    let mut run = Run { operator, binder, committees, fleet, cluster, audit, count, began: Instant::now() };
    run.cluster.make_committees(count).await?;
    let ready = run.begin().await?;
    run.settle().await?;
    let rest = run.rest(window).await?;
    let reactions = run.lose_pods().await?;
    let peak = run.process().peak()?;
    Ok(Figures { committees: count, nodes: run.cluster.nodes.len(), ready, peak, rest, reactions })
}

impl Run {
    fn process(&self) -> Process {
        Process(self.operator.id())
    }

    /// Waits a moment, in which the operator must not end.
    async fn look(&mut self) -> Result<(), Failure> {
        tokio::time::sleep(LOOK).await;
        match self.operator.ended()? {
            Some(status) => Err(format!("the operator ended, {status}:\n{}", self.operator.last_words()).into()),
            None => Ok(()),
        }
    }

    /// Tells one line, with the time since the run began.
    fn say(&self, text: &str) {
        eprintln!("{:>4} committees, {:>4} s: {text}", self.count, self.began.elapsed().as_secs());
    }

    /// Waits until all are ready, and says how long that took.
    async fn begin(&mut self) -> Result<Duration, Failure> {
        let limit = BEGIN + BEGIN_EACH * self.count as u32;
        let bar = bar("committees are ready", self.count as u64);
        loop {
            let ready = self.committees.ready().len();
            bar.set_position(ready as u64);
            if ready == self.count {
                break;
            }
            if self.began.elapsed() > limit {
                let (bound, calls) = (self.binder.bound(), self.fleet.calls());
                return Err(format!(
                    "{ready} of {} committees are ready after {limit:?}; {bound} pods are bound, and members were called {calls} \
                     times. The operator says:\n{}",
                    self.count,
                    self.operator.last_words()
                )
                .into());
            }
            self.look().await?;
        }
        let took = self.began.elapsed();
        let (memory, pods) = (self.process().memory()?, self.binder.bound());
        self.say(&format!("all are ready, with {pods} pods; the operator has {memory:.0} MiB"));
        Ok(took)
    }

    /// Waits until nothing is written any more.
    async fn settle(&mut self) -> Result<(), Failure> {
        let (began, mut last) = (Instant::now(), Instant::now());
        let bar = bar("seconds without a write", STILL.as_secs());
        let mut calls = self.audit.read()?;
        while last.elapsed() < STILL {
            if began.elapsed() > RESTLESS {
                self.say(&format!("it doesn't rest: {}", calls.written.join(", ")));
                return Ok(());
            }
            self.look().await?;
            calls = self.audit.read()?;
            if calls.writes > 0 {
                last = Instant::now();
            }
            bar.set_position(last.elapsed().as_secs());
        }
        self.say("it rests");
        Ok(())
    }

    async fn rest(&mut self, window: Duration) -> Result<Rest, Failure> {
        let bar = bar("seconds at rest", window.as_secs());
        // What was called for before.
        drop(self.audit.read()?);
        let (began, processor, asked) = (Instant::now(), self.process().time()?, self.fleet.calls());
        let (mut calls, mut memory) = (Calls::default(), 0.0_f64);
        while began.elapsed() < window {
            self.look().await?;
            calls.add(self.audit.read()?);
            memory = memory.max(self.process().memory()?);
            bar.set_position(began.elapsed().as_secs());
        }
        let (window, processor) = (began.elapsed(), self.process().time()?.saturating_sub(processor));
        let asked = self.fleet.calls() - asked;
        self.say(&format!("it has rested for {} s, with {memory:.0} MiB", window.as_secs()));
        Ok(Rest { window, memory, processor, calls, asked })
    }

    /// Deletes pods one after another, and says how long it took until each was made again, sorted.
    async fn lose_pods(&mut self) -> Result<Vec<Duration>, Failure> {
        let bar = bar("pods are deleted", DELETIONS);
        let mut reactions = JoinSet::new();
        let mut times = tokio::time::interval(APART);
        let mut chance = Chance(self.count as u64);
        for _ in 0..DELETIONS {
            times.tick().await;
            let (seat, name, made) = self.choose(&mut chance).await?;
            let pods = Api::<Pod>::namespaced(self.cluster.client.clone(), &seat.namespace);
            pods.delete(&name, &DeleteParams::default()).await?;
            let deleted = Instant::now();
            reactions.spawn(async move {
                let made = tokio::time::timeout(PATIENCE, made).await;
                // Who waits longer than that is told of as having waited that long.
                made.map_or(PATIENCE, |made| made.map_or(PATIENCE, |made| made.saturating_duration_since(deleted)))
            });
            bar.inc(1);
        }
        let mut reactions = reactions.join_all().await;
        reactions.sort_unstable();
        self.say(&format!("{} pods were deleted, and made again", reactions.len()));
        Ok(reactions)
    }

    /// A member of a committee that is ready, its pod, and the moment when the next one is made.
    async fn choose(&mut self, chance: &mut Chance) -> Result<Chosen, Failure> {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            let ready: Vec<Name> = self.committees.ready().into_iter().collect();
            if let Some((namespace, committee)) = ready.get(chance.below(ready.len().max(1))).cloned() {
                let seat = Seat { namespace, committee, member: chance.below(usize::from(MEMBERS)) as u8 };
                if let Some((name, made)) = self.binder.next_pod(&seat) {
                    return Ok((seat, name, made));
                }
            }
            self.look().await?;
        }
        Err("no committee is ready".into())
    }
}

type Chosen = (Seat, String, tokio::sync::oneshot::Receiver<Instant>);

/// A bar on a terminal, and nothing elsewhere.
fn bar(what: &'static str, length: u64) -> ProgressBar {
    let bar = ProgressBar::new(length).with_message(what);
    let style = ProgressStyle::with_template("{elapsed_precise}  {pos} of {len} {msg} {wide_bar}");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// `SplitMix64` (Steele, Lea and Flood 2014): the same choices in each run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }
}
