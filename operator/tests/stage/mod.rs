//! A committee with its members on a bench, and the rounds in which operator and kubelet take turns.

use std::{error::Error, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret};
use kube::{
    ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::json;
use weft_crds::{MemberState, MemberStatus, StorageCommitteeStatus};
use weft_operator::{
    context::Context,
    reconcile::{chain, reconcile},
};

use crate::{Bench, Outcome, members, settle};

/// For a status to come about; some of it takes its time.
const PATIENCE: Duration = Duration::from_secs(120);

/// A fleet that has its first view, and the operator that made it.
pub(crate) async fn begun(bench: &Bench, spec: &str) -> Result<(Arc<members::Fleet>, Context), Box<dyn Error>> {
    bench.apply("demo", spec).await?;
    settle(&bench.operator(), bench, "demo").await?;
    let fleet = Arc::new(members::Fleet::new(trust(bench).await?));
    let operator = bench.operator_with(fleet.clone());
    until(&operator, bench, "a first view at rest", |status| {
        let serving = |member: &MemberStatus| member.current.state == MemberState::Serving;
        status.view.is_some() && status.members.len() == 7 && status.members.iter().all(serving)
    })
    .await?;
    Ok((fleet, operator))
}

/// The key that views of the committee are signed with.
pub(crate) async fn trust(bench: &Bench) -> Result<weft_protocol::PublicKey, Box<dyn Error>> {
    let secret = bench.api::<Secret>().get("demo-ca").await?;
    let seed = secret.data.and_then(|data| data.get("view.key").cloned()).ok_or("no key")?;
    let mut key = [0; 32];
    hex::decode_to_slice(&seed.0, &mut key)?;
    Ok(weft_protocol::SigningKey::from_seed(key).public())
}

/// Plays the kubelet: every pod that isn't held back runs and has its member's address.
pub(crate) async fn run_pods(bench: &Bench) -> Outcome {
    for pod in bench.list::<Pod>().await? {
        let number = |label: &str| pod.labels().get(label).and_then(|text| text.parse::<u32>().ok());
        let (Some(member), Some(incarnation)) = (number("weft.dev/member"), number("weft.dev/incarnation")) else {
            continue;
        };
        let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
        let is_ready = conditions.into_iter().flatten().any(|said| said.type_ == "Ready" && said.status == "True");
        if is_ready || bench.held_back == Some((member, incarnation)) {
            continue;
        }
        let ip = members::address(member, incarnation);
        let runs = json!({"status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
            "conditions": [{"type": "Ready", "status": "True"}]}});
        bench.api::<Pod>().patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(runs)).await?;
    }
    Ok(())
}

/// One reconciliation, and what the kubelet does about it.
pub(crate) async fn round(operator: &Context, bench: &Bench) -> Result<StorageCommitteeStatus, Box<dyn Error>> {
    let status = alone(operator, bench).await?;
    run_pods(bench).await?;
    Ok(status)
}

/// One reconciliation without a kubelet: what is made doesn't run.
pub(crate) async fn alone(operator: &Context, bench: &Bench) -> Result<StorageCommitteeStatus, Box<dyn Error>> {
    match reconcile(operator, &bench.namespace, "demo").await {
        // Another write came first, which the next round reads.
        Err(error) if !error.is_conflict() => Err(chain(&error).into()),
        _ => Ok(bench.committee("demo").await?.status.unwrap_or_default()),
    }
}

/// Reconciles until the status is as wanted.
pub(crate) async fn until(
    operator: &Context,
    bench: &Bench,
    what: &str,
    wanted: impl Fn(&StorageCommitteeStatus) -> bool,
) -> Result<StorageCommitteeStatus, Box<dyn Error>> {
    let waited = tokio::time::timeout(PATIENCE, async {
        loop {
            let status = round(operator, bench).await?;
            if wanted(&status) {
                return Ok(status);
            }
        }
    });
    if let Ok(result) = waited.await {
        return result;
    }
    let status = bench.committee("demo").await?.status;
    Err(format!("never {what}: {}", serde_yaml::to_string(&status)?).into())
}

/// A member's first pod and claim go, and its volume with them.
pub(crate) async fn take_away(bench: &Bench, member: u32) -> Outcome {
    let (pod, claim) = (format!("demo-{member}-1-1"), format!("demo-{member}-1"));
    bench.api::<Pod>().delete(&pod, &DeleteParams::default()).await?;
    let claims = bench.api::<PersistentVolumeClaim>();
    claims.delete(&claim, &DeleteParams::default()).await?;
    let_claims_go(bench).await
}

/// Takes the protection of claims away that are being deleted, as a controller does when no pod uses them any more.
pub(crate) async fn let_claims_go(bench: &Bench) -> Outcome {
    let (claims, mut unprotected) = (bench.api::<PersistentVolumeClaim>(), json!({"metadata": {"finalizers": null}}));
    for claim in bench.list::<PersistentVolumeClaim>().await? {
        if claim.metadata.deletion_timestamp.is_some() {
            unprotected["metadata"]["uid"] = json!(claim.uid());
            claims.patch(&claim.name_any(), &PatchParams::default(), &Patch::Merge(&unprotected)).await?;
        }
    }
    Ok(())
}

/// Status, reason and message of a condition of the committee.
pub(crate) fn said<'s>(status: &'s StorageCommitteeStatus, condition: &str) -> Option<(&'s str, &'s str, &'s str)> {
    let found = status.conditions.iter().find(|found| found.type_ == condition)?;
    Some((&found.status, &found.reason, &found.message))
}
