//! Which crossing slivers a rebuild takes its symbols from.

use std::collections::{BTreeMap, BTreeSet};

use weft_protocol::{MemberId, Seat, ShardSet, View};
use weft_redstuff::{Axis, Code};

/// Who is to give which symbols of one rebuild, by the indices of the crossing slivers.
pub(crate) type Helpers = BTreeMap<MemberId, Vec<u16>>;

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
    /// Who was waited for in vain, whatever the blob: they come last as well.
    pub(crate) shunned: &'v BTreeSet<MemberId>,
    /// Who was asked for symbols of this blob just now and didn't give them all: they aren't asked again at once.
    pub(crate) silent: &'v BTreeSet<MemberId>,
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

/// Chooses whom to ask for the symbols that one sliver of `axis` wants besides those `at_hand`: settled shards first,
/// evenly over their holders, those that are doubted last. `attempt` rotates the choice among equals.
///
/// `None` when too few can be asked.
pub(crate) fn helpers(of: &Circumstances<'_>, axis: Axis, at_hand: &[u16], attempt: usize) -> Option<Helpers> {
    let code = of.view.code;
    let mut wanting = usize::from(code.slivers_to_decode(axis.crossing())).saturating_sub(at_hand.len());
    let (mut chosen, mut taken) = (Helpers::new(), BTreeSet::new());
    for standing in [Standing::Settled, Standing::Moved, Standing::Doubted] {
        let mut offers = offers(of, code, axis.crossing(), at_hand, standing);
        let rotation = attempt % offers.len().max(1);
        offers.rotate_left(rotation);
        for (member, index) in offers {
            if wanting > 0 && taken.insert(index) {
                chosen.entry(member).or_default().push(index);
                wanting -= 1;
            }
        }
    }
    (wanting == 0).then_some(chosen)
}

