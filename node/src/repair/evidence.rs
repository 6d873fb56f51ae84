//! Evidence that blobs are unrecoverable (R20): when a repair fails, everybody is asked what is held of the blob, and
//! together they may hold too little.
//!
//! A holder of the newest view that is silent may hold what is wanting: then nothing new is known. Anybody else may be
//! silent, for what a member once held and a later view gives to others may be gone. An unrecoverable blob stays on the
//! work list, and isn't tried; everybody is asked again from time to time, and at once when the view changes or somebody
//! comes back.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;
use futures::future::join_all;
use tokio::time::Instant;
use tonic::Status;
use weft_proto::v1::{HeldRequest, reads_client::ReadsClient};
use weft_protocol::{Entry, View};
use weft_redstuff::{Axis, BlobId, Code, Hash};
use weft_store::View as _;

use super::{
    batch::Place,
    select::Held,
    work::{Fleet, WorkError},
};
use crate::{
    answer,
    member::{Member, Peer, sliver_axis},
};

/// Blobs that are looked into after one batch.
const LOOKS: usize = 16;

/// Stripes of a blob that are asked about in one look.
const STRIPES: usize = 4;

/// After how many failed repairs of a shard of it a blob is looked into: each goes another way.
pub(super) const FAILURES: usize = 2;

/// Blobs whose evidence is kept; what is beyond that is tried as anything else on the work list.
const KEPT: usize = 1 << 16;

/// Stripes of which it is remembered who holds what.
const HELD: usize = 32 * LOOKS * STRIPES;

/// Between two looks at one blob: at first, and at the most.
const FIRST: Duration = Duration::from_secs(5);
const LAST: Duration = Duration::from_secs(300);

/// In a batch that takes long, between two looks at what it is time for.
const OLD: Duration = Duration::from_secs(30);

/// What was found out about blobs whose repair failed.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    /// What the findings rest on: the view, and who answers.
    view: Option<Hash>,
    answering: BTreeSet<Peer>,
    of: BTreeMap<BlobId, Finding>,
    /// What members with a seat hold, of stripes that can be had back.
    held: BTreeMap<(BlobId, u32), Told>,
    /// When it was last refreshed.
    refreshed: Option<Instant>,
}

/// What members told of a stripe, and whether it has been tried since.
#[derive(Debug)]
struct Told {
    held: Vec<Held>,
    tried: bool,
}

#[derive(Debug, Clone, Copy)]
struct Finding {
    /// A stripe of which too little is left.
    lost: Option<u32>,
    /// Somebody has a sliver that this member is to hold: it can be copied, though nothing can be rebuilt.
    offered: bool,
    /// When to look again, and how long to wait after that.
    due: Instant,
    pause: Duration,
    /// The stripe that the next look begins with, if it still lacks something here.
    next: u32,
}

/// What is left of a blob, by what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Left {
    /// Of these stripes, by members with a seat.
    Enough(BTreeMap<u32, Vec<Held>>),
    /// Of this stripe too little.
    TooLittle { stripe: u32, offered: bool },
    /// A holder is silent.
    Unknown,
}

impl Left {
    fn name(&self) -> &'static str {
        match self {
            Self::Enough(_) => "enough",
            Self::TooLittle { .. } => "too_little",
            Self::Unknown => "unknown",
        }
    }
}

impl Evidence {
    /// Forgets blobs that are gone or whole, and looks again at those that it is time for: at all when the view has
    /// changed, or somebody answers who didn't.
    pub(super) async fn refresh(&mut self, member: &Member, fleet: &Fleet, now: Instant) -> Result<(), WorkError> {
        let (view, answering) = (fleet.newest.view.hash(), member.reachable_peers().into_iter().collect());
        if self.view != Some(view) || !self.answering.is_superset(&answering) {
            for finding in self.of.values_mut() {
                (finding.due, finding.pause) = (finding.due.min(now), FIRST);
            }
        }
        (self.view, self.answering, self.refreshed) = (Some(view), answering, Some(now));
        let mut over = Vec::new();
        for blob in self.of.keys() {
            if member.store().view().missing_of(&blob.0)?.is_empty() {
                over.push(*blob);
            }
        }
        for blob in over {
            self.of.remove(&blob);
        }
        self.held.retain(|(blob, _), _| self.of.contains_key(blob));
        let due = self.of.iter().filter(|(_, finding)| finding.lost.is_some() && finding.due <= now);
        // Who has waited longest comes first: there may be more than are looked at in one go.
        let mut due: Vec<(Instant, BlobId)> = due.map(|(blob, finding)| (finding.due, *blob)).collect();
        due.sort_unstable();
        self.look_at(member, fleet, due.into_iter().map(|(_, blob)| blob).collect(), now).await
    }

