//! What the planner knows: the wish, the record, the cluster's facts and the members' inventories. No Kubernetes
//! types: the operator distils them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use weft_protocol::{Authority, Declaration, FleetId, MemberId, PublicKey, SignedView, VolumeId};
use weft_redstuff::Code;

use crate::{
    MaintenanceWindow, Timestamp,
    facts::{Claim, Gateway, Heard, Node, Pod},
};

/// Everything a plan is made from.
#[derive(Debug, Clone, PartialEq)]
pub struct World {
    pub committee: Committee,
    pub record: Record,
    /// The committee's pods of members, of any incarnation and attempt, terminating ones too.
    pub pods: Vec<Pod>,
    /// Likewise the claims.
    pub claims: Vec<Claim>,
    /// All Nodes of the cluster, and those that are gone but that a member's record, pod or volume still names.
    pub nodes: Vec<Node>,
    /// The last answer of each incarnation since this operator started, old ones too.
    pub heard: Vec<Heard>,
    /// When the first call failed of those that incarnations have left unanswered since their last answer.
    pub missed: BTreeMap<(MemberId, u32), Timestamp>,
    pub gateway: Gateway,
    /// Epochs that users have asked for, and that the operator hasn't taken up.
    pub wished: Vec<EpochWish>,
}

/// An `Epoch` object without a phase: a user made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochWish {
    pub number: u64,
    /// `spec.owners`; silent: the operator's choice.
    pub owners: Option<Vec<MemberId>>,
    /// Why it was refused, as its condition says already.
    pub refused: Option<String>,
}

/// The spec, defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committee {
    pub namespace: String,
    pub name: String,
    pub generation: i64,
    /// How many members are wanted: ids `0..members`.
    pub members: u32,
    /// The code that the spec asks for. What is recorded wins over it.
    pub code: Code,
    /// `spec.fleetId`: the fleet to adopt.
    pub fleet: Option<FleetId>,
    /// The keys that the next view shall name: the operator's for views, the gateways' for deletes (sorted).
    /// `None` until the operator has made them; no view is proposed before.
    pub authority: Option<Authority>,
    pub unreachable_after: Duration,
    pub settle: Duration,
    /// `epochs.interval`: an epoch begins when the one before is so old.
    pub interval: Option<Duration>,
    pub retain_for: Duration,
    /// Members that shall hold no shard on the volume that they have now.
    pub drain: BTreeSet<MemberId>,
    /// Incarnations that shall be replaced.
    pub replace: BTreeSet<(MemberId, u32)>,
    /// Incarnations whose volumes a person asserts to be destroyed (R7).
    pub declared_lost: BTreeSet<(MemberId, u32)>,
    pub spread: Spread,
    /// Stands for what the spec says of members' pods: two are equal when a pod made by one is as good by the other.
    pub inputs: String,
    /// When members that serve are restarted, and epochs begin for no other reason than time. None: whenever.
    pub maintenance: Vec<MaintenanceWindow>,
    pub paused: bool,
    /// The object has a deletion timestamp.
    pub deleting: bool,
    /// The annotation `weft.dev/confirm-rewind`: the rewind that a person has looked at, as [`Rewind`] is written (R26).
    pub confirmed_rewind: Option<String>,
}

/// `placement.spread`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spread {
    Preferred,
    Required,
}

/// What status and the Epoch objects remember.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Record {
    pub fleet: Option<FleetId>,
    pub code: Option<Code>,
    /// This leader's term, already raised in status (R4).
    pub term: u64,
    /// The newest view in effect. The first one is in effect as soon as it is recorded.
    pub view: Option<SignedView>,
    /// The successor of `view` that is being sealed: recorded, signed, not yet in effect.
    pub pending: Option<Pending>,
    /// `view` isn't recorded: it is what members told.
    pub adopted: bool,
    /// How the objects were found to be behind the fleet (R26), until a person confirms them.
    pub rewound: Option<Rewind>,
    /// Sorted by id, one for each member that is wanted or still has something.
    pub members: Vec<MemberRecord>,
    /// Sorted by number; at least those that aren't retired, and the last retired one.
    pub epochs: Vec<EpochRecord>,
}

/// The objects were found behind the fleet (R26). Written `EPOCH.REVISION.TERM`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rewind {
    /// Of the view that the fleet had.
    pub position: (u64, u64),
    /// The term that the leader raised itself to when it found that. No term comes twice (R4): of two rewinds under one
    /// view each has its own, and the word that confirms one says nothing of the other.
    pub term: u64,
}

impl fmt::Display for Rewind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ((epoch, revision), term) = (self.position, self.term);
        write!(f, "{epoch}.{revision}.{term}")
    }
}

/// A view whose predecessor is being sealed.
#[derive(Debug, Clone, PartialEq)]
pub struct Pending {
    pub view: SignedView,
    pub since: Timestamp,
    /// What was declared destroyed since it was made (R7). Orders carry it while the term is the declaration's.
    pub declaration: Option<Declaration>,
}

/// A member as status remembers it: `status.members[]`. The planner returns the new list whole ([`crate::Plan`]); it
/// is written before any step is carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberRecord {
    pub id: MemberId,
    /// The incarnation that a view names, or will name first.
    pub current: IncarnationRecord,
    /// The incarnation that takes over at the next epoch.
    pub successor: Option<IncarnationRecord>,
    /// The shards that it owns, and those that it holds for owners that were lost. For showing only.
    pub shards: Vec<u8>,
    pub custody: Vec<u8>,
}

/// One incarnation of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncarnationRecord {
    pub number: u32,
    /// The lost incarnation whose claim it takes over, until it has a seat (R25).
    pub inherits: Option<u32>,
    /// The newest pod's number; 0: none was made yet.
    pub attempt: u32,
    pub state: MemberState,
    /// One word, `CamelCase`; empty: nothing to say.
    pub reason: String,
    /// Since when it is in this state.
    pub since: Timestamp,
    /// When it was restarted with another spec, where it served until then and hasn't since.
    pub restarting: Option<Timestamp>,
    /// Where its newest pod is or was last bound, and that node's zone.
    pub node: Option<String>,
    pub zone: Option<String>,
    pub claim_uid: Option<String>,
    pub volume_uid: Option<String>,
    /// As its inventory said first; frozen from then on (R1).
    pub volume: Option<VolumeId>,
    pub key: Option<PublicKey>,
}

impl IncarnationRecord {
    /// One of which nothing is known but its number.
    pub fn new(number: u32, reason: &str, since: Timestamp) -> Self {
        Self {
            number,
            inherits: None,
            attempt: 0,
            state: MemberState::Pending,
            reason: reason.to_owned(),
            since,
            restarting: None,
            node: None,
            zone: None,
            claim_uid: None,
            volume_uid: None,
            volume: None,
            key: None,
        }
    }
}

/// How an incarnation is. The same words as in `status.members[].state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemberState {
    Pending,
    Starting,
    Serving,
    Unreachable,
    Lost,
    Faulty,
    Draining,
    Leaving,
    Returned,
}

/// An `Epoch` object. Its number is that of the views made in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochRecord {
    pub number: u64,
    pub phase: EpochPhase,
    /// The owner of each shard, by its place; what the operator chose (`status.owners`).
    pub owners: Vec<MemberId>,
    /// The incarnations that own them.
    pub members: Vec<(MemberId, u32)>,
    /// When the phase began.
    pub since: Timestamp,
    /// A user has chosen the owners.
    pub chosen: bool,
}

/// How far an epoch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EpochPhase {
    Planned,
    Migrating,
    Sealing,
    Committed,
    Retired,
    Superseded,
}
