//! The operator's decisions as one pure function: [`plan`] of a [`World`] and the time gives a [`Plan`].
//!
//! No Kubernetes, no tasks, no clock, no randomness: the same world gives the same plan, and a plan says why for
//! everything that it does or withholds. Rules are cited by their number (R1 …).

mod assign;
mod facts;
mod known;
mod plan;
mod time;
mod world;

pub use facts::{Ailment, Claim, ClaimPhase, Gateway, Heard, Inventory, Node, Pod, PodPhase, ShardReport, Volume};
pub use known::ANSWER_HOLDS;
pub use plan::{
    Act, Condition, Conditions, EpochPlan, Margin, MemberOrder, Missing, Plan, Step, Survives, Truth, Withheld,
};
pub use time::Timestamp;
pub use world::{
    Committee, EpochPhase, EpochRecord, IncarnationRecord, MemberRecord, MemberState, Pending, Record, Spread, World,
};
