//! The operator's copy of a fleet's keys: it is there while data outlives the committee, and is nobody else's to change.

use std::error::Error;

use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::json;
use weft_crds::{StorageCommittee, StorageCommitteeStatus};
use weft_e2e::Scenario;
use weft_operator::reconcile::reconcile;

use crate::{
    Bench, HOME, Outcome, make_namespace, settle, spare_keys,
    stage::{alone, said},
};

type Answer<T> = Result<T, Box<dyn Error>>;

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_the_keys_follows_the_policy_and_is_nobody_elses_to_change() -> Outcome {
    let scenario = Scenario::begins("a_copy_of_the_keys_follows_the_policy_and_is_nobody_elses_to_change", &[24]);
    let bench = Bench::shared("a-copy-of-the-keys-follows-the").await?;
    bench.apply("demo", "").await?;
    let operator = bench.operator();
    settle(&operator, &bench, "demo").await?;
    let fleet = bench.committee("demo").await?.status.and_then(|status| status.fleet_id).ok_or("no fleet")?;
    let home: Api<Secret> = Api::namespaced(bench.client.clone(), HOME);
    let name = format!("weft-keys-{fleet}");
    let keys = bench.api::<Secret>().get("demo-ca").await?;

    // Another leader raises the term, and a copy that was deleted is made again.
    let operator = bench.operator();
    alone(&operator, &bench).await?;
    assert_eq!(term(&copy(&bench, &fleet).await?), Some("2"));
    home.delete(&name, &DeleteParams::default()).await?;
    alone(&operator, &bench).await?;
    let made = copy(&bench, &fleet).await?;
    assert_eq!((term(&made), &made.data), (Some("2"), &keys.data));

    // Whoever names the fleet has neither its keys nor the right to replace them.
    for policy in ["Delete", "Retain"] {
        stranger(&bench, &fleet, policy).await?;
        assert_eq!(copy(&bench, &fleet).await?, made, "as it was");
    }

    // Other keys of that fleet may be the right ones.
    let other = json!({"stringData": {"view.key": "00".repeat(32)}});
    home.patch(&name, &PatchParams::default(), &Patch::Merge(other)).await?;
    let changed = copy(&bench, &fleet).await?;
    let status = alone(&operator, &bench).await?;
    assert_eq!(copy(&bench, &fleet).await?, changed);
    assert!(refused(&status).is_some_and(|told| told.contains("it holds other keys of that fleet")), "{status:#?}");
    policy(&bench, "Delete").await?;
    alone(&operator, &bench).await?;
    assert_eq!(copy(&bench, &fleet).await?, changed);

    home.delete(&name, &DeleteParams::default()).await?;
    policy(&bench, "Retain").await?;
    let status = alone(&operator, &bench).await?;
    assert_eq!((copy(&bench, &fleet).await?.data, refused(&status)), (keys.data, None));
    policy(&bench, "Delete").await?;
    alone(&operator, &bench).await?;
    assert!(spare_keys(&bench, &fleet).await?.is_none());
    scenario.ends();
    Ok(())
}

async fn copy(bench: &Bench, fleet: &str) -> Answer<Secret> {
    Ok(spare_keys(bench, fleet).await?.ok_or("no copy")?)
}

fn term(copy: &Secret) -> Option<&str> {
    copy.annotations().get("weft.dev/term").map(String::as_str)
}

fn refused(status: &StorageCommitteeStatus) -> Option<&str> {
    let acts = status.plan.iter().find(|act| act.act == "KeepKeys")?;
    assert!(said(status, "Stalled").is_some_and(|(status, ..)| status == "True"));
    acts.withheld_by.as_deref()
}

async fn policy(bench: &Bench, policy: &str) -> Outcome {
    let change = Patch::Merge(json!({"spec": {"deletionPolicy": policy}}));
    bench.api::<StorageCommittee>().patch("demo", &PatchParams::default(), &change).await?;
    Ok(())
}

/// A committee elsewhere, which claims the fleet: it is told what to do, and makes nothing.
async fn stranger(bench: &Bench, fleet: &str, policy: &str) -> Outcome {
    let namespace = format!("stranger-{}", policy.to_lowercase());
    make_namespace(&bench.client, &namespace).await?;
    let theirs = bench.beside(&namespace);
    theirs.apply("demo", &format!(", fleetId: \"{fleet}\", deletionPolicy: {policy}")).await?;
    let operator = bench.operator();
    for _ in 0..2 {
        drop(reconcile(&operator, &namespace, "demo").await);
    }
    let status = theirs.committee("demo").await?.status.ok_or("no status")?;
    let (_, reason, message) = said(&status, "Stalled").ok_or("not told")?;
    assert_eq!((reason, status.fleet_id.as_ref()), ("NoKeys", None));
    assert!(message.contains(&format!("kubectl weft adopt demo --namespace {namespace} --fleet {fleet}")), "{message}");
    assert!(theirs.api::<Secret>().get_opt("demo-ca").await?.is_none());
    Ok(())
}
