//! Someone dies while an epoch is under way.

use std::error::Error;
use std::pin::pin;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, ResourceExt as _};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use weft_crds::{Epoch, EpochPhase, MemberStatus, epoch_name};
use weft_e2e::demo::{DemoError, Run, Snapshot, delete_claim, delete_pod, is_ready};

use crate::settle::{LIMIT, incarnations, is_balanced, kubectl, member, only_members_claims, patch, settled};
use crate::shell::Shell;
use crate::theatre::Outcome;

const PHASES: [EpochPhase; 4] =
    [EpochPhase::Planned, EpochPhase::Migrating, EpochPhase::Sealing, EpochPhase::Committed];
const OVER: [EpochPhase; 2] = [EpochPhase::Committed, EpochPhase::Retired];
/// A phase may be over before a watch shows it. Then the next epoch gives another chance.
const CHANCES: u32 = 3;
/// Slow enough that a migration is seen, and someone can die in it.
const SLOW: &str = r#"{"spec": {"repair": {"maxBandwidthPerMember": "4Mi"}}}"#;
const FAST: &str = r#"{"spec": {"repair": {"maxBandwidthPerMember": null}}}"#;

/// Who dies while slivers move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mover {
    /// The old holder, with its volume: what it hasn't given away must be rebuilt.
    Source,
    /// The new one, whose process starts again.
    Target,
    /// The new one, with its volume: another one takes its place.
    TargetVolume,
}

/// Whoever dies, and in whichever phase, the others go on from there, and end in the same place.
pub(crate) async fn deaths(run: &Run, shell: &Shell) -> Outcome {
    patch(run, SLOW).await?;
    let mut struck = Vec::new();
    for _ in 0..CHANCES {
        kill_operators(run, &mut struck).await?;
        if struck.len() == PHASES.len() {
            break;
        }
    }
    assert_eq!(struck.len(), PHASES.len(), "an operator died in each phase, and not only in {struck:?}");
    for mover in [Mover::Target, Mover::TargetVolume, Mover::Source] {
        let mut died = false;
        for _ in 0..CHANCES {
            died = died || kill_mover(run, shell, mover).await?;
        }
        assert!(died, "no {mover:?} died while slivers moved");
    }
    patch(run, FAST).await?;
    only_members_claims(run).await
}

/// Replaces a member, and kills an operator in each phase of the epoch that isn't struck yet.
async fn kill_operators(run: &Run, struck: &mut Vec<EpochPhase>) -> Outcome {
    let change = Replacement::begin(run, 1).await?;
    loop {
        let operator = Operator::find(run).await?;
        let awaited = PHASES.into_iter().filter(|phase| !struck.contains(phase)).collect::<Vec<_>>();
        let seen = change.phase(|phase| awaited.contains(&phase) || OVER.contains(&phase)).await?;
        if !awaited.contains(&seen) {
            break;
        }
        if !operator.kill(run).await? {
            continue;
        }
        // Nobody writes it before the next one leads.
        let phase = change.phase_now().await?;
        println!("an operator died in {phase:?} of epoch {}", change.epoch);
        if !struck.contains(&phase) {
            struck.push(phase);
        }
    }
    change.ended().await
}

/// Replaces a member, and kills one of those between whom its slivers move. Whether they still moved then.
async fn kill_mover(run: &Run, shell: &Shell, mover: Mover) -> Result<bool, Box<dyn Error>> {
    let change = Replacement::begin(run, 2).await?;
    change.phase(|phase| phase == EpochPhase::Migrating || OVER.contains(&phase)).await?;
    let told = shell.run(&format!("kubectl weft epoch show {} demo", change.epoch)).await?;
    match mover {
        Mover::Source => {
            delete_claim(&run.fleet, &change.before).await?;
            delete_pod(&run.fleet, &change.before).await?;
        }
        Mover::Target => Processes::of(run, &change.target()?).await?.kill()?,
        Mover::TargetVolume => {
            let target = change.target()?;
            let volumes = target.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
            let claim = volumes.flat_map(|volume| &volume.persistent_volume_claim).next().ok_or("a claim")?;
            kubectl(run, &["delete", "pvc", &claim.claim_name, "--wait=false"]).await?;
            kubectl(run, &["delete", "pod", &target.name_any(), "--wait=false"]).await?;
        }
    }
    let phase = change.phase_now().await?;
    println!("a {mover:?} died in {phase:?} of epoch {}", change.epoch);
    let died = phase == EpochPhase::Migrating;
    assert!(!died || told.contains("Migrating") && told.contains("4 shards, 4 at least"), "{told}");
    change.ended().await?;
    Ok(died)
}

/// A member that is replaced because the spec says so.
struct Replacement<'a> {
    run: &'a Run,
    before: MemberStatus,
    epoch: u64,
    others: Vec<(u32, u32)>,
}

