//! What the planner answers.

use std::fmt;

use weft_protocol::{Incarnation, MemberId, Seal, ShardSet, SignedView, View};
use weft_redstuff::{BlobId, Code, Hash};

use crate::{Budget, EpochPhase, MemberRecord, Rewind, Timestamp};

/// What shall be done, told and waited for.
///
/// It is carried out in this order: (1) `members` and the steps for which [`Act::is_record`] holds are written to
/// status in one compare-and-swap; (2) `orders` go to the members; (3) the other steps, each by itself: one that
/// fails is planned again. Steps are told in `status.plan`, then what is withheld.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Empty when there is nothing to do.
    pub steps: Vec<Step>,
    pub withheld: Vec<Withheld>,
    /// The new `status.members`, whole, sorted by id.
    pub members: Vec<MemberRecord>,
    /// The desired state of every incarnation that may run, level-triggered: sent at each reconcile, also when
    /// `steps` is empty.
    pub orders: Vec<MemberOrder>,
    /// The epoch in effect, and the one that is worked towards (the same when none is). 0 before the first view.
    pub epoch: (u64, u64),
    pub margin: Margin,
    pub survives: Survives,
    pub missing: Missing,
    /// Blobs of which too little is left to read or mend them (R20). No margin counts them.
    pub unrecoverable: Agreed,
    /// Blobs whose writers were proven to have lied (R19). No margin counts them either.
    pub invalid: Agreed,
    /// How many members may be evicted. What it forbids is forbidden before any step is taken, records too.
    pub budget: Budget,
    pub conditions: Conditions,
    /// When time alone may change the plan.
    pub wake_at: Option<Timestamp>,
}

/// What an order to one incarnation carries beyond what all orders carry (term, views, peers, budgets).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberOrder {
    pub member: MemberId,
    pub incarnation: u32,
    /// The view to refuse, and the recorded pending successor to refuse it for (R5): `true` sends a seal order.
    pub seal: bool,
    /// The shards that it gains in the next epoch, and that epoch's number (R22).
    pub target: Option<(u64, ShardSet)>,
    /// The hash of the view in effect, and the shards whose spare copies may go under it (R23).
    pub retire: Option<(Hash, ShardSet)>,
    /// The listed blobs: what they lack isn't missing, and no copy of them goes (R20).
    pub listed: Vec<BlobId>,
}

impl MemberOrder {
    /// What is left of an order when the view has changed since it was planned.
    #[must_use]
    pub fn under_another_view(&self) -> Self {
        Self { seal: false, target: None, retire: None, ..self.clone() }
    }
}

/// One thing to do, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub act: Act,
    /// E.g. `member 3`, `claim 3-2`, `view 1.2`.
    pub target: String,
    /// A sentence without its full stop.
    pub reason: String,
}

/// One thing that isn't done now, why it would be, and what holds it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withheld {
    /// The act's name, as [`Act::name`] gives it.
    pub act: &'static str,
    pub target: String,
    pub reason: String,
    /// The rule or budget, e.g. `R6: 4 of f = 9 shards lack something`.
    pub by: String,
}

#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "a plan has few steps, and views are few of them")]
pub enum Act {
    /// Record a new random fleet ID, or the one that the spec adopts.
    MintFleet,
    /// Record the code for good.
    RecordCode(Code),
    /// Note a loss; contained in [`Plan::members`]. For an Event.
    DeclareLost {
        member: MemberId,
        incarnation: u32,
    },
    /// Note that a member was proven to cheat (R29); contained in [`Plan::members`]. For an Event.
    DeclareFaulty {
        member: MemberId,
        incarnation: u32,
    },
    /// Note a new incarnation; contained in [`Plan::members`]. For an Event.
    Admit {
        member: MemberId,
        incarnation: u32,
    },
    /// Sign this view and record it whole, before anyone hears of it (R2). The first one (without predecessor) is in
    /// effect as recorded; any other is pending until a [`Act::TakeEffect`].
    ProposeView(View),
    /// Record a successor that members already refuse their view for, instead of an own one (R4).
    ContinueView(SignedView),
    /// Raise the term, and declare by it, beside the pending successor, that these are destroyed (R7): sorted; none: that
    /// is taken back.
    DeclareInSeal(Vec<(MemberId, Incarnation)>),
    /// Record that the seal's successor is in effect. Keep the seal: orders carry it.
    TakeEffect(Seal),
    /// Raise the term, and record that the fleet is ahead of the objects (R26).
    NoteRewind(Rewind),
    /// Record that a person has confirmed the objects.
    ConfirmRewind,
    CreateClaim {
        member: MemberId,
        incarnation: u32,
    },
    /// Hand the claim of a lost incarnation, with this UID, to the one that admits its volume again (R25). No pod of the
    /// lost one is left.
    InheritClaim {
        member: MemberId,
        from: u32,
        incarnation: u32,
        uid: String,
    },
    CreatePod {
        member: MemberId,
        incarnation: u32,
        attempt: u32,
        /// Nodes to keep off, sorted: what would be made there would hang.
        avoid: Vec<String>,
        /// What the spec says of it ([`Committee::inputs`](crate::Committee)).
        inputs: String,
    },
    /// Delete a pod, with its UID as precondition, its own grace period, and never by force.
    DeletePod {
        member: MemberId,
        incarnation: u32,
        attempt: u32,
        uid: String,
    },
    /// Delete a claim by R24: intent (UID, term) in status first, live read, UID and resourceVersion preconditions.
    DestroyClaim {
        member: MemberId,
        incarnation: u32,
        uid: String,
    },
    CreateEpoch(EpochPlan),
    /// Choose other owners for an epoch that isn't sealing yet: its status gets them, and is Planned again.
    ReplanEpoch(EpochPlan),
    SetEpochPhase {
        number: u64,
        phase: EpochPhase,
    },
    /// Say of an epoch that a user asked for why it isn't taken up: one word, and a sentence.
    RefuseEpoch {
        number: u64,
        reason: &'static str,
        message: String,
    },
}

