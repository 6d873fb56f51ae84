//! The fleet that all models share: n = 4, f = 1, a shard a member, one of them a liar; real keys, real views.

use weft_protocol::{
    Authority, BatchHeader, FleetId, Incarnation, MemberId, Seat, Signed, SignedView, SigningKey, Statement, View,
    VolumeId, sign_batch,
};
use weft_redstuff::Code;

pub(crate) const FLEET: FleetId = FleetId([7; 16]);
/// Shards, and members of the first view.
pub(crate) const SHARDS: usize = 4;

/// An incarnation, as the models count them: 0..4 are the first view's, those from 4 on are newcomers.
pub(crate) type Node = u8;

/// A set of nodes, a bit each.
pub(crate) type Nodes = u8;

pub(crate) fn nodes(of: Nodes) -> impl Iterator<Item = Node> {
    (0..8).filter(move |node| of & bit(*node) != 0)
}

pub(crate) fn bit(node: Node) -> Nodes {
    1 << node
}

pub(crate) fn operator() -> SigningKey {
    SigningKey::from_seed([100; 32])
}

pub(crate) fn key(node: Node) -> SigningKey {
    SigningKey::from_seed([node; 32])
}

fn incarnation(node: Node) -> Incarnation {
    Incarnation { number: 1 + u32::from(node) / SHARDS as u32, volume: VolumeId([node; 16]) }
}

/// Which node holds each shard; `None` where it is vacant.
pub(crate) type Holders = [Option<Node>; SHARDS];

/// Shard 0 is node 0's, and so on.
pub(crate) const FIRST: Holders = [Some(0), Some(1), Some(2), Some(3)];

fn seats(holders: Holders) -> Vec<Seat> {
    let mut seats: Vec<Seat> = (0..)
        .zip(holders)
        .filter_map(|(shard, node)| {
            let node = node?;
            let (member, incarnation, key) = (MemberId(u32::from(node)), incarnation(node), key(node).public());
            Some(Seat { member, incarnation, key, shards: [shard].into_iter().collect() })
        })
        .collect();
    seats.sort_by_key(|seat| seat.member);
    seats
}

pub(crate) fn first_view() -> SignedView {
    let view = View {
        fleet: FLEET,
        epoch: 1,
        revision: 0,
        term: 1,
        predecessor: None,
        code: Code::new(4, 1).expect("four shards bear one fault"),
        seats: seats(FIRST),
        authority: Authority { views: operator().public(), deletes: vec![] },
        declared: Vec::new(),
    };
    SignedView::sign(view, &operator())
}

/// The next revision of `view`, of a leader of `term`. It must be lawful (R2, R6).
pub(crate) fn successor(view: &SignedView, term: u64, holders: Holders) -> SignedView {
    let (predecessor, revision) = (Some(view.view.id()), view.view.revision + 1);
    let next = View { term, revision, predecessor, seats: seats(holders), ..view.view.clone() };
    let next = SignedView::sign(next, &operator());
    view.view.check_successor(&next).expect("the models order lawful views");
    next
}

/// The nodes that a view seats.
pub(crate) fn seated(view: &View) -> Nodes {
    view.seats.iter().fold(0, |all, seat| all | bit(seat.member.0 as Node))
}

/// What a node signs.
pub(crate) fn says(node: Node, statement: Statement) -> Signed {
    let (member, incarnation) = (MemberId(u32::from(node)), incarnation(node));
    let header = BatchHeader { fleet: FLEET, member, incarnation, sequence: 1 };
    sign_batch(header, vec![statement], &key(node)).pop().expect("a statement for a statement")
}
