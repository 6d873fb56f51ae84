//! Margins: lower bounds, for the worst blob. What isn't heard of counts as gone.

use std::{collections::BTreeMap, time::Duration};

use weft_protocol::{Seat, ShardSet, View};

use crate::{
    Ailment, Inventory, Margin, Missing, Survives,
    draft::Draft,
    judge::NEW_VIEW,
    known::{lacking_at, told_lacking},
};

/// For how long after a view change what members told before counts for the margin.
const SETTLES: Duration = Duration::from_secs(30);

/// The numbers that an operator looks at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Measure {
    pub(crate) margin: Margin,
    pub(crate) survives: Survives,
    pub(crate) missing: Missing,
    /// Shards whose holder answers.
    pub(crate) answering: u16,
    /// Shards that some blob may lack, or whose holder doesn't answer.
    pub(crate) gone: ShardSet,
}

pub(crate) fn measure(draft: &Draft<'_>, view: &View) -> Measure {
    let (world, now) = (draft.world, draft.now);
    let lost = (view.seats.iter())
        .filter(|seat| draft.is_lost((seat.member, seat.incarnation.number)))
        .fold(ShardSet::EMPTY, |shards, seat| shards.union(seat.shards));
    let lacking =
        |seat: &Seat| world.seat_answer(seat, now).map_or(seat.shards, |answer| lacking(draft, view, seat, answer));
    let gone = view.seats.iter().fold(view.vacant().union(lost), |gone, seat| gone.union(lacking(seat)));
    let mut missing = Missing::default();
    let mut writable = ShardSet::EMPTY;
    let mut answering = ShardSet::EMPTY;
    for seat in &view.seats {
        let Some(answer) = world.seat_answer(seat, now) else { continue };
        answering = answering.union(seat.shards);
        if !matches!(answer.ailment, Some(Ailment::ReadOnly | Ailment::Rewound | Ailment::ForeignVolume)) {
            writable = writable.union(seat.shards);
        }
        for report in answer.shards.iter().filter(|report| !report.target && seat.shards.contains(report.shard)) {
            missing.slivers += report.missing_slivers;
            missing.bytes += report.missing_bytes;
        }
    }
    let (n, f) = (i32::from(view.code.shards()), i32::from(view.code.fault_tolerance()));
    let held = n - i32::from(gone.len());
    Measure {
        margin: Margin { read: held - (n - 2 * f), write: i32::from(writable.len()) - (n - f) },
        survives: survives(draft, view, gone, held - (n - f)),
        missing,
        answering: answering.len(),
        gone,
    }
}

/// The shards of a seat that some blob may lack. A member that counted until the view changed knows what it lacks of
/// the blobs that were told of then; those of the last seconds are no part of a margin before they have settled (R22).
fn lacking(draft: &Draft<'_>, view: &View, seat: &Seat, answer: &Inventory) -> ShardSet {
    let record = draft.incarnation((seat.member, seat.incarnation.number));
    let settles = record.is_some_and(|record| record.reason == NEW_VIEW && draft.now - record.since < SETTLES);
    let before = answer.newest_seal.as_ref().filter(|seal| seal.successor.view.id() == view.id());
    let counted = before.is_some_and(|seal| match seal.sealed.view.predecessor {
        None => seal.sealed.view.seat(seat.member).is_some_and(|before| before.incarnation == seat.incarnation),
        Some(predecessor) => answer.synced.is_some_and(|synced| synced.position() >= predecessor.position()),
    });
    if settles && counted { told_lacking(seat, answer) } else { lacking_at(view, seat, answer) }
}

/// How many of the largest holders, and of the largest zones, may go together and leave n − f shards whole: then
/// everything can be read, written and mended.
fn survives(draft: &Draft<'_>, view: &View, gone: ShardSet, spare: i32) -> Survives {
    let mut members = Vec::new();
    let mut zones: BTreeMap<Option<&str>, i32> = BTreeMap::new();
    for seat in &view.seats {
        let held = i32::from(seat.shards.difference(gone).len());
        let record = draft.incarnation((seat.member, seat.incarnation.number));
        *zones.entry(record.and_then(|record| record.zone.as_deref())).or_default() += held;
        members.push(held);
    }
    Survives { members: largest_within(members, spare), zones: largest_within(zones.into_values().collect(), spare) }
}

fn largest_within(mut loads: Vec<i32>, mut spare: i32) -> u32 {
    loads.sort_unstable_by_key(|load| std::cmp::Reverse(*load));
    let mut count = 0;
    for load in loads.into_iter().filter(|load| *load > 0) {
        spare -= load;
        if spare < 0 {
            break;
        }
        count += 1;
    }
    count
}
