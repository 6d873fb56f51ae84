//! The epoch that is worked towards: why, who gets what, and when its boundary may be crossed.

use std::collections::{BTreeMap, BTreeSet};

use weft_protocol::{MemberId, ShardSet, View};

use super::{content, name, owners_of, set_phase, wished};
use crate::{
    Act, EpochPhase, EpochPlan, EpochRecord, Inventory, MemberState, Timestamp,
    assign::{self, Limits, Who},
    draft::{Draft, holders, members, shards},
    maintenance, objects, views,
};

/// How far a target may be behind when the boundary is crossed: what is written meanwhile goes to the old owners, and
/// is copied after it. Not a matter of safety: the epoch is committed only when nothing is missing.
const SLACK_BLOBS: u64 = 32;
const SLACK_SHARE: u64 = 50;

pub(super) fn advance(draft: &mut Draft<'_>, view: &View) {
    if draft.world.record.pending.is_some() || draft.changes_view() {
        if let Some(pending) = &draft.world.record.pending
            && let Some(epoch) = draft.world.epoch(pending.view.view.epoch)
            && pending.view.view.epoch > view.epoch
            && epoch.phase < EpochPhase::Sealing
        {
            set_phase(draft, epoch.number, EpochPhase::Sealing, "its view is recorded: there is only forward (R5)");
        }
        return;
    }
    match draft.world.epoch(view.epoch + 1).filter(|epoch| epoch.phase != EpochPhase::Superseded) {
        None => plan_next(draft, view),
        Some(epoch) if !is_possible(draft, view, epoch) => plan_next(draft, view),
        Some(epoch) => match epoch.phase {
            EpochPhase::Planned => set_phase(draft, epoch.number, EpochPhase::Migrating, "its new owners may copy"),
            _ => cross(draft, view, epoch),
        },
    }
}

/// Whether every owner that the epoch names is still there, and the view could get there in one step. Who has no seat yet and isn't run any more, as one
/// that shall be replaced, can't get there.
fn is_possible(draft: &Draft<'_>, view: &View, epoch: &EpochRecord) -> bool {
    let owners = owners_of(epoch);
    let there = |who: Who| {
        let seated = view.seat(who.0).is_some_and(|seat| seat.incarnation.number == who.1);
        let comes = |record: &crate::IncarnationRecord| record.key.is_some() && objects::runs(record.state);
        !draft.is_lost(who) && (seated || draft.incarnation(who).is_some_and(comes))
    };
    owners.len() == usize::from(draft.code.shards())
        && owners.iter().all(|who| who.is_some_and(there))
        && assign::moved(&holders(view), &owners).difference(view.vacant()).len() <= may_move(draft, view)
}

/// Whether fewer than n - f shards are held: then no primary sliver can be rebuilt, and nothing gets whole, before the
/// vacant shards have holders. They get them, and nothing else moves.
fn is_stuck(view: &View) -> bool {
    view.vacant().len() > view.code.fault_tolerance()
}

/// How many held shards a change may move, or find lacking something (R6). Vacant ones move besides, however many they
/// are: nobody holds them, and nobody has acked anything under them in this view. Each takes one from the others.
fn may_move(draft: &Draft<'_>, view: &View) -> u16 {
    let f = draft.code.fault_tolerance();
    f - view.vacant().len().min(f)
}

/// The holders of the next epoch, and since when the last of them is ready.
pub(super) struct Intent {
    pub(super) participants: Vec<Who>,
    ready_since: Option<Timestamp>,
}

