//! The whole story, in steps that the fleet's tests share.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::DemoError;
use super::corpus::{self, Scale};
use super::fleet::Fleet;
use super::gateway::{Gateway, Stored};
use super::load::{Load, Tally};
use super::loss::Loss;
use super::meter::Meter;
use super::milestones::Milestones;
use super::narrate;
use super::observe::Snapshot;
use super::report::{Counts, Report};
use super::stage::Stage;
use super::store::{Weft, compare};
use super::story::{Bar, Story};

/// From nothing to Ready: images are there, so this is volumes, pods and the first view.
const TO_READY: Duration = Duration::from_secs(300);
/// From the loss to each thing that follows: silence of 30 s, 50 s for Kubernetes to notice, then work.
const TO_FOLLOW: Duration = Duration::from_secs(600);
/// How long a load goes on before and after the loss, so that there is something to compare with.
const CALM: Duration = Duration::from_secs(10);

/// A fleet with files in it, and what is counted of it.
#[derive(Debug)]
pub struct Run {
    /// The fleet.
    pub fleet: Fleet,
    /// What its members count, from before the first put.
    pub meter: Meter,
    /// The way to it that the load and the comparisons take.
    pub gateway: Gateway,
    /// What was put.
    pub stored: Vec<Stored>,
    narrator: Narrator,
}

impl Run {
    /// Applies a committee in a namespace of its own, waits until it is Ready, puts files with `weft put`, and compares.
    pub async fn start(
        stage: &Stage,
        namespace: &str,
        weft: &Path,
        scale: Scale,
        story: &Story,
    ) -> Result<Self, DemoError> {
        let fleet = Fleet::create(stage, namespace, scale, story).await?;
        match Self::fill(&fleet, weft, scale).await {
            Ok((meter, gateway, stored, narrator)) => Ok(Self { fleet, meter, gateway, stored, narrator }),
            Err(error) => {
                fleet.dump().await;
                Err(error)
            }
        }
    }

    async fn fill(
        fleet: &Fleet,
        weft: &Path,
        scale: Scale,
    ) -> Result<(Meter, Gateway, Vec<Stored>, Narrator), DemoError> {
        let story = fleet.story();
        let narrator = Narrator::begin(fleet);
        let members = scale.members;
        story.say(format!(
            "a StorageCommittee of {members} members is applied; repair.unreachableAfter is 30s, epochs.settle 10s and"
        ));
        story.say("  epochs.retainFor 20s: for a fleet of your own that would be hasty");
        let bar = story.spinner("kubectl wait --for=condition=Ready");
        fleet.wait_ready(TO_READY).await?;
        drop(bar);
        let meter = Meter::begin(fleet).await?;
        let gateway = Gateway::connect(fleet).await?;

        let sources = corpus::choose(scale)?;
        let bytes: u64 = sources.iter().map(|source| source.length).sum();
        let started = Instant::now();
        story.say(format!("weft put: {} files of this machine's toolchains, {}", sources.len(), narrate::bytes(bytes)));
        let stored = Weft::new(weft, fleet).put(fleet, &sources).await?;
        let speed = bytes as f64 / started.elapsed().as_secs_f64();
        story.say(format!("stored with {}/s; reading back", narrate::bytes(speed as u64)));
        let wrong = compare(fleet, &gateway, &stored).await;
        story.say(told_comparison(stored.len(), &wrong));
        match wrong.first() {
            None => Ok((meter, gateway, stored, narrator)),
            Some(first) => {
                Err(DemoError::Gateway { what: "read back what was just put".to_owned(), reason: first.clone() })
            }
        }
    }

    /// Loses a worker for good while clients read and write, and follows the fleet until it is what it was.
    pub async fn lose(mut self) -> Result<(Self, Report), DemoError> {
        let load = Load::begin(self.gateway.clone(), &self.stored, Load::DEMO);
        let followed = self.follow(&load).await;
        let tally = load.end().await?;
        self.fleet.story().say(told_load(&tally));
        let lost = match followed {
            Ok(lost) => lost,
            Err(error) => {
                self.fleet.dump().await;
                return Err(error);
            }
        };
        let milestones = self.narrator.milestones();
        let report = self.settle_up(lost, tally, milestones).await?;
        Ok((self, report))
    }

    /// Gives the bytes that were lost.
    async fn follow(&mut self, load: &Load) -> Result<u64, DemoError> {
        let story = self.fleet.story().clone();
        story.say("clients read and write 25 times a second; each operation is tried once");
        warm(load).await;
        let loss = Loss::choose(&self.fleet).await?;
        self.meter.update(&self.fleet).await?;
        let lost = self.lost_bytes(&loss);
        self.narrator.expect(Milestones::before(&self.fleet.observer().now(), loss.victims()));
        story.say(format!("taken away now: {} ({} of slivers)", loss.told(), narrate::bytes(lost)));
        loss.strike(&self.fleet).await?;

        let bar = story.spinner("waiting for the operator to notice");
        self.reach("a member noticed as gone", |milestones| milestones.noticed).await?;
        self.reach("the members being called lost", |milestones| milestones.lost).await?;
        self.reach("custody of the lost shards", |milestones| milestones.custody).await?;
        drop(bar);
        self.reach("full redundancy", |milestones| milestones.whole).await?;
        story.say("nothing is lost any more: every shard has a holder, and every holder what it must have");
        self.meter.update(&self.fleet).await?;
        loss.finish(&self.fleet).await?;
        if let Some((_, node)) = &loss.worker {
            story.say(format!("the volumes of {node} and its Node object are deleted for good"));
        }
        let bar = story.spinner("replacements take over");
        self.reach("a new epoch", |milestones| milestones.committed).await?;
        self.reach("the old copies retired", |milestones| milestones.retired).await?;
        self.reach("Ready again", |milestones| milestones.ready).await?;
        drop(bar);
        warm(load).await;
        Ok(lost)
    }

