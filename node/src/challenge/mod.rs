//! Challenges between members (R28, R29): each asks each other one, once an interval, to prove that it holds what it
//! must. What that can't show is in ARCHITECTURE.md (R30).

mod answer;
mod choose;
mod closings;
mod judge;
mod round;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::time::Instant;
use weft_protocol::{Conduct, Incarnation, MemberId, Seat};

use crate::{
    env::Env,
    member::{Condition, Member, MemberError},
};
pub(crate) use answer::{answer, lacks};
pub(crate) use closings::Closings;
use round::Outcome;

/// How often to look whether there is something to do.
const IDLE: Duration = Duration::from_secs(1);

/// Where a round brought no clean answer, the next one comes so many times sooner.
const SOONER: u32 = 8;

/// So many challenges that go unanswered in a row are told.
const IN_A_ROW: u32 = 3;

/// From one round to the next it takes at most so many intervals, and at least so much less.
const LONGEST_WAIT: f64 = 1.25;
const SPREAD: f64 = 0.5;

type Who = (MemberId, Incarnation);

/// Holds rounds, for the life of the process.
pub(crate) async fn run(member: Arc<Member>) {
    let mut challenger = Challenger {
        member: member.clone(),
        due: BTreeMap::new(),
        conducts: BTreeMap::new(),
        unanswered: BTreeMap::new(),
    };
    loop {
        let wait = challenger.turn().await.unwrap_or_else(|error| {
            tracing::warn!(%error, "challenge: a round failed; another one will be held");
            IDLE
        });
        member.env().clock.sleep(wait).await;
    }
}

/// What this member has seen of those that it challenges, and when each is next.
struct Challenger {
    member: Arc<Member>,
    due: BTreeMap<Who, Instant>,
    conducts: BTreeMap<Who, Conduct>,
    /// How many challenges in a row went unanswered, and when the first of them was.
    unanswered: BTreeMap<Who, (u32, Instant)>,
}

impl Challenger {
    /// Holds the round that is due, if one is. Gives how long to wait.
    async fn turn(&mut self) -> Result<Duration, MemberError> {
        let member = self.member.clone();
        let (Some(interval), Some(newest)) = (member.challenge_interval(), member.newest()) else { return Ok(IDLE) };
        if member.condition() != Condition::Healthy || !member.counts() {
            return Ok(IDLE);
        }
        let others: Vec<&Seat> =
            newest.view.seats.iter().filter(|seat| seat.member != member.identity().member).collect();
        let is_seated = |who: &Who| others.iter().any(|seat| (seat.member, seat.incarnation) == *who);
        self.due.retain(|who, _| is_seated(who));
        self.conducts.retain(|who, _| is_seated(who));
        self.unanswered.retain(|who, _| is_seated(who));
        let now = member.env().clock.now();
        let whos = others.iter().map(|seat| (seat.member, seat.incarnation));
        draw(&mut self.due, whos, now, interval, || fraction(member.env()));
        let Some((who, at)) = self.due.iter().min_by_key(|(_, at)| **at).map(|(who, at)| (*who, *at)) else {
            return Ok(IDLE);
        };
        if at > now {
            return Ok(IDLE.min(at - now));
        }
        let Some(seat) = others.into_iter().find(|seat| (seat.member, seat.incarnation) == who) else {
            return Ok(IDLE);
        };
        // What comes of an error comes of it again: not at once.
        let next = |wait: Duration| {
            member.env().clock.now() + wait.mul_f64(LONGEST_WAIT - SPREAD + SPREAD * fraction(member.env()))
        };
        self.due.insert(who, next(interval / SOONER));
        let outcome = round::hold(&member, &newest, seat, interval).await?;
        member.metrics().challenge_held(outcome.name());
        tracing::debug!(member = %who.0, incarnation = %who.1, outcome = outcome.name(), "challenge: a round is over");
        if matches!(outcome, Outcome::Passed { .. } | Outcome::Nothing) {
            self.due.insert(who, next(interval));
        }
        self.note(who, &outcome, now);
        self.judge(who, outcome).await?;
        Ok(Duration::ZERO)
    }

    /// Notes who lets challenges go by: that is for the operator to weigh, as silence is (R29).
    fn note(&mut self, who: Who, outcome: &Outcome, began: Instant) {
        match outcome {
            Outcome::Unanswered => self.unanswered.entry(who).or_insert((0, began)).0 += 1,
            Outcome::Passed { .. } | Outcome::Failed { .. } => drop(self.unanswered.remove(&who)),
            Outcome::PutOff | Outcome::Nothing => return,
        }
        let late = self.unanswered.iter().filter(|(_, (rounds, _))| *rounds >= IN_A_ROW);
        self.member.set_unanswered(late.map(|(who, (_, since))| ((who.0, who.1.number), *since)).collect());
    }

    /// Accuses, or takes an accusation back, by all that was seen of that incarnation.
    async fn judge(&mut self, who: Who, outcome: Outcome) -> Result<(), MemberError> {
        let conduct = self.conducts.entry(who).or_default();
        match outcome {
            Outcome::Passed { pieces } => conduct.passed(pieces),
            Outcome::Failed { pieces, failure } => {
                conduct.passed(pieces);
                conduct.failed();
                tracing::warn!(member = %who.0, incarnation = %who.1, blob = %failure.blob, fault = failure.fault.name(),
                    accused = conduct.accuses(), "challenge: the member failed to prove what it must hold");
                if conduct.accuses() {
                    self.member.accuse(judge::accusation(&self.member, who, *failure)).await?;
                }
            }
            // Silence and lateness prove nothing (R29).
            Outcome::Unanswered | Outcome::PutOff | Outcome::Nothing => {}
        }
        if self.conducts.get(&who).is_some_and(Conduct::acquits) {
            self.member.acquit(who.0, who.1).await?;
        }
        Ok(())
    }
}

/// Draws when the first round is due with each peer that has no time yet: at any time within an interval, so that challengers
/// don't come all at once. So it is for those whose time was drawn while the interval was longer.
fn draw(
    due: &mut BTreeMap<Who, Instant>,
    whos: impl Iterator<Item = Who>,
    now: Instant,
    interval: Duration,
    mut fraction: impl FnMut() -> f64,
) {
    let latest = now + interval.mul_f64(LONGEST_WAIT);
    for who in whos {
        if due.get(&who).is_none_or(|at| *at > latest) {
            due.insert(who, now + interval.mul_f64(fraction()));
        }
    }
}

/// At random, from 0 to 1.
fn fraction(env: &Env) -> f64 {
    f64::from(u32::from_le_bytes(env.random())) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use weft_protocol::VolumeId;

    use super::*;

    #[test]
    fn a_shorter_interval_holds_at_once() {
        let who = |id| (MemberId(id), Incarnation { number: 1, volume: VolumeId([0; 16]) });
        let (now, hour, short) = (Instant::now(), Duration::from_secs(3600), Duration::from_secs(10));
        let mut due = BTreeMap::new();
        draw(&mut due, [who(1), who(2)].into_iter(), now, hour, || 0.5);
        assert_eq!(due[&who(1)], now + hour / 2);
        due.insert(who(2), now + short);
        draw(&mut due, [who(1), who(2)].into_iter(), now, short, || 0.5);
        assert_eq!((due[&who(1)], due[&who(2)]), (now + short / 2, now + short));
    }
}