/// The content of an Epoch object. `owners` and what follows go to its status, written before it takes effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochPlan {
    pub number: u64,
    /// The owner of each shard, by its place.
    pub owners: Vec<MemberId>,
    /// The incarnations that own them, sorted by member.
    pub members: Vec<(MemberId, u32)>,
    /// Shards that change their holder, and the fewest that any balanced assignment would move.
    pub moves: u32,
    pub minimum: u32,
    /// Bytes that the new owners still have to get, as far as inventories tell.
    pub bytes: u64,
    /// A user has chosen the owners.
    pub chosen: bool,
    pub phase: EpochPhase,
}

impl Act {
    /// Whether it deletes the pod of this UID.
    pub(crate) fn deletes_pod(&self, pod: &str) -> bool {
        matches!(self, Self::DeletePod { uid, .. } if uid == pod)
    }

    /// Whether it is a change of status, to be written before anything is ordered or made.
    pub fn is_record(&self) -> bool {
        match self {
            Self::MintFleet
            | Self::RecordCode(_)
            | Self::DeclareLost { .. }
            | Self::DeclareFaulty { .. }
            | Self::Admit { .. }
            | Self::ProposeView(_)
            | Self::ContinueView(_)
            | Self::DeclareInSeal(_)
            | Self::TakeEffect(_)
            | Self::NoteRewind(_)
            | Self::ConfirmRewind => true,
            Self::CreateClaim { .. }
            | Self::InheritClaim { .. }
            | Self::CreatePod { .. }
            | Self::DeletePod { .. }
            | Self::DestroyClaim { .. }
            | Self::CreateEpoch(_)
            | Self::ReplanEpoch(_)
            | Self::SetEpochPhase { .. }
            | Self::RefuseEpoch { .. } => false,
        }
    }

    /// `status.plan[].act`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::MintFleet => "MintFleet",
            Self::RecordCode(_) => "RecordCode",
            Self::DeclareLost { .. } => "DeclareLost",
            Self::DeclareFaulty { .. } => "DeclareFaulty",
            Self::Admit { .. } => "Admit",
            Self::ProposeView(_) => "ProposeView",
            Self::ContinueView(_) => "ContinueView",
            Self::DeclareInSeal(_) => "DeclareInSeal",
            Self::TakeEffect(_) => "TakeEffect",
            Self::NoteRewind(_) => "NoteRewind",
            Self::ConfirmRewind => "ConfirmRewind",
            Self::CreateClaim { .. } => "CreateClaim",
            Self::InheritClaim { .. } => "InheritClaim",
            Self::CreatePod { .. } => "CreatePod",
            Self::DeletePod { .. } => "DeletePod",
            Self::DestroyClaim { .. } => "DestroyClaim",
            Self::CreateEpoch(_) => "CreateEpoch",
            Self::ReplanEpoch(_) => "ReplanEpoch",
            Self::SetEpochPhase { .. } => "SetEpochPhase",
            Self::RefuseEpoch { .. } => "RefuseEpoch",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.act.name(), self.target, self.reason)
    }
}

/// How many shards may still go, for the worst blob; negative: that many are wanting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Margin {
    pub read: i32,
    pub write: i32,
}

/// How many members or zones may go, whichever they are, and everything can still be read and repaired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Survives {
    pub members: u32,
    pub zones: u32,
}

/// What holders say they lack, and what nobody holds counts as unknown, not as nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Missing {
    pub slivers: u64,
    pub bytes: u64,
}

/// Blobs that members with more than f shards say the same of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Agreed {
    pub blobs: u64,
    /// The smallest IDs, in order, [`LISTED`](crate::LISTED) at the most.
    pub ids: Vec<BlobId>,
}

/// The conditions of the committee.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conditions {
    pub available: Condition,
    pub ready: Condition,
    pub progressing: Condition,
    pub degraded: Condition,
    pub stalled: Condition,
    /// The objects were set back, and nobody has confirmed them (R26).
    pub rewound: Condition,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    pub status: Truth,
    /// One word, `CamelCase`.
    pub reason: &'static str,
    pub message: String,
}

/// What is not observed is `Unknown`, never `True`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truth {
    True,
    False,
    Unknown,
}
