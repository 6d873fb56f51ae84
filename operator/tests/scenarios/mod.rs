//! The scenarios that need no data: what the operator makes of what befalls machines, pods, claims and volumes. Each is one
//! fleet of seven members on machines of its own.

use std::{collections::BTreeMap, error::Error, time::Duration};

use futures::{FutureExt, StreamExt, future::LocalBoxFuture, stream};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::{
    ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::json;
use weft_crds::{MemberState, StorageCommitteeStatus};
use weft_e2e::Scenario;
use weft_operator::env::Env;

use crate::{
    Bench, Outcome,
    machines::{self, Machines},
    stage::said,
    story::{COMMITTEE, LIMIT, SPEC, Story, is_ready, position, serves},
};

/// Fleets that live at once.
const TOGETHER: usize = 4;

/// So much more time passes with each round of a wait that tries patience; and so many rounds of it are more than two times
/// `unreachableAfter`.
const SKIPPED: Duration = Duration::from_secs(7);
const LONG: usize = 13;

/// State and attempt of who hasn't restarted.
const SERVES_AS_EVER: (MemberState, u32) = (MemberState::Serving, 1);

const HOUR: Duration = Duration::from_secs(3600);

type Scene = for<'s> fn(&'s mut Story) -> LocalBoxFuture<'s, Outcome>;

/// Number, name, and what happens; on so many machines in so many zones.
const SCENES: [(u8, &str, usize, usize, Scene); 16] = [
    (3, "a-pod-is-deleted", 4, 4, |story| a_pod_is_deleted(story).boxed_local()),
    (5, "a-claim-is-deleted-under-its-pod", 4, 4, |story| a_claim_is_deleted_under_its_pod(story).boxed_local()),
    (6, "a-claim-never-goes", 4, 4, |story| a_claim_never_goes(story).boxed_local()),
    (7, "a-node-is-deleted", 8, 8, |story| a_node_is_deleted(story).boxed_local()),
    (8, "a-node-is-back-in-time", 4, 4, |story| a_node_is_back_in_time(story).boxed_local()),
    (9, "a-node-stays-away", 8, 8, |story| a_node_stays_away(story).boxed_local()),
    (10, "a-dead-node-returns", 8, 8, |story| a_dead_node_returns(story).boxed_local()),
    (13, "a-zone-is-lost", 8, 4, |story| a_zone_is_lost(story).boxed_local()),
    (14, "half-the-nodes-are-silent", 4, 4, |story| half_the_nodes_are_silent(story).boxed_local()),
    (16, "a-second-loss-during-a-repair", 8, 8, |story| a_second_loss_during_a_repair(story).boxed_local()),
    (17, "there-is-no-room", 8, 8, |story| there_is_no_room(story).boxed_local()),
    (21, "an-image-cannot-be-pulled", 4, 4, |story| an_image_cannot_be_pulled(story).boxed_local()),
    (21, "a-maintenance-window", 4, 4, |story| a_maintenance_window(story).boxed_local()),
    (22, "another-operator", 4, 4, |story| another_operator(story).boxed_local()),
    (25, "a-pause", 8, 8, |story| a_pause(story).boxed_local()),
    (23, "partitions", 8, 8, |story| partitions(story).boxed_local()),
];

