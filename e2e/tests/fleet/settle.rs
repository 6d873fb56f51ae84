//! When a fleet has done what it was told to do, and what is seen of it then.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use weft_crds::{EpochPhase, Margin, MemberStatus, committee_condition};
use weft_e2e::demo::{DemoError, Run, Snapshot};

use crate::theatre::Outcome;

/// Within this time everything that is waited for comes about.
pub(crate) const LIMIT: Duration = Duration::from_secs(300);

/// n and f of a committee.
pub(crate) fn code(snapshot: &Snapshot) -> (i32, i32) {
    let code = snapshot.status().and_then(|status| status.encoding).expect("a code");
    (code.shards.into(), code.fault_tolerance.into())
}

/// Both margins of a committee that lacks nothing but the shards of holders that don't answer.
pub(crate) fn margin(snapshot: &Snapshot, away: i32) -> Margin {
    let (_, f) = code(snapshot);
    Margin { read: 2 * f - away, write: f - away }
}

/// Both margins that the status tells.
pub(crate) fn margins(snapshot: &Snapshot) -> Option<Margin> {
    snapshot.status().and_then(|status| status.margin)
}

/// Whether the shards are balanced within one, and each has an owner.
pub(crate) fn is_balanced(snapshot: &Snapshot) -> bool {
    let Some(view) = snapshot.view() else { return false };
    let held: Vec<usize> = view.members.iter().map(|member| member.shards.len()).collect();
    let even = held.iter().max().zip(held.iter().min()).is_some_and(|(most, least)| most - least <= 1);
    even && view.vacant.is_empty() && held.iter().sum::<usize>() == code(snapshot).0 as usize
}

/// Waits until the committee is Ready, the newest epoch committed, and `what` holds.
pub(crate) async fn settled(
    run: &Run,
    what: &str,
    mut holds: impl FnMut(&Snapshot) -> bool,
) -> Result<Snapshot, DemoError> {
    let observer = run.fleet.observer();
    observer
        .wait(what, LIMIT, |snapshot| {
            let newest = snapshot.epochs.iter().filter_map(|epoch| epoch.status.as_ref()?.phase);
            let newest = newest.rev().find(|phase| *phase != EpochPhase::Superseded);
            let committed = matches!(newest, Some(EpochPhase::Committed | EpochPhase::Retired));
            committed && snapshot.is(committee_condition::READY) && holds(snapshot)
        })
        .await
}

/// A member, by its number.
pub(crate) fn member(snapshot: &Snapshot, id: u32) -> Option<&MemberStatus> {
    snapshot.members().iter().find(|member| member.id == id)
}

/// All members and their incarnations.
pub(crate) fn incarnations(snapshot: &Snapshot) -> BTreeSet<(u32, u32)> {
    snapshot.members().iter().map(|member| (member.id, member.current.number)).collect()
}

/// Waits until of all claims one a member is left: the leavers' go, once `retainFor` has passed.
pub(crate) async fn only_members_claims(run: &Run) -> Outcome {
    let snapshot = run.fleet.observer().now();
    let wanted: BTreeSet<String> = snapshot.members().iter().filter_map(|member| member.claim.clone()).collect();
    assert_eq!(wanted.len(), snapshot.members().len());
    for leaver in claims(run).await?.difference(&wanted) {
        let limit = format!("--timeout={}s", LIMIT.as_secs());
        kubectl(run, &["wait", "--for=delete", &format!("pvc/{leaver}"), &limit]).await?;
    }
    assert_eq!(claims(run).await?, wanted);
    Ok(())
}

async fn claims(run: &Run) -> Result<BTreeSet<String>, kube::Error> {
    let api = Api::<PersistentVolumeClaim>::namespaced(run.fleet.stage().client().clone(), run.fleet.namespace());
    Ok(api.list(&ListParams::default()).await?.iter().map(ResourceExt::name_any).collect())
}

/// Lets the operator only watch, and waits until it does.
pub(crate) async fn pause(run: &Run) -> Outcome {
    patch(run, r#"{"spec": {"paused": true}}"#).await?;
    let watches = |snapshot: &Snapshot| {
        let plan = snapshot.status().map_or(&[][..], |status| &status.plan);
        plan.iter().any(|act| act.withheld_by.as_deref() == Some("spec.paused"))
    };
    run.fleet.observer().wait("a pause", LIMIT, watches).await?;
    Ok(())
}

pub(crate) async fn resume(run: &Run) -> Outcome {
    patch(run, r#"{"spec": {"paused": false}}"#).await
}

pub(crate) async fn patch(run: &Run, change: &str) -> Outcome {
    kubectl(run, &["patch", "storagecommittee", run.fleet.name(), "--type=merge", "-p", change]).await
}

pub(crate) async fn kubectl(run: &Run, arguments: &[&str]) -> Outcome {
    let all = [&["--namespace", run.fleet.namespace()], arguments].concat();
    run.fleet.stage().kubectl(&all).await?;
    Ok(())
}
