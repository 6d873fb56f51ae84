use proptest::prelude::*;

use super::*;

const FREELY: Limits = Limits { cap: usize::MAX, moves: usize::MAX, free: ShardSet::EMPTY };

fn places(count: u32, zones: u32) -> Vec<Place> {
    (0..count).map(|id| Place { who: (MemberId(id), 1), zone: Some((id % zones).to_string()) }).collect()
}

fn is_balanced(owners: &[Option<Who>], places: &[Place]) -> bool {
    let loads: Vec<usize> = places.iter().map(|place| load(owners, place.who)).collect();
    let (least, most) = (loads.iter().min().copied(), loads.iter().max().copied());
    owners.iter().all(Option::is_some) && most.zip(least).is_some_and(|(most, least)| most - least <= 1)
}

/// The slow twin: every assignment there is.
fn fewest_moves_by_force(current: &[Option<Who>], places: &[Place]) -> usize {
    let total = places.len().pow(current.len() as u32);
    (0..total)
        .filter_map(|mut code| {
            let next: Vec<Option<Who>> = current
                .iter()
                .map(|_| {
                    let who = places[code % places.len()].who;
                    code /= places.len();
                    Some(who)
                })
                .collect();
            is_balanced(&next, places).then(|| moved(current, &next).len() as usize)
        })
        .min()
        .expect("a balanced assignment always exists")
}

proptest! {
    #[test]
    fn rebalancing_moves_no_more_than_any_balanced_assignment(
        holders in proptest::collection::vec(proptest::option::of(0..6_u32), 1..8),
        count in 1..5_u32,
        zones in 1..4_u32,
        preferred in proptest::collection::vec(proptest::option::of(0..5_u32), 8),
    ) {
        let current: Vec<Option<Who>> = holders.iter().map(|holder| holder.map(|id| (MemberId(id), 1))).collect();
        let preferred: Vec<Option<MemberId>> = preferred.iter().map(|id| id.map(MemberId)).collect();
        let places = places(count, zones);
        let next = rebalance(&current, &places, &preferred, FREELY);
        prop_assert!(is_balanced(&next, &places), "{next:?}");
        prop_assert_eq!(moved(&current, &next).len() as usize, fewest_moves_by_force(&current, &places));
    }

    #[test]
    fn limits_hold_whatever_is_asked(
        holders in proptest::collection::vec(proptest::option::of(0..9_u32), 4..40),
        count in 1..9_u32,
        cap in 1..10_usize,
        moves in 0..10_usize,
        free in proptest::collection::vec(0..40_u8, 0..8),
    ) {
        let current: Vec<Option<Who>> = holders.iter().map(|holder| holder.map(|id| (MemberId(id), 1))).collect();
        let (places, free): (_, ShardSet) = (places(count, 3), free.into_iter().collect());
        let preferred = vec![None; current.len()];
        let next = rebalance(&current, &places, &preferred, Limits { cap, moves, free });
        prop_assert!(moved(&current, &next).difference(free).len() as usize <= moves);
        for place in &places {
            let (before, after) = (load(&current, place.who), load(&next, place.who));
            prop_assert!(after <= cap.max(before));
        }
        let kept = custody(&current, &places, cap);
        for (shard, holder) in current.iter().enumerate() {
            prop_assert!(holder.is_none() || kept[shard] == *holder);
        }
        for place in &places {
            prop_assert!(load(&kept, place.who) <= cap.max(load(&current, place.who)));
        }
    }
}

/// The loads of zones, the largest first.
fn zone_loads(shares: &BTreeMap<Who, usize>, places: &[Place]) -> Vec<usize> {
    let mut zones: BTreeMap<&Option<String>, usize> = BTreeMap::new();
    for place in places {
        *zones.entry(&place.zone).or_default() += shares[&place.who];
    }
    let mut loads: Vec<usize> = zones.into_values().collect();
    loads.sort_unstable_by_key(|load| std::cmp::Reverse(*load));
    loads
}

/// The slow twin: every choice of those who get one shard more, by the moves that it takes and then by how little the
/// fullest zones hold.
fn best_shares_by_force(current: &[Option<Who>], places: &[Place]) -> (usize, Vec<usize>) {
    let (share, larger) = (current.len() / places.len(), current.len() % places.len());
    (0..1_u32 << places.len())
        .filter(|chosen| chosen.count_ones() as usize == larger)
        .map(|chosen| {
            let more = |at: usize| usize::from(chosen >> at & 1 == 1);
            let shares = places.iter().enumerate().map(|(at, place)| (place.who, share + more(at)));
            let shares: BTreeMap<Who, usize> = shares.collect();
            (gains(current, &shares), zone_loads(&shares, places))
        })
        .min()
        .expect("there is a choice")
}

/// The shards that places get from others.
fn gains(current: &[Option<Who>], shares: &BTreeMap<Who, usize>) -> usize {
    shares.iter().map(|(who, share)| share.saturating_sub(load(current, *who))).sum()
}

proptest! {
    #[test]
    fn no_other_shares_with_as_few_moves_survive_more_zones(
        holders in proptest::collection::vec(proptest::option::of(0..8_u32), 1..24),
        zones in proptest::collection::vec(0..4_u32, 1..8),
    ) {
        let current: Vec<Option<Who>> = holders.iter().map(|holder| holder.map(|id| (MemberId(id), 1))).collect();
        let place = |(id, zone): (usize, &u32)| Place { who: (MemberId(id as u32), 1), zone: Some(zone.to_string()) };
        let places: Vec<Place> = zones.iter().enumerate().map(place).collect();
        let shares = shares(&current, &places, usize::MAX);
        let found = (gains(&current, &shares), zone_loads(&shares, &places));
        prop_assert_eq!(found, best_shares_by_force(&current, &places));
    }
}

#[test]
fn a_replacement_gets_its_old_shards_back_and_nothing_else_moves() {
    let owner = |shard: u32| MemberId(shard % 7);
    let preferred: Vec<Option<MemberId>> = (0..28).map(|shard| Some(owner(shard))).collect();
    let lost: Vec<Option<Who>> = (0..28).map(|shard| Some((owner(shard), 1)).filter(|who| who.0.0 != 6)).collect();
    let survivors: Vec<Place> = places(6, 4);
    let held = custody(&lost, &survivors, 9);
    assert!(is_balanced(&held, &survivors));
    let mut all = survivors;
    all.push(Place { who: (MemberId(6), 2), zone: Some("2".to_owned()) });
    let next = rebalance(&held, &all, &preferred, Limits { cap: 9, moves: 9, free: ShardSet::EMPTY });
    for shard in 0..28 {
        let expected = owner(shard);
        assert_eq!(next[shard as usize], Some((expected, if expected.0 == 6 { 2 } else { 1 })));
    }
}

#[test]
fn a_share_too_many_goes_to_the_emptiest_zone() {
    // Members 0 and 3 share zone 0: neither gets the one shard that is left over.
    let shares = shares(&[None; 9], &places(4, 3), 9);
    assert_eq!(shares[&(MemberId(0), 1)] + shares[&(MemberId(3), 1)], 4);
}

#[test]
fn a_custodian_is_never_filled_beyond_its_cap() {
    let current: Vec<Option<Who>> = (0..8).map(|shard| (shard < 4).then_some((MemberId(shard % 2), 1))).collect();
    let held = custody(&current, &places(2, 2), 3);
    assert_eq!(held.iter().filter(|holder| holder.is_none()).count(), 2);
}
