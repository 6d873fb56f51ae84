//! Incarnations that no view names yet: whether they are fit, and who takes their place where they never will be.

use weft_protocol::MemberId;

use crate::{
    Act, IncarnationRecord, MemberState,
    draft::{Draft, named},
    evidence::{Examined, Finding, examine},
    judge::{new_incarnation, next_number, set},
    returns,
};

/// Judges an incarnation that no view names yet. Where it never will be fit, gives the one that takes its place:
/// nothing is lost with it.
pub(crate) fn judge(draft: &mut Draft<'_>, id: MemberId, record: &mut IncarnationRecord) -> Option<IncarnationRecord> {
    let Examined { finding, wake_at } = examine(draft.world, id, record, draft.now);
    draft.wake_for(wake_at);
    let now = draft.now;
    let spoilt = match finding {
        Finding::Answers(answer) => {
            if draft.world.record.fleet == Some(answer.fleet) {
                set(record, MemberState::Starting, "Ready", now);
            } else {
                set(record, MemberState::Pending, "ForeignVolume", now);
            }
            None
        }
        Finding::Ailing { reason: reason @ "ForeignVolume", since: _ } if record.inherits.is_some() => Some(reason),
        Finding::Ailing { reason, since: _ } => {
            set(record, MemberState::Pending, reason, now);
            if reason == "ForeignVolume" {
                draft.stall("ForeignVolume", format!("the volume of member {id} belongs to another fleet or member"));
            }
            // It takes no more writes as long as its process lives, and holds nothing yet.
            (reason == "ReadOnly").then_some(reason)
        }
        Finding::Silent { reason, since: _ } => {
            set(record, MemberState::Pending, &reason, now);
            let dead = on_dead_node(draft, id, record).then_some("NodeNotReady");
            dead.or_else(|| returns::has_failed(draft, record).then_some("NotReadmitted"))
        }
        Finding::Doomed(reason) | Finding::Gone(reason) => Some(reason),
    };
    let spoilt = spoilt.filter(|_| !draft.watches_only() && draft.is_wanted(id))?;
    // Whatever spoils one volume may spoil the next: no more than one new claim each settling time.
    if !draft.has_passed(record.since, draft.world.committee.settle) {
        return None;
    }
    let number = next_number(draft, id).max(record.number + 1);
    draft.step(
        Act::Admit { member: id, incarnation: number },
        named("member", (id, number)),
        format!("incarnation {} was lost before it held anything ({spoilt})", record.number),
    );
    Some(new_incarnation(draft, number))
}

/// A newcomer whose volume waits to be made on a silent node, or whose node has been out of reach for as long as a
/// member may be: it holds nothing, so another one is tried elsewhere.
fn on_dead_node(draft: &mut Draft<'_>, id: MemberId, record: &IncarnationRecord) -> bool {
    if draft.world.claim_of(id, record).is_some_and(|claim| draft.world.hangs(claim, draft.now)) {
        return true;
    }
    let node = record.node.as_deref().and_then(|name| draft.world.node(name));
    let Some(since) = node.and_then(|node| node.unready_since) else { return false };
    let after = draft.world.committee.unreachable_after;
    draft.has_passed(since, after)
}
