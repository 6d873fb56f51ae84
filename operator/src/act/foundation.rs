//! What a committee has whatever its members do: keys, Services, gateways, and volumes that outlive it.

use std::hash::{DefaultHasher, Hash, Hasher};

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{PersistentVolume, PersistentVolumeClaim},
};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;
use thiserror::Error;
use weft_crds::DeletionPolicy;
use weft_protocol::FleetId;

use crate::{
    act::{budgets, gateway, secrets::Keys, services},
    api::{ApiError, Object},
    names,
    subject::Subject,
};

/// Annotation: a digest of what the operator last applied, so that a steady state writes nothing.
const APPLIED: &str = "weft.dev/applied";

#[derive(Debug, Error)]
pub enum FoundationError {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error("write {name} as JSON")]
    Json { name: String, source: serde_json::Error },
    #[error("set the reclaim policy of volume {volume}")]
    Reclaim { volume: String, source: Box<kube::Error> },
}

/// Makes Services, the gateways' Deployment and their disruption budget what they should be.
pub async fn ensure(subject: &Subject, fleet: FleetId, keys: &Keys) -> Result<(), FoundationError> {
    keep(subject, services::members(subject)).await?;
    keep(subject, services::gateway(subject)).await?;
    if let Err(error) = keep(subject, budgets::gateways(subject)).await {
        // Drains go by it, and nothing else.
        tracing::warn!(committee = subject.name, error = crate::reconcile::chain(&error), "gateways have no budget");
    }
    // Another release of the operator may put the same wish otherwise, and no gateway restarts for that.
    let inputs = subject.gateway_inputs(fleet, keys.trust());
    keep_as(subject, gateway::deployment(subject, fleet, keys.trust()), inputs).await
}

/// Applies an object unless that is what was applied last.
async fn keep<K: Object>(subject: &Subject, wanted: K) -> Result<(), FoundationError> {
    let name = wanted.name_any();
    let text = serde_json::to_string(&wanted).map_err(|source| FoundationError::Json { name: name.clone(), source })?;
    // Only compared with what this program wrote; another release's hasher costs one needless write.
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    keep_as(subject, wanted, format!("{:016x}", hasher.finish())).await
}

/// Applies an object unless what was applied last had this digest.
async fn keep_as<K: Object>(subject: &Subject, mut wanted: K, digest: String) -> Result<(), FoundationError> {
    let name = wanted.name_any();
    let stored: Option<K> = subject.namespace.get(&name).await?;
    if stored.is_some_and(|stored| stored.annotations().get(APPLIED) == Some(&digest)) {
        return Ok(());
    }
    wanted.annotations_mut().insert(APPLIED.to_owned(), digest);
    subject.namespace.apply(&wanted).await?;
    Ok(())
}

/// How many gateways are ready, and how many of these, at the least, are as the Deployment says.
pub fn ready_gateways(deployment: Option<&Deployment>) -> (u32, u32) {
    let status = deployment.and_then(|deployment| deployment.status.clone()).unwrap_or_default();
    let [ready, all, updated] = [status.ready_replicas, status.replicas, status.updated_replicas]
        .map(|number| number.unwrap_or_default().max(0) as u32);
    let seen = status.observed_generation >= deployment.and_then(|deployment| deployment.metadata.generation);
    (ready, if seen { ready.saturating_sub(all.saturating_sub(updated)) } else { 0 })
}

/// Keeps bound volumes when their claims go, unless the policy says otherwise or the claim is being destroyed.
pub async fn retain(
    subject: &Subject,
    claims: &[PersistentVolumeClaim],
    volumes: &[PersistentVolume],
) -> Result<(), FoundationError> {
    if subject.spec.deletion_policy == DeletionPolicy::Delete {
        return Ok(());
    }
    let destroying = |claim: &PersistentVolumeClaim| {
        subject.status.destroying.iter().any(|entry| Some(&entry.uid) == claim.metadata.uid.as_ref())
    };
    let going = |claim: &PersistentVolumeClaim| claim.metadata.deletion_timestamp.is_some() || destroying(claim);
    for claim in claims.iter().filter(|claim| !going(claim)) {
        let name = claim.spec.as_ref().and_then(|spec| spec.volume_name.clone());
        let volume = volumes.iter().find(|volume| volume.metadata.name == name);
        let policy = volume.and_then(|volume| volume.spec.as_ref()?.persistent_volume_reclaim_policy.as_deref());
        if let (Some(name), Some("Delete")) = (name, policy) {
            reclaim(subject, &name, "Retain").await?;
        }
    }
    Ok(())
}

/// Says what becomes of a volume when its claim goes.
pub async fn reclaim(subject: &Subject, volume: &str, policy: &str) -> Result<(), FoundationError> {
    let change = Patch::Merge(json!({"spec": {"persistentVolumeReclaimPolicy": policy}}));
    let api: Api<PersistentVolume> = Api::all(subject.namespace.client.clone());
    let wrong = |source| FoundationError::Reclaim { volume: volume.to_owned(), source: Box::new(source) };
    api.patch(volume, &PatchParams::default(), &change).await.map(drop).map_err(wrong)
}

/// Secrets, Services and pods are named after the committee: its own label says whose they are.
pub fn selector(subject: &Subject) -> String {
    names::selector_text(&subject.name, names::MEMBER_COMPONENT)
}
