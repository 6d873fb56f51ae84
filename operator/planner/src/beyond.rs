//! More than f shards lost at once (R7): no seal reaches n − f, until a person says which volumes are destroyed.
//!
//! Meanwhile the survivors are given the lost shards as targets, and rebuild spare copies of them ahead of any view.

use std::collections::{BTreeMap, BTreeSet};

use weft_protocol::{Incarnation, MemberId, Seat, ShardSet, View};

use crate::{
    MemberState,
    assign::{self, Who},
    draft::Draft,
    views,
};

/// Why nothing goes on, as `status.conditions` names it.
pub(crate) const REASON: &str = "BeyondFaultTolerance";

/// The holders of a view that are lost.
fn lost<'v>(draft: &Draft<'_>, view: &'v View) -> Vec<&'v Seat> {
    view.seats.iter().filter(|seat| draft.is_lost(who(seat))).collect()
}

pub(crate) fn who(seat: &Seat) -> Who {
    (seat.member, seat.incarnation.number)
}

/// Whether those who are left can't seal the view.
fn is_beyond(view: &View, lost: &[&Seat]) -> bool {
    exceeds(view, lost.iter().map(|seat| seat.shards).collect())
}

/// Whether a view can't be sealed without these shards: n − f of its shards, or all that are held where fewer are.
pub(crate) fn exceeds(view: &View, shards: ShardSet) -> bool {
    view.undeclared(&[]).difference(shards).len() < view.quorum_without(&[])
}

/// What a view that follows `view` says is destroyed: nothing, while n − f shards can still refuse `view`; else what a
/// person declared, and the facts don't contradict.
pub(crate) fn declared(draft: &Draft<'_>, view: &View) -> Vec<(MemberId, Incarnation)> {
    if !is_beyond(view, &lost(draft, view)) {
        return sealed_without(draft, view);
    }
    let asserted = draft.world.committee.declared_lost.iter().filter(|who| draft.is_lost(**who));
    let named = asserted.filter_map(|who| {
        let seated = view.seat(who.0).filter(|seat| seat.incarnation.number == who.1);
        let volume = || draft.incarnation(*who).and_then(|record| record.volume);
        let volume = seated.map(|seat| seat.incarnation.volume).or_else(volume)?;
        Some((who.0, Incarnation { number: who.1, volume }))
    });
    let named: BTreeSet<_> = named.collect();
    named.into_iter().collect()
}

/// What was declared lost so that `view` could follow the one before it, and is lost still: the next view repeats it, so
/// that its members can be synced to that one.
fn sealed_without(draft: &Draft<'_>, view: &View) -> Vec<(MemberId, Incarnation)> {
    let seals = draft.world.heard.iter().filter_map(|heard| heard.inventory.newest_seal.as_ref());
    let declaration = seals
        .filter(|seal| seal.declaration.is_some() && seal.successor.view.id() == view.id())
        .find(|seal| seal.check(&view.authority.views).is_ok())
        .and_then(|seal| seal.declaration.as_ref());
    let lost = |(member, incarnation): &&(MemberId, Incarnation)| {
        let record = draft.incarnation((*member, incarnation.number));
        record.is_none_or(|record| matches!(record.state, MemberState::Lost | MemberState::Faulty))
    };
    declaration.into_iter().flat_map(|declaration| &declaration.declared).filter(lost).copied().collect()
}

/// What has to be declared lost beside the successor that `view` is being sealed for: nothing, while those who are left
/// can seal it.
///
/// # Errors
///
/// What a person is told where more than those are lost whom anybody declared.
pub(crate) fn beside(draft: &Draft<'_>, view: &View, successor: &View) -> Result<Vec<(MemberId, Incarnation)>, String> {
    let mut gone = lost(draft, view);
    gone.retain(|seat| draft.world.seat_answer(seat, draft.now).is_none());
    let shards: ShardSet = gone.iter().map(|seat| seat.shards).collect();
    let left = view.undeclared(&successor.declared).difference(shards);
    if left.len() >= view.quorum_without(&successor.declared) {
        return Ok(Vec::new());
    }
    if gone.iter().any(|seat| !draft.world.committee.declared_lost.contains(&who(seat))) {
        return Err(explain(view, &gone.iter().map(|seat| who(seat)).collect()));
    }
    let asserted = gone.iter().map(|seat| (seat.member, seat.incarnation));
    Ok(asserted.filter(|lost| !successor.declared.contains(lost)).collect())
}

/// What keeps a view from following `view` when more than f shards are lost: members whose loss nobody declared.
pub(crate) fn obstacle(draft: &Draft<'_>, view: &View) -> Option<String> {
    let lost = lost(draft, view);
    let declared = &draft.world.committee.declared_lost;
    let undeclared = lost.iter().any(|seat| !declared.contains(&who(seat)));
    (is_beyond(view, &lost) && undeclared).then(|| explain(view, &lost.iter().map(|seat| who(seat)).collect()))
}

/// What has happened, and what a person may do about it.
pub(crate) fn explain(view: &View, lost: &BTreeSet<Who>) -> String {
    let shards: u16 = lost.iter().filter_map(|who| view.seat(who.0)).map(|seat| seat.shards.len()).sum();
    let vacant = match view.vacant().len() {
        0 => String::new(),
        vacant => format!(", and {vacant} vacant"),
    };
    let names: Vec<String> = lost.iter().map(|(member, incarnation)| format!("{member}-{incarnation}")).collect();
    format!(
        "{shards} shards of {} are lost or silent{vacant}, more than f = {}: no view can be sealed (R7). What comes back with its volume \
         goes on by itself; if the volumes are destroyed for good, say so: weft recover --declare-lost {}",
        names.join(", "),
        view.code.fault_tolerance(),
        names.join(","),
    )
}

/// The lost shards that each survivor rebuilds spare copies of, while no view can name it.
pub(crate) fn spares(draft: &Draft<'_>) -> BTreeMap<Who, (u64, ShardSet)> {
    let mut spares: BTreeMap<Who, (u64, ShardSet)> = BTreeMap::new();
    let Some(view) = draft.world.view().filter(|view| is_beyond(view, &lost(draft, view))) else { return spares };
    let (before, next) = views::custody(draft, view);
    for shard in assign::moved(&before, &next).iter() {
        if let Some(who) = next[usize::from(shard)] {
            spares.entry(who).or_insert((view.epoch + 1, ShardSet::EMPTY)).1.insert(shard);
        }
    }
    spares
}
