//! Questions that a world answers by looking things up.

use std::{borrow::Cow, collections::BTreeSet, time::Duration};

use weft_protocol::{MemberId, Seat, ShardSet, View};
use weft_redstuff::{BlobId, Code};

use crate::{Claim, EpochRecord, Heard, IncarnationRecord, Inventory, Node, Pod, PodPhase, Timestamp, World, listed};

/// How old a member's last answer may be for the member to count as answering. At rest nobody plans without having asked just before; else orders go out more often.
pub const ANSWER_HOLDS: Duration = Duration::from_secs(15);

impl World {
    /// The same world with everything that has no order of its own sorted: how the operator came to list it makes no
    /// difference to a plan.
    pub(crate) fn in_order(&self) -> Cow<'_, Self> {
        let pod = |pod: &Pod| (pod.member, pod.incarnation, pod.attempt, pod.uid.clone());
        let claim = |claim: &Claim| (claim.member, claim.incarnation, claim.uid.clone());
        let heard = |heard: &Heard| (heard.member, heard.incarnation, heard.at);
        let mut world = Cow::Borrowed(self);
        if !self.pods.is_sorted_by_key(pod) {
            world.to_mut().pods.sort_by_key(pod);
        }
        if !self.claims.is_sorted_by_key(claim) {
            world.to_mut().claims.sort_by_key(claim);
        }
        if !self.heard.is_sorted_by_key(heard) {
            world.to_mut().heard.sort_by_key(heard);
        }
        if !self.nodes.is_sorted_by(|a, b| a.name <= b.name) {
            world.to_mut().nodes.sort_by(|a, b| a.name.cmp(&b.name));
        }
        if !self.wished.is_sorted_by_key(|wish| wish.number) {
            world.to_mut().wished.sort_by_key(|wish| wish.number);
        }
        world
    }

    pub(crate) fn code(&self) -> Code {
        let of_view = || self.view().map(|view| view.code);
        self.record.code.or_else(of_view).unwrap_or(self.committee.code)
    }

    /// The view in effect.
    pub(crate) fn view(&self) -> Option<&View> {
        self.record.view.as_ref().map(|signed| &signed.view)
    }

    /// The newest recorded view: the pending one, or else the one in effect.
    pub(crate) fn latest(&self) -> Option<&View> {
        self.record.pending.as_ref().map(|pending| &pending.view.view).or(self.view())
    }

    pub(crate) fn epoch(&self, number: u64) -> Option<&EpochRecord> {
        self.record.epochs.iter().find(|epoch| epoch.number == number)
    }

    pub(crate) fn pods_of(&self, member: MemberId, incarnation: u32) -> impl Iterator<Item = &Pod> {
        self.pods.iter().filter(move |pod| (pod.member, pod.incarnation) == (member, incarnation))
    }

    pub(crate) fn claim(&self, member: MemberId, incarnation: u32) -> Option<&Claim> {
        self.claims.iter().find(|claim| (claim.member, claim.incarnation) == (member, incarnation))
    }

    /// An incarnation's claim, also one that it has yet to take over.
    pub(crate) fn claim_of(&self, member: MemberId, record: &IncarnationRecord) -> Option<&Claim> {
        let own = self.claim(member, record.number);
        own.or_else(|| record.inherits.and_then(|from| self.claim(member, from)))
    }

    pub(crate) fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }

    pub(crate) fn heard(&self, member: MemberId, incarnation: u32) -> Option<&Heard> {
        let of = |heard: &&Heard| (heard.member, heard.incarnation) == (member, incarnation);
        self.heard.iter().filter(of).max_by_key(|heard| heard.at)
    }

    /// The inventory of an incarnation whose process runs and answered lately.
    pub(crate) fn answer(&self, member: MemberId, incarnation: u32, now: Timestamp) -> Option<&Inventory> {
        let runs = self.pods_of(member, incarnation).any(|pod| pod.phase == PodPhase::Running && !pod.terminating);
        self.heard(member, incarnation)
            .filter(|heard| runs && now - heard.at <= ANSWER_HOLDS)
            .map(|heard| &heard.inventory)
    }

    /// The answer of the very incarnation that a seat names, volume and key included.
    pub(crate) fn seat_answer(&self, seat: &Seat, now: Timestamp) -> Option<&Inventory> {
        self.answer(seat.member, seat.incarnation.number, now)
            .filter(|inventory| (inventory.incarnation, inventory.key) == (seat.incarnation, seat.key))
    }

    /// Shards of the view that some blob may lack at their holder, by what holders that answer say; those of holders
    /// that don't answer are left out.
    pub(crate) fn lacking(&self, view: &View, now: Timestamp) -> ShardSet {
        let listed = listed::set(self);
        let lacks = |seat| self.seat_answer(seat, now).map(|answer| lacking_at(view, seat, answer, &listed));
        view.seats.iter().filter_map(lacks).fold(view.vacant(), ShardSet::union)
    }

    /// Shards of the view whose holder doesn't answer.
    pub(crate) fn unheard(&self, view: &View, now: Timestamp) -> ShardSet {
        let silent = view.seats.iter().filter(|seat| self.seat_answer(seat, now).is_none());
        silent.map(|seat| seat.shards).collect()
    }

    /// Whether every holder answers, is synced to the view in effect, and lacks nothing; and no shard is vacant.
    pub(crate) fn is_whole(&self, view: &View, now: Timestamp) -> bool {
        self.lacking(view, now).is_empty() && self.unheard(view, now).is_empty()
    }
}

/// Whether a member knows what it lacks: it is synced to this view's predecessor (R9).
pub(crate) fn knows(view: &View, answer: &Inventory) -> bool {
    answer.counts && answer.newest_view.is_some_and(|newest| newest.position() >= view.position())
}

/// The shards of a seat that some blob may lack: all of them, where its member doesn't know.
fn lacking_at(view: &View, seat: &Seat, answer: &Inventory, listed: &BTreeSet<BlobId>) -> ShardSet {
    if knows(view, answer) { told_lacking(seat, answer, listed) } else { seat.shards }
}

/// The shards of a seat that some blob lacks, of those blobs that the member knows, and that aren't listed: all of them, where it
/// leaves out another one.
pub(crate) fn told_lacking(seat: &Seat, answer: &Inventory, listed: &BTreeSet<BlobId>) -> ShardSet {
    if listed::hides(answer, listed) {
        return seat.shards;
    }
    let whole: ShardSet = (answer.shards.iter())
        .filter(|report| !report.target && report.missing_slivers == 0)
        .map(|report| report.shard)
        .collect();
    seat.shards.difference(whole)
}
