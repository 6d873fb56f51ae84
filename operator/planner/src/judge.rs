//! Each member's state by the facts, and who is lost.

use weft_protocol::MemberId;

use crate::{
    Act, IncarnationRecord, MemberRecord, MemberState, accused,
    draft::{Draft, named},
    evidence::{Examined, Finding, examine},
    newcomers,
    restraint::{self, Suspect},
    returns, rollout,
};

/// The reason of a member that served under the view before, and is about to be synced to it.
pub(crate) const NEW_VIEW: &str = "NewView";

/// Brings every member's record up to date: newcomers, states, losses, successors.
pub(crate) fn judge(draft: &mut Draft<'_>) {
    admit_wanted(draft);
    promote(draft);
    let mut suspects = Vec::new();
    for at in 0..draft.members.len() {
        remember(draft, at, false);
        suspects.extend(judge_current(draft, at));
    }
    let accused = accused::suspects(draft);
    // Who cheats isn't merely lost: its volume is never taken up again.
    suspects.retain(|suspect: &Suspect| suspect.proven || accused.iter().all(|accused| accused.at != suspect.at));
    suspects.extend(accused);
    let late = accused::late(draft);
    suspects.extend(
        late.into_iter().filter(|late| !suspects.iter().any(|suspect| suspect.at == late.at)).collect::<Vec<_>>(),
    );
    restraint::convict(draft, suspects);
    for at in 0..draft.members.len() {
        want_successor(draft, at);
        remember(draft, at, true);
        judge_successor(draft, at);
    }
    forget_departed(draft);
    show_shards(draft);
}

pub(crate) fn new_incarnation(draft: &Draft<'_>, number: u32) -> IncarnationRecord {
    IncarnationRecord::new(number, "New", draft.now)
}

/// A number that no incarnation of the member has had, by record, objects or view.
pub(crate) fn next_number(draft: &Draft<'_>, id: MemberId) -> u32 {
    let world = draft.world;
    let recorded = draft.member(id).into_iter().flat_map(|member| {
        std::iter::once(member.current.number).chain(member.successor.as_ref().map(|record| record.number))
    });
    let claims = world.claims.iter().filter(|claim| claim.member == id).map(|claim| claim.incarnation);
    let pods = world.pods.iter().filter(|pod| pod.member == id).map(|pod| pod.incarnation);
    let seats = [world.view(), world.latest()].into_iter().flatten().filter_map(|view| view.seat(id));
    let seated = seats.map(|seat| seat.incarnation.number);
    recorded.chain(claims).chain(pods).chain(seated).max().unwrap_or(0) + 1
}

fn admit_wanted(draft: &mut Draft<'_>) {
    if draft.watches_only() {
        return;
    }
    for id in (0..draft.world.committee.members).map(MemberId) {
        if draft.member(id).is_none() {
            // After a record was lost, an incarnation that still serves is taken up again; its number isn't reused.
            let seated = draft.world.latest().and_then(|view| view.seat(id)).map(|seat| seat.incarnation.number);
            let number = seated.unwrap_or_else(|| next_number(draft, id));
            let current = new_incarnation(draft, number);
            draft.members.push(MemberRecord { id, current, successor: None, shards: Vec::new(), custody: Vec::new() });
            draft.step(
                Act::Admit { member: id, incarnation: number },
                named("member", (id, number)),
                "the spec wants this member",
            );
        }
    }
    draft.members.sort_by_key(|member| member.id);
}

