//! Pods and claims: what is missing is made, what nobody needs any more goes (R24).

use std::collections::BTreeSet;

use weft_protocol::MemberId;

use crate::{
    Act, ClaimPhase, EpochPhase, IncarnationRecord, MemberState, Pod, PodPhase,
    assign::Who,
    draft::{Draft, named},
    known::ANSWER_HOLDS,
    listed, nodes, returns, rewind, rollout,
};

/// Makes and removes objects. Nothing is made before the fleet has its name.
pub(crate) fn reconcile(draft: &mut Draft<'_>) {
    if draft.watches_only() || draft.world.record.fleet.is_none() {
        return;
    }
    let wanted: Vec<(MemberId, IncarnationRecord)> = (draft.members.iter())
        .flat_map(|member| {
            std::iter::once(&member.current).chain(&member.successor).map(|record| (member.id, record.clone()))
        })
        .collect();
    for (id, record) in &wanted {
        if runs(record.state) {
            provide(draft, *id, record);
        }
    }
    destroy(draft, &wanted);
}

/// Whether an incarnation in this state shall have a pod.
pub(crate) fn runs(state: MemberState) -> bool {
    match state {
        MemberState::Pending
        | MemberState::Starting
        | MemberState::Serving
        | MemberState::Unreachable
        | MemberState::Draining => true,
        // What is left of these may serve reads, but isn't started again.
        MemberState::Lost | MemberState::Faulty | MemberState::Leaving | MemberState::Returned => false,
    }
}

fn provide(draft: &mut Draft<'_>, id: MemberId, record: &IncarnationRecord) {
    let who = (id, record.number);
    let (member, incarnation) = who;
    if returns::take_over(draft, id, record) {
        return;
    }
    // A volume that is there decides itself where its pod may run.
    let is_made = draft.world.claim(id, record.number).is_some_and(|claim| claim.volume.is_some());
    let avoid = if is_made { Vec::new() } else { draft.world.to_avoid(draft.now) };
    let seated = draft.world.view().and_then(|view| view.seat(id)).is_some_and(|seat| seat.incarnation.number == who.1);
    match draft.world.claim(id, record.number) {
        None if seated && draft.rewound.is_some() => {
            // Its volume may be there without its objects: an empty one must not take the name.
            draft.withhold("CreateClaim", named("claim", who), "a view names it, and it has none", rewind::UNCONFIRMED);
            return;
        }
        None => draft.step(
            Act::CreateClaim { member, incarnation },
            named("claim", who),
            "this incarnation has no volume yet",
        ),
        // A pod with a claim that goes away is never scheduled.
        Some(claim) if claim.terminating => return,
        Some(_) => {}
    }
    let pods: Vec<&Pod> = draft.world.pods_of(id, record.number).collect();
    let (outdated, alive): (Vec<&Pod>, Vec<&Pod>) =
        pods.iter().filter(|pod| pod.is_alive()).partition(|pod| !is_made && nodes::is_outdated(pod, &avoid));
    for pod in &outdated {
        delete_pod(draft, pod, "it waits, and the nodes to keep off have changed");
    }
    if !outdated.is_empty() || !alive.is_empty() {
        return;
    }
    for pod in pods.iter().filter(|pod| !pod.terminating) {
        delete_pod(draft, pod, "it has ended");
    }
    let attempt = pods.iter().map(|pod| pod.attempt).max().unwrap_or(0).max(record.attempt) + 1;
    let reason = match (pods.is_empty(), record.attempt) {
        (true, 0) => "this incarnation has no pod yet",
        (true, _) => "its pod is gone, and its claim is there",
        (false, _) => "its pod ends, and its claim is there",
    };
    let target = format!("pod {id}-{}-{attempt}", record.number);
    let has_served = record.state == MemberState::Serving || draft.now - record.since <= ANSWER_HOLDS;
    if seated
        && has_served
        && rollout::is_first(draft)
        && let Some(member) = draft.members.iter_mut().find(|member| member.id == id)
    {
        member.current.restarting.get_or_insert(draft.now);
    }
    let inputs = draft.world.committee.inputs.clone();
    draft.step(Act::CreatePod { member, incarnation, attempt, avoid, inputs }, target, reason);
}

pub(crate) fn delete_pod(draft: &mut Draft<'_>, pod: &Pod, reason: &str) {
    let Pod { member, incarnation, attempt, uid, .. } = pod.clone();
    let target = format!("pod {member}-{incarnation}-{attempt}");
    draft.step(Act::DeletePod { member, incarnation, attempt, uid }, target, reason);
}

