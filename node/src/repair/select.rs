//! Which crossing slivers a rebuild takes its symbols from.

use std::collections::{BTreeMap, BTreeSet};

use weft_protocol::{MemberId, Seat, ShardSet, View};
use weft_redstuff::{Axis, Code};

/// Where the symbols of one rebuild come from. Indices are those of the crossing slivers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Helpers {
    /// Held at home: these symbols don't travel.
    pub(crate) local: Vec<u16>,
    pub(crate) remote: BTreeMap<MemberId, Vec<u16>>,
}

/// What is known of the fleet when helpers are chosen.
#[derive(Debug)]
pub(crate) struct Circumstances<'v> {
    pub(crate) view: &'v View,
    pub(crate) me: MemberId,
    /// Shards that changed hands with the newest view: their holders may lack slivers themselves, so they come last.
    pub(crate) moved: ShardSet,
    pub(crate) reachable: &'v [MemberId],
    /// Who gave nothing or something wrong of this blob: they come last of all (R18).
    pub(crate) doubted: &'v BTreeSet<MemberId>,
    /// What members have of the stripe, where everybody was asked: what the view gives them is a guess.
    pub(crate) held: Option<&'v [Held]>,
}

/// Axis and index of a sliver that a member says to hold.
pub(crate) type Held = (MemberId, Axis, u16);

/// Whom to ask first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Settled,
    Moved,
    Doubted,
}

/// Chooses `k` helpers for one sliver of `axis`: what is held at home first, then settled shards, evenly over their
/// holders, those that are doubted last. `attempt` rotates the choice among equals.
///
/// `None` when fewer than `k` helpers can be asked.
pub(crate) fn helpers(of: &Circumstances<'_>, axis: Axis, local: &[u16], attempt: usize) -> Option<Helpers> {
    let code = of.view.code;
    let needed = usize::from(code.slivers_to_decode(axis.crossing()));
    let mut chosen = Helpers { local: local.to_vec(), remote: BTreeMap::new() };
    chosen.local.truncate(needed);
    let (mut wanting, mut taken) = (needed - chosen.local.len(), BTreeSet::new());
    for standing in [Standing::Settled, Standing::Moved, Standing::Doubted] {
        let mut offers = offers(of, code, axis.crossing(), local, standing);
        let rotation = attempt % offers.len().max(1);
        offers.rotate_left(rotation);
        for (member, index) in offers {
            if wanting > 0 && taken.insert(index) {
                chosen.remote.entry(member).or_default().push(index);
                wanting -= 1;
            }
        }
    }
    (wanting == 0).then_some(chosen)
}

/// Crossing slivers of reachable holders, one of each member after the other.
fn offers(of: &Circumstances<'_>, code: Code, crossing: Axis, local: &[u16], wanted: Standing) -> Vec<(MemberId, u16)> {
    let standing = |member: MemberId, shard: u8| match (of.doubted.contains(&member), of.moved.contains(shard)) {
        (true, _) => Standing::Doubted,
        (false, true) => Standing::Moved,
        (false, false) => Standing::Settled,
    };
    let seats = of.view.seats.iter().filter(|seat| seat.member != of.me && of.reachable.contains(&seat.member));
    let has = |seat: &Seat| -> Vec<u16> {
        let Some(held) = of.held else {
            return seat.shards.iter().map(|shard| code.sliver_index(u16::from(shard), crossing)).collect();
        };
        let its = held.iter().filter(|(member, axis, _)| (*member, *axis) == (seat.member, crossing));
        its.map(|(_, _, index)| *index).collect()
    };
    let mut offers: Vec<(usize, MemberId, u16)> = seats
        .flat_map(|seat| {
            has(seat)
                .into_iter()
                .filter(|index| standing(seat.member, code.shard_of(crossing, *index) as u8) == wanted)
                .filter(|index| !local.contains(index))
                .enumerate()
                .map(|(turn, index)| (turn, seat.member, index))
        })
        .collect();
    offers.sort_unstable();
    offers.into_iter().map(|(_, member, index)| (member, index)).collect()
}

#[cfg(test)]
mod tests {
    use weft_protocol::{Authority, FleetId, Incarnation, SigningKey, VolumeId};

    use super::*;

    /// Seven members of four shards: n = 28, f = 9, k1 = 10, k2 = 19.
    fn view() -> View {
        let key = |id: u8| SigningKey::from_seed([id; 32]).public();
        let seat = |id: u8| Seat {
            member: MemberId(u32::from(id)),
            incarnation: Incarnation { number: 1, volume: VolumeId([id; 16]) },
            key: key(id),
            shards: (0..4).map(|turn| id + 7 * turn).collect(),
        };
        View {
            fleet: FleetId([1; 16]),
            epoch: 1,
            revision: 0,
            term: 1,
            predecessor: None,
            code: Code::new(28, 9).unwrap(),
            seats: (0..7).map(seat).collect(),
            authority: Authority { views: key(100), deletes: vec![] },
            declared: vec![],
        }
    }

