//! What is told of a committee, for people and for programs.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde::Serialize;
use weft_crds::{
    Encoding, EpochPointer, ListedBlobs, Margin, MemberStatus, Missing, StorageCommittee, StorageCommitteeStatus,
    Survives, committee_condition as kind,
};

use super::super::pace::Repair;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    pub(super) committee: String,
    pub(super) namespace: String,
    pub(super) paused: bool,
    pub(super) wanted_members: u32,
    /// Whether the status is about the present spec.
    pub(super) up_to_date: bool,
    pub(super) fleet_id: Option<String>,
    pub(super) term: Option<u64>,
    pub(super) epoch: Option<EpochPointer>,
    pub(super) view: Option<Place>,
    /// Shards that refuse the view that is being sealed.
    pub(super) sealing: Option<u16>,
    pub(super) encoding: Option<Encoding>,
    pub(super) storage_factor: Option<String>,
    pub(super) margin: Option<Margin>,
    pub(super) survives: Option<Survives>,
    pub(super) missing: Option<Missing>,
    pub(super) unrecoverable: Option<ListedBlobs>,
    pub(super) invalid: Option<ListedBlobs>,
    /// None when nothing is mended, or it isn't known how fast.
    pub(super) repair: Option<Repair>,
    /// Those that aren't as they are on a good day.
    pub(super) conditions: Vec<Condition>,
    pub(super) members: Vec<MemberStatus>,
}

/// A view's place in the order of views.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Place {
    pub(super) epoch: u64,
    pub(super) revision: u64,
    pub(super) in_effect: bool,
}

impl Report {
    pub(super) fn new(committee: StorageCommittee, repair: Option<Repair>) -> Self {
        let StorageCommittee { metadata, spec, status } = committee;
        let status = status.unwrap_or_default();
        let up_to_date = status.observed_generation == metadata.generation;
        let StorageCommitteeStatus { fleet_id, term, encoding, epoch, storage_factor, margin, survives, .. } = status;
        let place =
            |view: &weft_crds::View| Place { epoch: view.epoch, revision: view.revision, in_effect: view.in_effect };
        let missing = status.missing;
        Self {
            committee: metadata.name.unwrap_or_default(),
            namespace: metadata.namespace.unwrap_or_default(),
            paused: spec.paused,
            wanted_members: spec.members,
            up_to_date,
            fleet_id,
            term,
            epoch,
            view: status.view.as_ref().map(place),
            sealing: status.sealing.map(|sealing| sealing.refused_shards),
            encoding,
            storage_factor,
            margin,
            survives,
            missing,
            unrecoverable: status.unrecoverable,
            invalid: status.invalid,
            repair: repair.filter(|_| missing.is_some_and(|missing| missing.bytes > 0)),
            conditions: status.conditions.into_iter().filter(|condition| !is_fine(condition)).collect(),
            members: status.members,
        }
    }

    pub(super) fn is_repairing(&self) -> bool {
        self.missing.is_some_and(|missing| missing.bytes > 0)
    }
}

/// Whether a condition is as it is on a good day. One that isn't known here isn't judged.
fn is_fine(condition: &Condition) -> bool {
    match condition.type_.as_str() {
        kind::AVAILABLE | kind::READY | kind::CAPACITY_FOR_REPAIR => condition.status == "True",
        kind::DEGRADED | kind::STALLED | kind::PROGRESSING | kind::CONTROL_PLANE_REWOUND => condition.status == "False",
        _ => false,
    }
}
