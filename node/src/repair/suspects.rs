//! Who can't be relied on for a blob (R18): who lacks what it should have of it, and who gives wrong symbols of it. They
//! are asked last, since no turning through the helpers leaves all of them out.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures::future::join_all;
use tokio::time::Instant;
use weft_protocol::{MemberId, Seat, View};
use weft_redstuff::{BlobId, Code, Hash, StripeHashes, symbol};

use super::rebuild::Unit;
use crate::{member::Member, migrate};

/// How long a peer that was waited for in vain comes last for all blobs.
const SHUNNED: Duration = Duration::from_secs(300);

/// Blobs of which it is kept whom to doubt.
const DOUBTED: usize = 1 << 16;

/// Peers that are doubted, blob by blob, and those that answer too late or not at all. Kept in memory: it costs one attempt
/// to know them again.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    /// Under another view others hold what is asked for.
    view: Option<Hash>,
    of: BTreeMap<BlobId, BTreeSet<MemberId>>,
    silent: BTreeMap<MemberId, Instant>,
}

impl Doubts {
    /// Forgets what peers lack when the view has changed.
    pub(super) fn under(&mut self, view: Hash) {
        if self.view != Some(view) {
            (self.view, self.of) = (Some(view), BTreeMap::new());
        }
    }

    pub(super) fn of(&self, blob: &BlobId) -> &BTreeSet<MemberId> {
        static NONE: BTreeSet<MemberId> = BTreeSet::new();
        self.of.get(blob).unwrap_or(&NONE)
    }

    pub(super) fn add(&mut self, blob: BlobId, peer: MemberId) {
        if self.of.len() >= DOUBTED {
            self.of.clear();
        }
        self.of.entry(blob).or_default().insert(peer);
    }

    pub(super) fn clear(&mut self) {
        self.of.clear();
    }

    /// A blob is whole, or gone.
    pub(super) fn forget(&mut self, blob: &BlobId) {
        self.of.remove(blob);
    }

    /// A peer was waited for in vain.
    pub(super) fn waited(&mut self, peer: MemberId, now: Instant) {
        self.silent.insert(peer, now + SHUNNED);
    }

    /// Those of some peers who aren't shunned; where all are, all.
    pub(super) fn prompt(&self, peers: &[MemberId], now: Instant) -> Vec<MemberId> {
        let shunned = self.shunned(now);
        let prompt: Vec<MemberId> = peers.iter().copied().filter(|peer| !shunned.contains(peer)).collect();
        if prompt.is_empty() { peers.to_vec() } else { prompt }
    }

    /// Who isn't waited for again where others will do.
    pub(super) fn shunned(&self, now: Instant) -> BTreeSet<MemberId> {
        self.silent.iter().filter(|(_, until)| now < **until).map(|(peer, _)| *peer).collect()
    }
}

/// Of the peers that helped with a sliver which came out wrong those whose symbols aren't of the slivers that were
/// committed to, or who don't show these: whole slivers have hashes, symbols have none. Who is `shunned` isn't asked, and shows
/// nothing; who is waited for in vain is from then on.
pub(super) async fn liars(
    member: &Member,
    view: &View,
    shunned: &mut BTreeSet<MemberId>,
    unit: &Unit,
) -> Vec<MemberId> {
    let Ok(Some((_, hashes))) = member.stripe_hashes(&unit.blob, unit.stripe) else { return Vec::new() };
    let (mut liars, suspects): (Vec<MemberId>, Vec<MemberId>) =
        unit.given.keys().partition(|peer| shunned.contains(peer));
    let suspects = suspects.iter().filter_map(|peer| Some((view.seat(*peer)?, &unit.given[peer])));
    let examined = suspects.map(|(seat, indices)| examine(member, view.code, &hashes, unit, seat, indices));
    for (peer, in_vain) in join_all(examined).await.into_iter().flatten() {
        liars.push(peer);
        if in_vain {
            shunned.insert(peer);
        }
    }
    liars
}

/// Gives the peer when it isn't cleared, and whether it was waited for in vain.
async fn examine(
    member: &Member,
    code: Code,
    hashes: &StripeHashes,
    unit: &Unit,
    seat: &Seat,
    indices: &[u16],
) -> Option<(MemberId, bool)> {
    let (crossing, mut shown) = (unit.axis.crossing(), BTreeMap::new());
    let take = |index, sliver| drop(shown.insert(index, sliver));
    let length = code.sliver_length(crossing, unit.symbol_size);
    let in_vain = migrate::show(member, seat, (unit.blob, unit.stripe, crossing, length), indices, take).await;
    let cleared = indices.iter().all(|index| {
        let sliver = shown.get(index).filter(|sliver| hashes.matches(crossing, *index, sliver));
        let right = sliver.and_then(|sliver| symbol(code, crossing, sliver, unit.symbol_size, unit.index).ok());
        let gave = unit.symbols.iter().find(|(given, _)| given == index).map(|(_, symbol)| symbol);
        right.is_some_and(|right| gave.is_some_and(|gave| gave[..] == right[..]))
    });
    (!cleared).then_some((seat.member, in_vain))
}