#[tokio::test(flavor = "multi_thread")]
async fn what_befalls_machines_pods_and_claims() -> Outcome {
    let bench = Bench::start().await?;
    machines::make_class(&bench.client).await?;
    let bench = &bench;
    let scenes = stream::iter(SCENES).map(|(number, name, machines, zones, scene)| async move {
        let numbers = [number];
        let scenario = Scenario::begins(name, &numbers);
        let lived = async {
            let mut story = begun(bench, name, machines, zones).await?;
            scene(&mut story).await
        };
        match lived.await {
            Ok(()) => {
                scenario.ends();
                None
            }
            Err(error) => Some(format!("scenario {number}, {name}: {error}")),
        }
    });
    let wrong: Vec<String> = scenes.buffer_unordered(TOGETHER).filter_map(async |wrong| wrong).collect().await;
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

async fn begun(bench: &Bench, name: &str, machines: usize, zones: usize) -> Result<Story, Box<dyn Error>> {
    let mut story = Story::begin(bench, name, None).await?;
    story.runs_on(machines, zones).await?;
    story.bench.apply(COMMITTEE, &format!("{SPEC}, repair: {{unreachableAfter: 1m}}")).await?;
    story.rests("begun", |status| serves(status, 7) && position(status) == Some((1, 0))).await?;
    Ok(story)
}

impl Story {
    fn machines(&mut self) -> &mut Machines {
        self.machines.as_mut().expect("this story has machines")
    }

    /// A machine is off: nothing on it is heard.
    async fn power_off(&mut self, machine: &str) -> Outcome {
        for who in self.machines().on(machine).await? {
            self.fleet.silence(who);
        }
        self.machines().cut(machine).await
    }

    async fn power_on(&mut self, machine: &str) -> Outcome {
        for who in self.machines().on(machine).await? {
            self.fleet.wake(who);
        }
        self.machines().mend(machine).await
    }

    /// So many rounds, in each of which this holds.
    async fn while_holds(
        &mut self,
        rounds: usize,
        what: &str,
        holds: impl Fn(&StorageCommitteeStatus) -> bool,
    ) -> Result<StorageCommitteeStatus, Box<dyn Error>> {
        let mut status = StorageCommitteeStatus::default();
        for _ in 0..rounds {
            self.fleet.advance(SKIPPED);
            status = self.round().await?;
            if !holds(&status) {
                return Err(format!("{what} doesn't hold: {}", serde_yaml::to_string(&status)?).into());
            }
        }
        Ok(status)
    }

    /// By the operator's clock.
    fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::from_millisecond(self.fleet.now().0).expect("a time of these days")
    }

    async fn uids(&self) -> Result<BTreeMap<String, Option<String>>, Box<dyn Error>> {
        let pods = self.bench.list::<Pod>().await?;
        Ok(pods.iter().map(|pod| (pod.name_any(), pod.uid())).collect())
    }
}

/// The incarnations of members 0, 1, …
fn incarnations(status: &StorageCommitteeStatus) -> Vec<u32> {
    status.members.iter().map(|member| member.current.number).collect()
}

/// Whether everybody serves, all but these as they began.
fn replaced(status: &StorageCommitteeStatus, members: &[u32]) -> bool {
    let wanted = |member: &weft_crds::MemberStatus| 1 + u32::from(members.contains(&member.id));
    serves(status, 7) && status.members.iter().all(|member| member.current.number == wanted(member))
}

/// Whether nobody was given up, and no view made.
fn is_untouched(status: &StorageCommitteeStatus) -> bool {
    incarnations(status) == [1; 7]
        && status.members.iter().all(|member| member.successor.is_none())
        && position(status) == Some((1, 0))
        && status.sealing.is_none()
}

async fn a_pod_is_deleted(story: &mut Story) -> Outcome {
    let claims = story.bench.api::<PersistentVolumeClaim>();
    let before = claims.get("demo-2-1").await?.uid();
    story.bench.api::<Pod>().delete("demo-2-1-1", &DeleteParams::default()).await?;
    story.while_holds(2, "nobody is given up", is_untouched).await?;
    let again = |status: &StorageCommitteeStatus| status.members[2].current.attempt == 2;
    story.rests("made again", |status| serves(status, 7) && is_untouched(status) && again(status)).await?;
    assert_eq!(claims.get("demo-2-1").await?.uid(), before);
    Ok(())
}

async fn a_claim_is_deleted_under_its_pod(story: &mut Story) -> Outcome {
    story.bench.api::<PersistentVolumeClaim>().delete("demo-2-1", &DeleteParams::default()).await?;
    story.rests("replaced", |status| replaced(status, &[2])).await?;
    assert!(story.bench.api::<PersistentVolumeClaim>().get_opt("demo-2-1").await?.is_none());
    Ok(())
}

async fn a_claim_never_goes(story: &mut Story) -> Outcome {
    let claims = story.bench.api::<PersistentVolumeClaim>();
    let held = json!({"metadata": {"finalizers": ["kubernetes.io/pvc-protection", "example.com/held"]}});
    claims.patch("demo-2-1", &PatchParams::default(), &Patch::Merge(held)).await?;
    claims.delete("demo-2-1", &DeleteParams::default()).await?;
    story.rests("replaced beside it", |status| replaced(status, &[2])).await?;
    assert_eq!(claims.get("demo-2-1").await?.finalizers(), ["example.com/held"]);
    Ok(())
}

async fn a_node_is_deleted(story: &mut Story) -> Outcome {
    let machine = story.machines().of(2).await?;
    story.power_off(&machine).await?;
    story.machines().delete(&machine).await?;
    story.rests("replaced elsewhere", |status| replaced(status, &[2])).await?;
    Ok(())
}

async fn a_node_is_back_in_time(story: &mut Story) -> Outcome {
    let machine = story.machines().of(2).await?;
    story.power_off(&machine).await?;
    let status = story.while_holds(5, "nobody is given up", is_untouched).await?;
    assert!(!is_ready(&status));
    story.power_on(&machine).await?;
    story.rests("as before", |status| serves(status, 7) && is_untouched(status)).await?;
    Ok(())
}

