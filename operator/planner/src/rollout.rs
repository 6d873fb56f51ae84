//! Members restart when what the spec says of their pods has changed: one after another, one zone after another, each only
//! while all others are well, and in a maintenance window where there are any. So what is wrong with the spec stops at the
//! first of them, and is put right there.
//!
//! What counts is what a person has said ([`Committee::inputs`](crate::Committee)), never what an operator has made of it:
//! another operator's pods may look otherwise, and nothing restarts for that.

use weft_protocol::{MemberId, View};

use crate::{
    Pod, PodPhase,
    assign::Who,
    budget,
    draft::{Draft, named},
    maintenance, objects,
};

/// Why a rollout waits for a person.
pub(crate) const HALTED: &str = "RolloutHalted";

/// Lets the next one go.
pub(crate) fn advance(draft: &mut Draft<'_>) {
    if draft.watches_only() || draft.rewound.is_some() {
        return;
    }
    let Some(view) = draft.world.view() else { return restart_unborn(draft) };
    let (seated, unseated): (Vec<&Pod>, Vec<&Pod>) = outdated(draft).into_iter().partition(|pod| is_seated(draft, pod));
    for pod in &unseated {
        objects::delete_pod(draft, pod, "it is made of an earlier spec, and no view names its incarnation");
    }
    let Some(next) = seated.into_iter().min_by_key(|pod| turn(draft, pod)).filter(|_| unseated.is_empty()) else {
        return;
    };
    let closed = if has_failed(draft, next) { None } else { maintenance::closed(draft) };
    match closed.or_else(|| obstacle(draft, view, next)) {
        None => restart(draft, next),
        Some(by) => {
            let target = format!("pod {}-{}-{}", next.member, next.incarnation, next.attempt);
            draft.withhold("DeletePod", target, "it is made of an earlier spec", by);
        }
    }
}

/// A new fleet that has no view yet has nothing to lose: what doesn't start is made anew. One that is adopted may just not
/// have told its view.
fn restart_unborn(draft: &mut Draft<'_>) {
    if draft.world.committee.fleet.is_none() && draft.world.record.epochs.is_empty() {
        let silent: Vec<&Pod> = outdated(draft).into_iter().filter(|pod| is_silent(draft, pod)).collect();
        for pod in silent {
            objects::delete_pod(draft, pod, "it doesn't start, and is made of an earlier spec");
        }
    }
}

/// From here on its silence is the spec's, until it serves again. That of one which fell silent before isn't.
fn restart(draft: &mut Draft<'_>, pod: &Pod) {
    let (silent, now) = (is_silent(draft, pod), draft.now);
    if let Some(member) = draft.members.iter_mut().find(|member| member.id == pod.member)
        && (!silent || member.current.restarting.is_some())
    {
        member.current.restarting = Some(now);
    }
    let reason = if silent { "it doesn't serve" } else { "all others are well" };
    objects::delete_pod(draft, pod, &format!("it is made of an earlier spec, and {reason}"));
}

/// Whether it hasn't served with the spec that it is made of, so that nothing is lost by another: it was restarted with that,
/// or never began.
fn has_failed(draft: &Draft<'_>, pod: &Pod) -> bool {
    let restarting = draft.incarnation((pod.member, pod.incarnation)).is_some_and(|record| record.restarting.is_some());
    restarting || (is_silent(draft, pod) && pod.phase == PodPhase::Pending)
}

/// Why the next one has to wait.
fn obstacle(draft: &Draft<'_>, view: &View, next: &Pod) -> Option<String> {
    let who = (next.member, next.incarnation);
    if !is_node_well(draft, who) {
        return Some("its Node isn't ready, or cordoned".to_owned());
    }
    let tried = draft.world.pods.iter().filter(|pod| pod.is_alive() && is_present(draft, pod) && is_seated(draft, pod));
    let mut tried = tried.filter(|pod| !serves(draft, pod) && is_node_well(draft, (pod.member, pod.incarnation)));
    if let Some(first) = tried.next() {
        return Some(format!("{} has yet to serve with it", named("member", (first.member, first.incarnation))));
    }
    if is_silent(draft, next) { None } else { budget::unrest(draft, view, who) }
}

/// How many members have yet to restart, in a sentence; `None` also while they only wait for a maintenance window.
pub(crate) fn remaining(draft: &Draft<'_>) -> Option<String> {
    // The last one has yet to restart when the plan deletes its pod.
    let (outdated, all) = (of_another_spec(draft).count(), draft.members.len());
    let told = || format!("{outdated} of {all} members have yet to restart with the present spec");
    (outdated > 0 && awaiting(draft).is_none()).then(told)
}

/// How many members wait for the next maintenance window, in a sentence, where that is all that the rollout does: everybody
/// serves, and nobody restarts.
pub(crate) fn awaiting(draft: &Draft<'_>) -> Option<String> {
    let opens = maintenance::next_opening(draft)?;
    let outdated: Vec<&Pod> = of_another_spec(draft).collect();
    let restarts = draft.members.iter().any(|member| member.current.restarting.is_some());
    let stands_still = draft.watches_only() || draft.rewound.is_some();
    if outdated.is_empty() || restarts || stands_still || outdated.iter().any(|pod| has_failed(draft, pod)) {
        return None;
    }
    let (outdated, all) = (outdated.len(), draft.members.len());
    Some(format!("{outdated} of {all} members restart with the present spec in the window that opens at {opens}"))
}

