//! Facts about the cluster, and what members say of themselves.

use std::time::Duration;

use weft_protocol::{
    Accusation, FleetId, Incarnation, MemberId, PublicKey, Seal, SealOrder, Signed, SignedView, ViewId,
};
use weft_redstuff::BlobId;

use crate::Timestamp;

/// A member's pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    pub member: MemberId,
    pub incarnation: u32,
    pub attempt: u32,
    pub uid: String,
    pub phase: PodPhase,
    pub ready: bool,
    /// It has a deletion timestamp.
    pub terminating: bool,
    /// The Node that it is bound to.
    pub node: Option<String>,
    /// Why it waits, one word: `Unschedulable`, `ImagePullBackOff`, `CrashLoopBackOff`, …
    pub waiting: Option<String>,
    /// The Nodes that it was made to keep off, sorted.
    pub avoids: Vec<String>,
    /// What the spec said when it was made ([`Committee::inputs`](crate::Committee)); `None`: nobody has noted it.
    pub inputs: Option<String>,
}

impl Pod {
    /// Whether it is ready or may become so.
    pub fn is_alive(&self) -> bool {
        !self.terminating && self.phase != PodPhase::Ended
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodPhase {
    Pending,
    Running,
    /// Succeeded or Failed: it never runs again.
    Ended,
    Unknown,
}

/// A member's persistent volume claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pub member: MemberId,
    /// The incarnation that it belongs to.
    pub incarnation: u32,
    /// The one that it was made for, and is named after: a later one may have inherited it (R25).
    pub origin: u32,
    pub uid: String,
    pub phase: ClaimPhase,
    /// It has a deletion timestamp: nothing brings it back.
    pub terminating: bool,
    /// The volume that it is or was bound to.
    pub volume: Option<Volume>,
    /// The Node that the scheduler has chosen for a volume which is still to be made.
    pub selected: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimPhase {
    Pending,
    Bound,
    Lost,
}

/// A persistent volume that a claim names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    pub name: String,
    /// Empty when the object is gone, or the operator may not see it.
    pub uid: String,
    /// Whether it is there; one that the operator may not see is taken to be.
    pub exists: bool,
    /// The volume's node affinity, as names of Nodes, gone ones too; empty: it can be attached anywhere.
    pub pinned_to: Vec<String>,
}

/// A Kubernetes Node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Node {
    pub name: String,
    /// The value of the committee's zone label.
    pub zone: Option<String>,
    /// `None`: ready. Else since when it isn't (`NotReady` or `Unknown`).
    pub unready_since: Option<Timestamp>,
    /// `None`: the object exists. Else since when it is known to be gone.
    pub gone_since: Option<Timestamp>,
    /// It carries the taint `node.kubernetes.io/out-of-service`.
    pub out_of_service: bool,
    /// It takes no new pods.
    pub cordoned: bool,
}

impl Node {
    /// Whether it is there and ready.
    pub(crate) fn is_ready(&self) -> bool {
        self.gone_since.is_none() && self.unready_since.is_none()
    }
}

/// The gateways, seen from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gateway {
    /// `spec.gateway.replicas`.
    pub wanted: u32,
    /// How many are ready.
    pub ready: u32,
    /// How many of them are as the spec says.
    pub updated: u32,
}

/// The last answer of one incarnation's process to an order.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    /// Which pod was asked, by the operator's own knowledge; what the volume says is in `inventory`.
    pub member: MemberId,
    pub incarnation: u32,
    pub at: Timestamp,
    pub inventory: Inventory,
}

/// A member's inventory, decoded; the fields of `weft.node.v1.Inventory`.
#[derive(Debug, Clone, PartialEq)]
pub struct Inventory {
    pub fleet: FleetId,
    pub member: MemberId,
    pub incarnation: Incarnation,
    pub key: PublicKey,
    /// The highest term that it took (R4).
    pub term: u64,
    pub newest_view: Option<ViewId>,
    /// The newest view whole, and the proof that it is in effect (`None` for the first).
    pub newest_signed: Option<SignedView>,
    pub newest_seal: Option<Seal>,
    /// The order by which the newest view is refused, unchecked, and the signed refusal.
    pub seal_order: Option<SealOrder>,
    pub refusal: Option<Signed>,
    pub synced: Option<ViewId>,
    /// Synced to the newest view's predecessor: may count towards "whole" (R9).
    pub counts: bool,
    pub blobs: u64,
    pub tombstones: u64,
    pub shards: Vec<ShardReport>,
    pub held_slivers: u64,
    pub held_bytes: u64,
    /// Members that it reached in its last round of exchanges.
    pub reachable: Vec<MemberId>,
    pub ailment: Option<Ailment>,
    /// For each of the 256 slots of blob IDs, how many of its shards in the newest view some blob lacks; empty: none
    /// lacks any.
    pub lacking: Vec<u8>,
    /// Blobs that are unrecoverable by its own evidence, the smallest first, bounded; and how many there are (R20).
    pub unrecoverable: Vec<BlobId>,
    pub unrecoverable_blobs: u64,
    /// The same of blobs whose writers it has proven to have lied (R19).
    pub invalid: Vec<BlobId>,
    pub invalid_blobs: u64,
    /// Blobs that it lacks something of, and leaves out of everything above, because the order listed them (R19, R20).
    pub set_aside: Vec<BlobId>,
    /// The accusations that it stands by, unchecked (R29).
    pub accusations: Vec<Accusation>,
    /// Incarnations that have let its challenges in a row go by, and for how long (R29).
    pub unanswered: Vec<((MemberId, u32), Duration)>,
}

/// What a member lacks of one shard that the newest view, or its target, gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardReport {
    pub shard: u8,
    pub missing_slivers: u64,
    pub missing_bytes: u64,
    pub missing_blobs: u64,
    /// It is of the target, not of the newest view.
    pub target: bool,
    /// Every held sliver was re-read against its hash (R23).
    pub verified: bool,
}

/// Why a member serves only reads, or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ailment {
    /// The store refuses writes after a failed one.
    ReadOnly,
    /// The volume is behind the sequence that peers saw signed (R1).
    Rewound,
    /// The volume belongs to another fleet, member or incarnation (R1).
    ForeignVolume,
    /// It waits for peers to say which sequence they remember (R1).
    WaitingForPeers,
}