/// A successor that the view in effect seats is the member's current incarnation from now on. So is any other that it
/// seats: the record of that was lost (R26), and whom the fleet lives by isn't to be taken for lost.
fn promote(draft: &mut Draft<'_>) {
    let Some(view) = draft.world.view() else { return };
    for seat in &view.seats {
        let (id, number) = (seat.member, seat.incarnation.number);
        if draft.incarnation((id, number)).is_none() {
            let current = IncarnationRecord { reason: "Rewound".to_owned(), ..new_incarnation(draft, number) };
            draft.members.retain(|member| member.id != id);
            draft.members.push(MemberRecord { id, current, successor: None, shards: Vec::new(), custody: Vec::new() });
            let reason = "the view in effect names it, and the record didn't (R26)";
            draft.step(Act::Admit { member: id, incarnation: number }, named("member", (id, number)), reason);
        }
    }
    draft.members.sort_by_key(|member| member.id);
    for member in &mut draft.members {
        let seated = view.seat(member.id).map(|seat| seat.incarnation.number);
        if member.successor.as_ref().is_some_and(|successor| Some(successor.number) == seated)
            && let Some(successor) = member.successor.take()
        {
            member.current = IncarnationRecord { inherits: None, ..successor };
        }
    }
}

fn record_of(draft: &Draft<'_>, at: usize, successor: bool) -> Option<IncarnationRecord> {
    let member = &draft.members[at];
    if successor { member.successor.clone() } else { Some(member.current.clone()) }
}

fn put(draft: &mut Draft<'_>, at: usize, successor: bool, record: IncarnationRecord) {
    let member = &mut draft.members[at];
    if successor {
        member.successor = Some(record);
    } else {
        member.current = record;
    }
}

/// Fills in what can be seen now and must not be forgotten: UIDs, place, volume and key.
fn remember(draft: &mut Draft<'_>, at: usize, successor: bool) {
    let (world, id) = (draft.world, draft.members[at].id);
    let Some(mut record) = record_of(draft, at, successor) else { return };
    if let Some(pod) = world.pods_of(id, record.number).max_by_key(|pod| pod.attempt) {
        if pod.attempt > record.attempt {
            record.attempt = pod.attempt;
            // Who was silent with another pod may be heard with this one.
            record.restarting = record.restarting.map(|_| draft.now);
        }
        if let Some(name) = &pod.node {
            record.node = Some(name.clone());
            if let Some(zone) = world.node(name).and_then(|node| node.zone.clone()) {
                record.zone = Some(zone);
            }
        }
    }
    if let Some(claim) = world.claim_of(id, &record) {
        record.claim_uid.get_or_insert_with(|| claim.uid.clone());
        if let Some(volume) = claim.volume.as_ref().filter(|volume| volume.exists && !volume.uid.is_empty()) {
            record.volume_uid.get_or_insert_with(|| volume.uid.clone());
        }
    }
    let own_fleet = |fleet| world.record.fleet == Some(fleet);
    if let Some(seat) = world.latest().and_then(|view| view.seat(id)).filter(|s| s.incarnation.number == record.number)
    {
        record.volume.get_or_insert(seat.incarnation.volume);
        record.key.get_or_insert(seat.key);
    } else if let Some(answer) = world.answer(id, record.number, draft.now)
        && answer.ailment.is_none()
        && own_fleet(answer.fleet)
        && (answer.member, answer.incarnation.number) == (id, record.number)
    {
        record.volume.get_or_insert(answer.incarnation.volume);
        record.key.get_or_insert(answer.key);
    }
    put(draft, at, successor, record);
}

/// Changes a state; `since` moves only when the state changes, or is told by the silence itself.
pub(crate) fn set(record: &mut IncarnationRecord, state: MemberState, reason: &str, since: crate::Timestamp) {
    if record.state != state || state == MemberState::Unreachable {
        record.since = since;
    }
    record.state = state;
    reason.clone_into(&mut record.reason);
}

/// Whether it counted until its view was sealed, as far as one can tell: it has served without a gap.
fn is_between_views(record: &IncarnationRecord) -> bool {
    matches!(record.state, MemberState::Serving | MemberState::Draining) || record.reason == NEW_VIEW
}

