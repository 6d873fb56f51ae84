//! What is said before and after a fleet is taken up.

use std::collections::BTreeSet;

use kube::ResourceExt;
use serde_json::json;
use weft_crds::{QuantityText, StorageCommittee, names};
use weft_protocol::FleetId;

use super::{Keys, Taking};
use crate::kubernetes::{columns, table};

/// What is there, and what will be done.
pub(super) fn told(taking: &[Taking], keys: &Keys, namespace: &str, committee: &str) -> String {
    let mut rows = table(&["MEMBER", "VOLUME", "CLAIM", "SIZE", "STATE"]);
    for Taking { found, claim, uid, held } in taking {
        let state = match (uid, held) {
            (Some(_), false) => "there already",
            (Some(_), true) => "to be given to its claim",
            (None, _) => "to be claimed",
        };
        rows.add_row([
            format!("{}-{}", found.member, found.incarnation),
            found.volume.name_any(),
            format!("{namespace}/{}", claim.name_any()),
            found.size().unwrap_or_default(),
            state.to_owned(),
        ]);
    }
    let secret = names::authority(committee);
    let keys = match keys {
        Keys::There => format!("Secret {namespace}/{secret} has the keys."),
        Keys::Restored(_) => format!("Secret {namespace}/{secret} will have the keys."),
    };
    columns(rows) + &keys
}

/// What a person does next.
pub(super) fn next(
    existing: Option<&StorageCommittee>,
    taking: &[Taking],
    namespace: &str,
    committee: &str,
    fleet: FleetId,
) -> String {
    let confirm = format!(
        "It will ask whether all is as it should be before it destroys anything:\n\n\
         kubectl weft recover {committee} --namespace {namespace} --confirm-rewind\n"
    );
    let Some(existing) = existing else {
        if taking.is_empty() {
            return format!("Now apply the committee as it was, with spec.fleetId {fleet}. {confirm}");
        }
        let members: BTreeSet<u32> = taking.iter().map(|taking| taking.found.member).collect();
        let sizes = taking.iter().filter_map(|taking| taking.found.size());
        let least = sizes.min_by_key(|size| QuantityText::new(size.clone()).bytes().ok()).unwrap_or_default();
        return format!(
            "Now apply the committee as it was, with spec.fleetId. At the least:\n\n\
             apiVersion: weft.dev/v1alpha1\nkind: StorageCommittee\nmetadata:\n  name: {committee}\n  \
             namespace: {namespace}\nspec:\n  fleetId: \"{fleet}\"\n  members: {}\n  storage:\n    size: {least}\n\n{confirm}",
            members.len(),
        );
    };
    if existing.status.as_ref().is_some_and(|status| status.fleet_id.is_some()) {
        return format!("Committee {committee} goes on.");
    }
    if existing.spec.fleet_id.is_some() {
        return format!("Committee {committee} takes them up. {confirm}");
    }
    let spec = json!({"spec": {"fleetId": fleet.to_string()}});
    format!(
        "Now say that committee {committee} is theirs:\n\n\
         kubectl patch storagecommittee {committee} --namespace {namespace} --type=merge --patch='{spec}'\n\n{confirm}"
    )
}
