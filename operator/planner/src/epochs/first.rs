//! A fleet's one first view (R3).

use weft_protocol::{MemberId, View};

use super::{content, name, owners_of};
use crate::{
    Act, MemberState,
    assign::{self, Limits, Who},
    draft::{Draft, members},
    views,
};

/// Makes epoch 1 and then view 1, once every member has shown its key on an empty volume.
pub(super) fn begin(draft: &mut Draft<'_>) {
    let committee = &draft.world.committee;
    if draft.stalled.is_some() {
        return;
    }
    let waiting: Vec<MemberId> = (0..committee.members).map(MemberId).filter(|id| !shows_key(draft, *id)).collect();
    let reason = "the members' first view";
    if !waiting.is_empty() {
        let by = format!("R3: waits for the key of {} on an empty volume", members(waiting));
        draft.withhold("ProposeView", "view 1.0", reason, by);
        return;
    }
    let whos: Vec<Who> = draft
        .members
        .iter()
        .filter(|member| member.id.0 < committee.members)
        .map(|member| (member.id, member.current.number))
        .collect();
    let (n, f) = (usize::from(draft.code.shards()), usize::from(draft.code.fault_tolerance()));
    let recorded = draft.world.epoch(1);
    let kept = recorded
        .map(owners_of)
        .filter(|owners| owners.len() == n && owners.iter().all(|who| who.is_some_and(|who| whos.contains(&who))));
    if let Some(owners) = kept {
        propose(draft, &owners);
        return;
    }
    let places: Vec<_> = whos.iter().map(|who| draft.place(*who)).collect();
    let turns: Vec<Option<MemberId>> = (0..n).map(|shard| Some(whos[shard % whos.len()].0)).collect();
    let limits = Limits { cap: f, moves: n, free: weft_protocol::ShardSet::EMPTY };
    let owners = assign::rebalance(&vec![None; n], &places, &turns, limits);
    let Some(content) = content(&owners, 1, n, n, 0) else {
        draft.stall("TooFewMembers", format!("{} members of at most {f} shards cannot hold {n}", whos.len()));
        return;
    };
    let act = if recorded.is_some() { Act::ReplanEpoch(content) } else { Act::CreateEpoch(content) };
    draft.step(act, name(1), "every member has shown its key on an empty volume (R3)");
}

fn shows_key(draft: &Draft<'_>, id: MemberId) -> bool {
    let Some(current) = draft.member(id).map(|member| &member.current) else { return false };
    let answer = draft.world.answer(id, current.number, draft.now);
    current.state == MemberState::Starting
        && answer.is_some_and(|answer| {
            answer.newest_view.is_none() && answer.blobs == 0 && answer.tombstones == 0 && answer.held_slivers == 0
        })
}

fn propose(draft: &mut Draft<'_>, owners: &[Option<Who>]) {
    let record = &draft.world.record;
    let committed = (record.fleet, draft.world.committee.authority.clone(), views::seats(draft, owners));
    let (Some(fleet), Some(authority), Some(seats)) = committed else {
        draft.withhold("ProposeView", "view 1.0", "the members' first view", "R2: keys are missing");
        return;
    };
    let view = View {
        fleet,
        epoch: 1,
        revision: 0,
        term: record.term,
        predecessor: None,
        code: draft.code,
        seats,
        authority,
        declared: Vec::new(),
    };
    draft.step(Act::ProposeView(view), "view 1.0", "every member is there, and epoch 1 is recorded (R3)");
}
