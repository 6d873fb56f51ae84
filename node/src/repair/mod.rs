//! Repair: works off the list of what this member must hold and doesn't (R9, R21).
//!
//! A shard that another member still holds is copied ([`crate::migrate`]); otherwise its slivers are rebuilt from the
//! symbols of the slivers that cross them: secondaries first, for they need only k1 helpers and put this member back
//! into the game for the primaries. The list is durable, slivers are stored portion by portion, so a crash loses no more
//! than one. There is no terminal error: what can't be rebuilt now is tried again with other helpers; seldom, where too
//! little is left to rebuild it from (R20).

mod batch;
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

use weft_redstuff::BlobId;
use weft_store::View as _;

use self::batch::Batch;
use crate::{
    member::{Lacking, Member, is_urgent},
    migrate,
};
pub(crate) use batch::Place;
pub(crate) use portion::Together;
pub(crate) use symbols::{request_digest, statement};
pub(crate) use work::{Item, Source};

/// How long to wait before asking for work again when nothing told of any, or none of it could be done.
const IDLE: Duration = Duration::from_secs(1);

/// Runs for the life of the process.
pub async fn run(member: Arc<Member>) {
    let mut repair = Repair {
        member,
        tried: HashMap::new(),
        doubts: suspects::Doubts::default(),
        evidence: evidence::Evidence::default(),
        pass: pass::Pass::default(),
        share: share::Share::default(),
        urgency: share::Urgency::default(),
        asks: share::Asks::default(),
        batch: None,
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

struct Repair {
    member: Arc<Member>,
    /// How items fared: each time they fail other helpers are asked.
    tried: HashMap<batch::Key, work::Tried>,
    /// Who is asked last.
    doubts: suspects::Doubts,
    /// What can't be had back.
    evidence: evidence::Evidence,
    pass: pass::Pass,
    share: share::Share,
    urgency: share::Urgency,
    asks: share::Asks,
    /// What is being worked on.
    batch: Option<Batch>,
}

impl Repair {
    /// Does one portion of the work, and rests as long as it is to.
    async fn round(&mut self) -> Result<Progress, work::WorkError> {
        // Most wakings come of puts, after which nothing is missing.
        let missing = self.member.store().view().totals().missing;
        if missing == 0 {
            self.clear();
            return Ok(Progress::None);
        }
        let Some(fleet) = work::Fleet::of(&self.member) else { return Ok(Progress::None) };
        let now = self.member.env().clock.now();
        let (pace, before) = (self.member.begin_pace(), self.member.repair_bytes());
        if self.batch.is_none() || self.evidence.is_old(now) {
            self.evidence.refresh(&self.member, &fleet, now).await?;
        }
        let endangered = self.urgency.look(&self.member, now)?;
        let urgent = is_urgent(endangered.most(), fleet.newest.view.code.fault_tolerance());
        let parts = if urgent { 1 } else { self.share.parts(now, missing) };
        let is_busy = self.asks.are_of_late(self.member.foreground().count(), now);
        let size = if is_busy && parts > 1 { work::Size::SMALL } else { work::Size::LARGE };
        self.put_off_what_is_overtaken(&fleet, &endangered)?;
        let progress = match self.batch.take() {
            Some(batch) if fleet.is_unheard() => {
                self.batch = Some(batch);
                Ok(Progress::None)
            }
            Some(batch) => self.go_on(&fleet, batch, size).await,
            None => self.begin(&fleet, &endangered, size).await,
        };
        self.member.keep_pace(pace, self.member.repair_bytes() - before, parts).await;
        progress
    }

    /// Nothing is missing.
    fn clear(&mut self) {
        self.tried.clear();
        self.doubts.clear();
        self.evidence.clear(&self.member);
        self.pass = pass::Pass::default();
        self.share = share::Share::default();
        self.batch = None;
    }

    /// Where others have become more endangered it is their turn first, and what was chosen under another view is chosen anew.
    fn put_off_what_is_overtaken(&mut self, fleet: &work::Fleet, endangered: &Lacking) -> Result<(), work::WorkError> {
        let view = fleet.newest.view.hash();
        self.doubts.under(view);
        let mut risen = self.pass.risen(endangered);
        if !risen.is_empty() {
            risen = &risen & &pass::lacking_slots(&self.member)?;
        }
        if let Some(batch) = self.batch.take_if(|batch| !risen.is_empty() || !batch.is_under(view)) {
            self.pass = batch.before.clone();
            self.put_off(batch);
        }
        if !risen.is_empty() {
            self.pass.put_first(risen, endangered);
        }
        Ok(())
    }

    /// Notes how far a batch has come that doesn't go on.
    fn put_off(&mut self, mut batch: Batch) {
        if let Some((key, stripe)) = batch.under_way() {
            self.tried.entry(key).or_default().from = stripe;
        }
        for (item, from) in batch.put_off() {
            let tried = self.tried.entry(item.key()).or_default();
            *tried = work::Tried { times: tried.times + 1, from };
        }
    }

    /// Chooses the next batch.
    async fn begin(
        &mut self,
        fleet: &work::Fleet,
        endangered: &Lacking,
        size: work::Size,
    ) -> Result<Progress, work::WorkError> {
        let Self { member, tried, evidence, pass, doubts, .. } = self;
        pass.begin(member, fleet.newest.view.hash(), endangered)?;
        let (before, now) = (pass.clone(), member.env().clock.now());
        let tried = |blob, shard| {
            let rests = evidence.rests(&blob);
            let work::Tried { times, from } = tried.get(&(blob, shard)).copied().unwrap_or_default();
            (!rests).then(|| work::Tried { times, from: evidence.first(&blob).unwrap_or(from) })
        };
        let items = work::next(member, fleet, pass, tried, &doubts.shunned(now), size)?;
        if items.is_empty() {
            return Ok(Progress::None);
        }
        let chosen = items.len();
        let items = self.confirm(items).await?;
        let has_progress = items.len() < chosen;
        if fleet.is_unheard() {
            // Nothing can be tried, so nothing has failed: once holders are heard, they are asked for copies first.
            return Ok(if has_progress { Progress::Some } else { Progress::None });
        }
        self.batch = Some(Batch::new(fleet.newest.view.hash(), before, items, has_progress));
        Ok(Progress::Some)
    }

    /// What the volume held before it was admitted again needs no moving (R25).
    async fn confirm(&self, mut items: Vec<Item>) -> Result<Vec<Item>, work::WorkError> {
        let blobs: BTreeSet<BlobId> = items.iter().map(|item| item.blob).collect();
        let mut unread = BTreeSet::new();
        for blob in blobs {
            if let Err(error) = self.member.confirm(&blob).await {
                tracing::warn!(%blob, %error, "what the volume held before can't be confirmed; it will be tried again");
                unread.insert(blob);
            }
        }
        items.retain(|item| !unread.contains(&item.blob));
        let over = work::over(&self.member, items.iter().map(Item::key))?;
        items.retain(|item| !over.contains(&item.key()));
        Ok(items)
    }

    /// The batch's next portion, or its end. Where a portion can't be tried, because the store can't be read, its items wait for the
    /// next pass.
    async fn go_on(
        &mut self,
        fleet: &work::Fleet,
        mut batch: Batch,
        size: work::Size,
    ) -> Result<Progress, work::WorkError> {
        let portion = batch.portion(size.bytes);
        if portion.is_empty() {
            return self.end(fleet, batch).await;
        }
        let keys: BTreeSet<batch::Key> = portion.iter().map(|place| place.item.key()).collect();
        let fetched = self.fetch(fleet, &mut batch, portion).await;
        if fetched.is_err() {
            batch.leave(|item| keys.contains(&item.key()));
        }
        self.batch = Some(batch);
        fetched.map(|()| Progress::Some)
    }

    /// Goes as far with a portion as peers serve. What is seen not to come for the rest of the batch either waits for the next
    /// one: what was deleted or is whole, slivers of a source that has broken off, and of a writer that lied.
    async fn fetch(
        &mut self,
        fleet: &work::Fleet,
        batch: &mut Batch,
        mut portion: Vec<Place>,
    ) -> Result<(), work::WorkError> {
        let over = work::over(&self.member, portion.iter().map(|place| place.item.key()))?;
        let Self { member, tried, doubts, evidence, .. } = self;
        let is_over = |item: &Item| {
            over.contains(&item.key()) || (item.source == Source::Symbols && member.is_invalid(&item.blob))
        };
        batch.leave(is_over);
        portion.retain(|place| !is_over(&place.item));
        let Some(first) = portion.first() else { return Ok(()) };
        let now = member.env().clock.now();
        for peer in portion::fetch_stripe_hashes(member, &doubts.prompt(&fleet.reachable, now), &portion).await? {
            doubts.waited(peer, now);
        }
        match first.item.source {
            Source::Copy(_) => {
                let broken_off = migrate::copy(member, &portion).await;
                for (source, _) in broken_off.iter().filter(|(_, in_vain)| **in_vain) {
                    doubts.waited(source.0, now);
                }
                batch.leave(|item| matches!(item.source, Source::Copy(source) if broken_off.contains_key(&source)));
            }
            Source::Symbols => {
                let attempt = |item: &Item| tried.get(&item.key()).map_or(0, |tried| tried.times);
                let shunned = doubts.shunned(now);
                let mut rebuild = rebuild::Rebuild { member, fleet, evidence, doubts, shunned };
                let bad = rebuild.run(&portion, attempt).await;
                evidence.tried(&portion);
                batch.leave(|item| item.source == Source::Symbols && bad.contains(&item.blob));
            }
        }
        let held = |place: &Place| {
            let held = member.held_slivers(&place.item.blob, place.stripe)?;
            Ok::<_, work::WorkError>(place.is_among(&held))
        };
        batch.came(&portion, held)
    }

    /// Notes what is whole now and what must be tried otherwise, and finds out whether what failed again can be had back at all
    /// (R20).
    async fn end(&mut self, fleet: &work::Fleet, batch: Batch) -> Result<Progress, work::WorkError> {
        let (mut has_progress, mut failed) = (batch.has_progress, Vec::new());
        let all = batch.end();
        let over = work::over(&self.member, all.iter().map(|(item, _)| item.key()))?;
        for (item, from) in all {
            let key = item.key();
            if over.contains(&key) {
                self.tried.remove(&key);
                self.doubts.forget(&item.blob);
                has_progress = true;
                continue;
            }
            let tried = self.tried.entry(key).or_default();
            *tried = work::Tried { times: tried.times + 1, from };
            if tried.times >= evidence::FAILURES {
                failed.push(item.blob);
            }
        }
        let now = self.member.env().clock.now();
        self.evidence.look(&self.member, fleet, failed.into_iter(), now).await?;
        Ok(if has_progress { Progress::Some } else { Progress::None })
    }
}
