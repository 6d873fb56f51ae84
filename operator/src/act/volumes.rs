//! Claims and volumes as the spec has them: what becomes of them when the committee goes, and how large they are.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{PersistentVolume, PersistentVolumeClaim},
    apimachinery::pkg::api::resource::Quantity,
};
use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use weft_crds::{DeletionPolicy, QuantityText};
use weft_planner::Timestamp;

use crate::{
    api::{self, ApiError},
    names,
    observe::Objects,
    refusals::{Refusals, Want},
    subject::Subject,
};

/// What keeps data, or lets it go: where it is refused, nobody may think that it was done.
pub const KEEP_CLAIM: &str = "KeepClaim";
pub const KEEP_VOLUME: &str = "KeepVolume";

/// Makes claims and their volumes what the spec says, but for those that are being destroyed. Under a pause, only what
/// keeps data is done.
pub async fn keep(
    subject: &Subject,
    objects: &Objects,
    refusals: &mut Refusals,
    now: Timestamp,
) -> Result<(), ApiError> {
    let destroyed = |claim: &PersistentVolumeClaim| {
        subject.status.destroying.iter().any(|entry| Some(&entry.uid) == claim.metadata.uid.as_ref())
    };
    let goes = |claim: &PersistentVolumeClaim| claim.metadata.deletion_timestamp.is_some() || destroyed(claim);
    // Another fleet's may have the same labels, restored from a copy.
    let ours = |claim: &PersistentVolumeClaim| {
        subject.status.fleet_id.is_some() && claim.annotations().get(names::FLEET) == subject.status.fleet_id.as_ref()
    };
    let policy = format!("deletionPolicy is {:?}", subject.spec.deletion_policy);
    for claim in objects.claims.iter().filter(|claim| ours(claim) && !goes(claim)) {
        let name = claim.name_any();
        // One change at a time: each is of the version that was read.
        if let Some(owners) = subject.owners_of_data(claim.meta()).filter(|_| subject.may_settle_data()) {
            let done = change(subject, claim, json!({"metadata": {"ownerReferences": owners}})).await;
            refusals.note(Want::of_spec(KEEP_CLAIM, &name, &policy), done, now)?;
        } else if let Some(size) = larger(subject, claim).filter(|_| !subject.spec.paused) {
            let size = json!({"spec": {"resources": {"requests": {"storage": size}}}});
            let reason = format!("storage.size is {}", subject.spec.storage.size.as_str());
            let done = change(subject, claim, size).await;
            refusals.note(Want::of_spec("GrowClaim", &name, &reason), done, now)?;
        }
        let bound = claim.spec.as_ref().and_then(|spec| objects.volumes.by_name.get(spec.volume_name.as_ref()?));
        let to = subject.spec.deletion_policy;
        if let Some(volume) = bound.filter(|volume| subject.may_settle_data() && settled(volume, claim, to).is_some()) {
            let name = volume.name_any();
            let done = settle(subject, claim, &name, to).await;
            refusals.note(Want::of_spec(KEEP_VOLUME, &name, &policy), done, now)?;
        }
    }
    Ok(())
}

/// Merges a change into a claim as it was read.
async fn change(subject: &Subject, claim: &PersistentVolumeClaim, mut change: Value) -> Result<(), ApiError> {
    change["metadata"]["uid"] = json!(claim.uid());
    change["metadata"]["resourceVersion"] = json!(claim.resource_version());
    subject.namespace.merge::<PersistentVolumeClaim>(&claim.name_any(), &change).await.map(drop)
}

/// The size that a claim shall have, if it has less. One that waits for its volume can't be changed.
fn larger<'s>(subject: &'s Subject, claim: &PersistentVolumeClaim) -> Option<&'s QuantityText> {
    let wanted = &subject.spec.storage.size;
    let is_bound = claim.status.as_ref()?.phase.as_deref() == Some("Bound");
    (is_bound && bytes(asked(claim)?)? < wanted.bytes().ok()?).then_some(wanted)
}

fn asked(claim: &PersistentVolumeClaim) -> Option<&Quantity> {
    claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?.get("storage")
}

