//! Margins: lower bounds, for the worst blob. What isn't heard of counts as gone.

use std::{collections::BTreeMap, time::Duration};

use weft_protocol::{Seat, ShardSet, View};

use crate::{
    Ailment, Inventory, Margin, Missing, Survives,
    draft::Draft,
    judge::NEW_VIEW,
    known::{knows, told_lacking},
    listed,
};

/// For how long after a view change what members told before counts for the margin.
const SETTLES: Duration = Duration::from_secs(30);

/// Slots of blob IDs, by their first byte, for which members tell what is lacking.
pub const SLOTS: usize = 256;

/// The numbers that an operator looks at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Measure {
    /// Of the worst blob, as far as slots tell.
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
    let lost = view.seats.iter().filter(|seat| draft.is_lost((seat.member, seat.incarnation.number)));
    let lost = lost.map(|seat| seat.shards).collect();
    let mut gone = view.vacant().union(lost);
    let mut worst = Worst::new(gone);
    let listed = listed::set(world);
    for seat in &view.seats {
        let answer = world.seat_answer(seat, now);
        let answer = answer.filter(|answer| knows_lacks(draft, view, seat, answer));
        let lacks = answer.map_or(seat.shards, |answer| told_lacking(seat, answer, &listed));
        gone = gone.union(lacks);
        worst.count(lacks.difference(lost), answer);
    }
    let mut missing = Missing::default();
    let mut writable = ShardSet::EMPTY;
    let mut answering = ShardSet::EMPTY;
    for seat in &view.seats {
        let Some(answer) = world.seat_answer(seat, now) else { continue };
        answering = answering.union(seat.shards);
        let ails = matches!(answer.ailment, Some(Ailment::ReadOnly | Ailment::Rewound | Ailment::ForeignVolume));
        // Who isn't synced acks nothing (R13).
        if !ails && knows_lacks(draft, view, seat, answer) {
            writable = writable.union(seat.shards);
        }
        for report in answer.shards.iter().filter(|report| !report.target && seat.shards.contains(report.shard)) {
            missing.slivers += report.missing_slivers;
            missing.bytes += report.missing_bytes;
        }
    }
    let (n, f) = (i32::from(view.code.shards()), i32::from(view.code.fault_tolerance()));
    Measure {
        margin: Margin { read: n - worst.lacks() - (n - 2 * f), write: i32::from(writable.len()) - (n - f) },
        survives: survives(draft, view, gone),
        missing,
        answering: answering.len(),
        gone,
    }
}

/// How many shards the worst blob may lack. Members tell it by slots of blob IDs, so that one that misses this blob and
/// another that misses that one aren't taken for two that miss the same.
#[derive(Debug)]
struct Worst {
    /// What every blob lacks.
    all: i32,
    slots: [i32; SLOTS],
}

impl Worst {
    fn new(gone: ShardSet) -> Self {
        Self { all: i32::from(gone.len()), slots: [0; SLOTS] }
    }

    /// Counts what a seat may lack. A member that doesn't answer, or doesn't know all blobs, may lack any.
    fn count(&mut self, lacks: ShardSet, answer: Option<&Inventory>) {
        let Some(answer) = answer else {
            self.all += i32::from(lacks.len());
            return;
        };
        for (slot, told) in self.slots.iter_mut().zip(&answer.lacking) {
            *slot += i32::from(*told).min(i32::from(lacks.len()));
        }
    }

    fn lacks(&self) -> i32 {
        self.all + self.slots.iter().max().copied().unwrap_or(0)
    }
}

/// Whether a member knows what its shards lack. One that counted until the view changed knows what it lacks of
/// the blobs that were told of then; those of the last seconds are no part of a margin before they have settled (R22).
fn knows_lacks(draft: &Draft<'_>, view: &View, seat: &Seat, answer: &Inventory) -> bool {
    let record = draft.incarnation((seat.member, seat.incarnation.number));
    let settles = record.is_some_and(|record| record.reason == NEW_VIEW && draft.now - record.since < SETTLES);
    let before = answer.newest_seal.as_ref().filter(|seal| seal.successor.view.id() == view.id());
    let counted = before.is_some_and(|seal| match seal.sealed.view.predecessor {
        None => seal.sealed.view.seat(seat.member).is_some_and(|before| before.incarnation == seat.incarnation),
        Some(predecessor) => answer.synced.is_some_and(|synced| synced.position() >= predecessor.position()),
    });
    // One that hasn't heard of the view yet knows what it lacks of its shards by the one before.
    let unaware = answer.counts && answer.ailment.is_none() && answer.newest_view == view.predecessor;
    (settles && counted) || unaware || knows(view, answer)
}