/// Everyone who shall own shards: who serves and stays, and who is ready to take over. Someone who serves is replaced
/// only while the whole move stays within `budget` shards: a view can't seat two incarnations of one member.
pub(super) fn intend(draft: &Draft<'_>, view: &View, mut budget: u16) -> Intent {
    let mut intent = Intent { participants: Vec::new(), ready_since: None };
    let drained = |id: &MemberId| draft.world.committee.drain.contains(id);
    for member in draft.members.iter().filter(|member| draft.is_wanted(member.id)) {
        let (current, seat) = ((member.id, member.current.number), view.seat(member.id));
        let seat = seat.filter(|seat| seat.incarnation.number == current.1 && !draft.is_lost(current));
        let ready = |record: &&crate::IncarnationRecord| {
            record.state == MemberState::Starting && record.reason == "Ready" && record.key.is_some()
        };
        let newcomer = match &member.successor {
            Some(successor) => Some(successor).filter(ready),
            None => Some(&member.current).filter(|record| seat.is_none() && ready(record)),
        };
        match (seat, newcomer) {
            (Some(seat), Some(_)) if seat.shards.len() > budget => intent.participants.push(current),
            (Some(_), None) if drained(&member.id) => {}
            (Some(_), None) => intent.participants.push(current),
            (None, None) => {}
            (seat, Some(newcomer)) => {
                budget -= seat.map_or(0, |seat| seat.shards.len());
                intent.participants.push((member.id, newcomer.number));
                intent.ready_since = intent.ready_since.max(Some(newcomer.since));
            }
        }
    }
    intent
}

/// Plans the next epoch, or plans it anew, where the fleet isn't as it should be.
fn plan_next(draft: &mut Draft<'_>, view: &View) {
    let (number, n, f) = (view.epoch + 1, usize::from(draft.code.shards()), draft.code.fault_tolerance());
    let current = holders(view);
    let lacking = draft.world.lacking(view, draft.now).union(draft.world.unheard(view, draft.now));
    // What shards lack is taken off what may move (R6): a replacement that no longer fits waits for another epoch.
    let intent = intend(draft, view, f - lacking.len().min(f));
    let stuck = is_stuck(view);
    let wish = wished::wanted(draft, number);
    let because = wish.map(|_| format!("a user asks for epoch {number}"));
    let Some(why) = because.or_else(|| cause(draft, view, &intent, &current)).or_else(|| due(draft, view, &intent))
    else {
        return;
    };
    if let Some(by) = obstacle(draft, view, &intent, lacking) {
        draft.withhold("CreateEpoch", name(number), why, by);
        return;
    }
    let places: Vec<_> = intent.participants.iter().map(|who| draft.place(*who)).collect();
    let preferred: Vec<Option<MemberId>> = match draft.world.epoch(view.epoch) {
        Some(epoch) if epoch.owners.len() == n => epoch.owners.iter().copied().map(Some).collect(),
        _ => vec![None; n],
    };
    let free = if stuck { view.vacant() } else { lacking };
    let limits = Limits { cap: usize::from(f), moves: usize::from(f - lacking.len().min(f)), free };
    let chosen = wish.and_then(|wish| wished::owners(wish, &intent.participants));
    let owners = match &chosen {
        Some(Ok(owners)) if assign::moved(&current, owners).difference(lacking).len() as usize <= limits.moves => {
            owners.clone()
        }
        // Why it is refused, the epoch's condition says.
        Some(_) => return,
        None => match assign::rebalance(&current, &places, &preferred, limits) {
            owners if two_of_one_member(&owners) => without_replacements(draft, view, &preferred, limits),
            owners => owners,
        },
    };
    let minimum = assign::rebalance(&current, &places, &preferred, Limits { moves: n, ..limits });
    let (moves, minimum) = (assign::moved(&current, &owners), assign::moved(&current, &minimum));
    let bytes = bytes_of(draft, view, moves);
    let Some(content) = content(&owners, number, moves.len().into(), minimum.len().into(), bytes) else { return };
    let content = EpochPlan { chosen: chosen.is_some(), ..content };
    if two_of_one_member(&owners) {
        let by = format!(
            "R6: within {} shards, some would stay with an incarnation whose successor gets others",
            limits.moves
        );
        draft.withhold("CreateEpoch", name(number), why, by);
        return;
    }
    let replan = draft.world.epoch(number).is_some();
    let act = if replan { Act::ReplanEpoch(content) } else { Act::CreateEpoch(content) };
    draft.step(act, name(number), why);
}