    /// Whether a batch has taken so long that it is to be refreshed within it.
    pub(super) fn is_old(&self, now: Instant) -> bool {
        self.refreshed.is_none_or(|then| now.duration_since(then) >= OLD)
    }

    /// Nothing is missing, so that nothing is unrecoverable.
    pub(super) fn clear(&mut self, member: &Member) {
        if !self.of.is_empty() {
            *self = Self::default();
            member.set_unrecoverable(BTreeSet::new());
        }
    }

    /// What members with a seat hold of a stripe, where everybody was asked lately.
    pub(super) fn held(&self, blob: &BlobId, stripe: u32) -> Option<&[Held]> {
        self.held.get(&(*blob, stripe)).map(|told| &told.held[..])
    }

    /// The stripe of a blob that something is known of which hasn't been tried: its turn begins there.
    pub(super) fn first(&self, blob: &BlobId) -> Option<u32> {
        let mut told = self.held.range((*blob, 0)..=(*blob, u32::MAX)).filter(|(_, told)| !told.tried);
        let offered = self.of.get(blob).filter(|finding| finding.offered).and_then(|finding| finding.lost);
        offered.or_else(|| told.next().map(|((_, stripe), _)| *stripe))
    }

    /// Notes that a portion was tried.
    pub(super) fn tried(&mut self, portion: &[Place]) {
        for place in portion {
            if let Some(told) = self.held.get_mut(&(place.item.blob, place.stripe)) {
                told.tried = true;
            }
        }
    }

    /// Whether nothing can be had of a blob now.
    pub(super) fn rests(&self, blob: &BlobId) -> bool {
        self.of.get(blob).is_some_and(|finding| finding.lost.is_some() && !finding.offered)
    }

    fn lost(&self) -> BTreeSet<BlobId> {
        self.of.iter().filter(|(_, finding)| finding.lost.is_some()).map(|(blob, _)| *blob).collect()
    }

    /// Looks at blobs whose repair has failed.
    pub(super) async fn look(
        &mut self,
        member: &Member,
        fleet: &Fleet,
        failed: impl Iterator<Item = BlobId>,
        now: Instant,
    ) -> Result<(), WorkError> {
        let (mut new, full) = (BTreeSet::new(), self.of.len() >= KEPT);
        for blob in failed {
            // What was tried may not be so any more.
            self.held.retain(|(of, _), told| *of != blob || !told.tried);
            match self.of.get_mut(&blob) {
                // What was offered didn't come, or not yet: it is asked for after the next look.
                Some(finding) if finding.lost.is_some() => finding.offered = false,
                Some(finding) if finding.due > now => {}
                None if full => {}
                Some(_) | None => _ = new.insert(blob),
            }
        }
        self.look_at(member, fleet, new.into_iter().collect(), now).await
    }

    /// Asks what is left of blobs, of some at a time.
    async fn look_at(
        &mut self,
        member: &Member,
        fleet: &Fleet,
        blobs: Vec<BlobId>,
        now: Instant,
    ) -> Result<(), WorkError> {
        if self.held.len() > HELD {
            self.held.retain(|_, told| !told.tried);
        }
        if self.held.len() > HELD {
            self.held.clear();
        }
        let mut cases = Vec::new();
        for blob in blobs.into_iter().take(LOOKS) {
            cases.extend(Case::of(member, blob, self.of.get(&blob).map_or(0, |finding| finding.next))?);
        }
        let looks = cases.iter().map(|case| case.look(member, &fleet.newest.view));
        for (case, left) in cases.iter().zip(join_all(looks).await) {
            member.metrics().looked(left.name());
            self.note(case, left, now);
        }
        member.set_unrecoverable(self.lost());
        Ok(())
    }

    fn note(&mut self, case: &Case, left: Left, now: Instant) {
        let (blob, begun) = (case.blob, case.lacking.first().map(|(stripe, _)| *stripe));
        let new = Finding { lost: None, offered: false, due: now, pause: FIRST, next: 0 };
        let finding = self.of.entry(blob).or_insert(new);
        let before = finding.lost;
        finding.offered = false;
        match left {
            Left::TooLittle { stripe, offered } => (finding.lost, finding.offered) = (Some(stripe), offered),
            Left::Enough(held) => {
                finding.lost = None;
                let told = |(stripe, held)| ((blob, stripe), Told { held, tried: false });
                self.held.extend(held.into_iter().map(told));
            }
            Left::Unknown => {}
        }
        match (before, finding.lost) {
            (None, Some(stripe)) => {
                tracing::warn!(%blob, stripe, "a blob is unrecoverable by what everybody holds (R20)");
            }
            (Some(_), None) => tracing::info!(%blob, "there may be enough of the blob again (R20)"),
            _ => {}
        }
        // What is lost is asked about until it no longer is; where nothing comes of a stripe, the next has its turn.
        let (changed, mended) = (before.is_some() != finding.lost.is_some(), begun != Some(finding.next));
        if changed || mended {
            finding.pause = FIRST;
        }
        let following = begun.map(|stripe| if mended { stripe } else { (stripe + 1) % case.stripes });
        finding.next = finding.lost.or(following).unwrap_or_default();
        finding.due = now + finding.pause;
        finding.pause = LAST.min(finding.pause * 2);
    }
}

