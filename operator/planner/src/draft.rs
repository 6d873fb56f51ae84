//! A plan in the making.

use std::time::Duration;

use weft_protocol::{MemberId, View};
use weft_redstuff::Code;

use crate::{
    Act, Agreed, IncarnationRecord, MemberRecord, MemberState, Rewind, Step, Timestamp, Withheld, World,
    assign::{Place, Who},
    beyond, listed,
};

/// What the stages of planning share and add to, one after another.
#[derive(Debug)]
pub(crate) struct Draft<'w> {
    pub(crate) world: &'w World,
    pub(crate) now: Timestamp,
    pub(crate) code: Code,
    pub(crate) members: Vec<MemberRecord>,
    pub(crate) steps: Vec<Step>,
    pub(crate) withheld: Vec<Withheld>,
    pub(crate) wake_at: Option<Timestamp>,
    /// Why a person is needed: the condition Stalled's reason and message.
    pub(crate) stalled: Option<(&'static str, String)>,
    /// How the objects were found behind the fleet: nothing is destroyed (R26).
    pub(crate) rewound: Option<Rewind>,
    /// The blobs that are listed (R19, R20).
    pub(crate) unrecoverable: Agreed,
    pub(crate) invalid: Agreed,
}

impl<'w> Draft<'w> {
    pub(crate) fn new(world: &'w World, now: Timestamp) -> Self {
        let invalid = listed::invalid(world);
        Self {
            world,
            now,
            code: world.code(),
            members: world.record.members.clone(),
            steps: Vec::new(),
            withheld: Vec::new(),
            wake_at: None,
            stalled: None,
            rewound: None,
            unrecoverable: listed::unrecoverable(world, &invalid),
            invalid,
        }
    }

    /// Whether the operator only watches.
    pub(crate) fn watches_only(&self) -> bool {
        self.world.committee.paused || self.world.committee.deleting
    }

    pub(crate) fn step(&mut self, act: Act, target: impl Into<String>, reason: impl Into<String>) {
        self.steps.push(Step { act, target: target.into(), reason: reason.into() });
    }

    pub(crate) fn withhold(
        &mut self,
        act: &'static str,
        target: impl Into<String>,
        reason: impl Into<String>,
        by: impl Into<String>,
    ) {
        self.withheld.push(Withheld { act, target: target.into(), reason: reason.into(), by: by.into() });
    }

    pub(crate) fn stall(&mut self, reason: &'static str, message: impl Into<String>) {
        self.stalled.get_or_insert((reason, message.into()));
    }

    /// Asks to be called again at `at`, if that is still to come.
    pub(crate) fn wake(&mut self, at: Timestamp) {
        if at > self.now {
            self.wake_at = Some(self.wake_at.map_or(at, |earlier| earlier.min(at)));
        }
    }

    pub(crate) fn wake_for(&mut self, at: Option<Timestamp>) {
        if let Some(at) = at {
            self.wake(at);
        }
    }

    /// Whether `delay` has passed since `since`; if not, asks to be called when it has.
    pub(crate) fn has_passed(&mut self, since: Timestamp, delay: Duration) -> bool {
        self.wake(since + delay);
        self.now >= since + delay
    }

    pub(crate) fn member(&self, id: MemberId) -> Option<&MemberRecord> {
        self.members.iter().find(|member| member.id == id)
    }

    pub(crate) fn incarnation(&self, (id, number): Who) -> Option<&IncarnationRecord> {
        let member = self.member(id)?;
        std::iter::once(&member.current).chain(&member.successor).find(|record| record.number == number)
    }

    /// Whether a view's seat of this incarnation is given up.
    pub(crate) fn is_lost(&self, who: Who) -> bool {
        self.incarnation(who).is_none_or(|record| {
            matches!(record.state, MemberState::Lost | MemberState::Faulty | MemberState::Returned)
        })
    }

    /// How many shards others keep for owners that were lost.
    pub(crate) fn in_custody(&self) -> u16 {
        self.members.iter().map(|member| member.custody.len() as u16).sum()
    }

    pub(crate) fn is_wanted(&self, id: MemberId) -> bool {
        id.0 < self.world.committee.members
    }

    /// Whether this very incarnation shall leave while it still serves.
    pub(crate) fn shall_leave(&self, who: Who) -> bool {
        !self.is_wanted(who.0)
            || self.world.committee.drain.contains(&who.0)
            || self.world.committee.replace.contains(&who)
    }

    pub(crate) fn place(&self, who: Who) -> Place {
        Place { who, zone: self.incarnation(who).and_then(|record| record.zone.clone()) }
    }

    /// Whether holders of n − f shards of the view in effect (R7: of all that aren't declared lost) have taken this leader's term and answer: until then it
    /// only creates and starts what is missing (R4).
    pub(crate) fn is_established(&self, view: &View) -> bool {
        let followed: u16 = (view.seats.iter())
            .filter(|seat| {
                self.world.seat_answer(seat, self.now).is_some_and(|answer| answer.term >= self.world.record.term)
            })
            .map(|seat| seat.shards.len())
            .sum();
        followed >= view.quorum_without(&beyond::declared(self, view))
    }

    /// Whether a view is recorded by this plan, so that nothing else about views may be.
    pub(crate) fn changes_view(&self) -> bool {
        self.steps
            .iter()
            .any(|step| matches!(step.act, Act::ProposeView(_) | Act::ContinueView(_) | Act::TakeEffect(_)))
    }
}

/// The holder of each shard, by its place.
pub(crate) fn holders(view: &View) -> Vec<Option<Who>> {
    (0..view.code.shards() as u8)
        .map(|shard| view.holder(shard).map(|seat| (seat.member, seat.incarnation.number)))
        .collect()
}

/// `claim 3-2` and the like: member and incarnation.
pub(crate) fn named(what: &str, (member, number): Who) -> String {
    format!("{what} {member}-{number}")
}

/// `member 3` or `members 0, 4`.
pub(crate) fn members(ids: impl IntoIterator<Item = MemberId>) -> String {
    let ids: Vec<String> = ids.into_iter().map(|id| id.to_string()).collect();
    let what = if ids.len() == 1 { "member" } else { "members" };
    format!("{what} {}", ids.join(", "))
}

/// `1 shard lacks` or `3 shards lack`.
pub(crate) fn shards(number: u16, [one, many]: [&str; 2]) -> String {
    if number == 1 { format!("1 shard {one}") } else { format!("{number} shards {many}") }
}

/// `view 1.2`: epoch and revision.
pub(crate) fn view_name(view: &View) -> String {
    format!("view {}.{}", view.epoch, view.revision)
}