async fn a_node_stays_away(story: &mut Story) -> Outcome {
    let machine = story.machines().of(2).await?;
    story.power_off(&machine).await?;
    story.rests("one is replaced", |status| replaced(status, &[2])).await?;
    Ok(())
}

/// Its pod was to be deleted meanwhile, and its process runs again.
async fn a_dead_node_returns(story: &mut Story) -> Outcome {
    let machine = story.machines().of(2).await?;
    story.power_off(&machine).await?;
    let status = story.rests("one is replaced", |status| replaced(status, &[2])).await?;
    let pod = story.bench.api::<Pod>().get_opt("demo-2-1-1").await?;
    assert!(pod.is_none_or(|pod| pod.metadata.deletion_timestamp.is_some()), "the old pod is to go");
    story.power_on(&machine).await?;
    story.rests("the zombie ends", |after| replaced(after, &[2]) && position(after) == position(&status)).await?;
    assert_eq!(story.uids().await?.len(), 7);
    Ok(())
}

async fn a_zone_is_lost(story: &mut Story) -> Outcome {
    let status = story.round().await?;
    assert!(status.survives.is_some_and(|survives| survives.zones >= 1), "{:?}", status.survives);
    let machines: Vec<String> = (0..8)
        .filter(|number| number % 4 == 1)
        .map(|number| format!("{}-machine-{number}", story.bench.namespace))
        .collect();
    let mut lost = Vec::new();
    for machine in &machines {
        lost.extend(story.machines().on(machine).await?.into_iter().map(|(member, _)| u32::from(member)));
        story.power_off(machine).await?;
    }
    assert_eq!(lost.len(), 2);
    story.rests("all of the zone are replaced", |status| replaced(status, &lost)).await?;
    Ok(())
}

async fn half_the_nodes_are_silent(story: &mut Story) -> Outcome {
    let machines = [story.machines().of(0).await?, story.machines().of(1).await?];
    assert_ne!(machines[0], machines[1]);
    for machine in &machines {
        story.power_off(machine).await?;
    }
    let status = story.while_holds(LONG, "nobody is given up", is_untouched).await?;
    assert!(!is_ready(&status));
    let (_, reason, message) = said(&status, "Stalled").ok_or("nothing is said")?;
    println!("half the nodes: {reason}, {message}");
    let waits = status.plan.iter().filter_map(|act| act.withheld_by.clone()).collect::<Vec<_>>();
    assert!(!waits.is_empty(), "nobody says what waits: {:?}", status.plan);
    for machine in &machines {
        story.power_on(machine).await?;
    }
    story.rests("as before", |status| serves(status, 7) && is_untouched(status)).await?;
    Ok(())
}

async fn a_second_loss_during_a_repair(story: &mut Story) -> Outcome {
    let second = story.machines().of(4).await?;
    let first = story.machines().of(2).await?;
    assert_ne!(first, second);
    story.power_off(&first).await?;
    let custody = |status: &StorageCommitteeStatus| status.members.iter().any(|member| !member.custody.is_empty());
    for round in 0.. {
        assert!(round < LIMIT, "the first loss is never seen to");
        if custody(&story.round().await?) {
            break;
        }
    }
    story.power_off(&second).await?;
    story.rests("both are replaced", |status| replaced(status, &[2, 4])).await?;
    Ok(())
}

async fn there_is_no_room(story: &mut Story) -> Outcome {
    let machine = story.machines().of(2).await?;
    story.machines().full = true;
    story.power_off(&machine).await?;
    let status = story.while_holds(LONG, "no more than one is given up", |status| {
        status.members.iter().all(|member| member.id == 2 || member.current.number == 1)
    });
    let status = status.await?;
    assert!(!is_ready(&status));
    let text = serde_yaml::to_string(&status)?;
    assert!(text.contains("Unschedulable"), "nobody says why: {text}");
    let custody: usize = status.members.iter().map(|member| member.custody.len()).sum();
    assert_eq!(custody, 4, "its shards are kept by others");
    story.machines().full = false;
    story.rests("replaced once there is room", |status| replaced(status, &[2])).await?;
    Ok(())
}

