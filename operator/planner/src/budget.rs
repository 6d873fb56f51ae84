//! How many of the members' pods may be evicted now: none, or one, by what the code bears the loss of.
//!
//! An eviction takes a ready pod while more than `min_available` are ready. Pods come and go between two looks of the
//! operator's, and Kubernetes goes on evicting while it is away; so what is allowed is counted from all pods that may
//! ever become ready, not from those that are. By evictions alone never more than `pods - min_available` of them are
//! away at once, and that many are borne, whichever they are.

use weft_protocol::{Seat, ShardSet, View};

use crate::{
    Act, EpochPhase, MemberState,
    assign::Who,
    beyond,
    draft::{Draft, named, shards, view_name},
    epochs,
    measure::most_members,
    rewind, rollout,
};

/// What the disruption budget over the members' pods says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// 0 or 1: how many ready pods may be evicted, as things stand.
    pub evictable: u32,
    /// Pods that are ready or may become so.
    pub pods: u32,
    /// How many of them must stay ready.
    pub min_available: u32,
    /// A sentence without its full stop.
    pub reason: String,
}

pub(crate) fn budget(draft: &Draft<'_>) -> Budget {
    let alive = || draft.world.pods.iter().filter(|pod| pod.is_alive());
    let pods = alive().count() as u32;
    let away = alive().filter(|pod| !pod.ready).count() as u32;
    // Those that this plan makes may be ready before the next one is made.
    let made = draft.steps.iter().filter(|step| matches!(step.act, Act::CreatePod { .. })).count() as u32;
    let none = |reason: String| Budget { evictable: 0, pods, min_available: pods + made, reason };
    let Some(view) = draft.world.view() else { return none("the fleet has no view yet".to_owned()) };
    let rollout = || rollout::remaining(draft).or_else(|| restarting(draft));
    if let Some(obstacle) = obstacle(draft, view, ShardSet::EMPTY).or_else(rollout) {
        return none(obstacle);
    }
    let silent = silent(draft, view);
    let borne = most_members(view, silent);
    if away < borne {
        let reason = format!("{borne} may be away at once, whichever they are, and {away} are");
        return Budget { evictable: 1, pods, min_available: pods - away - 1, reason };
    }
    let silent = shards(silent.len(), ["more doesn't answer", "more don't answer"]);
    none(format!("margin: {away} pods aren't ready, {silent}, and f = {}", view.code.fault_tolerance()))
}

/// Shards that are gone though no pod of theirs counts as away: its member is silent or ailing, and Kubernetes calls
/// its pod ready; or there is no pod.
fn silent(draft: &Draft<'_>, view: &View) -> ShardSet {
    let world = draft.world;
    let is_silent = |seat: &&Seat| {
        let mut pods = world.pods_of(seat.member, seat.incarnation.number).filter(|pod| pod.is_alive());
        let serves = || world.seat_answer(seat, draft.now).is_some_and(|answer| answer.ailment.is_none());
        pods.next().is_none_or(|pod| pod.ready && !serves())
    };
    view.seats.iter().filter(is_silent).map(|seat| seat.shards).collect()
}

/// Who has yet to serve since it was restarted with another spec.
fn restarting(draft: &Draft<'_>) -> Option<String> {
    let member = draft.members.iter().find(|member| member.current.restarting.is_some())?;
    Some(format!("{} is restarting", named("member", (member.id, member.current.number))))
}

/// Why nobody may be taken away, whatever the margin: the operator has something of its own to do, or data to mend, but
/// for what `but` lack.
fn obstacle(draft: &Draft<'_>, view: &View, but: ShardSet) -> Option<String> {
    let world = draft.world;
    if draft.rewound.is_some() {
        return Some(rewind::UNCONFIRMED.to_owned());
    }
    if let Some(step) = draft.steps.first() {
        return Some(format!("{} {} comes first", step.act.name(), step.target));
    }
    if let Some(pending) = &world.record.pending {
        return Some(format!("R5: {} is being sealed", view_name(&pending.view.view)));
    }
    if let Some(lost) = view.seats.iter().find(|seat| draft.is_lost(beyond::who(seat))) {
        return Some(format!("{} is lost", named("member", beyond::who(lost))));
    }
    let custody = draft.in_custody();
    if custody > 0 {
        return Some(shards(custody, ["is with a custodian", "are with custodians"]));
    }
    if let Some(changing) = changing(draft, view) {
        return Some(changing);
    }
    let lacking = world.lacking(view, draft.now).difference(but).len();
    (lacking > 0).then(|| shards(lacking, ["lacks something at its holder", "lack something at their holders"]))
}

/// Why a member mustn't be taken away for a moment: all others must be well, and the code bear it.
pub(crate) fn unrest(draft: &Draft<'_>, view: &View, who: Who) -> Option<String> {
    let (others, its): (Vec<&Seat>, Vec<&Seat>) = view.seats.iter().partition(|seat| beyond::who(seat) != who);
    if let Some(obstacle) = obstacle(draft, view, its.iter().map(|seat| seat.shards).collect()) {
        return Some(obstacle);
    }
    let serves = |seat: &&&Seat| {
        let who = beyond::who(seat);
        let ready = draft.world.pods_of(who.0, who.1).any(|pod| pod.ready && pod.is_alive());
        let answers = draft.world.seat_answer(seat, draft.now).is_some_and(|answer| answer.ailment.is_none());
        ready && answers && !draft.world.missed.contains_key(&who)
    };
    if let Some(seat) = others.iter().find(|seat| !serves(seat)) {
        return Some(format!("{} isn't ready, or doesn't answer", named("member", beyond::who(seat))));
    }
    (most_members(view, ShardSet::EMPTY) == 0).then(|| "margin: the code bears nobody's absence".to_owned())
}

/// Who is to come or to go, or the epoch that is under way.
fn changing(draft: &Draft<'_>, view: &View) -> Option<String> {
    for member in &draft.members {
        let current = (member.id, member.current.number);
        let seated = view.seat(member.id).is_some_and(|seat| seat.incarnation.number == current.1);
        let comes = matches!(member.current.state, MemberState::Pending | MemberState::Starting);
        // Also one whose claim goes with its pod.
        if seated && (draft.shall_leave(current) || member.current.state == MemberState::Draining) {
            return Some(format!("{} is to give up its shards", named("member", current)));
        }
        if member.successor.is_some() || (!seated && comes) {
            return Some(format!("member {} is to get shards on a new volume", member.id));
        }
    }
    let (current, target) = epochs::pointer(draft);
    if current != target {
        return Some(format!("epoch {target} is under way"));
    }
    let phase = draft.world.epoch(current).map(|epoch| epoch.phase);
    let settled = matches!(phase, Some(EpochPhase::Committed | EpochPhase::Retired));
    (!settled).then(|| format!("epoch {current} isn't committed"))
}