/// The seat of a member's current incarnation in the newest view; or in the one that is being sealed, where the successor
/// has none for it and it isn't given up: its refusal is still needed (R5).
fn seat_of<'w>(draft: &Draft<'w>, at: usize) -> Option<&'w weft_protocol::Seat> {
    let (id, current) = (draft.members[at].id, &draft.members[at].current);
    let sealed = draft.world.view().filter(|_| !draft.is_lost((id, current.number)));
    let views = [draft.world.latest(), sealed].into_iter().flatten();
    views.filter_map(|view| view.seat(id)).find(|seat| seat.incarnation.number == current.number)
}

/// Judges the incarnation that a view names or will name; gives the suspicion that it is lost.
fn judge_current(draft: &mut Draft<'_>, at: usize) -> Option<Suspect> {
    let (now, id) = (draft.now, draft.members[at].id);
    let who = (id, draft.members[at].current.number);
    let Some(seat) = seat_of(draft, at) else {
        judge_unseated(draft, at);
        return None;
    };
    if draft.members[at].current.state == MemberState::Faulty {
        // However well it answers: a verdict stands.
        return Some(accused::verdict(draft, at, seat));
    }
    let mut record = draft.members[at].current.clone();
    let was_lost = matches!(record.state, MemberState::Lost | MemberState::Faulty);
    let Examined { finding, wake_at } = examine(draft.world, id, &record, now);
    draft.wake_for(wake_at);
    let suspect = |reason: &str, since, proven| Suspect {
        at,
        who,
        shards: seat.shards,
        reason: reason.into(),
        since,
        proven,
        state: MemberState::Lost,
    };
    let after = draft.world.committee.unreachable_after;
    let suspicion = match finding {
        Finding::Answers(answer) => {
            if draft.world.committee.declared_lost.contains(&who) {
                let message =
                    format!("{} is declared lost and answers: nothing is done on that word (R7)", named("member", who));
                draft.stall("DeclaredLives", message);
            }
            let synced = answer.counts || draft.world.record.pending.is_some();
            let (state, reason) = match (synced, draft.shall_leave(who)) {
                (false, _) if is_between_views(&record) => (MemberState::Starting, NEW_VIEW),
                (false, _) => (MemberState::Starting, "Syncing"),
                (true, true) => (MemberState::Draining, "Asked"),
                (true, false) => (MemberState::Serving, ""),
            };
            set(&mut record, state, reason, now);
            record.restarting = record.restarting.filter(|_| !rollout::has_restarted(draft, who));
            None
        }
        Finding::Doomed(reason) => {
            set(&mut record, MemberState::Draining, reason, now);
            Some(suspect(reason, now, false))
        }
        Finding::Gone(reason) => Some(suspect(reason, now, true)),
        Finding::Ailing { reason: reason @ "WaitingForPeers", since: _ } => {
            set(&mut record, MemberState::Starting, reason, now);
            None
        }
        Finding::Ailing { reason, since } => {
            set(&mut record, MemberState::Unreachable, reason, since);
            draft.has_passed(since, after).then(|| suspect(reason, since, false))
        }
        Finding::Silent { since, .. } if draft.world.committee.declared_lost.contains(&who) => {
            Some(suspect("Declared", since, true))
        }
        Finding::Silent { reason, since } => {
            let since = record.restarting.map_or(since, |restarted| since.max(restarted));
            let due = was_lost || draft.has_passed(since, after);
            if !was_lost {
                set(&mut record, MemberState::Unreachable, &reason, since);
            }
            due.then(|| suspect(&reason, since, false))
        }
    };
    draft.members[at].current = record;
    suspicion
}