/// Crossing slivers of reachable holders, one of each member after the other.
fn offers(
    of: &Circumstances<'_>,
    code: Code,
    crossing: Axis,
    at_hand: &[u16],
    wanted: Standing,
) -> Vec<(MemberId, u16)> {
    let is_doubted = |member| of.doubted.contains(&member) || of.shunned.contains(&member);
    let standing = |member: MemberId, shard: u8| match (is_doubted(member), of.moved.contains(shard)) {
        (true, _) => Standing::Doubted,
        (false, true) => Standing::Moved,
        (false, false) => Standing::Settled,
    };
    let can_be_asked = |member| member != of.me && of.reachable.contains(&member) && !of.silent.contains(&member);
    let seats = of.view.seats.iter().filter(|seat| can_be_asked(seat.member));
    let has = |seat: &Seat| -> Vec<u16> {
        let Some(held) = of.held else {
            return seat.shards.iter().map(|shard| code.sliver_index(u16::from(shard), crossing)).collect();
        };
        let its = held.iter().filter(|(member, axis, _)| (*member, *axis) == (seat.member, crossing));
        its.map(|(_, _, index)| *index).filter(|index| *index < code.shards()).collect()
    };
    let mut offers: Vec<(usize, MemberId, u16)> = seats
        .flat_map(|seat| {
            has(seat)
                .into_iter()
                .filter(|index| standing(seat.member, code.shard_of(crossing, *index) as u8) == wanted)
                .filter(|index| !at_hand.contains(index))
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

    static NOBODY: BTreeSet<MemberId> = BTreeSet::new();

    fn of<'v>(view: &'v View, reachable: &'v [MemberId]) -> Circumstances<'v> {
        Circumstances {
            view,
            me: MemberId(0),
            moved: ShardSet::EMPTY,
            reachable,
            doubted: &NOBODY,
            shunned: &NOBODY,
            silent: &NOBODY,
            held: None,
        }
    }

    fn choose(axis: Axis, at_hand: &[u16], reachable: &[MemberId], attempt: usize) -> Option<Helpers> {
        helpers(&of(&view(), reachable), axis, at_hand, attempt)
    }

    fn total(helpers: &Helpers) -> usize {
        helpers.values().map(Vec::len).sum()
    }

    #[test]
    fn symbols_at_hand_do_not_travel() {
        let chosen = choose(Axis::Secondary, &[0, 7, 14, 21], &members(1..7), 0).unwrap();
        assert_eq!(total(&chosen), 6);
        assert!(chosen.values().all(|indices| indices.len() == 1), "evenly: {chosen:?}");
        assert_eq!(choose(Axis::Secondary, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], &[], 0), Some(Helpers::new()));
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
    fn who_gave_less_than_it_should_is_not_asked_for_what_is_wanting() {
        let (view, reachable, silent) = (view(), members(1..7), members([3]).into_iter().collect());
        let mut asked = choose(Axis::Primary, &[], &reachable, 0).unwrap();
        let wanting = asked.remove(&MemberId(3)).unwrap().len();
        let came_in: Vec<u16> = asked.into_values().flatten().collect();
        let of = Circumstances { silent: &silent, ..of(&view, &reachable) };
        let chosen = helpers(&of, Axis::Primary, &came_in, 0).unwrap();
        assert_eq!(total(&chosen), wanting);
        assert!(!chosen.contains_key(&MemberId(3)), "{chosen:?}");
        assert!(!chosen.values().flatten().any(|index| came_in.contains(index)), "{chosen:?}");
    }

    #[test]
    fn shards_that_just_moved_come_last() {
        let (view, reachable) = (view(), members(1..7));
        let moved: ShardSet = [1, 8, 15].into_iter().collect();
        let chosen = helpers(&Circumstances { moved, ..of(&view, &reachable) }, Axis::Primary, &[], 0).unwrap();
        let from_moved = |index: &u16| moved.contains(view.code.shard_of(Axis::Secondary, *index) as u8);
        assert!(!chosen.values().flatten().any(from_moved), "{chosen:?}");
    }

    #[test]
    fn who_is_doubted_comes_last_whatever_the_attempt() {
        // Two of six: no window of ten that turns through the others' shards would leave both out.
        let (view, reachable) = (view(), members(1..7));
        let doubted: BTreeSet<MemberId> = members([1, 4]).into_iter().collect();
        let of = Circumstances { doubted: &doubted, ..of(&view, &reachable) };
        let shunning = Circumstances { doubted: &NOBODY, shunned: &doubted, ..of };
        for attempt in 0..24 {
            for of in [&of, &shunning] {
                let chosen = helpers(of, Axis::Secondary, &[], attempt).unwrap();
                assert!(chosen.keys().all(|member| !doubted.contains(member)), "{chosen:?}");
            }
        }
        // Where the others aren't enough, they are asked all the same.
        assert_eq!(total(&helpers(&of, Axis::Primary, &[], 0).unwrap()), 19);
    }

    /// Ten of 28 primaries are left, here and there, and two members have one of them: these very ten are asked for, and none that
    /// somebody makes up.
    #[test]
    fn what_members_are_known_to_hold_is_asked_for_and_nothing_else() {
        let (view, reachable, moved) = (view(), members(1..7), [1, 8].into_iter().collect());
        let held: Vec<Held> = [
            (1, 1),
            (1, 8),
            (2, 9),
            (3, 3),
            (3, 17),
            (4, 25),
            (5, 5),
            (5, 12),
            (6, 6),
            (6, 27),
            (2, 6),
            (3, 28),
            (4, 60_000),
        ]
        .map(|(member, index)| (MemberId(member), Axis::Primary, index))
        .into();
        let doubted: BTreeSet<MemberId> = members([2, 5]).into_iter().collect();
        for attempt in 0..24 {
            let held = Some(&held[..]);
            let of = Circumstances { moved, doubted: &doubted, held, ..of(&view, &reachable) };
            let chosen = helpers(&of, Axis::Secondary, &[], attempt).expect("ten are left");
            let mut indices: Vec<u16> = chosen.values().flatten().copied().collect();
            indices.sort_unstable();
            assert_eq!(indices, [1, 3, 5, 6, 8, 9, 12, 17, 25, 27]);
            assert_eq!(helpers(&of, Axis::Primary, &[], attempt), None, "there are no secondaries");
        }
    }
}