    async fn settle_up(&mut self, lost: u64, tally: Tally, milestones: Milestones) -> Result<Report, DemoError> {
        let story = self.fleet.story().clone();
        let all = [self.stored.as_slice(), &tally.written].concat();
        let wrong = compare(&self.fleet, &self.gateway, &all).await;
        story.say(told_comparison(all.len(), &wrong));
        wrong.iter().take(10).for_each(|wrong| story.say(format!("  {wrong}")));
        self.meter.update(&self.fleet).await?;
        Ok(Report {
            blobs: all.len() as u64,
            bytes: all.iter().map(|blob| blob.length).sum(),
            lost,
            counts: Counts::of(&self.meter),
            epochs: self.fleet.observer().now().moved(),
            milestones,
            tally,
            different: wrong.len() as u64,
        })
    }

    /// Bytes of slivers on the members that go, as they last said.
    pub fn lost_bytes(&self, loss: &Loss) -> u64 {
        let pods = loss.members.iter().filter_map(|member| member.pod.as_deref());
        pods.map(|pod| self.meter.of(pod, "weft_store_sliver_bytes")).sum()
    }

    /// Begins to note what follows a loss that is about to happen.
    pub fn expect(&self, loss: &Loss) {
        self.narrator.expect(Milestones::before(&self.fleet.observer().now(), loss.victims()));
    }

    /// What came about until now.
    pub fn milestones(&self) -> Milestones {
        self.narrator.milestones()
    }

    /// Waits for a milestone.
    pub async fn reach(
        &self,
        what: &str,
        milestone: impl Fn(&Milestones) -> Option<Duration>,
    ) -> Result<Duration, DemoError> {
        let mut noted = self.narrator.noted.subscribe();
        let wait = noted.wait_for(|milestones| milestone(milestones).is_some());
        let reached = tokio::time::timeout(TO_FOLLOW, wait).await.ok().and_then(Result::ok);
        let reached = reached.and_then(|milestones| milestone(&milestones));
        reached.ok_or_else(|| DemoError::Timeout { what: what.to_owned(), limit: TO_FOLLOW })
    }
}

/// Waits until so much load has passed that a failure would have shown.
async fn warm(load: &Load) {
    let before = load.so_far();
    let mut clock = tokio::time::interval(Duration::from_secs(1));
    loop {
        clock.tick().await;
        let now = load.so_far();
        if now.lasted >= before.lasted + CALM && now.operations() > before.operations() {
            return;
        }
    }
}

fn told_comparison(blobs: usize, wrong: &[String]) -> String {
    match wrong.len() {
        0 => format!("all {blobs} blobs came back as they were put"),
        wrong => format!("{wrong} of {blobs} blobs came back different or not at all"),
    }
}

fn told_load(tally: &Tally) -> String {
    let failed = super::load::total(&tally.failed_reads) + super::load::total(&tally.failed_writes);
    format!("the clients stop: {} operations, {:.1} a second, {failed} failed", tally.operations(), tally.rate())
}

/// Tells what changes, and notes when what was expected came about.
#[derive(Debug)]
struct Narrator {
    noted: watch::Sender<Milestones>,
    since: Arc<Mutex<Option<Instant>>>,
    task: JoinHandle<()>,
}

impl Narrator {
    fn begin(fleet: &Fleet) -> Self {
        let noted = watch::Sender::new(Milestones::default());
        let since = Arc::new(Mutex::new(None));
        let (sender, clock) = (noted.clone(), Arc::clone(&since));
        let (mut snapshots, story) = (fleet.observer().subscribe(), fleet.story().clone());
        let task = tokio::spawn(async move {
            let mut before = Snapshot::default();
            let mut mending = Mending::default();
            while snapshots.changed().await.is_ok() {
                let after = snapshots.borrow_and_update().clone();
                for line in narrate::changes(&before, &after) {
                    story.say(&line);
                }
                mending.show(&after, &story);
                let since: Option<Instant> = *clock.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(since) = since {
                    sender.send_modify(|milestones| milestones.observe(&after, since.elapsed()));
                }
                before = after;
            }
        });
        Self { noted, since, task }
    }

    fn expect(&self, milestones: Milestones) {
        self.noted.send_replace(milestones);
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn milestones(&self) -> Milestones {
        self.noted.borrow().clone()
    }
}

/// A bar of what is missing, while something is.
#[derive(Default)]
struct Mending(Option<(Bar, u64)>);

impl Mending {
    fn show(&mut self, snapshot: &Snapshot, story: &Story) {
        let missing = snapshot.status().and_then(|status| status.missing).unwrap_or_default().slivers;
        if missing == 0 {
            self.0 = None;
            return;
        }
        let (bar, most) = self.0.get_or_insert_with(|| (story.count("slivers brought back", missing), missing));
        *most = missing.max(*most);
        bar.set(*most - missing, *most);
    }
}

impl Drop for Narrator {
    fn drop(&mut self) {
        self.task.abort();
    }
}
