//! Who gets which shard: balanced within one, spread over zones, moving as few shards as possible.

use std::collections::BTreeMap;

use weft_protocol::{MemberId, ShardSet};

/// A holder: a member's incarnation, by number. Another incarnation is another holder.
pub(crate) type Who = (MemberId, u32);

/// A holder that may get shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) who: Who,
    /// Places without a known zone count as one zone together.
    pub(crate) zone: Option<String>,
}

/// What an assignment has to keep to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// The most shards of one holder: f.
    pub(crate) cap: usize,
    /// How many shards may move besides those of `free` (R6).
    pub(crate) moves: usize,
    /// Shards that lack something at their holder anyway, or have none.
    pub(crate) free: ShardSet,
}

/// Gives every shard that has no holder (`None`) to a place with room, the emptiest first, in the emptiest zone of
/// those; the others stay. A shard for which no place has room stays without.
pub(crate) fn custody(current: &[Option<Who>], places: &[Place], cap: usize) -> Vec<Option<Who>> {
    let mut owners = current.to_vec();
    for shard in 0..owners.len() {
        if owners[shard].is_none() {
            owners[shard] = emptiest(&owners, places, |_, load| load < cap);
        }
    }
    owners
}

/// The balanced assignment that moves the fewest shards, as far as `limits` lets it come.
///
/// Every place gets ⌊n/m⌋ or ⌈n/m⌉ shards; the larger share goes to those that hold more than ⌊n/m⌋ already (which is
/// what makes the moves fewest: each place gains max(0, share − held)), then to the emptiest zone. A shard that has
/// to move goes to `preferred` (its owner of old) where that one still lacks shards. Shards of holders that are no
/// place move too. Without a place with room a shard stays as it is.
pub(crate) fn rebalance(
    current: &[Option<Who>],
    places: &[Place],
    preferred: &[Option<MemberId>],
    limits: Limits,
) -> Vec<Option<Who>> {
    let shares = shares(current, places, limits.cap);
    let lacks = |owners: &[Option<Who>], who: Who| load(owners, who) < shares.get(&who).copied().unwrap_or(0);
    let mut owners = current.to_vec();
    let mut moves = limits.moves;
    for shard in to_move(current, preferred, &shares, limits.free) {
        let counted = !limits.free.contains(shard as u8);
        if counted && moves == 0 {
            continue;
        }
        let before = owners[shard].take();
        let old_owner = places.iter().map(|place| place.who).find(|who| Some(who.0) == preferred[shard]);
        let target = old_owner
            .filter(|who| lacks(&owners, *who))
            .or_else(|| emptiest(&owners, places, |who, _| lacks(&owners, who)));
        owners[shard] = target.or(before);
        if counted && owners[shard] != before {
            moves -= 1;
        }
    }
    owners
}

/// How many shards another holder gets.
pub(crate) fn moved(current: &[Option<Who>], next: &[Option<Who>]) -> ShardSet {
    (0..current.len()).filter(|shard| current[*shard] != next[*shard]).map(|shard| shard as u8).collect()
}

pub(crate) fn load(owners: &[Option<Who>], who: Who) -> usize {
    owners.iter().filter(|owner| **owner == Some(who)).count()
}

/// The shares of a balanced assignment, at most `cap` each.
pub(crate) fn shares(current: &[Option<Who>], places: &[Place], cap: usize) -> BTreeMap<Who, usize> {
    let Some(share) = current.len().checked_div(places.len()) else { return BTreeMap::new() };
    let mut shares: BTreeMap<Who, usize> = places.iter().map(|place| (place.who, share.min(cap))).collect();
    if share >= cap {
        return shares;
    }
    for _ in 0..current.len() % places.len() {
        let in_zone = |zone: &Option<String>| -> usize {
            places.iter().filter(|place| place.zone == *zone).map(|place| shares[&place.who]).sum()
        };
        let larger = places
            .iter()
            .filter(|place| shares[&place.who] == share)
            .min_by_key(|place| (load(current, place.who) <= share, in_zone(&place.zone), place.who));
        if let Some(place) = larger {
            shares.insert(place.who, share + 1);
        }
    }
    shares
}

/// The shards that have to move, the most urgent first: those without a holder, those of holders that are no place,
/// then what places hold beyond their share: what they keep for a preferred owner first.
fn to_move(
    current: &[Option<Who>],
    preferred: &[Option<MemberId>],
    shares: &BTreeMap<Who, usize>,
    free: ShardSet,
) -> Vec<usize> {
    let mut urgent: Vec<usize> =
        (0..current.len()).filter(|shard| current[*shard].is_none_or(|who| !shares.contains_key(&who))).collect();
    urgent.sort_by_key(|shard| (current[*shard].is_some(), !free.contains(*shard as u8), *shard));
    let mut wanting: BTreeMap<MemberId, usize> =
        shares.iter().map(|(who, share)| (who.0, share.saturating_sub(load(current, *who)))).collect();
    for (who, share) in shares {
        let mut held: Vec<usize> = (0..current.len()).filter(|shard| current[*shard] == Some(*who)).collect();
        let excess = held.len().saturating_sub(*share);
        // Back to where it came from, as far as there is room; then anyone else's; then the holder's own.
        held.sort_by_key(|shard| {
            let returns = preferred[*shard].filter(|member| *member != who.0).and_then(|member| wanting.get(&member));
            (returns.is_none_or(|room| *room == 0), preferred[*shard] == Some(who.0), *shard)
        });
        for shard in held.into_iter().take(excess) {
            if let Some(room) = preferred[shard].and_then(|member| wanting.get_mut(&member)) {
                *room = room.saturating_sub(1);
            }
            urgent.push(shard);
        }
    }
    urgent
}

fn emptiest(owners: &[Option<Who>], places: &[Place], may: impl Fn(Who, usize) -> bool) -> Option<Who> {
    let in_zone = |zone: &Option<String>| -> usize {
        places.iter().filter(|place| place.zone == *zone).map(|place| load(owners, place.who)).sum()
    };
    places
        .iter()
        .filter(|place| may(place.who, load(owners, place.who)))
        .min_by_key(|place| (load(owners, place.who), in_zone(&place.zone), place.who))
        .map(|place| place.who)
}

#[cfg(test)]
mod tests;