/// Whether a silent incarnation's silence comes from the spec that its pod is made of, as far as anyone can tell: it
/// served until it was restarted with it, its node is well, and nobody has served with it yet. That stays so when the spec
/// is put right, until the pod is made anew; what a pod was made of that is gone, nobody knows any more.
pub(crate) fn explains(draft: &Draft<'_>, who: Who) -> bool {
    let restarting = draft.incarnation(who).is_some_and(|record| record.restarting.is_some());
    let alive = draft.world.pods_of(who.0, who.1).filter(|pod| pod.is_alive()).max_by_key(|pod| pod.attempt);
    let is_proven = alive.and_then(|pod| pod.inputs.as_ref()).is_some_and(|inputs| is_proven(draft, inputs));
    restarting && is_node_well(draft, who) && !is_proven
}

/// What to tell a person when [`explains`] holds for longer than a silence may last.
pub(crate) fn halted(draft: &Draft<'_>, who: Who, reason: &str) -> String {
    let committee = &draft.world.committee.name;
    format!(
        "{} served until it was restarted with another spec, and doesn't since ({reason}): set spec.image or \
         spec.template of {committee} right, and it restarts with that. Its volume is kept, and no other member restarts",
        named("member", who)
    )
}

/// Whether a pod that is made now for an incarnation with a seat is the first to try the present spec: others run with an
/// earlier one, and none serves with this.
pub(crate) fn is_first(draft: &Draft<'_>) -> bool {
    !outdated(draft).is_empty() && !is_proven(draft, &draft.world.committee.inputs)
}

/// Whether an incarnation that answers has restarted, and this is no earlier process's answer.
pub(crate) fn has_restarted(draft: &Draft<'_>, (member, incarnation): Who) -> bool {
    let mut pods = draft.world.pods_of(member, incarnation).peekable();
    pods.peek().is_some() && pods.all(|pod| is_present(draft, pod) && serves(draft, pod))
}

/// Whether a member with a seat serves with a spec.
fn is_proven(draft: &Draft<'_>, inputs: &String) -> bool {
    let proves = |pod: &Pod| {
        let record = draft.incarnation((pod.member, pod.incarnation));
        record.is_some_and(|record| record.restarting.is_none()) && is_seated(draft, pod) && serves(draft, pod)
    };
    draft.world.pods.iter().any(|pod| pod.is_alive() && pod.inputs.as_ref() == Some(inputs) && proves(pod))
}

fn is_present(draft: &Draft<'_>, pod: &Pod) -> bool {
    pod.inputs.as_ref() == Some(&draft.world.committee.inputs)
}

/// Whether it is ready by Kubernetes' word, and its process answered when it was called last.
fn serves(draft: &Draft<'_>, pod: &Pod) -> bool {
    let who = (pod.member, pod.incarnation);
    let answers = draft.world.answer(who.0, who.1, draft.now).is_some_and(|answer| answer.ailment.is_none());
    pod.ready && answers && !draft.world.missed.contains_key(&who)
}

/// Whether neither Kubernetes nor the operator has anything of it.
fn is_silent(draft: &Draft<'_>, pod: &Pod) -> bool {
    !pod.ready && draft.world.answer(pod.member, pod.incarnation, draft.now).is_none()
}

fn is_seated(draft: &Draft<'_>, pod: &Pod) -> bool {
    let names = |view: &View| view.seat(pod.member).is_some_and(|seat| seat.incarnation.number == pod.incarnation);
    [draft.world.view(), draft.world.latest()].into_iter().flatten().any(names)
}

/// Pods of incarnations that go on, made of another spec than the present one. Where nobody has noted what a pod is made
/// of, it isn't known.
fn of_another_spec<'d, 'w>(draft: &'d Draft<'w>) -> impl Iterator<Item = &'w Pod> + use<'d, 'w> {
    let goes_on =
        |pod: &Pod| draft.incarnation((pod.member, pod.incarnation)).is_some_and(|record| objects::runs(record.state));
    let other = |pod: &Pod| pod.inputs.is_some() && !is_present(draft, pod);
    draft.world.pods.iter().filter(move |pod| pod.is_alive() && other(pod) && goes_on(pod))
}

/// Those that the plan doesn't delete yet.
fn outdated<'w>(draft: &Draft<'w>) -> Vec<&'w Pod> {
    let deleted = |pod: &Pod| draft.steps.iter().any(|step| step.act.deletes_pod(&pod.uid));
    of_another_spec(draft).filter(|pod| !deleted(pod)).collect()
}

/// Whether a node is well that an incarnation's pod can run on: one of those that its volume is pinned to, or else the one
/// that it is or was on.
fn is_node_well(draft: &Draft<'_>, who: Who) -> bool {
    let (world, record) = (draft.world, draft.incarnation(who));
    let volume = record.and_then(|record| world.claim_of(who.0, record)?.volume.as_ref());
    let pinned = volume.map_or(&[][..], |volume| &volume.pinned_to);
    let last = record.and_then(|record| record.node.as_ref()).filter(|_| pinned.is_empty());
    let well = |name: &String| {
        // Where no Node is seen, nothing is known against any.
        let seen = world.node(name).map(|node| node.is_ready() && !node.out_of_service && !node.cordoned);
        seen.unwrap_or(world.nodes.is_empty())
    };
    pinned.iter().chain(last).next().is_none() || pinned.iter().chain(last).any(well)
}

/// Who couldn't come back comes last and who doesn't serve first; then a zone that was begun, then zone by zone.
fn turn(draft: &Draft<'_>, pod: &Pod) -> (bool, bool, bool, Option<String>, MemberId) {
    let zone = |pod: &Pod| draft.incarnation((pod.member, pod.incarnation)).and_then(|record| record.zone.clone());
    let its = zone(pod);
    let begun = draft.world.pods.iter().any(|other| is_present(draft, other) && zone(other) == its);
    let stays = !is_node_well(draft, (pod.member, pod.incarnation));
    (stays, serves(draft, pod), !begun, its, pod.member)
}
