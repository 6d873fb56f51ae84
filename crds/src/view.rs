//! The view as it is kept in status, whole, before any node hears of it (R2).

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Which incarnation serves each shard, as the operator signed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct View {
    /// The epoch; it changes at boundaries.
    pub epoch: u64,
    /// The revision within the epoch.
    pub revision: u64,
    /// The term that it was made in.
    pub term: u64,
    /// Its own hash, in hexadecimal.
    pub hash: String,
    /// The hash of the view before it. Silent: it is the fleet's first (R3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predecessor: Option<String>,
    /// Whether its predecessor is sealed, so that it counts (R5).
    pub in_effect: bool,
    /// The members that serve, with the shards of each.
    pub members: Vec<ViewMember>,
    /// The shards that nobody may take.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vacant: Vec<u8>,
    /// The canonical bytes that were hashed and signed, in base64: what nodes are sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoded: Option<String>,
    /// The operator's signature of it, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}

/// A member in a view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ViewMember {
    /// The member.
    pub id: u32,
    /// The number of its incarnation.
    pub incarnation: u32,
    /// The random ID of its volume, in hexadecimal.
    pub volume_id: String,
    /// The key that it signs with, in hexadecimal.
    pub public_key: String,
    /// The shards that it holds, custody included.
    pub shards: Vec<u8>,
}
