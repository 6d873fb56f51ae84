//! Room for repair: how much each shard may hold so that what any one member holds could still be rebuilt on the others, or
//! what any one zone does where the view survives one.

use std::collections::{BTreeMap, BTreeSet};

use weft_protocol::{MemberId, ShardSet};
use weft_redstuff::Code;

use crate::assign::{Place, Who, custody};

/// What is kept back of a volume's free bytes, one part in so many of them: puts that are under way, and files that are being
/// emptied.
const SLACK: u64 = 16;

/// A holder's volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    pub who: (MemberId, u32),
    /// The shards that the view gives it.
    pub shards: ShardSet,
    /// Bytes that new slivers may take, without those of its shards that are still to come.
    pub free: u64,
    pub zone: Option<String>,
}

/// A loss, and what it brings to the others: how many shards each is given in custody.
struct Loss {
    shards: u16,
    gains: BTreeMap<Who, u64>,
}

/// Bytes of slivers that each shard may hold at the most; every shard holds `held` by now.
///
/// At that number each holder has room for what its own shards grow by, and for what it would be given of any loss; or those
/// that haven't, and the lost ones, are no more than f shards: puts go on without a member or two whose disks are full.
pub fn shard_limit(holdings: &[Holding], held: u64, code: Code) -> u64 {
    let losses: Vec<Loss> = losses(holdings, code);
    let fits = |limit: u64| losses.iter().all(|loss| fits(holdings, loss, held, limit, code.fault_tolerance()));
    // A shard that holds more than a whole volume has doesn't fit anywhere.
    let widest = holdings.iter().map(|holding| holding.free).max().unwrap_or(0);
    let (mut least, mut most) = (0, held.saturating_add(widest).saturating_add(1));
    while most - least > 1 {
        let middle = least + (most - least) / 2;
        if fits(middle) { least = middle } else { most = middle }
    }
    least
}

/// What may be lost at one time: each member, and each zone where the view would survive it.
fn losses(holdings: &[Holding], code: Code) -> Vec<Loss> {
    let one = |holding: &Holding| BTreeSet::from([holding.who]);
    let mut lost: Vec<BTreeSet<Who>> = holdings.iter().map(one).collect();
    let mut zones: BTreeMap<Option<&str>, BTreeSet<Who>> = BTreeMap::new();
    for holding in holdings {
        zones.entry(holding.zone.as_deref()).or_default().insert(holding.who);
    }
    let shards = |lost: &BTreeSet<Who>| -> u16 {
        holdings.iter().filter(|holding| lost.contains(&holding.who)).map(|holding| holding.shards.len()).sum()
    };
    let f = code.fault_tolerance();
    if zones.len() > 1 && zones.iter().all(|(zone, whos)| zone.is_some() && shards(whos) <= f) {
        lost.extend(zones.into_values());
    }
    lost.into_iter().map(|lost| Loss { shards: shards(&lost), gains: gains(holdings, &lost, code) }).collect()
}

/// What custody would give to whom.
fn gains(holdings: &[Holding], lost: &BTreeSet<Who>, code: Code) -> BTreeMap<Who, u64> {
    let rest: Vec<&Holding> = holdings.iter().filter(|holding| !lost.contains(&holding.who)).collect();
    let holder = |shard| rest.iter().find(|holding| holding.shards.contains(shard as u8)).map(|holding| holding.who);
    let owners: Vec<Option<Who>> = (0..code.shards()).map(holder).collect();
    let places: Vec<Place> =
        rest.iter().map(|holding| Place { who: holding.who, zone: holding.zone.clone() }).collect();
    let mut gains = BTreeMap::new();
    for (before, after) in owners.iter().zip(custody(&owners, &places, code.fault_tolerance().into())) {
        if let Some(who) = after.filter(|_| before.is_none()) {
            *gains.entry(who).or_default() += 1;
        }
    }
    gains
}