    fn members(ids: impl IntoIterator<Item = u32>) -> Vec<MemberId> {
        ids.into_iter().map(MemberId).collect()
    }

    fn choose(axis: Axis, local: &[u16], reachable: &[MemberId], attempt: usize) -> Option<Helpers> {
        let (view, moved) = (view(), ShardSet::EMPTY);
        let doubted = BTreeSet::new();
        let of = Circumstances { view: &view, me: MemberId(0), moved, reachable, doubted: &doubted, held: None };
        helpers(&of, axis, local, attempt)
    }

    fn total(helpers: &Helpers) -> usize {
        helpers.local.len() + helpers.remote.values().map(Vec::len).sum::<usize>()
    }

    #[test]
    fn symbols_at_home_do_not_travel() {
        let chosen = choose(Axis::Secondary, &[0, 7, 14, 21], &members(1..7), 0).unwrap();
        assert_eq!((total(&chosen), chosen.local.len()), (10, 4));
        assert!(chosen.remote.values().all(|indices| indices.len() == 1), "evenly: {chosen:?}");
    }

    #[test]
    fn a_primary_needs_k2_secondaries() {
        let chosen = choose(Axis::Primary, &[], &members(1..7), 0).unwrap();
        assert_eq!(total(&chosen), 19);
    }

    #[test]
    fn too_few_helpers_are_none() {
        assert_eq!(choose(Axis::Primary, &[], &members(1..5), 0), None);
        assert!(choose(Axis::Secondary, &[], &members(1..5), 0).is_some());
    }

    #[test]
    fn another_attempt_asks_others() {
        let first = choose(Axis::Secondary, &[], &members(1..7), 0);
        assert_ne!(first, choose(Axis::Secondary, &[], &members(1..7), 1));
    }

    #[test]
    fn shards_that_just_moved_come_last() {
        let (view, reachable) = (view(), members(1..7));
        let moved: ShardSet = [1, 8, 15].into_iter().collect();
        let (me, doubted) = (MemberId(0), BTreeSet::new());
        let of = Circumstances { view: &view, me, moved, reachable: &reachable, doubted: &doubted, held: None };
        let chosen = helpers(&of, Axis::Primary, &[], 0).unwrap();
        let from_moved = |index: &u16| moved.contains(view.code.shard_of(Axis::Secondary, *index) as u8);
        assert!(!chosen.remote.values().flatten().any(from_moved), "{chosen:?}");
    }

    #[test]
    fn who_is_doubted_comes_last_whatever_the_attempt() {
        // Two of six: no window of ten that turns through the others' shards would leave both out.
        let (view, reachable, moved) = (view(), members(1..7), ShardSet::EMPTY);
        let doubted: BTreeSet<MemberId> = members([1, 4]).into_iter().collect();
        let me = MemberId(0);
        let of = Circumstances { view: &view, me, moved, reachable: &reachable, doubted: &doubted, held: None };
        for attempt in 0..24 {
            let chosen = helpers(&of, Axis::Secondary, &[], attempt).unwrap();
            assert!(chosen.remote.keys().all(|member| !doubted.contains(member)), "{chosen:?}");
        }
        // Where the others aren't enough, they are asked all the same.
        assert_eq!(total(&helpers(&of, Axis::Primary, &[], 0).unwrap()), 19);
    }

    /// Ten of 28 primaries are left, here and there, and two members have one of them: these very ten are asked for.
    #[test]
    fn what_members_are_known_to_hold_is_asked_for_and_nothing_else() {
        let (view, reachable, moved) = (view(), members(1..7), [1, 8].into_iter().collect());
        let held: Vec<Held> =
            [(1, 1), (1, 8), (2, 9), (3, 3), (3, 17), (4, 25), (5, 5), (5, 12), (6, 6), (6, 27), (2, 6)]
                .map(|(member, index)| (MemberId(member), Axis::Primary, index))
                .into();
        let doubted: BTreeSet<MemberId> = members([2, 5]).into_iter().collect();
        for attempt in 0..24 {
            let held = Some(&held[..]);
            let of =
                Circumstances { view: &view, me: MemberId(0), moved, reachable: &reachable, doubted: &doubted, held };
            let chosen = helpers(&of, Axis::Secondary, &[], attempt).expect("ten are left");
            let mut indices: Vec<u16> = chosen.remote.values().flatten().copied().collect();
            indices.sort_unstable();
            assert_eq!(indices, [1, 3, 5, 6, 8, 9, 12, 17, 25, 27]);
            assert_eq!(helpers(&of, Axis::Primary, &[], attempt), None, "there are no secondaries");
        }
    }
}