/// Destroys what belongs to incarnations that no view names and none will: at once where no data is left, else when
/// the epoch is retired and margins are full, so that nothing depends on it (R23, R24).
fn destroy(draft: &mut Draft<'_>, wanted: &[(MemberId, IncarnationRecord)]) {
    let world = draft.world;
    let kept: BTreeSet<Who> = wanted
        .iter()
        .filter(|(_, record)| runs(record.state))
        .flat_map(|(id, record)| std::iter::once(record.number).chain(record.inherits).map(|number| (*id, number)))
        .chain(
            [world.view(), world.latest()]
                .into_iter()
                .flatten()
                .flat_map(|view| view.seats.iter().map(|seat| (seat.member, seat.incarnation.number))),
        )
        .collect();
    let claims = world.claims.iter().map(|claim| (claim.member, claim.incarnation));
    let pods = world.pods.iter().map(|pod| (pod.member, pod.incarnation));
    let spare: BTreeSet<Who> = claims.chain(pods).filter(|who| !kept.contains(who)).collect();
    let by = obstacle(draft);
    let owned = Some("R23: it is the last to own its shards, and custodians are none".to_owned());
    for who in spare {
        if world.view().is_none() {
            continue;
        }
        match by.as_ref().or(owned.as_ref().filter(|_| is_owner(draft, who))) {
            Some(by) if draft.rewound.is_some() || !is_empty(draft, who) => {
                draft.withhold("DestroyClaim", named("claim", who), "no view names this incarnation", by.clone());
                returns::stop_outrun(draft, who);
            }
            _ => destroy_incarnation(draft, who),
        }
    }
}

/// Whether the epoch in effect still names it: it was lost since. The next one begins `retainFor`, and has what others
/// rebuilt re-read (R23).
fn is_owner(draft: &Draft<'_>, (member, number): Who) -> bool {
    let epoch = draft.world.view().and_then(|view| draft.world.epoch(view.epoch));
    epoch.is_some_and(|epoch| epoch.members.contains(&(member, number)))
}

/// What keeps copies outside of the view from being destroyed now.
fn obstacle(draft: &Draft<'_>) -> Option<String> {
    let world = draft.world;
    let Some(view) = world.view() else { return Some("R24: there is no view yet".to_owned()) };
    if draft.rewound.is_some() {
        return Some(rewind::UNCONFIRMED.to_owned());
    }
    if world.record.pending.is_some() || draft.changes_view() {
        return Some("R24: a view is being sealed".to_owned());
    }
    let next = world.epoch(view.epoch + 1).is_some_and(|epoch| epoch.phase != EpochPhase::Superseded);
    if next || world.epoch(view.epoch).is_none_or(|epoch| epoch.phase != EpochPhase::Retired) {
        return Some("R23: its shards' new owners haven't retired its copy".to_owned());
    }
    if !world.is_whole(view, draft.now) {
        return Some("R23: margins are not full".to_owned());
    }
    listed::obstacle(draft)
}

/// Whether nothing can come back of it: no volume is behind the claim, and no process runs.
fn is_empty(draft: &Draft<'_>, who: Who) -> bool {
    let world = draft.world;
    let running = world.pods_of(who.0, who.1).any(|pod| pod.phase == PodPhase::Running && !on_gone_node(draft, pod));
    let data = world.claim(who.0, who.1).is_some_and(|claim| match &claim.volume {
        None => false,
        Some(volume) => volume.exists && claim.phase != ClaimPhase::Lost,
    });
    !running && !data
}

fn on_gone_node(draft: &Draft<'_>, pod: &Pod) -> bool {
    let node = pod.node.as_deref().and_then(|name| draft.world.node(name));
    node.is_some_and(|node| node.gone_since.is_some())
}

fn destroy_incarnation(draft: &mut Draft<'_>, (member, incarnation): Who) {
    let world = draft.world;
    let reason = "no view names this incarnation, and nothing depends on it (R24)";
    for pod in world.pods_of(member, incarnation).filter(|pod| !pod.terminating) {
        delete_pod(draft, pod, reason);
    }
    if let Some(claim) = world.claim(member, incarnation).filter(|claim| !claim.terminating) {
        let uid = claim.uid.clone();
        draft.step(Act::DestroyClaim { member, incarnation, uid }, named("claim", (member, incarnation)), reason);
    }
}
