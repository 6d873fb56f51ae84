//! Taking up a fleet whose committee was deleted and made again (R26): claims and keys stayed, and the members know
//! the rest. Members are taken up only where the spec names the fleet: that is a person's word that this is the one.

use std::collections::BTreeMap;

use weft_planner::{Claim, Heard, IncarnationRecord, MemberRecord, Record, Timestamp};
use weft_protocol::{MemberId, PublicKey, ShardSet, SignedView};

/// Records the incarnations that claims tell of, so that their pods are made and can be asked.
pub(super) fn members(record: &mut Record, claims: &[Claim], now: Timestamp) {
    if record.view.is_some() || !record.members.is_empty() {
        return;
    }
    let mut newest: BTreeMap<MemberId, u32> = BTreeMap::new();
    for claim in claims.iter().filter(|claim| !claim.terminating) {
        let number = newest.entry(claim.member).or_default();
        *number = claim.incarnation.max(*number);
    }
    record.members = newest.into_iter().map(|(id, number)| member(id, number, now)).collect();
}

fn member(id: MemberId, number: u32, now: Timestamp) -> MemberRecord {
    let current = IncarnationRecord::new(number, "Adopted", now);
    MemberRecord { id, current, successor: None, shards: Vec::new(), custody: Vec::new() }
}

/// Records the newest view in effect that members tell of, once holders of n − f of its shards have been heard: no
/// later one can be in effect without one of them knowing.
pub(super) fn view(record: &mut Record, heard: &[Heard], trust: &PublicKey) {
    if record.view.is_some() {
        return;
    }
    let told = heard.iter().filter_map(|heard| heard.inventory.newest_signed.as_ref());
    let newest = told
        .filter(|view| Some(view.view.fleet) == record.fleet && view.verify(trust).is_ok())
        .max_by_key(|view| view.view.position());
    record.view = newest.filter(|view| heard_of(view, heard).len() >= view.view.quorum()).cloned();
    record.adopted = record.view.is_some();
}

/// The shards of a view whose holders have answered.
fn heard_of(view: &SignedView, heard: &[Heard]) -> ShardSet {
    let answered = |member: MemberId, incarnation| {
        heard.iter().any(|heard| (heard.member, heard.inventory.incarnation) == (member, incarnation))
    };
    let seats = view.view.seats.iter().filter(|seat| answered(seat.member, seat.incarnation));
    seats.fold(ShardSet::EMPTY, |shards, seat| shards.union(seat.shards))
}
