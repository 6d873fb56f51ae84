//! Room for repair: how much each shard may hold so that what any one member holds could still be rebuilt on the others, or
//! what any one zone does where the fleet survives one.

use std::collections::BTreeSet;

use weft_protocol::ShardSet;

/// What is kept back of a volume's free bytes, one part in so many of them: puts that are under way, and files that are being
/// emptied.
const SLACK: u64 = 16;

/// A holder's volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// The shards that the view gives it.
    pub shards: ShardSet,
    /// Bytes that new slivers may take.
    pub free: u64,
    pub zone: Option<String>,
}

/// Bytes of slivers that each shard may hold at the most; every shard holds `held` by now. A member takes no more than f shards
/// (R2): what the others may not take, they need no room for. `zones`: whether a whole zone may go.
///
/// It is computed over what volumes have free now, so that it holds as long as nothing else fills them.
pub fn shard_limit(holdings: &[Holding], held: u64, f: u16, zones: bool) -> u64 {
    let losses = losses(holdings, zones);
    let fits = |limit: u64| losses.iter().all(|lost| fits(holdings, lost, held, limit, f));
    // A shard that holds more than a whole volume has doesn't fit anywhere.
    let (mut least, mut most) = (0, held + holdings.iter().map(|holding| holding.free).max().unwrap_or(0) + 1);
    while most - least > 1 {
        let middle = least + (most - least) / 2;
        if fits(middle) { least = middle } else { most = middle }
    }
    least
}

/// What may be lost at one time: indexes of holdings.
fn losses(holdings: &[Holding], zones: bool) -> Vec<BTreeSet<usize>> {
    let mut losses: Vec<BTreeSet<usize>> = (0..holdings.len()).map(|one| BTreeSet::from([one])).collect();
    if zones {
        let names: BTreeSet<&str> = holdings.iter().filter_map(|holding| holding.zone.as_deref()).collect();
        let of = |zone: &str| {
            let inside = |(_, holding): &(usize, &Holding)| holding.zone.as_deref() == Some(zone);
            holdings.iter().enumerate().filter(inside).map(|(at, _)| at).collect()
        };
        losses.extend(names.into_iter().map(of));
    }
    losses
}

fn fits(holdings: &[Holding], lost: &BTreeSet<usize>, held: u64, limit: u64, f: u16) -> bool {
    let wanted: u64 = lost.iter().map(|at| u64::from(holdings[*at].shards.len())).sum();
    let rest = || holdings.iter().enumerate().filter(|(at, _)| !lost.contains(at)).map(|(_, holding)| holding);
    let may_take = |holding: &Holding| u64::from(f.saturating_sub(holding.shards.len()));
    let takes = |holding: &Holding| {
        // Its own shards grow first.
        let grows = u64::from(holding.shards.len()).saturating_mul(limit.saturating_sub(held));
        let free = (holding.free - holding.free / SLACK).checked_sub(grows)?;
        Some(may_take(holding).min(free.checked_div(limit).unwrap_or(u64::MAX)))
    };
    let wanted = wanted.min(rest().map(may_take).sum());
    rest().map(takes).sum::<Option<u64>>().is_some_and(|taken| taken >= wanted)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GIB: u64 = 1 << 30;

    fn fleet(free: &[u64], each: u8, zones: &[&str]) -> Vec<Holding> {
        let holding = |(at, free): (usize, &u64)| Holding {
            shards: (0..each).map(|shard| at as u8 * each + shard).collect(),
            free: *free,
            zone: zones.get(at).map(|zone| (*zone).to_owned()),
        };
        free.iter().enumerate().map(holding).collect()
    }

    #[test]
    fn seven_members_keep_room_for_a_seventh_more() {
        // Four shards each, f = 9: the six others take the four, none more than one.
        let limit = shard_limit(&fleet(&[16 * GIB; 7], 4, &[]), 0, 9, false);
        // Of 16 GiB one is kept back; four own shards and one more fit: three.
        assert!((3 * GIB - 2..=3 * GIB).contains(&limit), "{limit}");
        // What is held already took its part of the volumes.
        let full = shard_limit(&fleet(&[16 * GIB / 5; 7], 4, &[]), 3 * GIB, 9, false);
        assert!(full < limit + GIB / 8 && full > 3 * GIB - GIB / 8, "{full}");
        assert!(shard_limit(&fleet(&[GIB; 7], 4, &[]), 3 * GIB, 9, false) < 3 * GIB);
    }

    #[test]
    fn small_volumes_count_for_what_they_take() {
        let even = shard_limit(&fleet(&[16 * GIB; 7], 4, &[]), 0, 9, false);
        let mut free = [16 * GIB; 7];
        free[6] = 4 * GIB;
        // Its own four shards don't fit beyond that.
        assert!(shard_limit(&fleet(&free, 4, &[]), 0, 9, false) <= GIB);
        free[6] = 1000 * GIB;
        assert!(shard_limit(&fleet(&free, 4, &[]), 0, 9, false) >= even);
    }

    #[test]
    fn a_zone_takes_more_room_than_a_member() {
        let zones = ["a", "a", "b", "b", "c", "c", "d", "d"];
        let holdings = fleet(&[16 * GIB; 8], 4, &zones);
        let (one, zone) = (shard_limit(&holdings, 0, 10, false), shard_limit(&holdings, 0, 10, true));
        assert!(zone < one, "{zone} {one}");
    }

    #[test]
    fn what_nobody_may_take_needs_no_room() {
        // Four members, f = 5: each may take one of a lost member's four, and one stays vacant.
        let limit = shard_limit(&fleet(&[16 * GIB; 4], 4, &[]), 0, 5, false);
        assert!((3 * GIB - 2..=3 * GIB).contains(&limit), "{limit}");
        assert_eq!(shard_limit(&[], 0, 5, true), 0);
    }

    proptest! {
        /// At the limit every loss finds room, shard by shard, on volumes that are filled as it says.
        #[test]
        fn at_the_limit_a_lost_member_fits_on_the_others(
            free in proptest::collection::vec(GIB..64 * GIB, 4..9),
            held in 0..GIB,
        ) {
            let (holdings, f) = (fleet(&free, 4, &[]), 4 * free.len() as u16 / 3);
            let limit = shard_limit(&holdings, held, f, false);
            prop_assume!(limit > held);
            let grown: Vec<u64> = free.iter().map(|free| free - 4 * (limit - held)).collect();
            for lost in 0..free.len() {
                let mut rest: Vec<(u64, u16)> =
                    grown.iter().enumerate().filter(|(at, _)| *at != lost).map(|(_, free)| (*free, f - 4)).collect();
                for _ in 0..4.min(rest.iter().map(|(_, may)| *may).sum::<u16>()) {
                    let widest = rest.iter_mut().filter(|(_, may)| *may > 0).max_by_key(|(free, _)| *free);
                    let widest = widest.expect("somebody may take it");
                    prop_assert!(widest.0 >= limit, "no room for a shard of {limit} bytes: {:?}", widest);
                    *widest = (widest.0 - limit, widest.1 - 1);
                }
            }
        }
    }
}