impl<'a> Replacement<'a> {
    async fn begin(run: &'a Run, id: u32) -> Result<Self, Box<dyn Error>> {
        let snapshot =
            settled(run, "a fleet at rest", |snapshot| pointer(snapshot).is_some_and(|(now, next)| now == next));
        let snapshot = snapshot.await?;
        let before = member(&snapshot, id).ok_or("the member")?.clone();
        let (current, _) = pointer(&snapshot).ok_or("an epoch")?;
        let others = incarnations(&snapshot).into_iter().filter(|who| who.0 != id).collect();
        let entry = format!(r#"{{"member": {id}, "incarnation": {}}}"#, before.current.number);
        patch(run, &format!(r#"{{"spec": {{"replace": [{entry}]}}}}"#)).await?;
        Ok(Self { run, before, epoch: current + 1, others })
    }

    /// Waits for a phase of its epoch.
    async fn phase(&self, wanted: impl Fn(EpochPhase) -> bool) -> Result<EpochPhase, Box<dyn Error>> {
        let of = |snapshot: &Snapshot| {
            let epoch = snapshot.epochs.iter().find(|epoch| epoch.spec.number == self.epoch)?;
            epoch.status.as_ref()?.phase.filter(|phase| wanted(*phase))
        };
        let observer = self.run.fleet.observer();
        let snapshot = observer.wait("a phase of an epoch", LIMIT, |snapshot| of(snapshot).is_some()).await?;
        Ok(of(&snapshot).ok_or("a phase")?)
    }

    /// Its epoch's phase by the API server's word, and not by a watch's.
    async fn phase_now(&self) -> Result<EpochPhase, Box<dyn Error>> {
        let fleet = &self.run.fleet;
        let epochs = Api::<Epoch>::namespaced(fleet.stage().client().clone(), fleet.namespace());
        let epoch = epochs.get(&epoch_name(fleet.name(), self.epoch)).await?;
        Ok(epoch.status.and_then(|status| status.phase).ok_or("a phase")?)
    }

    /// The pod that its slivers move to.
    fn target(&self) -> Result<Pod, Box<dyn Error>> {
        let run = self.run;
        let prefix = format!("{}-{}-{}-", run.fleet.name(), self.before.id, self.before.current.number + 1);
        let snapshot = run.fleet.observer().now();
        let pod = snapshot.component("member").find(|pod| pod.name_any().starts_with(&prefix));
        Ok(pod.ok_or("the target")?.clone())
    }

    /// The same place, whoever died: it has a new incarnation, the others are those that they were, and shards are balanced.
    async fn ended(self) -> Outcome {
        let (id, incarnation) = (self.before.id, self.before.current.number);
        let ended = settled(self.run, "the member replaced", |snapshot| {
            member(snapshot, id).is_some_and(|now| now.current.number > incarnation && now.shards.len() == 4)
        })
        .await?;
        let others: Vec<(u32, u32)> = incarnations(&ended).into_iter().filter(|who| who.0 != id).collect();
        assert_eq!(others, self.others);
        assert!(is_balanced(&ended), "{:?}", ended.view());
        Ok(())
    }
}

/// The epoch in effect, and the one that is worked towards.
fn pointer(snapshot: &Snapshot) -> Option<(u64, u64)> {
    snapshot.status()?.epoch.map(|epoch| (epoch.current, epoch.target))
}

/// An operator's pod and its process.
struct Operator {
    pod: String,
    processes: Processes,
}

impl Operator {
    /// The one that runs, once one does.
    async fn find(run: &Run) -> Result<Self, Box<dyn Error>> {
        let operators = watcher::Config::default().labels("app.kubernetes.io/component=operator");
        let pods = watcher(Self::pods(run), operators).default_backoff().applied_objects();
        let ready = pods
            .filter_map(|pod| std::future::ready(pod.ok()))
            .filter(|pod| std::future::ready(pod.metadata.deletion_timestamp.is_none() && is_ready(pod)));
        let found = tokio::time::timeout(LIMIT, pin!(ready).next()).await?.ok_or("an operator")?;
        Ok(Self { processes: Processes::of(run, &found).await?, pod: found.name_any() })
    }

    /// Its process ends at once, and its pod goes, so that it doesn't start again in its place. False if it had ended before.
    async fn kill(self, run: &Run) -> Result<bool, Box<dyn Error>> {
        match self.processes.kill() {
            Err(Errno::SRCH) => return Ok(false),
            killed => killed?,
        }
        Self::pods(run).delete(&self.pod, &DeleteParams::default().grace_period(0)).await?;
        Ok(true)
    }

    fn pods(run: &Run) -> Api<Pod> {
        let stage = run.fleet.stage();
        Api::namespaced(stage.client().clone(), stage.system())
    }
}

/// A pod's processes on this host, looked up beforehand: to end them takes no time then.
struct Processes(Vec<Pid>);

impl Processes {
    async fn of(run: &Run, pod: &Pod) -> Result<Self, DemoError> {
        let unfit = || DemoError::Unfit(format!("{} runs on none of the workers", pod.name_any()));
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).ok_or_else(unfit)?;
        let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
        let found = run.fleet.stage().with_cluster(move |cluster| {
            cluster.worker_of_node(&node).map(|worker| cluster.pod_processes(worker, &namespace, &name)).transpose()
        });
        let found = found.await?.unwrap_or_default();
        let pids: Vec<Pid> = found.into_iter().filter_map(|pid| Pid::from_raw(pid.cast_signed())).collect();
        if pids.is_empty() { Err(unfit()) } else { Ok(Self(pids)) }
    }

    fn kill(&self) -> Result<(), Errno> {
        self.0.iter().try_for_each(|pid| kill_process(*pid, Signal::KILL))
    }
}