/// What keeps the next epoch from being planned.
fn obstacle(draft: &mut Draft<'_>, view: &View, intent: &Intent, lacking: ShardSet) -> Option<String> {
    let (n, f) = (usize::from(draft.code.shards()), draft.code.fault_tolerance());
    if intent.participants.len() * usize::from(f) < n {
        Some(format!("R2: {} members of at most f = {f} shards can't hold {n}", intent.participants.len()))
    } else if !is_stuck(view) && !lacking.difference(view.vacant()).is_empty() {
        Some(format!(
            "R6: {}",
            shards(lacking.len(), ["lacks something at its holder", "lack something at their holders"])
        ))
    } else if view.vacant().is_empty()
        && draft.world.epoch(view.epoch).is_none_or(|epoch| epoch.phase < EpochPhase::Committed)
    {
        // With a vacant shard it can't be: all else is whole, and the next epoch gives that shard a holder.
        Some(format!("R6: epoch {} isn't committed", view.epoch))
    } else if !draft.is_established(view) {
        Some(format!("R4: holders of n - f shards have yet to follow term {}", draft.world.record.term))
    } else if let Some(since) = intent.ready_since
        && !draft.has_passed(since, draft.world.committee.settle)
    {
        Some("epochs.settle: changes are collected".to_owned())
    } else {
        None
    }
}

/// The owners when whoever is to be replaced keeps its shards for now: with all else that wants to move, not all of theirs
/// would fit, and then none may (a view can't seat two incarnations of one member).
fn without_replacements(
    draft: &Draft<'_>,
    view: &View,
    preferred: &[Option<MemberId>],
    limits: Limits,
) -> Vec<Option<Who>> {
    let places: Vec<_> = intend(draft, view, 0).participants.iter().map(|who| draft.place(*who)).collect();
    assign::rebalance(&holders(view), &places, preferred, limits)
}

/// Why an epoch begins though nobody's place has changed: its owners are hardly any others, so it costs one seal.
fn due(draft: &mut Draft<'_>, view: &View, intent: &Intent) -> Option<String> {
    let epoch = draft.world.epoch(view.epoch)?;
    let drains = |id: &MemberId| draft.world.committee.drain.contains(id);
    let awaited = (draft.members.iter().filter(|member| draft.is_wanted(member.id) && !drains(&member.id)))
        .any(|member| !intent.participants.contains(&(member.id, member.current.number)) || member.successor.is_some());
    if !awaited && owners_of(epoch) != holders(view) {
        return Some("custodians keep what they hold: nobody is to come for it".to_owned());
    }
    let interval = draft.world.committee.interval?;
    if !draft.has_passed(epoch.since, interval) {
        return None;
    }
    let why = "epochs.interval has passed".to_owned();
    let Some(by) = maintenance::closed(draft) else { return Some(why) };
    draft.withhold("CreateEpoch", name(view.epoch + 1), why, by);
    None
}

/// A partial move may leave shards with an incarnation whose successor gets others: that is no view.
fn two_of_one_member(owners: &[Option<Who>]) -> bool {
    let whos: BTreeSet<Who> = owners.iter().flatten().copied().collect();
    let members: BTreeSet<MemberId> = whos.iter().map(|who| who.0).collect();
    whos.len() != members.len()
}

/// Why shards should change hands, if they should.
fn cause(draft: &Draft<'_>, view: &View, intent: &Intent, current: &[Option<Who>]) -> Option<String> {
    let places: Vec<_> = intent.participants.iter().map(|who| draft.place(*who)).collect();
    let shares = assign::shares(current, &places, usize::from(draft.code.fault_tolerance()));
    // Each by its own share: where there are more members than shards, the least share is none.
    let gains = |who: &&Who| shares.get(who).is_some_and(|share| assign::load(current, **who) < *share);
    let gaining: Vec<MemberId> = intent.participants.iter().filter(gains).map(|who| who.0).collect();
    let leaving: Vec<MemberId> = (view.seats.iter())
        .filter(|seat| !intent.participants.iter().any(|who| who.0 == seat.member))
        .map(|seat| seat.member)
        .collect();
    // A user's choice stands until someone comes or goes.
    let chosen = draft.world.epoch(view.epoch).filter(|epoch| epoch.chosen);
    let stands = chosen.is_some_and(|epoch| epoch.members == intent.participants);
    if !gaining.is_empty() && !stands {
        let verb = if gaining.len() == 1 { "is" } else { "are" };
        Some(format!("{} {verb} ready to own shards", members(gaining)))
    } else if !leaving.is_empty() {
        Some(format!("{} shall hold no shards", members(leaving)))
    } else {
        None
    }
}