/// A blob that this member can't mend.
struct Case {
    blob: BlobId,
    stripes: u32,
    /// Some stripes that lack slivers here, and which: it may be these that can't be rebuilt.
    lacking: Vec<(u32, Vec<(Axis, u16)>)>,
}

impl Case {
    /// `None` where the blob is gone. Of its stripes those that follow `next` come first.
    fn of(member: &Member, blob: BlobId, next: u32) -> Result<Option<Self>, WorkError> {
        let Some(Entry::Live { metadata, .. }) = member.entry(&blob)? else { return Ok(None) };
        let (code, stripes) = (metadata.code(), metadata.layout.stripes());
        let missing = member.store().view().missing_of(&blob.0)?.into_iter();
        let wanted: Vec<(Axis, u16)> = missing
            .flat_map(|shard| Axis::BOTH.map(|axis| (axis, code.sliver_index(u16::from(shard), axis))))
            .collect();
        let from = if next < stripes { next } else { 0 };
        let mut lacking = Vec::new();
        for stripe in (from..stripes).chain(0..from) {
            let held = member.held_slivers(&blob, stripe)?;
            let lacks: Vec<(Axis, u16)> = wanted.iter().filter(|place| !held.contains(place)).copied().collect();
            if !lacks.is_empty() {
                lacking.push((stripe, lacks));
            }
            if lacking.len() == STRIPES {
                break;
            }
        }
        Ok(Some(Self { blob, stripes, lacking }))
    }

    async fn look(&self, member: &Member, view: &View) -> Left {
        let (mut all, mut unknown) = (BTreeMap::new(), false);
        for (stripe, lacks) in &self.lacking {
            match of_stripe(member, view, (self.blob, *stripe), lacks).await {
                Left::Enough(held) => all.extend(held),
                Left::Unknown => unknown = true,
                lost @ Left::TooLittle { .. } => return lost,
            }
        }
        if unknown { Left::Unknown } else { Left::Enough(all) }
    }
}

/// Asks everybody what there is of a stripe, of which this member lacks some slivers.
async fn of_stripe(member: &Member, view: &View, (blob, stripe): (BlobId, u32), lacks: &[(Axis, u16)]) -> Left {
    let me = (member.identity().member, member.identity().incarnation.number);
    let mut held: BTreeSet<(Axis, u16)> = member.held_slivers(&blob, stripe).unwrap_or_default().into_iter().collect();
    let peers = member.reachable_peers();
    let answers = join_all(peers.iter().map(|peer| ask(member, view.code, *peer, blob, stripe))).await;
    let mut silent: BTreeSet<Peer> =
        view.seats.iter().map(|seat| (seat.member, seat.incarnation.number)).filter(|peer| *peer != me).collect();
    let mut at_seats = Vec::new();
    for (peer, answer) in peers.iter().zip(answers) {
        match answer {
            Ok(slivers) => {
                held.extend(&slivers);
                if silent.remove(peer) {
                    at_seats.extend(slivers.into_iter().map(|(axis, index)| (peer.0, axis, index)));
                }
            }
            Err(status) => tracing::debug!(member = %peer.0, %blob, %status, "the peer doesn't say what it holds"),
        }
    }
    let count = |wanted: Axis| held.iter().filter(|(axis, _)| *axis == wanted).count() as u16;
    if view.code.is_decodable(count(Axis::Primary), count(Axis::Secondary)) {
        Left::Enough([(stripe, at_seats)].into())
    } else if silent.is_empty() {
        Left::TooLittle { stripe, offered: lacks.iter().any(|place| held.contains(place)) }
    } else {
        Left::Unknown
    }
}

/// What a peer has of a stripe, of slivers that there are. One that doesn't know the blob may hold it as an upload that isn't
/// certified there yet, and says nothing.
async fn ask(member: &Member, code: Code, peer: Peer, blob: BlobId, stripe: u32) -> Result<Vec<(Axis, u16)>, Status> {
    let mut client = ReadsClient::new(member.channel_to(peer)?);
    let request = HeldRequest { blob: Bytes::copy_from_slice(&blob.0), stripe: Some(stripe) };
    let reply = answer::soon(client.get_held(request)).await?;
    let place = |sliver: &weft_proto::v1::HeldSliver| {
        let index = u16::try_from(sliver.index).ok().filter(|index| *index < code.shards())?;
        Some((sliver_axis(sliver.axis)?, index)).filter(|_| sliver.stripes > 0)
    };
    Ok(reply.slivers.iter().filter_map(place).collect())
}
