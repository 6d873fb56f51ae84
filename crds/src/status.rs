//! What the operator tells of a committee, and what it must remember.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::{encoding::Encoding, member::MemberStatus, view::View};

/// Observations, and the recorded choices and intents that outlive the operator.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(oldSelf.fleetId) || has(self.fleetId) && self.fleetId == oldSelf.fleetId")
    .message("status.fleetId is frozen once recorded"))]
#[x_kube(validation = Rule::new("!has(oldSelf.encoding) || has(self.encoding) && self.encoding == oldSelf.encoding")
    .message("status.encoding is frozen once recorded"))]
#[x_kube(validation = Rule::new("!has(oldSelf.term) || has(self.term) && self.term >= oldSelf.term")
    .message("status.term never goes down"))]
pub struct StorageCommitteeStatus {
    /// The generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Available, Ready, Progressing, Degraded, Stalled, `ControlPlaneRewound`, `CapacityForRepair`, `UpgradeAvailable`.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_owned()]))]
    #[schemars(schema_with = "crate::status::conditions_schema")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The fleet, in hexadecimal: the data outlives this object, and is known by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet_id: Option<String>,
    /// The newest leader's term (R4). It only grows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term: Option<u64>,
    /// The code. It never changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<Encoding>,
    /// The image that all members have run well. It is theirs while the spec names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The newest view, whole; written before a node hears of it (R2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view: Option<View>,
    /// The view that is being sealed, until its successor is in effect (R5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealing: Option<Sealing>,
    /// The view that the fleet had when this object was found behind it, until a person confirms (R26).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewound: Option<Rewound>,
    /// The epoch in effect, and the one that is worked towards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<EpochPointer>,
    /// How many members have a pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// The label selector of members' pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// How many shards may still go, for the worst blob.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub margin: Option<Margin>,
    /// The same in members and zones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub survives: Option<Survives>,
    /// Bytes stored for each byte of a blob, e.g. `4.27`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_factor: Option<String>,
    /// What holders still lack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<Missing>,
    /// Blobs of which too little is left to read or mend them (R20); no margin counts them. They leave by DELETE, or by a volume
    /// that comes back. Silent: none are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unrecoverable: Option<ListedBlobs>,
    /// Blobs whose writers were proven to have lied: their slivers contradict each other, so that nobody reads them (R19). No
    /// margin counts them, and nothing waits for them; they leave by DELETE. Silent: none are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invalid: Option<ListedBlobs>,
    /// Every member, by id.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["id".to_owned()]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<MemberStatus>,
    /// Objects that are about to be deleted (R24).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub destroying: Vec<Destruction>,
    /// The next steps, and those that are withheld.
    #[schemars(length(max = 20))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plan: Vec<PlannedAct>,
    /// The newest accusations.
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accusations: Vec<Accusation>,
}

/// A seal under way: there is only forward from the first request (R5).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sealing {
    /// The view that is being sealed; `status.view` is its successor.
    pub view: View,
    /// When the first request went out.
    pub since: Time,
    /// How many of its shards are known to refuse it; n − f seal it.
    #[serde(default)]
    pub refused_shards: u16,
    /// Incarnations that are declared lost beside the successor, such as `3-1`: their shards aren't waited for (R7).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub declared: Vec<String>,
    /// The same, signed by the operator for the term of its order; base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub declaration: Option<String>,
}

/// The fleet was ahead of the objects: they were set back (R26).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct Rewound {
    /// The epoch of the newest view that members told of.
    pub epoch: u64,
    /// Its revision.
    pub revision: u64,
    /// The term of the leader that found it: what a person confirms is EPOCH.REVISION.TERM, and no later rewind.
    #[serde(default)]
    pub term: u64,
    /// When it was found.
    pub since: Time,
}

/// Where the epochs are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct EpochPointer {
    /// The epoch in effect.
    pub current: u64,
    /// The epoch that is worked towards; the current one when nothing is.
    pub target: u64,
}

/// How many shards may still go, for the worst blob.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct Margin {
    /// Before a blob can't be read: held − k1.
    pub read: i32,
    /// Before nothing can be written: answering − (n − f).
    pub write: i32,
}

/// What the fleet survives now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct Survives {
    /// The loss of so many members, whichever they are.
    pub members: u32,
    /// The loss of so many zones, whichever they are.
    pub zones: u32,
}

/// What holders still lack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct Missing {
    /// Slivers.
    pub slivers: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Blobs that members with more than f shards say the same of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct ListedBlobs {
    /// How many there are.
    pub blobs: u64,
    /// The first of them.
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<String>,
}

/// An object that is about to be deleted, written down first (R24).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
pub struct Destruction {
    /// Pod or `PersistentVolumeClaim`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its UID: a namesake made later is spared.
    pub uid: String,
    /// The term that decided it.
    pub term: u64,
    /// Why, in one word.
    pub reason: String,
    /// When it was decided.
    pub since: Time,
}

/// A step of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlannedAct {
    /// What is done.
    pub act: String,
    /// To what.
    pub target: String,
    /// Why.
    pub reason: String,
    /// The rule or budget that keeps it from being done now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withheld_by: Option<String>,
}

/// A signed accusation of a member (R29).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct Accusation {
    /// The accused.
    pub member: u32,
    /// The blob that it was asked about.
    pub blob: String,
    /// When the round began, in seconds since 1970.
    pub round: u64,
    /// The fault, `wrong` or `lacks`, by whom, and the signed statements in base64.
    pub evidence: String,
}

/// The schema of conditions, with `observedGeneration` kept for each.
pub(crate) fn conditions_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    generator.subschema_for::<Vec<Condition>>()
}