/// The current incarnation has no seat: it is to get one, it gave it up, or it was lost.
fn judge_unseated(draft: &mut Draft<'_>, at: usize) {
    let (now, id) = (draft.now, draft.members[at].id);
    let mut record = draft.members[at].current.clone();
    if record.state == MemberState::Faulty {
        return;
    }
    let who = (id, record.number);
    let answers = draft.world.answer(id, record.number, now).is_some();
    let was_lost = matches!(record.state, MemberState::Lost | MemberState::Faulty | MemberState::Returned);
    // An incarnation that a view once named doesn't come back as it was: its place is taken (R25).
    let had_shards = matches!(record.state, MemberState::Draining | MemberState::Leaving | MemberState::Serving);
    if was_lost {
        let reason = record.reason.clone();
        set(&mut record, if answers { MemberState::Returned } else { MemberState::Lost }, &reason, now);
    } else if had_shards || (draft.shall_leave(who) && draft.world.view().is_some()) {
        set(&mut record, MemberState::Leaving, "NoShards", now);
    } else if let Some(renewed) = newcomers::judge(draft, id, &mut record) {
        record = renewed;
    }
    draft.members[at].current = record;
}

fn judge_successor(draft: &mut Draft<'_>, at: usize) {
    let id = draft.members[at].id;
    let Some(mut record) = draft.members[at].successor.clone() else { return };
    if let Some(renewed) = newcomers::judge(draft, id, &mut record) {
        record = renewed;
    }
    draft.members[at].successor = Some(record);
}

/// A lost incarnation that no view names any more, or one that shall be replaced, gets a successor.
fn want_successor(draft: &mut Draft<'_>, at: usize) {
    let member = &draft.members[at];
    let (id, number) = (member.id, member.current.number);
    if !draft.is_wanted(id) || draft.watches_only() || returns::admit_again(draft, at) {
        return;
    }
    let member = &draft.members[at];
    if member.successor.is_some() {
        return;
    }
    let seated = |view: &weft_protocol::View| view.seat(id).is_some_and(|seat| seat.incarnation.number == number);
    let replaced = draft.is_lost((id, number)) && !draft.world.latest().is_some_and(seated);
    let reason = if replaced {
        format!("incarnation {number} is lost ({}), and others keep its shards", member.current.reason)
    } else if draft.world.committee.replace.contains(&(id, number)) {
        "the spec asks for its replacement".to_owned()
    } else if member.current.state == MemberState::Leaving && !draft.shall_leave((id, number)) {
        "the spec wants it back, and its old volume has given up its shards".to_owned()
    } else {
        return;
    };
    let number = next_number(draft, id);
    draft.members[at].successor = Some(new_incarnation(draft, number));
    draft.step(Act::Admit { member: id, incarnation: number }, named("member", (id, number)), reason);
}

/// A member that isn't wanted goes from the record when nothing of it is left. A successor that no view names goes at once.
fn forget_departed(draft: &mut Draft<'_>) {
    let (world, wanted) = (draft.world, draft.world.committee.members);
    if !draft.watches_only() {
        for member in draft.members.iter_mut().filter(|member| member.id.0 >= wanted) {
            let named = |successor: &IncarnationRecord| {
                let seats =
                    [world.view(), world.latest()].into_iter().flatten().filter_map(|view| view.seat(member.id));
                seats.into_iter().any(|seat| seat.incarnation.number == successor.number)
            };
            if !member.successor.as_ref().is_some_and(named) {
                member.successor = None;
            }
        }
    }
    draft.members.retain(|member| {
        let seated = [world.view(), world.latest()].into_iter().flatten().any(|view| view.seat(member.id).is_some());
        let objects = world.pods.iter().any(|pod| pod.member == member.id)
            || world.claims.iter().any(|claim| claim.member == member.id);
        member.id.0 < wanted || seated || objects
    });
}

fn show_shards(draft: &mut Draft<'_>) {
    let Some(view) = draft.world.view() else { return };
    let owners = draft.world.epoch(view.epoch).map(|epoch| &epoch.owners);
    for member in &mut draft.members {
        let seat = view.seat(member.id).filter(|seat| seat.incarnation.number == member.current.number);
        let held = seat.map(|seat| seat.shards).unwrap_or_default();
        let owns = |shard: &u8| owners.is_none_or(|owners| owners.get(usize::from(*shard)) == Some(&member.id));
        (member.shards, member.custody) = held.iter().partition(owns);
    }
}
