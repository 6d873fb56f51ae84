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

/// The conditions of a claim that tell how it grows. It has others, which tell of its pods.
const GROWTH: [&str; 4] = ["Resizing", "FileSystemResizePending", "ControllerResizeError", "NodeResizeError"];

/// Makes claims and their volumes what the spec says, but for those that are being destroyed. Under a pause, only what
/// keeps data is done.
pub async fn keep(
    subject: &Subject,
    objects: &Objects,
    refusals: &mut Refusals,
    now: Timestamp,
) -> Result<(), ApiError> {
    let policy = format!("deletionPolicy is {:?}", subject.spec.deletion_policy);
    for claim in objects.claims.iter().filter(|claim| is_kept(subject, claim)) {
        let name = claim.name_any();
        // One change at a time: each is of the version that was read.
        if let Some(owners) = subject.owners_of_data(claim.meta()).filter(|_| subject.may_settle_data()) {
            let done = change(subject, claim, json!({"metadata": {"ownerReferences": owners}})).await;
            refusals.note(Want::of_spec(KEEP_CLAIM, &name, &policy), done, now)?;
        } else if let Some(size) = larger(subject, claim) {
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

/// Whether a claim shall be as the spec has it: it isn't on its way out, and of this fleet. Another's may have the same
/// labels, restored from a copy.
fn is_kept(subject: &Subject, claim: &PersistentVolumeClaim) -> bool {
    let fleet = subject.status.fleet_id.as_ref();
    let destroyed = subject.status.destroying.iter().any(|entry| Some(&entry.uid) == claim.metadata.uid.as_ref());
    let ours = fleet.is_some() && claim.annotations().get(names::FLEET) == fleet;
    ours && !destroyed && claim.metadata.deletion_timestamp.is_none()
}

/// Merges a change into a claim as it was read.
async fn change(subject: &Subject, claim: &PersistentVolumeClaim, mut change: Value) -> Result<(), ApiError> {
    change["metadata"]["uid"] = json!(claim.uid());
    change["metadata"]["resourceVersion"] = json!(claim.resource_version());
    subject.namespace.merge::<PersistentVolumeClaim>(&claim.name_any(), &change).await.map(drop)
}

/// The size that a claim is to ask for now, if it asks for less. One that waits for its volume can't be changed.
fn larger<'s>(subject: &'s Subject, claim: &PersistentVolumeClaim) -> Option<&'s QuantityText> {
    let wanted = &subject.spec.storage.size;
    let is_bound = claim.status.as_ref()?.phase.as_deref() == Some("Bound");
    (is_bound && !subject.spec.paused && bytes(asked(claim)?)? < wanted.bytes().ok()?).then_some(wanted)
}

fn asked(claim: &PersistentVolumeClaim) -> Option<&Quantity> {
    claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?.get("storage")
}

fn bytes(quantity: &Quantity) -> Option<u64> {
    QuantityText::new(quantity.0.clone()).bytes().ok()
}

/// Which claims' volumes aren't as large yet as they were asked to be, or are to be asked to, in one sentence: nobody shall take
/// a spec for carried out in the round that begins to.
pub fn growing(subject: &Subject, claims: &[PersistentVolumeClaim]) -> Option<String> {
    let growing = |claim: &PersistentVolumeClaim| {
        let wanted = larger(subject, claim).filter(|_| is_kept(subject, claim)).map(QuantityText::to_quantity);
        let asked = wanted.as_ref().or(asked(claim))?;
        let status = claim.status.as_ref()?;
        let has = status.capacity.as_ref()?.get("storage")?;
        let of_growth =
            status.conditions.iter().flatten().filter(|condition| GROWTH.contains(&condition.type_.as_str()));
        let told = of_growth.filter_map(|condition| condition.message.as_deref());
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

#[cfg(test)]
mod tests {
    use kube::{Client, Config};

    use super::*;

    fn subject(paused: bool) -> Subject {
        // Never called, and by no authority of this machine.
        let mut server = Config::new("http://localhost".parse().expect("an address"));
        server.root_cert = Some(Vec::new());
        let committee = json!({
            "apiVersion": "weft.dev/v1alpha1", "kind": "StorageCommittee",
            "metadata": {"name": "demo", "namespace": "default", "uid": "1", "resourceVersion": "1"},
            "spec": {"members": 4, "storage": {"size": "2Gi"}, "paused": paused},
            "status": {"fleetId": "ours", "destroying": [{"kind": "PersistentVolumeClaim", "name": "demo-0-1",
                "uid": "goes", "term": 1, "reason": "Lost", "since": "2026-01-01T00:00:00Z"}]},
        });
        let committee = serde_json::from_value(committee).expect("a committee");
        Subject::new(Client::try_from(server).expect("a client"), committee, "").expect("a subject")
    }

    fn claim(fleet: &str, uid: &str, asks: &str, has: &str) -> PersistentVolumeClaim {
        let claim = json!({
            "metadata": {"name": "demo-0-1", "uid": uid, "annotations": {names::FLEET: fleet}},
            "spec": {"resources": {"requests": {"storage": asks}}},
            "status": {"phase": "Bound", "capacity": {"storage": has}, "conditions": [
                {"type": "Unused", "status": "False", "message": "a pod uses it"},
                {"type": "FileSystemResizePending", "status": "True", "message": "it waits"},
            ]},
        });
        serde_json::from_value(claim).expect("a claim")
    }

    #[tokio::test]
    async fn a_claim_grows_from_when_the_spec_wants_it_until_it_has() {
        let told = |paused, claim| growing(&subject(paused), &[claim]);
        let grows = Some("claim demo-0-1 has 1Gi of 2Gi: it waits".to_owned());
        assert_eq!(told(false, claim("ours", "1", "1Gi", "1Gi")), grows, "before it asks");
        assert_eq!(told(false, claim("ours", "1", "2Gi", "1Gi")), grows);
        assert_eq!(told(true, claim("ours", "1", "2Gi", "1Gi")), grows, "what was asked before the pause");
        assert_eq!(told(false, claim("ours", "1", "2Gi", "2Gi")), None);
        assert_eq!(told(true, claim("ours", "1", "1Gi", "1Gi")), None, "not asked under a pause");
        assert_eq!(told(false, claim("ours", "goes", "1Gi", "1Gi")), None, "it is being destroyed");
        assert_eq!(told(false, claim("theirs", "1", "1Gi", "1Gi")), None, "another fleet's");
    }
}
