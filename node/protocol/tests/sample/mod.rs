//! A small fleet, and what its members say: for more than one test program.

use weft_protocol::{
    Authority, BatchHeader, FleetId, Incarnation, MemberId, Seat, Signed, SigningKey, Statement, View, VolumeId,
    sign_batch,
};
use weft_redstuff::{Code, Hash, Labels, Layout, Metadata, inline_root};

pub(crate) const FLEET: FleetId = FleetId([7; 16]);

pub(crate) fn key(name: u8) -> SigningKey {
    SigningKey::from_seed([name; 32])
}

pub(crate) fn operator() -> SigningKey {
    key(100)
}

pub(crate) fn gateway() -> SigningKey {
    key(101)
}

/// Member `id`'s first volume.
pub(crate) fn incarnation(id: u8) -> Incarnation {
    Incarnation { number: 1, volume: VolumeId([id; 16]) }
}

/// Seven members with a shard each, f = 2: a quorum is five.
pub(crate) fn first_view() -> View {
    let seat = |id: u8| Seat {
        member: MemberId(u32::from(id)),
        incarnation: incarnation(id),
        key: key(id).public(),
        shards: [id].into_iter().collect(),
    };
    View {
        fleet: FLEET,
        epoch: 1,
        revision: 0,
        term: 1,
        predecessor: None,
        code: Code::new(7, 2).unwrap(),
        seats: (0..7).map(seat).collect(),
        authority: Authority { views: operator().public(), deletes: vec![gateway().public()] },
        declared: vec![],
    }
}

/// What a member signs in one batch.
pub(crate) fn batch(id: u8, statements: Vec<Statement>) -> Vec<Signed> {
    let header =
        BatchHeader { fleet: FLEET, member: MemberId(u32::from(id)), incarnation: incarnation(id), sequence: 1 };
    sign_batch(header, statements, &key(id))
}

pub(crate) fn small_blob() -> (Metadata, Vec<u8>) {
    let content = b"a thread".to_vec();
    let layout = Layout::for_length(first_view().code, content.len() as u64).unwrap();
    let metadata = Metadata {
        root: inline_root(&content),
        layout,
        labels: Labels::default(),
        expiry: None,
        digest: Hash::of(&content),
        nonce: [1; 16],
    };
    (metadata, content)
}
