//! A lost incarnation that came back while none has taken its place (R25): its volume becomes the successor.
//!
//! Recorded first: the new incarnation, and whose claim it inherits. Then the old pod goes, then the claim changes
//! hands, then the new pod is made, which gives the volume its new name and key. Each step follows from what is there,
//! so that any leader goes on with it. What can't be admitted in time is given up for a new volume.

use weft_protocol::MemberId;

use crate::{
    Act, IncarnationRecord, MemberState, Pod, PodPhase,
    assign::Who,
    draft::{Draft, named},
    evidence::{Finding, examine},
    judge, objects,
    views::not_established,
};

/// Makes the returned volume of a member its successor, where no successor has run yet: one that was planned gives way.
/// Returns whether it did.
pub(crate) fn admit_again(draft: &mut Draft<'_>, at: usize) -> bool {
    let member = &draft.members[at];
    let planned = member.successor.as_ref();
    if planned.is_some_and(|planned| planned.inherits.is_some() || has_run(draft, member.id, planned)) {
        return false;
    }
    let Some(returned) = candidate(draft, at).cloned() else { return false };
    let (id, from) = (member.id, returned.number);
    let number = judge::next_number(draft, id);
    let reason = match planned {
        Some(planned) => format!("incarnation {from} came back before incarnation {} ran (R25)", planned.number),
        None => format!("incarnation {from} came back, and is admitted again (R25)"),
    };
    let IncarnationRecord { node, zone, claim_uid, volume_uid, .. } = returned;
    draft.members[at].successor = Some(IncarnationRecord {
        inherits: Some(from),
        reason: "Returns".to_owned(),
        node,
        zone,
        claim_uid,
        volume_uid,
        ..judge::new_incarnation(draft, number)
    });
    draft.step(Act::Admit { member: id, incarnation: number }, named("member", (id, number)), reason);
    true
}

fn has_run(draft: &Draft<'_>, id: MemberId, record: &IncarnationRecord) -> bool {
    let runs = |pod: &Pod| pod.phase == PodPhase::Running;
    record.key.is_some() || draft.world.pods_of(id, record.number).any(runs)
}

/// The lost incarnation of a member, if it is back on the volume that it had, and well. A rewound or an empty volume
/// isn't, nor one that the spec wants replaced, nor a cheater's.
fn candidate<'d>(draft: &'d Draft<'_>, at: usize) -> Option<&'d IncarnationRecord> {
    let (world, member) = (draft.world, &draft.members[at]);
    let (id, record) = (member.id, &member.current);
    let who = (id, record.number);
    let has_seat = |view: &weft_protocol::View| view.seat(id).is_some_and(|seat| seat.incarnation.number == who.1);
    let seated = [world.view(), world.latest()].into_iter().flatten().any(has_seat);
    let volume = world.claim(id, record.number).and_then(|claim| claim.volume.as_ref());
    let back =
        record.state == MemberState::Returned && record.volume.is_some() && volume.is_none_or(|volume| volume.exists);
    if seated || !back || draft.shall_leave(who) {
        return None;
    }
    matches!(examine(world, id, record, draft.now).finding, Finding::Answers(_)).then_some(record)
}

/// Whether an incarnation that inherits a claim hasn't shown itself on it for as long as a member may be silent.
pub(crate) fn has_failed(draft: &mut Draft<'_>, record: &IncarnationRecord) -> bool {
    let after = draft.world.committee.unreachable_after;
    record.inherits.is_some() && record.key.is_none() && draft.has_passed(record.since, after)
}

/// Takes the steps that come before an inheriting incarnation's pod. Returns whether there are any.
pub(crate) fn take_over(draft: &mut Draft<'_>, id: MemberId, record: &IncarnationRecord) -> bool {
    let Some(from) = record.inherits else { return false };
    let world = draft.world;
    if world.claim(id, record.number).is_some() {
        return false;
    }
    if draft.rewound.is_some() {
        // Nothing goes before a person has confirmed what the fleet is (R26).
        return true;
    }
    let Some(claim) = world.claim(id, from).filter(|claim| !claim.terminating) else { return true };
    let number = record.number;
    let old: Vec<&Pod> = world.pods_of(id, from).collect();
    if old.is_empty() {
        draft.step(
            Act::InheritClaim { member: id, from, incarnation: number, uid: claim.uid.clone() },
            named("claim", (id, from)),
            format!("its volume is admitted again as incarnation {number}, and no pod uses it (R25)"),
        );
        return true;
    }
    let reason = format!("its volume is to be admitted again as incarnation {number} (R25)");
    let established = world.view().is_some_and(|view| draft.is_established(view));
    for pod in old.into_iter().filter(|pod| !pod.terminating) {
        if established {
            objects::delete_pod(draft, pod, &reason);
        } else {
            not_established(draft, "DeletePod", named("pod", (id, from)), &reason);
        }
    }
    true
}

/// Ends the pods of an incarnation that gave way: no view has named it, and none will.
pub(crate) fn stop_outrun(draft: &mut Draft<'_>, (id, number): Who) {
    let Some(member) = draft.member(id) else { return };
    let last = member.successor.as_ref().map_or(0, |successor| successor.number);
    if draft.rewound.is_some() || !(member.current.number < number && number < last) {
        return;
    }
    let world = draft.world;
    for pod in world.pods_of(id, number).filter(|pod| !pod.terminating) {
        objects::delete_pod(draft, pod, "another incarnation has taken its place before it served");
    }
}
