//! A member as its committee's status tells of it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a member is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum MemberState {
    /// Its pod or claim waits for something.
    #[default]
    Pending,
    /// Its process runs, but isn't synced yet.
    Starting,
    /// It serves.
    Serving,
    /// It is silent, and may come back.
    Unreachable,
    /// Its incarnation is gone for good.
    Lost,
    /// Enough accusers have proven that it cheats.
    Faulty,
    /// It serves until others have what it holds.
    Draining,
    /// It holds no shard any more, and its volume is about to go.
    Leaving,
    /// An incarnation that was lost is back, read-only (R25).
    Returned,
}

/// One incarnation of a member: a volume, and the process that serves it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Incarnation {
    /// The number of the incarnation, new with each volume.
    #[serde(rename = "incarnation")]
    pub number: u32,
    /// The number of its pod, new with each pod of the incarnation.
    #[serde(default)]
    pub attempt: u32,
    /// How it is.
    pub state: MemberState,
    /// Why, in one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Since when it is in this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// When it was restarted with another spec, where it served until then and hasn't since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarting: Option<Time>,
    /// The zone of its node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// The node that its pod is or was last bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The UID of its claim.
    #[serde(rename = "claimUID", default, skip_serializing_if = "Option::is_none")]
    pub claim_uid: Option<String>,
    /// The UID of the persistent volume behind its claim.
    #[serde(rename = "volumeUID", default, skip_serializing_if = "Option::is_none")]
    pub volume_uid: Option<String>,
    /// The random ID that it wrote on its volume, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_id: Option<String>,
    /// The key that it signs with, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
}

/// A member, with its newest incarnation that a view names or will name first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemberStatus {
    /// The member.
    pub id: u32,
    /// Its incarnation.
    #[serde(flatten)]
    pub current: Incarnation,
    /// The name of its pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// The name of its claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<String>,
    /// The shards that it owns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shards: Vec<u8>,
    /// The shards that it holds for owners that were lost.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub custody: Vec<u8>,
    /// The incarnation that takes over at the next epoch, while this one still has shards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub successor: Option<Successor>,
}

impl MemberStatus {
    /// Its incarnations: the current one, and the one that takes over.
    pub fn incarnations(&self) -> impl Iterator<Item = &Incarnation> {
        std::iter::once(&self.current).chain(self.successor.as_ref().map(|successor| &successor.next))
    }
}

/// The next incarnation of a member. Its pods are named after it, and so is its claim unless it inherits one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Successor {
    /// The incarnation.
    #[serde(flatten)]
    pub next: Incarnation,
    /// The lost incarnation whose claim it takes over (R25).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inherits: Option<u32>,
}
