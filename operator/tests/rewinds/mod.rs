//! R26 and R1 on a real API server: etcd, or a member's volume, is restored from an older snapshot while the fleet lives on.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{DeleteParams, ListParams};
use weft_crds::{Epoch, MemberState, StorageCommittee, StorageCommitteeStatus, committee_condition};
use weft_e2e::Scenario;
use weft_operator::reconcile::reconcile;

use crate::{
    Bench, Outcome, members, settle,
    stage::{begun, run_pods, take_away, trust, until},
};

const SPEC: &str = ", epochs: {settle: 10s, retainFor: 0s}";

fn rewound(status: &StorageCommitteeStatus) -> Option<(&str, &str)> {
    let mut conditions = status.conditions.iter();
    let found = conditions.find(|condition| condition.type_ == committee_condition::CONTROL_PLANE_REWOUND)?;
    Some((&found.status, &found.message))
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_that_were_set_back_follow_the_fleet_and_nothing_is_destroyed_unconfirmed() -> Outcome {
    let mut bench = Bench::start().await?;
    let (fleet, first) = begun(&bench, SPEC).await?;
    let snapshot = bench.snapshot()?;
    // Leaders come and go; the last of them takes the loss of a member on.
    drop(first);
    let mut leader = bench.operator_with(fleet.clone());
    for _ in 0..3 {
        leader = bench.operator_with(fleet.clone());
        until(&leader, &bench, "another term", |_| true).await?;
    }
    take_away(&bench, 2).await?;
    let before = until(&leader, &bench, "custody", |status| {
        status.view.as_ref().is_some_and(|view| (view.epoch, view.revision, view.in_effect) == (1, 1, true))
    })
    .await?;

    bench.restore(&snapshot)?;
    let restored = bench.committee("demo").await?.status.ok_or("no status")?;
    assert!(restored.term < before.term && restored.view.as_ref().is_some_and(|view| view.revision == 0));
    // A new leader, which has only the old objects and the fleet.
    drop(leader);
    let operator = bench.operator_with(fleet.clone());
    let status = until(&operator, &bench, "the fleet's view", |status| {
        status.view.as_ref().is_some_and(|view| (view.revision, view.in_effect) == (1, true))
            && rewound(status).is_some_and(|(status, message)| status == "True" && message.contains("rewind=1.1."))
    })
    .await?;
    assert!(status.term > before.term, "{:?} is beyond {:?}", status.term, before.term);
    let hash = |status: &StorageCommitteeStatus| status.view.as_ref().map(|view| view.hash.clone());
    assert_eq!(hash(&status), hash(&before));

    // The replacement takes over, and the old claim, which came back with the objects, is no view's any more.
    let spare = |status: &StorageCommitteeStatus| {
        let withheld = |act: &weft_crds::PlannedAct| {
            act.act == "DestroyClaim" && act.withheld_by.as_ref().is_some_and(|by| by.starts_with("R26"))
        };
        status.plan.iter().any(withheld)
    };
    until(&operator, &bench, "a withheld destruction", spare).await?;
    let claim = bench.api::<PersistentVolumeClaim>().get("demo-2-1").await?;
    assert!(claim.metadata.deletion_timestamp.is_none());

    confirm(&bench).await?;
    let status = until(&operator, &bench, "confirmed", |status| status.rewound.is_none()).await?;
    assert_eq!(rewound(&status).map(|(status, _)| status), Some("False"));
    tokio::time::timeout(Duration::from_secs(60), async {
        while bench.api::<PersistentVolumeClaim>().get("demo-2-1").await?.metadata.deletion_timestamp.is_none() {
            drop(reconcile(&operator, &bench.namespace, "demo").await);
            run_pods(&bench).await?;
        }
        Outcome::Ok(())
    })
    .await??;
    Ok(())
}

/// Runs the command that the condition's message tells.
async fn confirm(bench: &Bench) -> Outcome {
    let status = bench.committee("demo").await?.status.ok_or("no status")?;
    let (_, message) = rewound(&status).ok_or("no condition")?;
    let (_, command) = message.split_once("kubectl ").ok_or("no command")?;
    let words: Vec<&str> = command.split_whitespace().collect();
    tokio::task::block_in_place(|| bench.server.kubectl().run(&words))?;
    Ok(())
}

/// The leader that lives through the restoration goes on, under a term of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_term_was_set_back_raises_it_anew() -> Outcome {
    let mut bench = Bench::start().await?;
    bench.apply("demo", "").await?;
    settle(&bench.operator(), &bench, "demo").await?;
    let snapshot = bench.snapshot()?;
    let fleet = Arc::new(members::Fleet::new(trust(&bench).await?));
    let operator = bench.operator_with(fleet);
    let status = until(&operator, &bench, "a view", |status| status.view.is_some()).await?;
    assert_eq!(status.term, Some(2));

    bench.restore(&snapshot)?;
    let restored = bench.committee("demo").await?.status.ok_or("no status")?;
    assert_eq!((restored.term, restored.view), (Some(1), None));
    // The first view was set back with it: the fleet has it still, and gets no second one (R3).
    let after = until(&operator, &bench, "the fleet's view", |status| status.view.is_some()).await?;
    assert!(after.term > Some(2), "{:?}", after.term);
    let hash = |view: Option<weft_crds::View>| view.map(|view| view.hash);
    assert_eq!(hash(after.view), hash(status.view));
    assert!(after.rewound.is_some());
    Ok(())
}