/// How many of the largest holders, and of the largest zones, may go together and leave n − f shards whole: then
/// everything can be read, written and mended.
fn survives(draft: &Draft<'_>, view: &View, gone: ShardSet) -> Survives {
    let mut zones: BTreeMap<Option<&str>, i32> = BTreeMap::new();
    for (seat, load) in loads(view, gone) {
        let record = draft.incarnation((seat.member, seat.incarnation.number));
        *zones.entry(record.and_then(|record| record.zone.as_deref())).or_default() += load;
    }
    let zones = largest_within(zones.into_values().collect(), spare(view, gone));
    Survives { members: most_members(view, gone), zones }
}

/// How many members may go besides `gone`, whichever they are, and leave n − f shards whole.
pub(crate) fn most_members(view: &View, gone: ShardSet) -> u32 {
    largest_within(loads(view, gone).map(|(_, load)| load).collect(), spare(view, gone))
}

/// How many shards each seat has that aren't gone.
fn loads(view: &View, gone: ShardSet) -> impl Iterator<Item = (&Seat, i32)> {
    view.seats.iter().map(move |seat| (seat, i32::from(seat.shards.difference(gone).len())))
}

/// How many shards may go besides `gone`.
fn spare(view: &View, gone: ShardSet) -> i32 {
    i32::from(view.code.fault_tolerance()) - i32::from(gone.len())
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

#[cfg(test)]
mod tests {
    use weft_protocol::{FleetId, Incarnation, MemberId, PublicKey, VolumeId};

    use super::*;
    use crate::ShardReport;

    fn seat(id: u32, shards: [u8; 2]) -> Seat {
        let incarnation = Incarnation { number: 1, volume: VolumeId([0; 16]) };
        Seat { member: MemberId(id), incarnation, key: PublicKey([0; 32]), shards: shards.into_iter().collect() }
    }

    /// Lacks both of its shards of some blob in the slots named.
    fn inventory(seat: &Seat, slots: &[usize]) -> Inventory {
        let report = |shard| ShardReport {
            shard,
            missing_slivers: 2,
            missing_bytes: 2,
            missing_blobs: 1,
            target: false,
            verified: false,
        };
        let mut lacking = vec![0; SLOTS];
        for slot in slots {
            lacking[*slot] = 2;
        }
        Inventory {
            fleet: FleetId([0; 16]),
            member: seat.member,
            incarnation: seat.incarnation,
            key: seat.key,
            term: 1,
            newest_view: None,
            newest_signed: None,
            newest_seal: None,
            seal_order: None,
            refusal: None,
            synced: None,
            counts: true,
            blobs: 1,
            tombstones: 0,
            shards: seat.shards.iter().map(report).collect(),
            held_slivers: 0,
            held_bytes: 0,
            reachable: Vec::new(),
            ailment: None,
            accusations: Vec::new(),
            unanswered: Vec::new(),
            lacking,
            unrecoverable: Vec::new(),
            unrecoverable_blobs: 0,
            invalid: Vec::new(),
            invalid_blobs: 0,
            set_aside: Vec::new(),
        }
    }

    fn worst(of: &[(Seat, Option<Inventory>)]) -> i32 {
        let mut worst = Worst::new(ShardSet::EMPTY);
        for (seat, answer) in of {
            worst.count(seat.shards, answer.as_ref());
        }
        worst.lacks()
    }

    #[test]
    fn two_members_that_lack_different_blobs_count_once() {
        let (one, two) = (seat(1, [1, 2]), seat(2, [3, 4]));
        let (first, second) = (inventory(&one, &[5]), inventory(&two, &[6]));
        assert_eq!(worst(&[(one, Some(first)), (two, Some(second))]), 2);
    }

    #[test]
    fn two_members_that_lack_the_same_blob_count_twice() {
        let (one, two) = (seat(1, [1, 2]), seat(2, [3, 4]));
        let (first, second) = (inventory(&one, &[5, 9]), inventory(&two, &[9]));
        assert_eq!(worst(&[(one, Some(first)), (two, Some(second))]), 4);
    }

    #[test]
    fn a_silent_member_lacks_every_blob() {
        let (one, two) = (seat(1, [1, 2]), seat(2, [3, 4]));
        let first = inventory(&one, &[5]);
        assert_eq!(worst(&[(one, Some(first)), (two, None)]), 4);
    }
}
