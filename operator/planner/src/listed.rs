//! Listed blobs: those that are unrecoverable (R20) and those that are invalid (R19); and what follows for the rest.
//!
//! A blob of which fewer than k1 = n − 2f slivers are left is lacked by more than 2f shards, so by more than f of honest
//! members: those say so, and f shards of liars don't make one up. That a blob's writer lied is said by who has proven it, in
//! the end by all honest members. What is listed goes back to the members, who leave it out of what they miss and drop no copy
//! of it; so epochs go on, and what is left of it stays. What is unrecoverable may heal, so the volumes are kept that may have
//! slivers of it; what is invalid can't.

use std::collections::{BTreeMap, BTreeSet};

use weft_protocol::ShardSet;
use weft_redstuff::BlobId;

use crate::{Agreed, Inventory, World, draft::Draft};

/// How many blobs are listed at the most of either kind, the smallest IDs first: the others count as missing until some of
/// these go.
pub const LISTED: usize = 1024;

/// How many IDs a condition names.
const NAMED: usize = 4;

/// The blobs that are unrecoverable, without the invalid ones, of which too little may be left too.
pub(crate) fn unrecoverable(world: &World, invalid: &Agreed) -> Agreed {
    let mut agreed = agreed(world, |said| (&*said.unrecoverable, said.unrecoverable_blobs));
    let before = agreed.ids.len();
    agreed.ids.retain(|blob| invalid.ids.binary_search(blob).is_err());
    agreed.blobs -= (before - agreed.ids.len()) as u64;
    agreed
}

/// The blobs that are invalid.
pub(crate) fn invalid(world: &World) -> Agreed {
    agreed(world, |said| (&said.invalid, said.invalid_blobs))
}

/// What members with more than f shards of the view in effect say of blobs, as they told last.
fn agreed(world: &World, of: impl Fn(&Inventory) -> (&[BlobId], u64)) -> Agreed {
    let Some(view) = world.view() else { return Agreed::default() };
    let said = view.seats.iter().filter_map(|seat| {
        let heard = world.heard(seat.member, seat.incarnation.number)?;
        let its = (heard.inventory.incarnation, heard.inventory.key) == (seat.incarnation, seat.key);
        its.then_some((seat.shards, &heard.inventory))
    });
    let mut by_blob: BTreeMap<BlobId, ShardSet> = BTreeMap::new();
    let mut totals = Vec::new();
    for (shards, inventory) in said {
        let (blobs, total) = of(inventory);
        totals.push((total, shards));
        for blob in blobs {
            let told = by_blob.entry(*blob).or_default();
            *told = told.union(shards);
        }
    }
    let f = view.code.fault_tolerance();
    let agreed = by_blob.into_iter().filter(|(_, shards)| shards.len() > f).map(|(blob, _)| blob);
    let ids: Vec<BlobId> = agreed.take(LISTED).collect();
    let blobs = if ids.len() < LISTED { ids.len() as u64 } else { agreed_total(totals, f).max(LISTED as u64) };
    Agreed { blobs, ids }
}

/// The greatest number that members with more than f shards reach.
fn agreed_total(mut totals: Vec<(u64, ShardSet)>, f: u16) -> u64 {
    totals.sort_unstable_by_key(|(total, _)| std::cmp::Reverse(*total));
    let mut reached = ShardSet::EMPTY;
    for (total, shards) in totals {
        reached = reached.union(shards);
        if reached.len() > f {
            return total;
        }
    }
    0
}

/// Whether a member leaves a blob out of what it misses that isn't listed any more: what it says isn't all then.
pub(crate) fn hides(answer: &Inventory, listed: &BTreeSet<BlobId>) -> bool {
    answer.set_aside.iter().any(|blob| !listed.contains(blob))
}

/// The listed blobs, for [`hides`]. Nothing is looked for while nobody leaves anything out.
pub(crate) fn set(world: &World) -> BTreeSet<BlobId> {
    if world.heard.iter().all(|heard| heard.inventory.set_aside.is_empty()) {
        return BTreeSet::new();
    }
    let invalid = invalid(world);
    all(&unrecoverable(world, &invalid), &invalid).into_iter().collect()
}

/// All listed blobs, in order.
pub(crate) fn all(unrecoverable: &Agreed, invalid: &Agreed) -> Vec<BlobId> {
    let all: BTreeSet<BlobId> = unrecoverable.ids.iter().chain(&invalid.ids).copied().collect();
    all.into_iter().collect()
}

/// What keeps volumes from being destroyed on which slivers of listed blobs may be.
pub(crate) fn obstacle(draft: &Draft<'_>) -> Option<String> {
    let number = draft.unrecoverable.blobs;
    let what =
        if number == 1 { "1 blob is unrecoverable".to_owned() } else { format!("{number} blobs are unrecoverable") };
    (number > 0).then(|| format!("R20: {what}, and slivers of it may be on this volume; weft rm ends that"))
}

/// What a person is told; `None` while nothing is listed.
pub(crate) fn message(draft: &Draft<'_>) -> Option<String> {
    let Agreed { blobs, ids } = &draft.unrecoverable;
    if *blobs == 0 {
        return None;
    }
    let mut names: Vec<String> = ids.iter().take(NAMED).map(ToString::to_string).collect();
    if *blobs > names.len() as u64 {
        names.push("…".to_owned());
    }
    let (n, k1) = (draft.code.shards(), draft.code.source_rows());
    Some(format!(
        "{blobs} {} be read or mended, since fewer than k1 = {k1} of {n} slivers are left (R20): {}. A volume that comes \
         back with slivers of it may heal it; weft rm ID gives it up",
        if *blobs == 1 { "blob can't" } else { "blobs can't" },
        names.join(", "),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_beyond_the_list_is_believed_of_more_than_f_shards() {
        let shards = |at: u8| (4 * at..4 * at + 4).collect::<ShardSet>();
        // Three members have 12 shards, two have 8.
        let totals = vec![(9000, shards(0)), (5000, shards(1)), (3000, shards(2)), (2000, shards(3))];
        assert_eq!(agreed_total(totals, 9), 3000);
        assert_eq!(agreed_total(vec![(9000, shards(0))], 9), 0);
    }
}