/// Bytes of these shards: each member's bytes, by its share of shards.
fn bytes_of(draft: &Draft<'_>, view: &View, shards: ShardSet) -> u64 {
    let of = |seat: &weft_protocol::Seat| {
        let held = draft.world.seat_answer(seat, draft.now).map_or(0, |answer| answer.held_bytes);
        held * u64::from(seat.shards.intersection(shards).len()) / u64::from(seat.shards.len().max(1))
    };
    view.seats.iter().map(of).sum()
}

/// The shards that each owner of the next epoch gains over the view in effect, while it is prepared.
pub(crate) fn targets(draft: &Draft<'_>) -> BTreeMap<Who, (u64, ShardSet)> {
    let Some(view) = draft.world.view() else { return BTreeMap::new() };
    let Some(epoch) = draft.world.epoch(view.epoch + 1) else { return BTreeMap::new() };
    let prepared = matches!(epoch.phase, EpochPhase::Planned | EpochPhase::Migrating | EpochPhase::Sealing);
    if !prepared || !is_possible(draft, view, epoch) {
        return BTreeMap::new();
    }
    let (current, owners) = (holders(view), owners_of(epoch));
    let mut targets: BTreeMap<Who, (u64, ShardSet)> = BTreeMap::new();
    for shard in assign::moved(&current, &owners).iter() {
        if let Some(who) = owners[usize::from(shard)] {
            targets.entry(who).or_insert((epoch.number, ShardSet::EMPTY)).1.insert(shard);
        }
    }
    targets
}

/// Seals the view in effect for the next epoch's first one, once its owners have caught up (R22).
fn cross(draft: &mut Draft<'_>, view: &View, epoch: &EpochRecord) {
    let reason = format!("the owners of epoch {} have caught up (R22)", epoch.number);
    let target = format!("view {}.0", epoch.number);
    let (current, owners) = (holders(view), owners_of(epoch));
    let lacking = draft.world.lacking(view, draft.now);
    let moved = assign::moved(&current, &owners);
    let touched = if is_stuck(view) { moved } else { moved.union(lacking) }.difference(view.vacant()).len();
    let most = may_move(draft, view);
    let behind: Vec<MemberId> = (targets(draft).iter())
        .filter(|(who, (_, gained))| !has_caught_up(draft, view, **who, *gained))
        .map(|(who, _)| who.0)
        .collect();
    let obstacle = if touched > most {
        let of = match view.vacant().len() {
            0 => "f".to_owned(),
            vacant => format!("f less {vacant} vacant"),
        };
        Some(format!("R6: {touched} shards would move or lack something, more than {of} = {most}"))
    } else if !behind.is_empty() {
        let verb = if behind.len() == 1 { "has" } else { "have" };
        Some(format!("R22: {} {verb} yet to catch up", members(behind)))
    } else {
        None
    };
    if let Some(by) = obstacle {
        draft.withhold("ProposeView", target, reason, by);
        return;
    }
    if views::propose(draft, view, (epoch.number, 0), &owners, &reason) && epoch.phase != EpochPhase::Sealing {
        set_phase(draft, epoch.number, EpochPhase::Sealing, "its view is recorded: there is only forward (R5)");
    }
}

/// Whether a target knows about as many blobs as the others, and has of its new shards nearly all. Those that are vacant
/// are not waited for: nobody serves them meanwhile, and beyond f they can't be rebuilt whole before a view gives them
/// a holder.
fn has_caught_up(draft: &Draft<'_>, view: &View, who: Who, gained: ShardSet) -> bool {
    let known = |answer: &Inventory| answer.blobs + answer.tombstones;
    let all = view.seats.iter().filter_map(|seat| draft.world.seat_answer(seat, draft.now)).map(known).max();
    let (Some(all), Some(answer)) = (all, draft.world.answer(who.0, who.1, draft.now)) else { return false };
    let slack = SLACK_BLOBS.min(all / 2) + all / SLACK_SHARE;
    let ready: ShardSet =
        (answer.shards.iter()).filter(|report| report.missing_blobs <= slack).map(|report| report.shard).collect();
    known(answer) + slack >= all && gained.difference(view.vacant()).difference(ready).is_empty()
}
