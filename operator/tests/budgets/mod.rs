//! Disruption budgets on a real API server: when they are written, and what Kubernetes evicts by them.

use std::{collections::BTreeMap, error::Error, time::Duration};

use k8s_openapi::{
    api::{apps::v1::Deployment, core::v1::Pod, policy::v1::PodDisruptionBudget},
    apimachinery::pkg::util::intstr::IntOrString,
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, EvictParams, ListParams, Patch, PatchParams},
};
use serde_json::json;
use weft_crds::{StorageCommittee, StorageCommitteeStatus};
use weft_e2e::Scenario;
use weft_operator::{act::budgets, context::Context, reconcile::reconcile, subject::Subject};
use weft_planner::{ANSWER_HOLDS, Budget};

use crate::{
    Bench, Outcome, config,
    stage::{alone, begun, round, run_pods},
};

const PATIENCE: Duration = Duration::from_secs(120);

async fn stored(bench: &Bench) -> Result<PodDisruptionBudget, kube::Error> {
    bench.api::<PodDisruptionBudget>().get("demo-member").await
}

/// How many members' pods must stay.
async fn least(bench: &Bench) -> Result<i32, Box<dyn Error>> {
    let spec = stored(bench).await?.spec.ok_or("no spec")?;
    assert_eq!(spec.max_unavailable, None);
    match spec.min_available {
        Some(IntOrString::Int(least)) => Ok(least),
        other => Err(format!("{other:?} is no number").into()),
    }
}

/// Takes steps until something holds. Gives whether it does in time.
async fn holds_after(
    step: impl AsyncFn() -> Result<StorageCommitteeStatus, Box<dyn Error>>,
    holds: impl AsyncFn() -> Result<bool, Box<dyn Error>>,
) -> Result<bool, Box<dyn Error>> {
    let taken = tokio::time::timeout(PATIENCE, async {
        while !holds().await? {
            step().await?;
        }
        Ok(true)
    });
    taken.await.unwrap_or(Ok(false))
}

/// Takes steps until so many must stay.
async fn least_after(
    bench: &Bench,
    wanted: i32,
    step: impl AsyncFn() -> Result<StorageCommitteeStatus, Box<dyn Error>>,
) -> Outcome {
    if holds_after(step, async || Ok(least(bench).await? == wanted)).await? {
        return Ok(());
    }
    let status = bench.committee("demo").await?.status.unwrap_or_default();
    Err(format!("never {wanted}: {:?}, {:#?}", least(bench).await?, status.plan).into())
}

/// Reconciles, without a kubelet, until so many must stay.
async fn alone_until_least(operator: &Context, bench: &Bench, wanted: i32) -> Outcome {
    least_after(bench, wanted, async || alone(operator, bench).await).await
}

/// Reconciles until so many must stay.
async fn until_least(operator: &Context, bench: &Bench, wanted: i32) -> Outcome {
    least_after(bench, wanted, async || round(operator, bench).await).await
}

fn selects(budget: &PodDisruptionBudget, labels: &BTreeMap<String, String>) -> bool {
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref()).expect("a selector");
    assert_eq!(selector.match_expressions, None);
    selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value))
}

