//! What the tests of this folder observe.

use weft_protocol::{Authority, FleetId, Incarnation, MemberId, Seat, SigningKey, View, VolumeId};
use weft_redstuff::Code;

pub(super) const FLEET: FleetId = FleetId([1; 16]);

/// A member's.
pub(super) fn key(id: u8) -> SigningKey {
    SigningKey::from_seed([id; 32])
}

/// The operator's.
pub(super) fn operator() -> SigningKey {
    key(100)
}

pub(super) fn incarnation(id: u8) -> Incarnation {
    Incarnation { number: 1, volume: VolumeId([id; 16]) }
}

/// A fleet's first view, of so many members with `each` shards, in order.
pub(super) fn view(members: u8, each: u8, fault_tolerance: u16) -> View {
    let seat = |id: u8| Seat {
        member: MemberId(id.into()),
        incarnation: incarnation(id),
        key: key(id).public(),
        shards: (each * id..each * (id + 1)).collect(),
    };
    View {
        fleet: FLEET,
        epoch: 1,
        revision: 0,
        term: 1,
        predecessor: None,
        code: Code::new(u16::from(members) * u16::from(each), fault_tolerance).unwrap(),
        seats: (0..members).map(seat).collect(),
        authority: Authority { views: operator().public(), deletes: vec![] },
        declared: vec![],
    }
}
