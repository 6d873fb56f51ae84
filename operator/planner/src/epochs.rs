//! Epochs: the first view, and each later boundary at which shards change their owners (R3, R6, R22, R23).

mod first;
mod next;
mod wished;

use std::collections::BTreeMap;

use weft_protocol::{MemberId, ShardSet, View};

use crate::{
    Act, EpochPhase, EpochPlan, EpochRecord,
    assign::Who,
    draft::{Draft, holders},
};

pub(crate) use next::targets;
pub(crate) use wished::answer;

/// Goes on with the epoch in effect, then with the next one.
pub(crate) fn advance(draft: &mut Draft<'_>) {
    if draft.watches_only() {
        return;
    }
    match draft.world.view() {
        None => first::begin(draft),
        Some(view) => {
            finish(draft, view);
            next::advance(draft, view);
        }
    }
}

/// The epoch in effect, and the one that is worked towards (the same when none is).
pub(crate) fn pointer(draft: &Draft<'_>) -> (u64, u64) {
    let current = draft.world.view().map_or(0, |view| view.epoch);
    let open = |phase| matches!(phase, EpochPhase::Planned | EpochPhase::Migrating | EpochPhase::Sealing);
    let next = draft.world.epoch(current + 1).filter(|epoch| open(epoch.phase));
    (current, next.map_or(current, |epoch| epoch.number))
}

/// The holders that an epoch's record names.
pub(crate) fn owners_of(epoch: &EpochRecord) -> Vec<Option<Who>> {
    let numbers: BTreeMap<MemberId, u32> = epoch.members.iter().copied().collect();
    epoch.owners.iter().map(|owner| Some((*owner, *numbers.get(owner)?))).collect()
}

/// An epoch's content for these owners; `None` while a shard has none.
fn content(owners: &[Option<Who>], number: u64, moves: usize, minimum: usize, bytes: u64) -> Option<EpochPlan> {
    let whos: Vec<Who> = owners.iter().copied().collect::<Option<_>>()?;
    let members: BTreeMap<MemberId, u32> = whos.iter().copied().collect();
    Some(EpochPlan {
        number,
        owners: whos.iter().map(|who| who.0).collect(),
        members: members.into_iter().collect(),
        moves: moves as u32,
        minimum: minimum as u32,
        bytes,
        chosen: false,
        phase: EpochPhase::Planned,
    })
}

fn name(number: u64) -> String {
    format!("epoch {number}")
}

fn set_phase(draft: &mut Draft<'_>, number: u64, phase: EpochPhase, reason: impl Into<String>) {
    draft.step(Act::SetEpochPhase { number, phase }, name(number), reason);
}

/// Moves the epoch in effect on: committed when its owners are whole, retired when the old copies may go.
fn finish(draft: &mut Draft<'_>, view: &View) {
    let Some(epoch) = draft.world.epoch(view.epoch) else {
        // The object was deleted: it is made again from the view (R26).
        if let Some(content) = content(&holders(view), view.epoch, 0, 0, 0) {
            draft.step(Act::CreateEpoch(content), name(view.epoch), "the view in effect is of this epoch");
        }
        return;
    };
    if view.revision == 0
        && owners_of(epoch) != holders(view)
        && let Some(content) = content(&holders(view), view.epoch, 0, 0, 0)
    {
        draft.step(Act::ReplanEpoch(content), name(view.epoch), "its view has other owners than the object (R26)");
        return;
    }
    let whole = draft.world.is_whole(view, draft.now) && draft.world.record.pending.is_none();
    match epoch.phase {
        EpochPhase::Planned | EpochPhase::Migrating | EpochPhase::Sealing | EpochPhase::Superseded => {
            if whole && !draft.changes_view() {
                set_phase(draft, epoch.number, EpochPhase::Committed, "every owner is synced and whole (R22)");
            }
        }
        EpochPhase::Committed => retire(draft, view, epoch, whole),
        EpochPhase::Retired => {}
    }
    let settled = matches!(epoch.phase, EpochPhase::Committed | EpochPhase::Retired);
    for old in draft.world.record.epochs.iter().filter(|old| settled && old.number < view.epoch) {
        if !matches!(old.phase, EpochPhase::Retired | EpochPhase::Superseded) {
            set_phase(draft, old.number, EpochPhase::Retired, format!("epoch {} is committed", view.epoch));
        }
    }
}

fn retire(draft: &mut Draft<'_>, view: &View, epoch: &EpochRecord, whole: bool) {
    let moved = moved_in(draft, epoch);
    let reason = "the copies of those who gave shards away may go";
    let wait = if moved.is_empty() { std::time::Duration::ZERO } else { draft.world.committee.retain_for };
    if !draft.has_passed(epoch.since, wait) {
        draft.withhold("SetEpochPhase", name(epoch.number), reason, "R23: retainFor");
    } else if !whole {
        draft.withhold("SetEpochPhase", name(epoch.number), reason, "R23: margins are not full");
    } else if !is_verified(draft, view, moved) {
        draft.withhold(
            "SetEpochPhase",
            name(epoch.number),
            reason,
            "R23: new owners have yet to re-read their slivers",
        );
    } else if !draft.changes_view() {
        set_phase(
            draft,
            epoch.number,
            EpochPhase::Retired,
            "new owners have re-read what they got, and margins are full",
        );
    }
}

/// The shards whose owner an epoch changed; all of them, where the epoch before isn't remembered.
fn moved_in(draft: &Draft<'_>, epoch: &EpochRecord) -> ShardSet {
    let all = ShardSet::first(draft.code.shards());
    match (epoch.number, draft.world.epoch(epoch.number - 1)) {
        (1, _) => ShardSet::EMPTY,
        (_, None) => all,
        (_, Some(before)) => {
            let (old, new) = (owners_of(before), owners_of(epoch));
            all.iter().filter(|shard| old.get(usize::from(*shard)) != new.get(usize::from(*shard))).collect()
        }
    }
}

fn is_verified(draft: &Draft<'_>, view: &View, shards: ShardSet) -> bool {
    let verified = view.seats.iter().filter_map(|seat| draft.world.seat_answer(seat, draft.now)).fold(
        ShardSet::EMPTY,
        |verified, answer| {
            let reports = answer.shards.iter().filter(|report| report.verified && !report.target);
            verified.union(reports.map(|report| report.shard).collect())
        },
    );
    shards.difference(verified).is_empty()
}