fn ready(status: &str) -> Patch<serde_json::Value> {
    Patch::Merge(json!({"status": {"conditions": [{"type": "Ready", "status": status}]}}))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_pod_has_one_budget_and_nothing_is_written_in_a_steady_state() -> Outcome {
    let bench = Bench::shared("each-pod-has-one-budget-and-nothing").await?;
    let (_, operator) = begun(&bench, "").await?;
    until_least(&operator, &bench, 6).await?;
    let api = bench.api::<PodDisruptionBudget>();
    let (members, gateways) = (api.get("demo-member").await?, api.get("demo-gateway").await?);
    assert_eq!(api.list(&ListParams::default()).await?.items.len(), 2);
    let pods = bench.api::<Pod>().list(&ListParams::default()).await?.items;
    assert!(
        pods.len() == 7 && pods.iter().all(|pod| selects(&members, pod.labels()) && !selects(&gateways, pod.labels()))
    );
    let template = bench.api::<Deployment>().get("demo-gateway").await?.spec.template;
    let gateway = template.metadata.and_then(|metadata| metadata.labels).ok_or("no labels")?;
    assert!(selects(&gateways, &gateway) && !selects(&members, &gateway));
    let uid = bench.committee("demo").await?.uid();
    for (budget, unready) in [(&members, "IfHealthyBudget"), (&gateways, "AlwaysAllow")] {
        let owners: Vec<_> = budget.owner_references().iter().map(|owner| Some(owner.uid.clone())).collect();
        assert_eq!(owners, std::slice::from_ref(&uid));
        let policy = budget.spec.as_ref().and_then(|spec| spec.unhealthy_pod_eviction_policy.as_deref());
        assert_eq!(policy, Some(unready));
    }

    for _ in 0..5 {
        round(&operator, &bench).await?;
    }
    let versions = |list: &[PodDisruptionBudget]| list.iter().map(ResourceExt::resource_version).collect::<Vec<_>>();
    let after = [api.get("demo-member").await?, api.get("demo-gateway").await?];
    assert_eq!(versions(&after), versions(&[members, gateways]));
    Box::pin(what_others_change_is_put_right(&bench, &operator)).await
}

async fn what_others_change_is_put_right(bench: &Bench, operator: &Context) -> Outcome {
    let api = bench.api::<PodDisruptionBudget>();
    let other =
        json!({"metadata": {"annotations": {"team": "storage"}}, "spec": {"minAvailable": null, "maxUnavailable": 3}});
    api.patch("demo-member", &PatchParams::default(), &Patch::Merge(other)).await?;
    round(operator, bench).await?;
    assert_eq!(least(bench).await?, 6);
    assert_eq!(stored(bench).await?.annotations().get("team").map(String::as_str), Some("storage"));
    api.delete("demo-member", &DeleteParams::default()).await?;
    round(operator, bench).await?;
    assert_eq!(least(bench).await?, 6);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_budget_follows_the_margin_down_and_up() -> Outcome {
    let mut bench = Bench::shared("the-budget-follows-the-margin-down-and").await?;
    let (fleet, operator) = begun(&bench, "").await?;
    until_least(&operator, &bench, 6).await?;
    // f = 9: with one silent that Kubernetes calls ready, one more is borne; with two, none.
    fleet.silence((3, 1));
    fleet.silence((4, 1));
    fleet.advance(ANSWER_HOLDS + Duration::from_secs(1));
    until_least(&operator, &bench, 7).await?;
    fleet.wake((3, 1));
    until_least(&operator, &bench, 6).await?;
    // With one that Kubernetes calls unready, too, five ready ones must stay of seven.
    bench.held_back = Some((4, 1));
    bench.api::<Pod>().patch_status("demo-4-1-1", &PatchParams::default(), &ready("False")).await?;
    until_least(&operator, &bench, 5).await?;
    fleet.wake((4, 1));
    bench.held_back = None;
    until_least(&operator, &bench, 6).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_may_be_evicted_before_a_replacement_is_begun_and_while_it_goes_on() -> Outcome {
    let bench = Bench::shared("nothing-may-be-evicted-before-a-replacement").await?;
    let (_, operator) = begun(&bench, ", epochs: {settle: 10s, retainFor: 0s}").await?;
    until_least(&operator, &bench, 6).await?;
    let before = bench.committee("demo").await?;
    let replace = Patch::Merge(json!({"spec": {"replace": [{"member": 4, "incarnation": 1}]}}));
    bench.api::<StorageCommittee>().patch("demo", &PatchParams::default(), &replace).await?;
    let successor = |status: &StorageCommitteeStatus| status.members[4].successor.is_some();

    // The round that closes the budget does nothing else: it may know nothing of who was just evicted. The successor's
    // pod is counted before it is made.
    let status = alone(&operator, &bench).await?;
    assert_eq!((least(&bench).await?, successor(&status)), (8, false));
    assert_eq!(Some(status), before.status);
    let status = alone(&operator, &bench).await?;
    assert_eq!((least(&bench).await?, successor(&status)), (8, true));

    let replaced = |status: &StorageCommitteeStatus| {
        let current = status.members.iter().find(|member| member.id == 4).map(|member| member.current.number);
        let view = status.view.as_ref().is_some_and(|view| view.epoch == 2 && view.in_effect);
        current == Some(2) && view
    };
    let waited = tokio::time::timeout(PATIENCE, async {
        while !replaced(&round(&operator, &bench).await?) {
            let pods = bench.count::<Pod>().await? as i32;
            assert!(least(&bench).await? >= pods, "{} of {pods} must stay", least(&bench).await?);
        }
        Ok::<_, Box<dyn Error>>(())
    });
    waited.await??;
    until_least(&operator, &bench, 6).await?;
    assert_eq!(bench.count::<Pod>().await?, 7);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_leader_opens_nothing_that_its_successor_has_closed() -> Outcome {
    let bench = Bench::shared("a-stale-leader-opens-nothing-that-its").await?;
    let (fleet, _) = begun(&bench, "").await?;
    // It has read the budget, and its own term in the status.
    let read = stored(&bench).await?;
    let stale = Subject::new(bench.client.clone(), bench.committee("demo").await?, "")?;
    let term = stale.status.term.ok_or("no term")?;
    let open = Budget { evictable: 1, pods: 7, min_available: 6, reason: "all was well".to_owned() };

    let successor = bench.operator_with(fleet);
    alone(&successor, &bench).await?;
    let closed = stored(&bench).await?;
    assert_eq!(closed.annotations().get("weft.dev/term"), Some(&(term + 1).to_string()));
    let refused = budgets::keep(&stale, Some(&read), &open, term).await.expect_err("an old read");
    assert!(refused.is_conflict(), "{refused}");
    let refused = reconcile(&successor, &bench.namespace, "demo").await;
    assert!(refused.is_ok(), "{refused:?}");
    Ok(())
}

/// Whether the API server lets a pod go.
async fn evict(bench: &Bench, pod: &str) -> Result<bool, Box<dyn Error>> {
    let mut config = config(&bench.server).await?;
    // What is refused is refused with 429, which would be tried again.
    config.default_retry = false;
    let pods = Api::<Pod>::namespaced(Client::try_from(config)?, &bench.namespace);
    match pods.evict(pod, &EvictParams::default()).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 429 => Ok(false),
        Err(other) => Err(other.into()),
    }
}

/// Waits until Kubernetes has taken notice of the budget, and of the pods.
async fn until_allowed(bench: &Bench, wanted: i32) -> Outcome {
    let settled = |budget: Option<&PodDisruptionBudget>| {
        let status = budget.and_then(|budget| budget.status.as_ref());
        let allowed = status.and_then(|status| status.disruptions_allowed);
        let seen = status.and_then(|status| status.observed_generation);
        budget.is_some_and(|budget| (allowed, seen) == (Some(wanted), budget.metadata.generation))
    };
    let api = bench.api::<PodDisruptionBudget>();
    let waited = kube::runtime::wait::await_condition(api, "demo-member", settled);
    let Ok(result) = tokio::time::timeout(PATIENCE, waited).await else {
        return Err(format!("never {wanted} allowed: {:#?}", stored(bench).await?).into());
    };
    result?;
    Ok(())
}

/// With Kubernetes' own disruption controller: f = 9, so two members of four shards may be away.
#[tokio::test(flavor = "multi_thread")]
async fn kubernetes_evicts_one_after_another_as_far_as_the_code_bears() -> Outcome {
    let scenario = Scenario::begins("kubernetes_evicts_one_after_another_as_far_as_the_code_bears", &[18]);
    let bench = Bench::start().await?;
    let (_, operator) = begun(&bench, "").await?;
    let _controller = bench.server.controllers("disruption")?;
    until_least(&operator, &bench, 6).await?;
    until_allowed(&bench, 1).await?;
    assert!(evict(&bench, "demo-0-1-1").await?);
    assert!(!evict(&bench, "demo-1-1-1").await?, "two drains at once");
    until_allowed(&bench, 0).await?;
    assert!(!evict(&bench, "demo-1-1-1").await?, "and the operator has seen nothing yet");

    // Its next pod can't run where it is drained; one more is borne.
    alone_until_least(&operator, &bench, 5).await?;
    until_allowed(&bench, 1).await?;
    assert!(evict(&bench, "demo-1-1-1").await?);
    alone_until_least(&operator, &bench, 7).await?;
    until_allowed(&bench, 0).await?;
    assert!(!evict(&bench, "demo-2-1-1").await?, "a third");

    // Both come back: Kubernetes lets nobody go before the operator has looked at them.
    run_pods(&bench).await?;
    until_allowed(&bench, 0).await?;
    until_least(&operator, &bench, 6).await?;
    until_allowed(&bench, 1).await?;

    // A replacement begins, and soon eight pods are ready where the spec says seven.
    let replace = Patch::Merge(json!({"spec": {"replace": [{"member": 4, "incarnation": 1}]}}));
    bench.api::<StorageCommittee>().patch("demo", &PatchParams::default(), &replace).await?;
    alone(&operator, &bench).await?;
    assert!(!evict(&bench, "demo-2-1-1").await?, "a replacement begins");
    assert!(holds_after(async || alone(&operator, &bench).await, async || Ok(bench.count::<Pod>().await? == 8)).await?);
    run_pods(&bench).await?;
    alone(&operator, &bench).await?;
    until_allowed(&bench, 0).await?;
    assert!(!evict(&bench, "demo-2-1-1").await?, "eight are ready of seven");
    scenario.ends();
    Ok(())
}
