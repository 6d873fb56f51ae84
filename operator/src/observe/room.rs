//! How much room the fleet has for what may be lost.

use weft_crds::Survives;
use weft_planner::{Holding, Record, shard_limit};

use crate::session::Session;

/// What a shard has of all blobs, and may have, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    pub held: u64,
    /// Beyond it a loss might not be rebuilt any more.
    pub limit: u64,
}

/// By what the holders of the view in effect have told of their volumes. `None` while one hasn't, or is of before members told.
pub fn shares(record: &Record, session: &Session, survives: Option<Survives>) -> Option<Shard> {
    let view = &record.view.as_ref()?.view;
    let (mut holdings, mut held) = (Vec::with_capacity(view.seats.len()), 0);
    for seat in &view.seats {
        let room = session.rooms.get(&(seat.member, seat.incarnation.number))?;
        let member = record.members.iter().find(|member| member.id == seat.member);
        let zone = member.and_then(|member| member.current.zone.clone());
        held = held.max(room.shard);
        holdings.push(Holding { shards: seat.shards, free: room.free, zone });
    }
    // One that tells nothing of what it holds is of before: then nobody is held to anything.
    let tells = |seat: &weft_protocol::Seat| {
        let room = session.rooms.get(&(seat.member, seat.incarnation.number));
        room.is_some_and(|room| room.shard > 0 || room.used == 0)
    };
    if !view.seats.iter().all(tells) {
        return None;
    }
    let zones = survives.is_some_and(|survives| survives.zones > 0);
    let limit = shard_limit(&holdings, held, view.code.fault_tolerance(), zones);
    Some(Shard { held, limit })
}
