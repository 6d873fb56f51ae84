//! Views: taking notice of seals, continuing what was begun, and custody of lost shards (R4–R7, R21).

use std::collections::BTreeSet;

use weft_protocol::{MemberId, Seal, Seat, ShardSet, SignedView, View};

use crate::{
    Act, MemberState, Pending,
    assign::{self, Who},
    beyond,
    draft::{Draft, holders, members, view_name},
};

/// At most one step about views: what members know already goes first, then what was begun, then custody.
pub(crate) fn advance(draft: &mut Draft<'_>) {
    let Some(view) = draft.world.view() else {
        let newest = draft.world.heard.iter().find_map(|heard| heard.inventory.newest_view);
        if newest.is_some() {
            let message = "members have a view that the status doesn't: it was restored or lost (R26)";
            draft.stall("ControlPlaneRewound", message);
        }
        return;
    };
    if let Some(seal) = known_seal(draft, view).or_else(|| collected_seal(draft)) {
        let name = view_name(&seal.successor.view);
        let reason = format!("holders of n - f shards refuse {} for it (R5)", view_name(&seal.sealed.view));
        draft.step(Act::TakeEffect(seal), name, reason);
        return;
    }
    if let Some(pending) = &draft.world.record.pending {
        await_seal(draft, view, pending);
        return;
    }
    if !continue_reported(draft, view) {
        revise(draft, view);
    }
}

/// Waits for the seal of `view`. Where too few are left to give it, it goes on without those whom a person declares
/// destroyed, under a new term; the successor stays: the lost may have helped to seal it before they went (R7).
fn await_seal(draft: &mut Draft<'_>, view: &View, pending: &Pending) {
    let (name, reason) = (view_name(&pending.view.view), "its predecessor is being sealed");
    let wanted = match beyond::beside(draft, view, &pending.view.view) {
        Ok(wanted) => wanted,
        Err(message) => {
            draft.withhold("TakeEffect", name, reason, "R7: weft recover --declare-lost");
            draft.stall(beyond::REASON, message);
            return;
        }
    };
    let term = draft.world.record.term;
    let ordered = pending.declaration.as_ref().map(|declaration| (declaration.term, &declaration.declared));
    let stands = ordered.map_or(wanted.is_empty(), |ordered| ordered == (term, &wanted));
    if stands || draft.watches_only() {
        draft.withhold("TakeEffect", name, reason, "R5: refusals of n - f shards");
        return;
    }
    let lost = members(wanted.iter().map(|(member, _)| *member));
    let reason = if wanted.is_empty() {
        format!("{} can be sealed without a declaration (R5)", view_name(view))
    } else {
        format!("{} can't be sealed without the shards of {lost}, which are declared lost (R7)", view_name(view))
    };
    draft.step(Act::DeclareInSeal(wanted), name, reason);
}

/// The proof, by a member that has it, that a view beyond the recorded one is in effect.
pub(crate) fn known_seal(draft: &Draft<'_>, view: &View) -> Option<Seal> {
    let seals = draft.world.heard.iter().filter_map(|heard| heard.inventory.newest_seal.as_ref());
    seals
        .filter(|seal| seal.successor.view.fleet == view.fleet && seal.successor.view.position() > view.position())
        .filter(|seal| seal.check(&view.authority.views).is_ok())
        .max_by_key(|seal| seal.successor.view.position())
        .cloned()
}

/// The seal of the view in effect, from the refusals that members report.
fn collected_seal(draft: &Draft<'_>) -> Option<Seal> {
    let record = &draft.world.record;
    let (sealed, pending) = (record.view.as_ref()?, record.pending.as_ref()?);
    let successor = &pending.view;
    let reported = draft.world.heard.iter().filter_map(|heard| heard.inventory.refusal.as_ref());
    Seal::gathered(sealed, successor, pending.declaration.as_ref(), reported)
}

/// Takes up the successor of the highest term that members already refuse the view for (R4). Returns whether there
/// is one.
fn continue_reported(draft: &mut Draft<'_>, view: &View) -> bool {
    let Some((term, successor)) = reported(draft, view) else { return false };
    let (name, successor) = (view_name(&successor.view), successor.clone());
    if draft.is_established(view) {
        let reason = format!("members refuse {} for it by order of term {term} (R4)", view_name(view));
        draft.step(Act::ContinueView(successor), name, reason);
    } else {
        not_established(draft, "ContinueView", name, "members refuse their view for it");
    }
    true
}

/// The successor of the highest term that members refuse this view for, and that term. Both count only as a leader
/// ordered them: what a member says of a term beyond that is no proof.
pub(crate) fn reported<'w>(draft: &Draft<'w>, view: &View) -> Option<(u64, &'w SignedView)> {
    let orders = draft.world.heard.iter().filter_map(|heard| heard.inventory.seal_order.as_ref());
    orders
        .filter(|order| order.view == view.hash() && order.verify(&view.authority.views).is_ok())
        .filter(|order| view.check_successor(&order.successor).is_ok())
        .map(|order| (order.term, &order.successor))
        .max_by_key(|(term, successor)| (*term, successor.view.hash().0))
}