fn fits(holdings: &[Holding], loss: &Loss, held: u64, limit: u64, f: u16) -> bool {
    let has_room = |holding: &Holding| {
        let grows = u64::from(holding.shards.len()).saturating_mul(limit.saturating_sub(held));
        let gains = loss.gains.get(&holding.who).copied().unwrap_or(0).saturating_mul(limit);
        grows.saturating_add(gains) <= holding.free - holding.free / SLACK
    };
    let full: u16 = holdings.iter().filter(|holding| !has_room(holding)).map(|holding| holding.shards.len()).sum();
    full == 0 || full + loss.shards <= f
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GIB: u64 = 1 << 30;

    fn fleet(free: &[u64], each: u8, zones: &[&str]) -> Vec<Holding> {
        let holding = |(at, free): (usize, &u64)| Holding {
            who: (MemberId(at as u32), 1),
            shards: (0..each).map(|shard| at as u8 * each + shard).collect(),
            free: *free,
            zone: zones.get(at).map(|zone| (*zone).to_owned()),
        };
        free.iter().enumerate().map(holding).collect()
    }

    fn code(n: u16, f: u16) -> Code {
        Code::new(n, f).expect("a code")
    }

    fn limit(free: &[u64], held: u64, f: u16) -> u64 {
        shard_limit(&fleet(free, 4, &[]), held, code(4 * free.len() as u16, f))
    }

    #[test]
    fn seven_members_keep_room_for_a_seventh_more() {
        // Four shards each: the six others take a lost member's four, none more than one.
        let empty = limit(&[16 * GIB; 7], 0, 9);
        // Of 16 GiB one is kept back; four own shards and one more fit: three.
        assert!((3 * GIB - 2..=3 * GIB).contains(&empty), "{empty}");
        // What is held already took its part of the volumes.
        let full = limit(&[16 * GIB / 5; 7], 3 * GIB, 9);
        assert!(full < empty + GIB / 8 && full > 3 * GIB - GIB / 8, "{full}");
        assert!(limit(&[GIB; 7], 3 * GIB, 9) < 3 * GIB);
        // Four members, f = 5: each may take one of a lost member's four, and one stays vacant.
        let few = limit(&[16 * GIB; 4], 0, 5);
        assert!((3 * GIB - 2..=3 * GIB).contains(&few), "{few}");
        assert_eq!(shard_limit(&[], 0, code(16, 5)), 0);
    }

    #[test]
    fn a_full_member_stops_nobody_and_three_do() {
        let even = limit(&[16 * GIB; 7], GIB, 9);
        let mut free = [16 * GIB; 7];
        free[6] = 0;
        // With it and another lost, 8 of 9 shards are gone.
        assert!(limit(&free, GIB, 9) >= even - GIB, "{} {even}", limit(&free, GIB, 9));
        free[5] = 0;
        assert!(limit(&free, GIB, 9) <= GIB);
        // Nobody's word is worth more than their own volume.
        free = [16 * GIB; 7];
        free[6] = u64::MAX;
        assert_eq!(limit(&free, GIB, 9), even);
        assert!(limit(&[u64::MAX; 7], u64::MAX, 9) > 0);
    }

    #[test]
    fn room_is_wanted_where_custody_puts_what_is_lost() {
        // Members 0 to 3 are given a shard each of whatever is lost, and have room for half a one.
        let mut free = [6 * GIB; 7];
        free[..4].fill(GIB / 2);
        assert!(limit(&free, GIB, 9) < GIB, "{}", limit(&free, GIB, 9));
    }

    #[test]
    fn a_zone_takes_more_room_than_a_member_where_the_view_survives_it() {
        let zones = ["a", "a", "b", "b", "c", "c", "d", "d"];
        let (named, nameless) = (fleet(&[16 * GIB; 8], 4, &zones), fleet(&[16 * GIB; 8], 4, &[]));
        let both = |f| [&named, &nameless].map(|holdings| shard_limit(holdings, 0, code(32, f)));
        let [zone, one] = both(10);
        assert!(zone < one, "{zone} {one}");
        let [zone, one] = both(7);
        assert_eq!(zone, one, "a zone's eight shards are beyond f");
    }

    proptest! {
        /// At the limit every loss finds room where custody puts it, on volumes that are filled as it says.
        #[test]
        fn at_the_limit_a_lost_member_fits_on_the_others(
            free in proptest::collection::vec(4 * GIB..64 * GIB, 5..9),
            held in 0..GIB,
        ) {
            let n = 4 * free.len() as u16;
            let (holdings, code) = (fleet(&free, 4, &[]), code(n, (n - 1) / 3));
            let limit = shard_limit(&holdings, held, code);
            prop_assume!(limit > held);
            for lost in &holdings {
                let gains = gains(&holdings, &BTreeSet::from([lost.who]), code);
                let full = |holding: &&Holding| {
                    let gained = gains.get(&holding.who).copied().unwrap_or(0);
                    4 * (limit - held) + gained * limit > holding.free
                };
                let full = holdings.iter().filter(full).count() as u16;
                prop_assert!(full == 0 || 4 * (full + 1) <= code.fault_tolerance(), "{full} have no room at {limit}");
            }
        }
    }
}
