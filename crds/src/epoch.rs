//! `Epoch`: one assignment of shards to members, planned, moved to, and kept as history.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What an epoch shall be; frozen whole.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "weft.dev",
    version = "v1alpha1",
    kind = "Epoch",
    plural = "epochs",
    namespaced,
    doc = "One assignment of a committee's shards to its members, and the move to it.",
    status = "EpochStatus",
    derive = "PartialEq",
    shortname = "wep",
    category = "weft",
    selectable = ".spec.committee",
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase", description = "How far it is"),
    printcolumn(
        name = "Moves",
        type_ = "integer",
        json_path = ".status.moves.shards",
        description = "Shards that change their owner"
    ),
    printcolumn(name = "Reason", type_ = "string", json_path = ".spec.reason", description = "Why it was made"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name == '%s-%d'.format([self.spec.committee, self.spec.number])")
        .message("metadata.name must be <spec.committee>-<spec.number>")
)]
#[x_kube(validation = Rule::new("self == oldSelf").message("the spec of an Epoch is frozen"))]
pub struct EpochSpec {
    /// The committee, in the same namespace.
    #[schemars(length(min = 1, max = 40), regex(pattern = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"))]
    pub committee: String,
    /// The number of the epoch, from 1.
    #[schemars(range(min = 1, max = 9_007_199_254_740_991_u64))]
    pub number: u64,
    /// The owner of each shard, by its place in the list. Silent: the operator's choice, in status.
    #[schemars(length(min = 4, max = 255), inner(range(min = 0, max = 65535)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owners: Option<Vec<u32>>,
    /// Why it was made.
    #[schemars(length(max = 256))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// How far the move is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct EpochStatus {
    /// The generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// How far it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<EpochPhase>,
    /// Accepted, Sealed, Committed.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_owned()]))]
    #[schemars(schema_with = "crate::status::conditions_schema")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The owner of each shard, by its place in the list; written before it takes effect.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owners: Vec<u32>,
    /// The incarnations that own them.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["id".to_owned()]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<EpochMember>,
    /// What moves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moves: Option<Moves>,
    /// The digest of the registry when the epoch was committed, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry_digest: Option<String>,
    /// When every new owner was synced and whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub committed_at: Option<Time>,
}

/// How far an epoch is: Planned → Migrating → Sealing → Committed → Retired, or Superseded before Sealing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum EpochPhase {
    /// Its owners are chosen.
    Planned,
    /// New owners catch up while the old ones serve.
    Migrating,
    /// The old view is being sealed; there is only forward.
    Sealing,
    /// Every new owner is synced and whole.
    Committed,
    /// The old owners' copies are gone.
    Retired,
    /// A later epoch took its place before it was sealed.
    Superseded,
}

/// An incarnation that owns shards in an epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct EpochMember {
    /// The member.
    pub id: u32,
    /// The number of its incarnation.
    pub incarnation: u32,
    /// The key that it signs with, in hexadecimal.
    pub public_key: String,
}

/// What an epoch moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct Moves {
    /// Shards that change their owner.
    pub shards: u32,
    /// The fewest that any balanced assignment would have moved.
    pub minimum: u32,
    /// Bytes of slivers to bring to new owners.
    pub bytes: u64,
    /// Bytes copied from a holder so far.
    pub copied: u64,
    /// Bytes rebuilt from crossing symbols so far.
    pub rebuilt: u64,
}

/// The name of a committee's epoch.
pub fn epoch_name(committee: &str, number: u64) -> String {
    format!("{committee}-{number}")
}
