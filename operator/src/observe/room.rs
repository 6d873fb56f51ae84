//! How much room the fleet has for what may be lost.

use weft_planner::{Holding, Record, shard_limit};
use weft_protocol::Seat;

use crate::session::{Room, Session};

/// What a shard has of all blobs, and may have, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    pub held: u64,
    /// Beyond it a loss might not be rebuilt any more.
    pub limit: u64,
}

/// By what the holders of the view in effect have told of their volumes. Who hasn't is taken to have what the middle one of the
/// others has: a committee's volumes are alike, and a leader that has just begun must not take silence for full disks. `None`
/// while holders of fewer than n − f shards have told, or one is of before members told.
pub fn shares(record: &Record, session: &Session) -> Option<Shard> {
    let view = &record.view.as_ref()?.view;
    let room = |seat: &Seat| session.rooms.get(&(seat.member, seat.incarnation.number));
    let heard: Vec<(&Room, u16)> =
        view.seats.iter().filter_map(|seat| room(seat).zip(Some(seat.shards.len()))).collect();
    if heard.iter().map(|(_, shards)| shards).sum::<u16>() < view.quorum() {
        return None;
    }
    let told = heard.iter().map(|(room, shards)| room.shard.zip(Some(*shards))).collect::<Option<_>>()?;
    let usual = middle(heard.iter().map(|(room, _)| room.left()).collect());
    let holding = |seat: &Seat| {
        let member = record.members.iter().find(|member| member.id == seat.member);
        Holding {
            who: (seat.member, seat.incarnation.number),
            shards: seat.shards,
            free: room(seat).map_or(usual, Room::left),
            zone: member.and_then(|member| member.current.zone.clone()),
        }
    };
    let holdings: Vec<Holding> = view.seats.iter().map(holding).collect();
    let held = agreed(told, view.code.fault_tolerance());
    Some(Shard { held, limit: shard_limit(&holdings, held, view.code) })
}

fn middle(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

/// The highest number that members of more than f shards have reached: one of them tells the truth.
fn agreed(mut told: Vec<(u64, u16)>, f: u16) -> u64 {
    told.sort_unstable_by(|one, other| other.cmp(one));
    let mut shards = 0;
    let reached = told.into_iter().find(|(_, of)| {
        shards += of;
        shards > f
    });
    reached.map_or(0, |(bytes, _)| bytes)
}

#[cfg(test)]
mod tests {
    use weft_protocol::{MemberId, Signature, SignedView};

    use super::*;
    use crate::observe::testing::view;

    const GIB: u64 = 1 << 30;

    /// Seven members of four shards each.
    fn record() -> Record {
        let view = view(7, 4, 9);
        Record { view: Some(SignedView { view, signature: Signature([0; 64]) }), ..Record::default() }
    }

    fn heard(members: impl IntoIterator<Item = u32>) -> Session {
        let room = |id| ((MemberId(id), 1), Room { free: 16 * GIB, lacks: 0, shard: Some(GIB) });
        Session { rooms: members.into_iter().map(room).collect(), ..Session::default() }
    }

    #[test]
    fn silence_is_not_a_full_disk() {
        let record = record();
        let all = shares(&record, &heard(0..7)).unwrap();
        assert!(all.limit > all.held, "{all:?}");
        assert_eq!(shares(&record, &heard(0..5)), Some(all), "a leader that has heard of two nothing yet");
        assert_eq!(shares(&record, &heard(0..4)), None, "nor of a quorum");
        let mut full = heard(0..7);
        for id in 5..7 {
            full.rooms.get_mut(&(MemberId(id), 1)).unwrap().free = 0;
        }
        assert!(shares(&record, &full).unwrap().limit <= all.held, "two that say so are");
        full.rooms.get_mut(&(MemberId(0), 1)).unwrap().shard = None;
        assert_eq!(shares(&record, &full), None, "one is of before members told");
    }

    #[test]
    fn a_liar_neither_fills_the_fleet_nor_empties_it() {
        assert_eq!(agreed(vec![(u64::MAX, 4), (5, 4), (6, 4), (5, 4)], 5), 6);
        assert_eq!(agreed(vec![(0, 4), (5, 4), (6, 4), (5, 4)], 5), 5);
        assert_eq!(agreed(vec![(9, 4)], 5), 0, "too few have told");
    }
}
