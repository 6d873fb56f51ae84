//! How much room the fleet has for what may be lost.

use weft_planner::{Holding, Record, shard_limit};

use crate::session::{Room, Session};

/// What a shard has of all blobs, and may have, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    pub held: u64,
    /// Beyond it a loss might not be rebuilt any more.
    pub limit: u64,
}

/// By what the holders of the view in effect have told of their volumes; who hasn't has no room. `None` while holders of fewer
/// than n − f shards have, or one is of before members told.
pub fn shares(record: &Record, session: &Session) -> Option<Shard> {
    let view = &record.view.as_ref()?.view;
    let (mut holdings, mut told, mut heard) = (Vec::with_capacity(view.seats.len()), Vec::new(), 0);
    for seat in &view.seats {
        let room = session.rooms.get(&(seat.member, seat.incarnation.number));
        if let Some(room) = room {
            told.push((room.shard?, seat.shards.len()));
            heard += seat.shards.len();
        }
        let Room { free, lacks, shard: _ } = room.copied().unwrap_or_default();
        let member = record.members.iter().find(|member| member.id == seat.member);
        holdings.push(Holding {
            who: (seat.member, seat.incarnation.number),
            shards: seat.shards,
            free: free.saturating_sub(lacks),
            zone: member.and_then(|member| member.current.zone.clone()),
        });
    }
    if heard < view.quorum() {
        return None;
    }
    let held = agreed(told, view.code.fault_tolerance());
    Some(Shard { held, limit: shard_limit(&holdings, held, view.code) })
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
    use super::*;

    #[test]
    fn a_liar_neither_fills_the_fleet_nor_empties_it() {
        assert_eq!(agreed(vec![(u64::MAX, 4), (5, 4), (6, 4), (5, 4)], 5), 6);
        assert_eq!(agreed(vec![(0, 4), (5, 4), (6, 4), (5, 4)], 5), 5);
        assert_eq!(agreed(vec![(9, 4)], 5), 0, "too few have told");
    }
}