/// Epochs are made again from the view in effect; a Lease elects and fences nothing (R4).
#[tokio::test(flavor = "multi_thread")]
async fn deleted_epochs_are_made_again_from_the_fleet() -> Outcome {
    let bench = Bench::shared("deleted-epochs-are-made-again-from-the").await?;
    let (_, operator) = begun(&bench, SPEC).await?;
    let epochs = bench.api::<Epoch>();
    let before = epochs.get("demo-1").await?.status.ok_or("no status")?;
    epochs.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
    let names = async || -> Result<usize, kube::Error> { Ok(epochs.list(&ListParams::default()).await?.items.len()) };
    while names().await? == 0 {
        reconcile(&operator, &bench.namespace, "demo").await?;
    }
    let after = epochs.get("demo-1").await?.status.ok_or("no status")?;
    assert_eq!((after.owners, after.members), (before.owners, before.members));
    let committee: StorageCommittee = bench.committee("demo").await?;
    assert!(committee.status.is_some_and(|status| status.view.is_some_and(|view| view.revision == 0)));
    Ok(())
}

/// A volume that is behind what it signed counts as an empty one (R1): its shards go to custodians and its member gets another
/// volume. It isn't taken up again, though its process answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_was_set_back_is_lost_though_its_member_answers() -> Outcome {
    let scenario = Scenario::begins("a_volume_that_was_set_back_is_lost_though_its_member_answers", &[11]);
    let bench = Bench::shared("a-volume-that-was-set-back-is").await?;
    let (fleet, operator) = begun(&bench, SPEC).await?;
    fleet.rewind((2, 1));
    let lost = |status: &StorageCommitteeStatus| {
        let member = status.members.iter().find(|member| member.id == 2);
        member.is_some_and(|two| {
            (two.current.state, two.current.reason.as_deref()) == (MemberState::Lost, Some("Rewound"))
        })
    };
    until(&operator, &bench, "the loss of a volume that was set back", lost).await?;
    let status = until(&operator, &bench, "its shards in custody", |status| {
        let custody: usize = status.members.iter().map(|member| member.custody.len()).sum();
        custody == 4 && status.view.as_ref().is_some_and(|view| (view.revision, view.in_effect) == (1, true))
    })
    .await?;
    assert!(status.view.is_some_and(|view| view.members.iter().all(|member| member.id != 2)));

    let status = until(&operator, &bench, "another volume that owns its shards", |status| {
        let member = status.members.iter().find(|member| member.id == 2);
        member.is_some_and(|two| two.current.number == 2 && two.shards.len() == 4)
    })
    .await?;
    let claim = status.members.iter().find(|member| member.id == 2).and_then(|two| two.claim.clone());
    assert_eq!(claim.as_deref(), Some("demo-2-2"), "a new volume, and not the one that was set back");
    scenario.ends();
    Ok(())
}
