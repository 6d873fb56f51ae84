//! A copy of a fleet's keys where the operator lives. Volumes outlive their namespace, and are worth nothing without the key
//! that members trust.

use std::collections::BTreeMap;

use k8s_openapi::{api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::ResourceExt;
use serde_json::json;
use weft_crds::DeletionPolicy;
use weft_planner::Timestamp;
use weft_protocol::FleetId;

use crate::{
    api::{ApiError, Namespace},
    names,
    reconcile::chain,
    refusals::{Refusals, Want},
    subject::Subject,
};

pub const KEEP_KEYS: &str = "KeepKeys";

/// Keeps a copy of the committee's keys where data outlives the committee, and none where it doesn't. In a namespace that
/// goes with them a copy would be worth nothing. Keys of the same fleet that aren't the committee's are never touched: they
/// may be the only ones that members trust.
pub async fn keep(
    subject: &Subject,
    home: &Namespace,
    fleet: FleetId,
    keys: &Secret,
    refusals: &mut Refusals,
    now: Timestamp,
) -> Result<(), ApiError> {
    if !is_apart(subject, home) || !subject.may_settle_data() {
        return Ok(());
    }
    let name = names::spare_keys(&fleet);
    let target = format!("Secret {}/{name}", home.name);
    let (want, done) = match subject.spec.deletion_policy {
        DeletionPolicy::Retain => {
            let want = Want::of_spec(KEEP_KEYS, &target, "data shall outlive its namespace");
            (want, copy(subject, home, &name, fleet, keys).await)
        }
        DeletionPolicy::Delete => {
            let want = Want::to_see("DropKeys", &target, "the keys go with the data");
            (want, remove(subject, home, &name, keys).await.map(|()| true))
        }
    };
    match done {
        Ok(true) => {}
        Ok(false) => {
            refusals
                .decline(want, "it holds other keys of that fleet, and nobody but a person can say which are right");
        }
        Err(error) if error.is_conflict() => return Err(error),
        // Whatever is the matter with that namespace, the fleet is looked after.
        Err(error) => refusals.refuse(want, chain(&error), now),
    }
    Ok(())
}

/// Where a copy of a fleet's keys is that the committee could be given, as namespace and name.
pub async fn find(subject: &Subject, home: &Namespace, fleet: FleetId) -> Result<Option<String>, ApiError> {
    let name = names::spare_keys(&fleet);
    let is_there = is_apart(subject, home) && home.get::<Secret>(&name).await?.is_some();
    Ok(is_there.then(|| format!("{}/{name}", home.name)))
}

/// Whether what is kept at home outlives the committee's namespace.
fn is_apart(subject: &Subject, home: &Namespace) -> bool {
    home.name != subject.namespace.name
}

/// Whose keys they are. In an annotation: by a label, the committee of that name at home would take them for its own.
fn whose(subject: &Subject) -> (String, String) {
    (names::COMMITTEE.to_owned(), format!("{}/{}", subject.namespace.name, subject.name))
}

/// Makes the copy, or makes it say whose it is and what the newest term is. False: it is of other keys.
async fn copy(
    subject: &Subject,
    home: &Namespace,
    name: &str,
    fleet: FleetId,
    keys: &Secret,
) -> Result<bool, ApiError> {
    let mut annotations: BTreeMap<String, String> = [whose(subject)].into();
    annotations.extend(subject.status.term.map(|term| (names::TERM.to_owned(), term.to_string())));
    let Some(stored) = home.get::<Secret>(name).await? else {
        let labels = names::OURS.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let spare = Secret {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some(home.name.clone()),
                labels: Some(labels.into_iter().chain([(names::FLEET.to_owned(), fleet.to_string())]).collect()),
                annotations: Some(annotations),
                ..ObjectMeta::default()
            },
            data: keys.data.clone(),
            type_: keys.type_.clone(),
            ..Secret::default()
        };
        // Where another leader was first, the next round looks at what it made.
        home.create(&spare).await?;
        return Ok(true);
    };
    if stored.data != keys.data {
        return Ok(false);
    }
    let term = |annotations: &BTreeMap<String, String>| annotations.get(names::TERM)?.parse::<u64>().ok();
    let is_newer = term(&annotations) > term(stored.annotations());
    if !is_newer {
        annotations.remove(names::TERM);
    }
    if annotations.iter().any(|(key, value)| stored.annotations().get(key) != Some(value)) {
        let change = json!({"metadata": {"resourceVersion": stored.resource_version(), "annotations": annotations}});
        home.merge::<Secret>(name, &change).await?;
    }
    Ok(true)
}

/// Takes the copy of these keys away, if it is this committee's.
async fn remove(subject: &Subject, home: &Namespace, name: &str, keys: &Secret) -> Result<(), ApiError> {
    let (key, value) = whose(subject);
    let ours = |spare: &Secret| spare.data == keys.data && spare.annotations().get(&key) == Some(&value);
    match home.get::<Secret>(name).await?.filter(ours) {
        Some(spare) => home.delete_as_read(&spare).await,
        None => Ok(()),
    }
}
