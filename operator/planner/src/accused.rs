//! Members that others accuse (R29). A verdict is a guess like any other, within the same budget: f shards of liars can't
//! bring one about, but what they add to is judged by others.

use weft_protocol::{Accusation, Accusers, MemberId, Seat, ShardSet, View};

use crate::{
    MemberState, Timestamp, World,
    draft::{Draft, named},
    epochs::owners_of,
    restraint::Suspect,
};

/// The accusations that hold by the view's keys, as their accusers told them last.
pub(crate) fn accusations<'w>(world: &'w World, view: &'w View) -> impl Iterator<Item = &'w Accusation> {
    let heard = view.seats.iter().filter_map(|seat| Some((seat, world.heard(seat.member, seat.incarnation.number)?)));
    heard.flat_map(move |(seat, heard)| {
        let own = |accusation: &&Accusation| accusation.accuser() == seat.member && accusation.check(view).is_ok();
        heard.inventory.accusations.iter().filter(own)
    })
}

/// Who is to be called Faulty: accusers that own f + 1 shards agree. Accusations by fewer are told, and nothing else.
pub(crate) fn suspects(draft: &mut Draft<'_>) -> Vec<Suspect> {
    let world = draft.world;
    let Some(view) = world.view() else { return Vec::new() };
    let accusations: Vec<&Accusation> = accusations(world, view).collect();
    let mut suspects = Vec::new();
    for at in 0..draft.members.len() {
        let (id, record) = (draft.members[at].id, &draft.members[at].current);
        let who = (id, record.number);
        let Some(seat) = view.seat(id).filter(|seat| seat.incarnation.number == who.1) else { continue };
        if draft.is_lost(who) {
            continue;
        }
        let mut accusers = Accusers::new(view, id);
        let mut names = Vec::new();
        for accusation in accusations.iter().filter(|accusation| accusation.accused() == Some(id)) {
            let owned = owned(world, view, accusation.accuser());
            if accusers.add(accusation, owned).is_ok() {
                names.push(accusation.accuser().to_string());
            }
        }
        if names.is_empty() {
            continue;
        }
        let (shards, needed) = (accusers.shards().len(), view.code.fault_tolerance() + 1);
        if accusers.is_verdict() {
            suspects.push(verdict(draft, at, seat));
        } else {
            let by = format!("R29: they own {shards} shards, and {needed} are needed");
            let reason = format!("accused by {}", names.join(", "));
            draft.withhold("DeclareFaulty", named("member", who), reason, by);
        }
    }
    suspects
}

/// Who is given up because it answers the operator, but nobody's challenges in time: owners of f + 1 shards say so, each
/// for as long as a silent member would be waited for.
pub(crate) fn late(draft: &mut Draft<'_>) -> Vec<Suspect> {
    let world = draft.world;
    let Some(view) = world.view() else { return Vec::new() };
    let after = world.committee.unreachable_after;
    let mut suspects = Vec::new();
    for at in 0..draft.members.len() {
        let who = (draft.members[at].id, draft.members[at].current.number);
        let Some(seat) = view.seat(who.0).filter(|seat| seat.incarnation.number == who.1) else { continue };
        if draft.is_lost(who) {
            continue;
        }
        let (mut shards, mut since) = (ShardSet::EMPTY, draft.now);
        for challenger in view.seats.iter().filter(|challenger| challenger.member != who.0) {
            let Some(answer) = world.seat_answer(challenger, draft.now) else { continue };
            let waited = answer.unanswered.iter().find(|(late, _)| *late == who).map(|(_, waited)| *waited);
            if let Some(waited) = waited.filter(|waited| *waited >= after) {
                let owned = owned(world, view, challenger.member).intersection(challenger.shards);
                shards = shards.union(owned);
                since = since.min(Timestamp(draft.now.0 - waited.as_millis() as i64));
            }
        }
        if shards.len() > view.code.fault_tolerance() {
            let reason = "ChallengesUnanswered".to_owned();
            suspects.push(Suspect {
                at,
                who,
                shards: seat.shards,
                reason,
                since,
                proven: false,
                state: MemberState::Lost,
            });
        }
    }
    suspects
}

/// The shards that a member owns by the view's epoch. What it only keeps for others has no voice.
fn owned(world: &World, view: &View, member: MemberId) -> ShardSet {
    let Some(epoch) = world.epoch(view.epoch) else { return ShardSet::EMPTY };
    let owners = owners_of(epoch).into_iter().zip(0..=u8::MAX);
    owners.filter(|(owner, _)| owner.is_some_and(|owner| owner.0 == member)).map(|(_, shard)| shard).collect()
}

/// The suspicion, or the conviction already recorded, that an incarnation cheats.
pub(crate) fn verdict(draft: &Draft<'_>, at: usize, seat: &Seat) -> Suspect {
    let (member, record) = (&draft.members[at], &draft.members[at].current);
    let convicted = record.state == MemberState::Faulty;
    Suspect {
        at,
        who: (member.id, record.number),
        shards: seat.shards,
        reason: "Accused".to_owned(),
        since: if convicted { record.since } else { draft.now },
        proven: convicted,
        state: MemberState::Faulty,
    }
}
