//! The fleet's time floor (R15). It is in no status: the members keep it, and a leader goes on from what they tell.

use std::time::Duration;

use weft_planner::{FloorClock, Timestamp};
use weft_protocol::{ShardSet, View};

use crate::session::Session;

/// The floor to be ordered now, in seconds since 1970. `None` until holders of n − f shards of the view in effect have told
/// this leader which they know: whoever let something be put that expires knew one, and one of them is among these.
pub fn advance(session: &mut Session, view: Option<&View>, wall: Timestamp, monotonic: Duration) -> Option<u64> {
    let told = session.told_floor;
    if session.floor.is_none() && view.is_some_and(|view| has_heard(session, view)) {
        tracing::info!(?told, "the time floor is this leader's to advance (R15)");
        session.floor = Some(FloorClock::begin(told, wall, monotonic));
    }
    Some(session.floor.as_mut()?.advance(wall, monotonic))
}

fn has_heard(session: &Session, view: &View) -> bool {
    let answered = view.seats.iter().filter(|seat| {
        let heard = session.heard.get(&(seat.member, seat.incarnation.number));
        heard.is_some_and(|heard| heard.inventory.incarnation == seat.incarnation)
    });
    answered.map(|seat| seat.shards).collect::<ShardSet>().len() >= view.quorum_without(&[])
}

#[cfg(test)]
mod tests {
    use weft_planner::Heard;
    use weft_proto::v1;
    use weft_protocol::MemberId;

    use super::*;
    use crate::observe::{inventory, testing};

    const NOW: Timestamp = Timestamp(1_800_000_000_000);
    const SECONDS: u64 = 1_800_000_000;

    /// Four members with a shard each, f = 1: three make a quorum.
    fn view() -> View {
        testing::view(4, 1, 1)
    }

    fn hear(session: &mut Session, id: u8, volume: u8) {
        let identity = v1::Identity {
            fleet: vec![1; 16].into(),
            member: id.into(),
            incarnation: 1,
            volume: vec![volume; 16].into(),
        };
        let said = v1::Inventory {
            identity: Some(identity),
            public_key: testing::key(id).public().0.to_vec().into(),
            ..v1::Inventory::default()
        };
        let inventory = inventory::decode(said).unwrap().inventory;
        let (member, incarnation) = (MemberId(id.into()), 1);
        session.heard.insert((member, incarnation), Heard { member, incarnation, at: NOW, inventory });
    }

    #[test]
    fn r15_a_leader_orders_no_floor_before_a_quorum_has_told_it_theirs() {
        let (mut session, view) = (Session::default(), view());
        let floor = |session: &mut Session| advance(session, Some(&view), NOW, Duration::ZERO);
        for id in 0..2 {
            hear(&mut session, id, id);
        }
        hear(&mut session, 2, 77);
        assert_eq!(floor(&mut session), None, "the third is of another volume than the view names");
        session.told_floor = Some(SECONDS - 500);
        hear(&mut session, 2, 2);
        assert_eq!(floor(&mut session), Some(SECONDS - 500), "it goes on where the fleet is");
        assert_eq!(advance(&mut Session::default(), None, NOW, Duration::ZERO), None, "there is no fleet yet");
    }

    #[test]
    fn r15_a_leader_of_a_fleet_without_a_floor_begins_with_its_clock_and_goes_on_by_its_own_count() {
        let (mut session, view) = (Session::default(), view());
        (0..3).for_each(|id| hear(&mut session, id, id));
        let ahead = NOW + Duration::from_secs(86_400);
        let mut floor = |wall, passed| advance(&mut session, Some(&view), wall, Duration::from_secs(passed));
        assert_eq!(floor(NOW, 5), Some(SECONDS));
        assert_eq!(floor(ahead, 15), Some(SECONDS + 20), "a clock that jumps ahead hurries it no more than twofold");
        assert_eq!(floor(NOW, 25), Some(SECONDS + 20));
    }
}
