//! What a fleet is made of, without the numbers that only grow: two fleets of the same spec look the same, whatever each of
//! them has been through.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
};

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{PersistentVolume, PersistentVolumeClaim, Pod, Secret, Service},
    networking::v1::NetworkPolicy,
    policy::v1::PodDisruptionBudget,
};
use kube::{Api, ResourceExt, api::ListParams};
use serde_json::{Value, json};
use weft_crds::StorageCommitteeStatus;
use weft_operator::api::Object;

use crate::{spare_keys, story::Story};

/// Kind and name, and what is as the spec says.
pub(crate) type Portrait = BTreeMap<String, Value>;

/// What others fill in, or what only grows.
const PASSING: [&str; 10] = [
    "nodeName",
    "volumeName",
    "clusterIP",
    "clusterIPs",
    "weft.dev/incarnation",
    "weft.dev/attempt",
    "weft.dev/applied",
    "weft.dev/term",
    "example.com/machine",
    "topology.kubernetes.io/zone",
];

pub(crate) async fn portrait(story: &Story, status: &StorageCommitteeStatus) -> Result<Portrait, Box<dyn Error>> {
    let mut portrait = Portrait::new();
    add::<Pod>(&mut portrait, story, status).await?;
    add::<PersistentVolumeClaim>(&mut portrait, story, status).await?;
    add::<Secret>(&mut portrait, story, status).await?;
    add::<Service>(&mut portrait, story, status).await?;
    add::<Deployment>(&mut portrait, story, status).await?;
    add::<PodDisruptionBudget>(&mut portrait, story, status).await?;
    add::<NetworkPolicy>(&mut portrait, story, status).await?;
    add_what_is_kept(&mut portrait, story, status).await?;
    for member in &status.members {
        let who = (member.id as u8, member.current.number as u8);
        let (state, shards) = (member.current.state, member.shards.len());
        let said = json!({"state": state, "shards": shards, "told": story.fleet.told(who)});
        portrait.insert(format!("member {}", member.id), said);
    }
    let conditions = status.conditions.iter().map(|said| (said.type_.clone(), json!([said.status, said.reason])));
    portrait.insert("conditions".to_owned(), Value::Object(conditions.collect()));
    Ok(portrait)
}

async fn add<K: Object>(
    portrait: &mut Portrait,
    story: &Story,
    status: &StorageCommitteeStatus,
) -> Result<(), Box<dyn Error>> {
    for object in story.bench.api::<K>().list(&ListParams::default().labels("weft.dev/committee")).await? {
        if object.meta().deletion_timestamp.is_some() {
            continue;
        }
        let meta = object.meta();
        let owners: Vec<_> = meta.owner_references.iter().flatten().map(|owner| owner.kind.clone()).collect();
        let stored = serde_json::to_value(&object)?;
        let mut seen = json!({"labels": meta.labels, "annotations": meta.annotations, "owners": owners,
            "spec": stored["spec"], "keys": stored["data"].as_object().map(|data| data.keys().collect::<Vec<_>>())});
        strip(&mut seen);
        let text = anonymous(serde_json::to_string(&seen)?, status);
        let name = anonymous(format!("{} {}", K::kind(&()), object.name_any()), status);
        portrait.insert(name, serde_json::from_str(&text)?);
    }
    Ok(())
}

/// What outlives the committee, or goes with it: volumes, and the copy of the keys.
async fn add_what_is_kept(
    portrait: &mut Portrait,
    story: &Story,
    status: &StorageCommitteeStatus,
) -> Result<(), Box<dyn Error>> {
    let claims = story.bench.list::<PersistentVolumeClaim>().await?;
    let current = |member: &str, number: &str| {
        status
            .members
            .iter()
            .any(|one| (one.id.to_string(), one.current.number.to_string()) == (member.into(), number.into()))
    };
    for volume in Api::<PersistentVolume>::all(story.bench.client.clone()).list(&ListParams::default()).await? {
        let spec = volume.spec.clone().unwrap_or_default();
        let claim = spec.claim_ref.unwrap_or_default();
        // Nobody takes volumes away here.
        if claim.namespace.as_ref() != Some(&story.bench.namespace) || !claims.iter().any(|one| one.uid() == claim.uid)
        {
            continue;
        }
        let label = |key: &str| volume.labels().get(key).map(String::as_str).unwrap_or_default();
        let seen = json!({
            "policy": spec.persistent_volume_reclaim_policy,
            "annotations": volume.annotations(),
            "member": label("weft.dev/member"),
            "is current": current(label("weft.dev/member"), label("weft.dev/incarnation")),
            "is ours": Some(label("weft.dev/fleet")) == status.fleet_id.as_deref(),
        });
        portrait.insert(anonymous(format!("volume of {}", claim.name.unwrap_or_default()), status), seen);
    }
    let spare = spare_keys(&story.bench, status.fleet_id.as_deref().unwrap_or_default()).await?;
    portrait.insert("spare keys".to_owned(), json!(spare.is_some()));
    Ok(())
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !PASSING.contains(&name.as_str()));
            fields.values_mut().for_each(strip);
        }
        Value::Array(items) => {
            items.retain(|item| item["name"] != "WEFT_INCARNATION");
            items.iter_mut().for_each(strip);
        }
        _ => {}
    }
}

/// Names without the numbers of incarnations and pods.
fn anonymous(text: String, status: &StorageCommitteeStatus) -> String {
    status.members.iter().fold(text, |text, member| {
        let (id, current) = (member.id, &member.current);
        text.replace(&format!("demo-{id}-{}-{}", current.number, current.attempt), &format!("demo-{id}"))
            .replace(&format!("demo-{id}-{}", current.number), &format!("demo-{id}"))
    })
}

/// What differs between two, in words.
pub(crate) fn differences(one: &Portrait, other: &Portrait) -> Vec<String> {
    let mut told = Vec::new();
    let names: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    for name in names {
        differ(name, one.get(name).unwrap_or(&Value::Null), other.get(name).unwrap_or(&Value::Null), &mut told);
    }
    told
}

fn differ(path: &str, one: &Value, other: &Value, told: &mut Vec<String>) {
    match (one, other) {
        (Value::Object(a), Value::Object(b)) => {
            let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for name in names {
                differ(&format!("{path}.{name}"), &one[name], &other[name], told);
            }
        }
        _ if one == other => {}
        _ => told.push(format!("{path}: {one} and {other}")),
    }
}
