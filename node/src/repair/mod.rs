//! Repair: works off the list of what this member must hold and doesn't (R9, R21).
//!
//! A shard that another member still holds is copied ([`crate::migrate`]); otherwise its slivers are rebuilt from the
//! symbols of the slivers that cross them: secondaries first, for they need only k1 helpers and put this member back
//! into the game for the primaries. The list is durable, slivers are stored portion by portion, so a crash loses no more
//! than one. There is no terminal error: what can't be rebuilt now is tried again with other helpers; seldom, where too
//! little is left to rebuild it from (R20).

mod evidence;
mod pass;
mod portion;
mod rebuild;
mod select;
mod share;
mod suspects;
mod symbols;
mod work;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;
use weft_redstuff::{Axis, BlobId};
use weft_store::View as _;

use crate::{
    member::{Member, Pace},
    migrate,
};
pub(crate) use portion::{Place, Together};
pub(crate) use symbols::{request_digest, statement};
pub(crate) use work::{Item, Source};

/// How long to wait before asking for work again when nothing told of any, or none of it could be done.
const IDLE: Duration = Duration::from_secs(1);

/// Runs for the life of the process.
pub async fn run(member: Arc<Member>) {
    let mut repair = Repair {
        member,
        attempts: HashMap::new(),
        doubts: suspects::Doubts::default(),
        evidence: evidence::Evidence::default(),
        pass: pass::Pass::default(),
        share: share::Share::default(),
        urgency: share::Urgency::default(),
        is_busy: true,
    };
    loop {
        match repair.round().await {
            Ok(Progress::Some) => {}
            Ok(Progress::None) => repair.member.work_or(IDLE).await,
            Err(error) => {
                tracing::warn!(%error, "repair: a round failed; it will be tried again");
                repair.member.env().clock.sleep(IDLE).await;
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Progress {
    Some,
    None,
}

/// What is left of a batch when the volume's own slivers have been counted.
struct Remaining {
    still: Vec<Item>,
    confirmed: usize,
}

struct Repair {
    member: Arc<Member>,
    /// How often an item failed: each time other helpers are asked.
    attempts: HashMap<(BlobId, u8), usize>,
    /// Who is asked last.
    doubts: suspects::Doubts,
    /// What can't be had back.
    evidence: evidence::Evidence,
    pass: pass::Pass,
    share: share::Share,
    urgency: share::Urgency,
    /// Gateways asked for something while the last batch was worked on; before the first one they may.
    is_busy: bool,
}

/// The work on a batch, step by step.
struct Steps {
    member: Arc<Member>,
    /// Of the time that gateways ask for something in, repair takes one part in so many.
    parts: u32,
    pace: Pace,
    /// Bytes that had come for repairs before this step.
    before: u64,
    /// Gateways asked for something.
    was_busy: bool,
}

impl Steps {
    fn begin(member: Arc<Member>, parts: u32) -> Self {
        let (pace, before) = (member.begin_pace(), member.repair_bytes());
        Self { member, parts, pace, before, was_busy: false }
    }

    /// Ends a step, and rests as long as it asks for.
    async fn rest(&mut self) {
        let moved = self.member.repair_bytes() - self.before;
        self.was_busy |= self.member.is_busy_since(self.pace);
        self.member.keep_pace(self.pace, moved, self.parts).await;
        (self.pace, self.before) = (self.member.begin_pace(), self.member.repair_bytes());
    }
}

impl Repair {
    async fn round(&mut self) -> Result<Progress, work::WorkError> {
        // Most wakings come of puts, after which nothing is missing.
        let missing = self.member.store().view().totals().missing;
        if missing == 0 {
            self.attempts.clear();
            self.doubts.clear();
            self.evidence.clear(&self.member);
            self.pass = pass::Pass::default();
            self.share = share::Share::default();
            return Ok(Progress::None);
        }
        let Some(fleet) = work::Fleet::of(&self.member) else { return Ok(Progress::None) };
        let started = self.member.env().clock.now();
        self.evidence.refresh(&self.member, &fleet, started).await?;
        let Self { member, attempts, evidence, pass, share, urgency, is_busy, .. } = self;
        let attempt = |blob, shard| {
            let rests = evidence.rests(&blob);
            (!rests).then(|| attempts.get(&(blob, shard)).copied().unwrap_or(0))
        };
        let parts = if urgency.is_urgent(member, started)? { 1 } else { share.parts(started, missing) };
        let batch = if *is_busy && parts > 1 { work::Batch::SMALL } else { work::Batch::LARGE };
        let items = work::next(member, &fleet, pass, attempt, batch)?;
        if items.is_empty() {
            return Ok(Progress::None);
        }
        self.doubts.under(fleet.newest.view.hash());
        let mut steps = Steps::begin(self.member.clone(), parts);
        let items = self.confirm(items).await?;
        if fleet.is_unheard() {
            // Nothing can be tried, so nothing has failed: once holders are heard, they are asked for copies first.
            return Ok(if items.confirmed > 0 { Progress::Some } else { Progress::None });
        }
        let (copies, rebuilds): (Vec<Item>, Vec<Item>) =
            items.still.into_iter().partition(|item| matches!(item.source, Source::Copy(_)));
        for portion in portion::portions(&copies, &Axis::BOTH, batch.bytes) {
            portion::fetch_stripe_hashes(&self.member, &fleet, &portion).await?;
            migrate::copy(&self.member, &portion).await;
            steps.rest().await;
            if !fleet.is_current(&self.member) {
                return Ok(Progress::Some);
            }
        }
        for axes in [&[Axis::Secondary], &[Axis::Primary]] {
            for portion in portion::portions(&rebuilds, axes, batch.bytes) {
                let Self { member, attempts, doubts, evidence, .. } = self;
                portion::fetch_stripe_hashes(member, &fleet, &portion).await?;
                let attempt = |item: &Item| attempts.get(&(item.blob, item.shard)).copied().unwrap_or(0);
                let mut rebuild = rebuild::Rebuild { member, fleet: &fleet, evidence, doubts };
                rebuild.run(&portion, attempt).await;
                steps.rest().await;
                if !fleet.is_current(&self.member) {
                    return Ok(Progress::Some);
                }
            }
        }
        let tried = copies.len() + rebuilds.len();
        let failed = self.settle(copies.into_iter().chain(rebuilds))?;
        let progress = if items.confirmed > 0 || failed.len() < tried { Progress::Some } else { Progress::None };
        self.look_into(&fleet, &failed, started).await?;
        steps.rest().await;
        self.is_busy = steps.was_busy;
        Ok(progress)
    }

    /// What the volume held before it was admitted again needs no moving (R25).
    async fn confirm(&self, items: Vec<Item>) -> Result<Remaining, work::WorkError> {
        let blobs: BTreeSet<BlobId> = items.iter().map(|item| item.blob).collect();
        for blob in blobs {
            self.member.confirm(&blob).await?;
        }
        let all = items.len();
        let mut still = Vec::with_capacity(all);
        for item in items {
            if work::is_missing(&self.member, &item)? {
                still.push(item);
            }
        }
        Ok(Remaining { confirmed: all - still.len(), still })
    }

    /// Notes what is whole now and what must be tried otherwise: gives what failed.
    fn settle(&mut self, items: impl Iterator<Item = Item>) -> Result<Vec<Item>, work::WorkError> {
        let mut failed = Vec::new();
        for item in items {
            let key = (item.blob, item.shard);
            if work::is_missing(&self.member, &item)? {
                *self.attempts.entry(key).or_default() += 1;
                failed.push(item);
            } else {
                self.attempts.remove(&key);
            }
        }
        Ok(failed)
    }

    /// Finds out whether what failed again can be had back at all (R20).
    async fn look_into(&mut self, fleet: &work::Fleet, failed: &[Item], now: Instant) -> Result<(), work::WorkError> {
        let Self { member, attempts, evidence, .. } = self;
        let often = |item: &&Item| attempts.get(&(item.blob, item.shard)).is_some_and(|n| *n >= evidence::FAILURES);
        let blobs: Vec<BlobId> = failed.iter().filter(often).map(|item| item.blob).collect();
        evidence.look(member, fleet, blobs.into_iter(), now).await
    }
}