/// It is put right later than a silence may last, with the image that the others run.
async fn an_image_cannot_be_pulled(story: &mut Story) -> Outcome {
    let claims = story.bench.list::<PersistentVolumeClaim>().await?.len();
    story.machines().unknown = Some("example.com/weft:mistyped".to_owned());
    story.change(json!({"image": "example.com/weft:mistyped"})).await?;
    let halted = |status: &StorageCommitteeStatus| {
        status.members.iter().position(|member| member.current.reason.as_deref() == Some("ErrImagePull"))
    };
    let mut first = None;
    for _ in 0..LIMIT {
        let status = story.round().await?;
        // Its process ends with its pod.
        for member in status.members.iter().filter(|member| member.current.restarting.is_some()) {
            story.fleet.silence((member.id as u8, 1));
        }
        first = halted(&status);
        if first.is_some() {
            break;
        }
    }
    let first = first.ok_or("nobody restarts")?;
    let others_serve = |status: &StorageCommitteeStatus| {
        let mut others = status.members.iter().enumerate().filter(|(at, _)| *at != first);
        is_untouched(status)
            && others.all(|(_, member)| (member.current.state, member.current.attempt) == SERVES_AS_EVER)
    };
    let status = story.while_holds(LONG, "nobody else restarts, and nobody is given up", others_serve).await?;
    assert_eq!(said(&status, "Stalled").map(|(status, reason, _)| (status, reason)), Some(("True", "RolloutHalted")));
    story.change(json!({"image": "example.com/weft:1"})).await?;
    story.while_holds(3, "nobody is given up", others_serve).await?;
    story.fleet.wake((first as u8, 1));
    story.rests("as before", |status| serves(status, 7) && others_serve(status)).await?;
    assert_eq!(story.bench.list::<PersistentVolumeClaim>().await?.len(), claims);
    Ok(())
}

/// Another image waits for the window that opens two hours later.
async fn a_maintenance_window(story: &mut Story) -> Outcome {
    let opens = story.now() + 2 * HOUR;
    let window = json!({"start": opens.strftime("%H:%M").to_string(), "duration": "1h"});
    story.change(json!({"image": "example.com/weft:2", "maintenanceWindows": [window]})).await?;
    let attempts = |status: &StorageCommitteeStatus, attempt: u32| {
        serves(status, 7) && is_untouched(status) && status.members.iter().all(|it| it.current.attempt == attempt)
    };
    let status = story.while_holds(LONG, "nobody restarts", |status| attempts(status, 1)).await?;
    let (ready, reason, message) = said(&status, "Ready").ok_or("nothing is said")?;
    assert_eq!((ready, reason), ("True", "AwaitingMaintenance"));
    assert!(
        message.ends_with(&opens.strftime("in the window that opens at %Y-%m-%dT%H:%M:00Z").to_string()),
        "{message}"
    );
    story.fleet.advance(2 * HOUR);
    story.rests("all have restarted", |status| attempts(status, 2)).await?;
    Ok(())
}

async fn another_operator(story: &mut Story) -> Outcome {
    let before = story.uids().await?;
    story.another_operator("example.com/weft:2").await?;
    story.while_holds(LONG, "nobody restarts", |status| serves(status, 7) && is_untouched(status)).await?;
    assert_eq!(story.uids().await?, before);
    let status = story.round().await?;
    assert_eq!(said(&status, "UpgradeAvailable").map(|(status, ..)| status), Some("True"));
    story.change(json!({"upgrade": "Automatic"})).await?;
    let restarted = |status: &StorageCommitteeStatus| status.members.iter().all(|member| member.current.attempt == 2);
    story.rests("all have restarted", |status| serves(status, 7) && is_untouched(status) && restarted(status)).await?;
    Ok(())
}

async fn a_pause(story: &mut Story) -> Outcome {
    story.change(json!({"paused": true})).await?;
    let machine = story.machines().of(2).await?;
    story.power_off(&machine).await?;
    let status = story.while_holds(LONG, "nobody is given up", is_untouched).await?;
    assert!(!is_ready(&status));
    assert_eq!(said(&status, "Progressing").map(|(status, reason, _)| (status, reason)), Some(("False", "Paused")));
    story.change(json!({"paused": false})).await?;
    story.rests("one is replaced", |status| replaced(status, &[2])).await?;
    Ok(())
}

/// A kubelet that isn't heard is no loss while its members answer; nor is a member that the operator alone doesn't hear.
async fn partitions(story: &mut Story) -> Outcome {
    let machine = story.machines().of(2).await?;
    story.machines().cut(&machine).await?;
    story.while_holds(LONG, "nobody is given up", is_untouched).await?;
    story.machines().mend(&machine).await?;
    story.rests("as before", |status| serves(status, 7) && is_untouched(status)).await?;
    story.fleet.hide((4, 1));
    let status = story.while_holds(LONG, "nobody is given up", is_untouched).await?;
    assert!(!is_ready(&status));
    story.fleet.wake((4, 1));
    story.rests("as before", |status| serves(status, 7) && is_untouched(status)).await?;
    Ok(())
}
