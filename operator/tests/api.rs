//! The operator against a real API server: what it records and makes, before any member runs.

mod bench;
mod beyond;
mod budgets;
mod copies;
mod crashes;
mod epochs;
mod issuer;
mod lease;
mod machines;
mod members;
mod paths;
mod policies;
mod quiet;
mod refused;
mod returns;
mod revoking;
mod rewinds;
mod rights;
mod scenarios;
mod stage;
mod story;
mod traffic;
mod watches;
mod wire;

use std::{error::Error, sync::Arc};

use bench::{Bench, HOME, NAMESPACE, Outcome, config, make_namespace, operator, operator_of};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{PersistentVolumeClaim, Pod, Secret, Service},
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use stage::{let_claims_go, take_away, trust, until};
use weft_crds::{Epoch, EpochPhase, StorageCommittee, StorageCommitteeStatus};
use weft_e2e::Scenario;
use weft_operator::{
    act::term::TermError,
    context::Context,
    controller,
    reconcile::{Next, ReconcileError, reconcile},
};

/// Reconciles until the pods of all members are made, which takes a few rounds: each is one step of the story.
async fn settle(operator: &Context, bench: &Bench, name: &str) -> Outcome {
    for _ in 0..6 {
        reconcile(operator, &bench.namespace, name).await?;
        if bench.count::<Pod>().await? == 7 {
            break;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_minimal_committee_gets_its_fleet_and_objects() -> Outcome {
    let bench = Bench::shared("a-minimal-committee-gets-its-fleet-and").await?;
    let operator = bench.operator();
    bench.apply("demo", "").await?;
    settle(&operator, &bench, "demo").await?;

    let committee = bench.committee("demo").await?;
    let status = committee.status.clone().ok_or("no status")?;
    assert_eq!(status.term, Some(1));
    assert_eq!(status.fleet_id.map(|fleet| fleet.len()), Some(32));
    assert_eq!(status.encoding.map(|code| (code.shards, code.fault_tolerance)), Some((28, 9)));
    assert_eq!(status.image.as_deref(), Some("example.com/weft:1"));
    assert_eq!(status.members.len(), 7);
    assert_eq!((bench.count::<Pod>().await?, bench.count::<PersistentVolumeClaim>().await?), (7, 7));
    assert_eq!(bench.count::<Service>().await?, 2);
    assert_eq!(bench.count::<Deployment>().await?, 1);

    let pod = bench.api::<Pod>().get("demo-3-1-1").await?;
    let spec = pod.spec.ok_or("no spec")?;
    assert_eq!(spec.hostname.as_deref(), Some("demo-3-1"));
    let deployment = bench.api::<Deployment>().get("demo-gateway").await?;
    let gateway = deployment.spec.template.spec.ok_or("no spec")?;
    for container in spec.containers.iter().chain(&gateway.containers) {
        let security = container.security_context.as_ref().ok_or("no security context")?;
        assert_eq!(security.read_only_root_filesystem, Some(true), "{}", container.name);
    }
    let secret = bench.api::<Secret>().get("demo-3-1-tls").await?;
    let keys: Vec<String> = secret.data.unwrap_or_default().into_keys().collect();
    assert_eq!(keys, ["ca.crt", "tls.crt", "tls.key"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_leader_is_fenced() -> Outcome {
    let bench = Bench::shared("an-older-leader-is-fenced").await?;
    bench.apply("demo", "").await?;
    let (old, new) = (bench.operator(), bench.operator());
    reconcile(&old, &bench.namespace, "demo").await?;
    reconcile(&new, &bench.namespace, "demo").await?;
    let before = bench.committee("demo").await?.resource_version();

    let refused = reconcile(&old, &bench.namespace, "demo").await.expect_err("an old term");
    assert!(
        matches!(refused, ReconcileError::Term(TermError::Fenced { ours: 1, theirs: 2 })),
        "refused, but because of {refused:?}"
    );
    assert_eq!(bench.committee("demo").await?.resource_version(), before);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_object_stalls_no_healthy_one() -> Outcome {
    let bench = Bench::start().await?;
    // An older definition let in what the present types can't read.
    let loose = serde_json::json!([{"op": "replace",
        "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec",
        "value": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
        {"op": "remove", "path": "/spec/versions/0/schema/openAPIV3Schema/x-kubernetes-validations"}]);
    let patch = loose.to_string();
    let kubectl = bench.server.kubectl();
    kubectl.run(&["patch", "crd", "storagecommittees.weft.dev", "--type=json", "-p", &patch])?;
    kubectl.apply(
        "{apiVersion: weft.dev/v1alpha1, kind: StorageCommittee, metadata: {name: odd, namespace: default}, \
         spec: {members: 7}}",
    )?;
    bench.apply("demo", "").await?;
    let context = Arc::new(bench.operator());
    let (_, nodes) = controller::stores(&bench.client);
    let running = tokio::spawn(controller::run(context, bench.client.clone(), None, nodes));
    let minted = |committee: Option<&StorageCommittee>| {
        committee.and_then(|committee| committee.status.as_ref()).is_some_and(|status| status.fleet_id.is_some())
    };
    let waited = kube::runtime::wait::await_condition(bench.api::<StorageCommittee>(), "demo", minted);
    tokio::time::timeout(std::time::Duration::from_secs(60), waited).await??;
    running.abort();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_committee_leaves_claims_and_keys() -> Outcome {
    let scenario = Scenario::begins("a_deleted_committee_leaves_claims_and_keys", &[24]);
    let bench = Bench::shared("a-deleted-committee-leaves-claims-and-keys").await?;
    let operator = bench.operator();
    bench.apply("demo", "").await?;
    settle(&operator, &bench, "demo").await?;
    bench.api::<StorageCommittee>().delete("demo", &DeleteParams::default()).await?;
    assert_eq!(reconcile(&operator, &bench.namespace, "demo").await?, Next::Change);

    // No garbage collector runs here: what has no owner is what it would leave.
    let claims = bench.api::<PersistentVolumeClaim>().list(&ListParams::default()).await?;
    assert_eq!(claims.items.iter().filter(|claim| claim.owner_references().is_empty()).count(), 7);
    assert!(bench.api::<Secret>().get("demo-ca").await?.owner_references().is_empty());
    assert_eq!(bench.api::<Secret>().get("demo-gateway").await?.owner_references().len(), 1);
    let pods = bench.api::<Pod>().list(&ListParams::default()).await?;
    assert!(pods.items.iter().all(|pod| pod.owner_references().len() == 1));

    let fleet = bench.api::<Secret>().get("demo-ca").await?.annotations()["weft.dev/fleet"].clone();
    assert_eq!(
        spare_keys(&bench, &fleet).await?.map(|spare| spare.data),
        Some(bench.api::<Secret>().get("demo-ca").await?.data)
    );

    // A namesake would be another fleet: it stands still rather than take these keys for its own.
    bench.apply("demo", "").await?;
    let (reason, message) = stalls(&bench, &operator).await?;
    assert_eq!(reason, "DataKept");
    assert!(message.contains("Secret demo-ca to claim demo-6-1, 8 objects"), "{message}");
    assert_eq!(stalls(&bench, &operator).await?, (reason, message), "what is told doesn't change");
    // Two candidates are refused, and so is data whose keys are gone.
    let claims = bench.api::<PersistentVolumeClaim>();
    let other = serde_json::json!({"metadata": {"annotations": {"weft.dev/fleet": "0".repeat(32)}}});
    claims.patch("demo-3-1", &PatchParams::default(), &Patch::Merge(other)).await?;
    let (reason, message) = stalls(&bench, &operator).await?;
    assert_eq!(reason, "SeveralFleets");
    assert!(message.contains(&format!("{:?} (claim demo-3-1)", "0".repeat(32))), "{message}");
    claims.delete("demo-3-1", &DeleteParams::default()).await?;
    let_claims_go(&bench).await?;
    bench.api::<Secret>().delete("demo-ca", &DeleteParams::default()).await?;
    let (reason, message) = stalls(&bench, &operator).await?;
    assert_eq!(reason, "NoKeys");
    assert!(
        message.contains(&format!("kubectl weft adopt demo --namespace {} --fleet {fleet}", bench.namespace)),
        "{message}"
    );
    scenario.ends();
    Ok(())
}

/// The copy of a fleet's keys that the operator keeps.
async fn spare_keys(bench: &Bench, fleet: &str) -> Result<Option<Secret>, Box<dyn Error>> {
    let kept: Api<Secret> = Api::namespaced(bench.client.clone(), HOME);
    Ok(kept.get_opt(&format!("weft-keys-{fleet}")).await?)
}

/// Why a committee that has no fleet yet waits for a person: reason and message.
async fn stalls(bench: &Bench, operator: &Context) -> Result<(String, String), Box<dyn Error>> {
    reconcile(operator, &bench.namespace, "demo").await.expect_err("another fleet's objects are there");
    let status = bench.committee("demo").await?.status.ok_or("no status")?;
    assert_eq!((status.fleet_id, status.encoding), (None, None));
    let stalled = status.conditions.into_iter().find(|said| said.type_ == "Stalled").ok_or("not told")?;
    assert_eq!(stalled.status, "True");
    Ok((stalled.reason, stalled.message))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_begins_and_mends_the_loss_of_a_member() -> Outcome {
    let bench = Bench::shared("a-fleet-begins-and-mends-the-loss").await?;
    bench.apply("demo", ", epochs: {settle: 10s}").await?;
    let first = bench.operator();
    settle(&first, &bench, "demo").await?;
    // Another leader takes over: what it knows is what status and members tell it.
    let operator = bench.operator_with(Arc::new(members::Fleet::new(trust(&bench).await?)));
    let status = until(&operator, &bench, "a first view", |status| status.view.is_some()).await?;
    let view = status.view.ok_or("no view")?;
    assert_eq!((view.predecessor, view.in_effect, view.members.len()), (None, true, 7));
    assert_eq!(status.term, Some(2));

    take_away(&bench, 2).await?;
    let custody =
        |status: &StorageCommitteeStatus| -> usize { status.members.iter().map(|member| member.custody.len()).sum() };
    let status = until(&operator, &bench, "the lost member's four shards in custody", |status| {
        status.view.as_ref().is_some_and(|view| view.revision == 1 && view.in_effect) && custody(status) == 4
    })
    .await?;
    assert!(status.view.is_some_and(|view| view.members.iter().all(|member| member.id != 2)));

    let epochs = bench.api::<Epoch>().list(&ListParams::default()).await?.items;
    keeps_its_keys(&bench, &operator).await?;
    let phases: Vec<Option<EpochPhase>> = epochs.into_iter().map(|epoch| epoch.status.and_then(|s| s.phase)).collect();
    assert!(!phases.is_empty() && phases.iter().all(Option::is_some), "{phases:?}");
    Box::pin(adopts_again(&bench, &operator)).await
}

/// Keys that members trust are never made anew: where they are gone, a person has to restore them.
async fn keeps_its_keys(bench: &Bench, operator: &Context) -> Outcome {
    let secrets = bench.api::<Secret>();
    let kept = secrets.get("demo-ca").await?;
    secrets.delete("demo-ca", &DeleteParams::default()).await?;
    reconcile(operator, &bench.namespace, "demo").await.expect_err("no keys");
    assert!(secrets.get_opt("demo-ca").await?.is_none());
    let status = bench.committee("demo").await?.status.ok_or("no status")?;
    let stalled = status.conditions.iter().find(|condition| condition.type_ == "Stalled").ok_or("not told")?;
    assert_eq!((stalled.status.as_str(), stalled.reason.as_str()), ("True", "NoKeys"));
    let mut restored = kept.clone();
    restored.metadata.resource_version = None;
    restored.metadata.uid = None;
    secrets.create(&PostParams::default(), &restored).await?;
    Ok(())
}

/// The committee is deleted, and made again by someone who knows nothing of its fleet, and wants a member more: told what
/// to do, and doing it, takes claims, keys, members and code up.
async fn adopts_again(bench: &Bench, operator: &Context) -> Outcome {
    let before = bench.committee("demo").await?.status.ok_or("no status")?;
    let fleet = before.fleet_id.ok_or("no fleet")?;
    bench.api::<StorageCommittee>().delete("demo", &DeleteParams::default()).await?;
    // The garbage collector's work.
    let all = ListParams::default().labels("weft.dev/committee=demo");
    bench.api::<Pod>().delete_collection(&DeleteParams::default(), &all).await?;
    bench.api::<Epoch>().delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
    bench.apply_sized("demo", 8, ", epochs: {settle: 10s}").await?;
    let (reason, message) = stalls(bench, operator).await?;
    assert_eq!(reason, "DataKept");
    assert!(message.contains(&format!("set spec.fleetId to {fleet}:")), "{message}");
    let (_, command) = message.split_once("kubectl ").ok_or("no command")?;
    let (command, _) = command.split_once(". ").ok_or("no end of the command")?;
    // As the shell takes it.
    let command = command.replace('\'', "");
    let words: Vec<&str> = command.split_whitespace().collect();
    tokio::task::block_in_place(|| bench.server.kubectl().run(&words))?;

    let status = until(operator, bench, "its view again", |status| status.view.is_some()).await?;
    let status = match status.encoding {
        Some(_) => status,
        None => until(operator, bench, "its code again", |status| status.encoding.is_some()).await?,
    };
    assert_eq!(status.encoding.map(|code| (code.shards, code.fault_tolerance)), Some((28, 9)));
    assert_eq!(status.fleet_id.as_ref(), Some(&fleet));
    assert!(status.term > before.term, "{:?} follows {:?}", status.term, before.term);
    let hash = |view: Option<weft_crds::View>| view.map(|view| view.hash);
    assert_eq!(hash(status.view), hash(before.view));
    Ok(())
}