pub(crate) fn not_established(draft: &mut Draft<'_>, act: &'static str, target: String, reason: &str) {
    let by = format!("R4: holders of n - f shards have yet to follow term {}", draft.world.record.term);
    draft.withhold(act, target, reason, by);
}

/// Gives lost holders' shards, and vacant ones, to those who can keep them (R21).
fn revise(draft: &mut Draft<'_>, view: &View) {
    if draft.watches_only() {
        return;
    }
    let lost: BTreeSet<MemberId> = (view.seats.iter())
        .filter(|seat| draft.is_lost((seat.member, seat.incarnation.number)))
        .map(|seat| seat.member)
        .collect();
    let (before, mut next) = custody(draft, view);
    if let Some(message) = beyond::obstacle(draft, view) {
        draft.withhold("ProposeView", view_name(view), message.clone(), "R7: weft recover --declare-lost");
        draft.stall(beyond::REASON, message);
        return;
    }
    let held = view.undeclared(&beyond::declared(draft, view));
    if assign::moved(&before, &next).intersection(held).len() > view.code.fault_tolerance() {
        // What was vacant before waits for another revision: a view moves at most f shards.
        for (shard, holder) in before.iter().enumerate() {
            if holder.is_none() {
                next[shard] = None;
            }
        }
    }
    if next == before {
        return;
    }
    let reason = if lost.is_empty() {
        "vacant shards find a holder".to_owned()
    } else {
        format!("others keep the shards of lost {} (R21)", members(lost))
    };
    propose(draft, view, (view.epoch, view.revision + 1), &next, &reason);
}

/// The holders of a view, and those that there would be if others kept what the lost ones had.
pub(crate) fn custody(draft: &Draft<'_>, view: &View) -> (Vec<Option<Who>>, Vec<Option<Who>>) {
    let custodians = (view.seats.iter())
        .map(|seat| (seat.member, seat.incarnation.number))
        .filter(|who| !draft.shall_leave(*who))
        .filter(|who| draft.incarnation(*who).is_some_and(|record| is_fit(record.state)));
    let places: Vec<_> = custodians.map(|who| draft.place(who)).collect();
    let before = holders(view);
    let current: Vec<Option<Who>> = before.iter().map(|holder| holder.filter(|who| !draft.is_lost(*who))).collect();
    let next = assign::custody(&current, &places, usize::from(view.code.fault_tolerance()));
    (before, next)
}

/// Whether a member in this state can be given more.
pub(crate) fn is_fit(state: MemberState) -> bool {
    match state {
        MemberState::Serving | MemberState::Starting => true,
        MemberState::Pending
        | MemberState::Unreachable
        | MemberState::Lost
        | MemberState::Faulty
        | MemberState::Draining
        | MemberState::Leaving
        | MemberState::Returned => false,
    }
}

/// Proposes a successor of `view`, unless the leader isn't established. Returns whether it is proposed.
pub(crate) fn propose(
    draft: &mut Draft<'_>,
    view: &View,
    (epoch, revision): (u64, u64),
    owners: &[Option<Who>],
    reason: &str,
) -> bool {
    let target = format!("view {epoch}.{revision}");
    if !draft.is_established(view) {
        not_established(draft, "ProposeView", target, reason);
        return false;
    }
    let (Some(authority), Some(seats)) = (draft.world.committee.authority.clone(), seats(draft, owners)) else {
        draft.withhold("ProposeView", target, reason, "R2: a key that the view names isn't known yet");
        return false;
    };
    let next = View {
        fleet: view.fleet,
        epoch,
        revision,
        term: draft.world.record.term,
        predecessor: Some(view.id()),
        code: view.code,
        seats,
        authority,
        declared: beyond::declared(draft, view),
    };
    draft.step(Act::ProposeView(next), target, reason);
    true
}

/// The seats of an assignment, with each incarnation's volume and key; `None` while one isn't known.
pub(crate) fn seats(draft: &Draft<'_>, owners: &[Option<Who>]) -> Option<Vec<Seat>> {
    let whos: BTreeSet<Who> = owners.iter().flatten().copied().collect();
    whos.into_iter().map(|who| seat(draft, owners, who)).collect()
}

fn seat(draft: &Draft<'_>, owners: &[Option<Who>], who: Who) -> Option<Seat> {
    let of = |shard: &usize| owners[*shard] == Some(who);
    let shards: ShardSet = (0..owners.len()).filter(of).map(|shard| shard as u8).collect();
    let seated = draft.world.view().and_then(|view| view.seat(who.0));
    if let Some(seat) = seated.filter(|seat| seat.incarnation.number == who.1) {
        return Some(Seat { shards, ..seat.clone() });
    }
    let record = draft.incarnation(who)?;
    let incarnation = weft_protocol::Incarnation { number: who.1, volume: record.volume? };
    Some(Seat { member: who.0, incarnation, key: record.key?, shards })
}
