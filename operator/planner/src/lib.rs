//! The operator's decisions as one pure function: [`plan`] of a [`World`] and the time gives a [`Plan`].
//!
//! No Kubernetes, no tasks, no clock, no randomness: the same world gives the same plan, and a plan says why for
//! everything that it does or withholds. Rules are cited by their number (R1 …).

mod accused;
mod assign;
mod beyond;
mod budget;
mod conclude;
mod draft;
mod epochs;
mod evidence;
mod facts;
mod floor;
mod judge;
mod known;
mod listed;
mod maintenance;
mod measure;
mod newcomers;
mod nodes;
mod objects;
mod plan;
mod restraint;
mod returns;
mod rewind;
mod rollout;
mod room;
#[cfg(feature = "testing")]
pub mod testing;
mod time;
mod views;
mod world;

pub use budget::Budget;
pub use conclude::AWAITING_MAINTENANCE;
pub use evidence::NODE_GONE_AFTER;
pub use facts::{Ailment, Claim, ClaimPhase, Gateway, Heard, Inventory, Node, Pod, PodPhase, ShardReport, Volume};
pub use floor::FloorClock;
pub use known::ANSWER_HOLDS;
pub use listed::LISTED;
pub use maintenance::MaintenanceWindow;
pub use measure::SLOTS;
pub use plan::{
    Act, Agreed, Condition, Conditions, EpochPlan, Margin, MemberOrder, Missing, Plan, Step, Survives, Truth, Withheld,
};
pub use room::{Holding, shard_limit};
pub use time::Timestamp;
pub use world::{
    Committee, EpochPhase, EpochRecord, EpochWish, IncarnationRecord, MemberRecord, MemberState, Pending, Record,
    Rewind, Spread, World,
};

use draft::Draft;

/// The accusations that hold by the keys of the view in effect (R29).
pub fn accusations(world: &World) -> Vec<&weft_protocol::Accusation> {
    world.view().map(|view| accused::accusations(world, view).collect()).unwrap_or_default()
}

/// What to do about `world` at `now`. Pure: the same world and time give the same plan.
pub fn plan(world: &World, now: Timestamp) -> Plan {
    let world = world.in_order();
    let mut draft = Draft::new(&world, now);
    choose(&mut draft);
    rewind::notice(&mut draft);
    judge::judge(&mut draft);
    views::advance(&mut draft);
    epochs::advance(&mut draft);
    epochs::answer(&mut draft);
    objects::reconcile(&mut draft);
    rollout::advance(&mut draft);
    conclude::conclude(draft)
}

/// The code of a fleet that is taken up, whatever the spec says by now; that of the spec for any other. `None` while
/// members that may know a view haven't told it.
fn code(draft: &Draft<'_>) -> Option<weft_redstuff::Code> {
    let (world, adopts) = (draft.world, draft.world.committee.fleet.is_some());
    let is_new = |member: &MemberRecord| {
        let answer = world.answer(member.id, member.current.number, draft.now);
        answer.is_some_and(|answer| answer.newest_view.is_none())
    };
    match world.view() {
        Some(view) => Some(view.code),
        None => (!adopts || world.record.members.iter().all(is_new)).then_some(world.committee.code),
    }
}

/// The choices that are recorded once, for good.
fn choose(draft: &mut Draft<'_>) {
    let World { committee, record, .. } = draft.world;
    if draft.watches_only() {
        let why = if committee.deleting { "the committee is being deleted" } else { "spec.paused" };
        draft.withhold("All", committee.name.as_str(), "the operator only watches", why);
        return;
    }
    if record.fleet.is_none() {
        let reason = if committee.fleet.is_some() { "the spec adopts this fleet" } else { "the committee is new" };
        draft.step(Act::MintFleet, "fleet", reason);
    }
    if record.code.is_none() {
        let Some(code) = code(draft) else {
            draft.withhold("RecordCode", "code", "the spec adopts a fleet", "R26: its members have yet to tell theirs");
            return;
        };
        let (n, f) = (code.shards(), code.fault_tolerance());
        draft.step(Act::RecordCode(code), "code", format!("n = {n} shards, f = {f}, for good"));
    }
}