fn bytes(quantity: &Quantity) -> Option<u64> {
    QuantityText::new(quantity.0.clone()).bytes().ok()
}

/// Which claims' volumes aren't as large yet as they were asked to be, in one sentence.
pub fn growing(claims: &[PersistentVolumeClaim]) -> Option<String> {
    let growing = |claim: &PersistentVolumeClaim| {
        let asked = asked(claim)?;
        let status = claim.status.as_ref()?;
        let has = status.capacity.as_ref()?.get("storage")?;
        let told = status.conditions.iter().flatten().filter_map(|condition| condition.message.as_deref());
        let told: Vec<_> = told.filter(|message| !message.is_empty()).map(|message| format!(": {message}")).collect();
        let sentence = || format!("claim {} has {} of {}{}", claim.name_any(), has.0, asked.0, told.concat());
        (bytes(has)? < bytes(asked)?).then(sentence)
    };
    let mut growing = claims.iter().filter_map(growing);
    let first = growing.next()?;
    Some(match growing.count() {
        0 => first,
        more => format!("{first}; and {more} more"),
    })
}

/// What has to change of a volume so that it outlives its claim and says whose data it has, or goes with it and says nothing.
/// What a person has made outlive its claim stays so.
fn settled(volume: &PersistentVolume, claim: &PersistentVolumeClaim, to: DeletionPolicy) -> Option<Value> {
    let policy = volume.spec.as_ref()?.persistent_volume_reclaim_policy.as_deref()?;
    let mut change = json!({});
    match (to, policy) {
        (DeletionPolicy::Retain, "Delete") => {
            change["metadata"]["annotations"] = json!({names::RECLAIM: policy});
            change["spec"] = json!({"persistentVolumeReclaimPolicy": "Retain"});
        }
        (DeletionPolicy::Delete, "Retain") if volume.annotations().contains_key(names::RECLAIM) => {
            change["metadata"]["annotations"] = json!({names::RECLAIM: null});
            change["spec"] = json!({"persistentVolumeReclaimPolicy": "Delete"});
        }
        _ => {}
    }
    let label = |key| claim.labels().get(key);
    let whose = [
        (names::FLEET, claim.annotations().get(names::FLEET)),
        (names::MEMBER, label(names::MEMBER)),
        (names::INCARNATION, label(names::INCARNATION)),
    ];
    let whose = whose.map(|(key, value)| (key, value.filter(|_| to == DeletionPolicy::Retain)));
    if whose.iter().any(|(key, value)| volume.labels().get(*key) != *value) {
        change["metadata"]["labels"] = json!(BTreeMap::from(whose));
    }
    (change != json!({})).then_some(change)
}

/// Says what becomes of a claim's volume when the claim goes, and whose it is: of the volume as it is now, if it is that
/// claim's.
pub async fn settle(
    subject: &Subject,
    claim: &PersistentVolumeClaim,
    volume: &str,
    to: DeletionPolicy,
) -> Result<(), ApiError> {
    let volumes: Api<PersistentVolume> = Api::all(subject.namespace.client.clone());
    let live = volumes.get_opt(volume).await.map_err(api::error::<PersistentVolume>("get", volume))?;
    let its = |live: &PersistentVolume| {
        live.spec
            .as_ref()
            .and_then(|spec| spec.claim_ref.as_ref()?.uid.clone())
            .is_some_and(|uid| claim.uid() == Some(uid))
    };
    let Some(live) = live.filter(its) else { return Ok(()) };
    let Some(mut change) = settled(&live, claim, to) else { return Ok(()) };
    // Labels that stay where nothing is kept only name what is gone.
    let is_worth_no_delay = to == DeletionPolicy::Delete && change["spec"].is_null();
    change["metadata"]["uid"] = json!(live.uid());
    change["metadata"]["resourceVersion"] = json!(live.resource_version());
    let done = volumes.patch(volume, &PatchParams::default(), &Patch::Merge(change)).await;
    match done.map_err(api::error::<PersistentVolume>("patch", volume)) {
        Err(error) if is_worth_no_delay && error.is_refusal() => Ok(()),
        done => done.map(drop),
    }
}
