//! Bad writers (R19): proving that a blob's slivers contradict each other, and passing verdicts on.
//!
//! What proves a verdict are k slivers with their committed hashes. They aren't stored a second time: they lie where they
//! belong, and who hears of a verdict asks their holders for them, and believes nothing but what comes of it. A repair finds
//! the first; peers tell each other which blobs they have convicted. Of each peer a page is looked into in a round, so that none
//! keeps the others from being heard.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::join_all;
use tokio::time::Instant;
use tonic::Status;
use weft_proto::v1::{Verdict as Told, VerdictsRequest, peers_client::PeersClient};
use weft_protocol::{Seat, View};
use weft_redstuff::{Axis, BlobId, Code, Hash, StripeHashes, rebuild_sliver, symbol};

use crate::{
    answer,
    member::{Member, MemberError, Peer, Verdict, verdict},
    migrate,
};

/// Between two rounds.
const INTERVAL: Duration = Duration::from_secs(2);

/// Verdicts of one peer that are looked into in a round.
const PAGE: usize = 64;

/// Between two looks at a verdict of a peer's whose slivers can't be had: at first, and at the most.
const FIRST: Duration = Duration::from_secs(10);
const LAST: Duration = Duration::from_secs(600);

/// Verdicts whose slivers couldn't be had, of which it is remembered.
const OPEN: usize = 1 << 14;

/// Runs for the life of the process.
pub(crate) async fn run(member: Arc<Member>) {
    let mut hearing = Hearing { member: member.clone(), peers: BTreeMap::new(), open: BTreeMap::new() };
    loop {
        if let Err(error) = hearing.round().await {
            tracing::warn!(%error, "verdicts: a round failed; it will be tried again");
        }
        member.env().clock.sleep(INTERVAL).await;
    }
}

/// What is known of a peer that tells verdicts.
#[derive(Debug, Clone, Copy, Default)]
struct Teller {
    /// The blob of its last verdict that was looked into.
    after: Option<BlobId>,
    /// It has called a blob invalid whose slivers agree, or doesn't tell in order.
    lies: bool,
}

struct Hearing {
    member: Arc<Member>,
    peers: BTreeMap<Peer, Teller>,
    /// Verdicts whose slivers couldn't be had: when to look again, and how long to wait after that.
    open: BTreeMap<(Peer, BlobId), (Instant, Duration)>,
}

impl Hearing {
    /// Forgets verdicts on what is gone, looks into what repair suspects, and into what peers have and this member hasn't.
    async fn round(&mut self) -> Result<(), MemberError> {
        let member = self.member.clone();
        member.drop_verdicts().await?;
        for (blob, verdict) in member.take_suspected() {
            look_into(&member, blob, verdict).await;
        }
        let (own, told) = (member.invalid_digest(), member.told_invalid());
        self.peers.retain(|peer, _| told.contains_key(peer));
        for (peer, digest) in told {
            let lies = self.peers.get(&peer).is_some_and(|teller| teller.lies);
            if Some(digest) == own || lies || member.has_many_verdicts() {
                continue;
            }
            match ask(&member, peer, self.peers.entry(peer).or_default().after).await {
                Ok(page) => self.hear(peer, &page).await,
                Err(status) => {
                    tracing::debug!(member = %peer.0, incarnation = peer.1, %status, "the peer doesn't tell its verdicts");
                }
            }
        }
        Ok(())
    }

    /// Looks into a page of a peer's verdicts, one after the other, at the rate at which repair may receive. After the last one
    /// it begins with the first again.
    async fn hear(&mut self, peer: Peer, page: &[Told]) {
        let mut teller = self.peers.get(&peer).copied().unwrap_or_default();
        for told in page.iter().take(PAGE) {
            let read = read(told).filter(|(blob, _)| teller.after.is_none_or(|last| last < *blob));
            let Some((blob, verdict)) = read else {
                teller.lies = true;
                break;
            };
            teller.after = Some(blob);
            if self.member.is_invalid(&blob) || !self.member.is_live(&blob).unwrap_or(false) {
                continue;
            }
            let (now, rest) = (self.member.env().clock.now(), self.open.get(&(peer, blob)).copied());
            if rest.is_some_and(|(due, _)| now < due) {
                continue;
            }
            match look_into(&self.member, blob, verdict).await {
                Finding::Proven => _ = self.open.remove(&(peer, blob)),
                Finding::Refuted => {
                    tracing::warn!(member = %peer.0, incarnation = peer.1, %blob,
                        "the peer calls a blob invalid whose slivers agree; its verdicts are left alone");
                    teller.lies = true;
                    break;
                }
                Finding::Open => {
                    if self.open.len() >= OPEN {
                        self.open.clear();
                    }
                    let pause = rest.map_or(FIRST, |(_, pause)| LAST.min(2 * pause));
                    self.open.insert((peer, blob), (self.member.env().clock.now() + pause, pause));
                }
            }
        }
        if page.len() < PAGE {
            teller.after = None;
        }
        self.peers.insert(peer, teller);
    }
}

async fn ask(member: &Member, peer: Peer, after: Option<BlobId>) -> Result<Vec<Told>, Status> {
    let mut client = PeersClient::new(member.channel_to(peer)?);
    let after = after.map(|blob| blob.0.to_vec().into()).unwrap_or_default();
    Ok(answer::soon(client.verdicts(VerdictsRequest { after, limit: PAGE as u32 })).await?.verdicts)
}

fn read(told: &Told) -> Option<(BlobId, Verdict)> {
    let Told { blob, stripe, axis, index, helpers } = told;
    Some((BlobId::from_slice(blob)?, verdict(*stripe, *axis, *index, helpers)?))
}

/// What came of looking into a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Finding {
    Proven,
    /// The slivers agree.
    Refuted,
    /// Too few of the slivers can be had now.
    Open,
}

impl Finding {
    fn name(self) -> &'static str {
        match self {
            Self::Proven => "proven",
            Self::Refuted => "refuted",
            Self::Open => "open",
        }
    }
}

/// Looks into a verdict. What can't be read or recorded here keeps no other from being looked into.
async fn look_into(member: &Member, blob: BlobId, verdict: Verdict) -> Finding {
    let found = examine(member, blob, verdict).await.unwrap_or_else(|error| {
        tracing::warn!(%blob, %error, "a verdict can't be looked into now");
        Finding::Open
    });
    member.metrics().verdict_looked_into(found.name());
    found
}

/// Fetches the helpers of a verdict, and records it where they contradict the named sliver.
async fn examine(member: &Member, blob: BlobId, verdict: Verdict) -> Result<Finding, MemberError> {
    let (pace, before) = (member.begin_pace(), member.repair_bytes());
    let Some(newest) = member.newest() else { return Ok(Finding::Open) };
    let Some((symbol_size, hashes)) = member.stripe_hashes(&blob, verdict.stripe)? else { return Ok(Finding::Open) };
    let mut crossing =
        Crossing { member, code: newest.view.code, blob, verdict, symbol_size, hashes, symbols: BTreeMap::new() };
    let found = match crossing.expected() {
        Some(expected) => {
            crossing.gather(&newest.view).await;
            crossing.compare(expected).await
        }
        None => Finding::Refuted,
    };
    member.keep_pace(pace, member.repair_bytes() - before, 1).await;
    if found == Finding::Proven {
        member.convict(blob, verdict).await?;
    }
    Ok(found)
}

/// What crosses a sliver: each of these slivers had its committed hash, and only its symbol was kept.
struct Crossing<'m> {
    member: &'m Member,
    code: Code,
    blob: BlobId,
    verdict: Verdict,
    symbol_size: u32,
    hashes: StripeHashes,
    symbols: BTreeMap<u16, Vec<u8>>,
}

impl Crossing<'_> {
    fn axis(&self) -> Axis {
        self.verdict.axis.crossing()
    }

    /// The hash that the named sliver should have; `None` where the verdict is about nothing that there is.
    fn expected(&self) -> Option<Hash> {
        let Verdict { axis, index, helpers, .. } = self.verdict;
        let there_are = helpers.iter().all(|helper| u16::from(helper) < self.code.shards());
        let enough = helpers.len() == self.code.slivers_to_decode(self.axis());
        self.hashes.get(axis, index).filter(|_| there_are && enough)
    }

    /// The helpers that are held here, and then those that their holders in the newest view give.
    async fn gather(&mut self, view: &View) {
        let axis = self.axis();
        for helper in self.verdict.helpers.iter().map(u16::from) {
            let read = self.member.read_sliver(&self.blob, self.verdict.stripe, axis, helper).await;
            if let Ok(Some(sliver)) = read {
                self.symbols.extend(self.symbol(helper, &sliver).map(|symbol| (helper, symbol)));
            }
        }
        let own = self.member.identity().member;
        let asked = view.seats.iter().filter(|seat| seat.member != own).map(|seat| self.ask(seat));
        for symbols in join_all(asked).await {
            self.symbols.extend(symbols);
        }
    }

    /// The symbols of the helpers that a seat gives: no more than a sliver of it is in memory.
    async fn ask(&self, seat: &Seat) -> Vec<(u16, Vec<u8>)> {
        let index = |shard: u8| self.code.sliver_index(shard.into(), self.axis());
        let wanted = |index: &u16| self.verdict.helpers.contains(*index as u8) && !self.symbols.contains_key(index);
        let indices: Vec<u16> = seat.shards.iter().map(index).filter(wanted).collect();
        let mut symbols = Vec::new();
        if !indices.is_empty() {
            let length = self.code.sliver_length(self.axis(), self.symbol_size);
            let stripe = (self.blob, self.verdict.stripe, self.axis(), length);
            let take = |index, sliver: Bytes| symbols.extend(self.symbol(index, &sliver).map(|symbol| (index, symbol)));
            migrate::show(self.member, seat, stripe, &indices, take).await;
        }
        symbols
    }

    /// The symbol of a helper, if it is the sliver that was committed to.
    fn symbol(&self, helper: u16, sliver: &[u8]) -> Option<Vec<u8>> {
        let (axis, index) = (self.axis(), self.verdict.index);
        let right = self.hashes.matches(axis, helper, sliver);
        right.then(|| symbol(self.code, axis, sliver, self.symbol_size, index).ok()).flatten()
    }

    /// Whether the sliver that they yield has the hash that was committed to.
    async fn compare(self, expected: Hash) -> Finding {
        let Self { code, verdict, symbol_size, symbols, .. } = self;
        if symbols.len() < usize::from(verdict.helpers.len()) {
            return Finding::Open;
        }
        let rebuilt = weft_client::apart(move || {
            let symbols: Vec<(u16, &[u8])> = symbols.iter().map(|(index, symbol)| (*index, &symbol[..])).collect();
            rebuild_sliver(code, verdict.axis, symbol_size, &symbols).map(|sliver| Hash::of(&sliver))
        });
        match rebuilt.await {
            Ok(Ok(hash)) if hash == expected => Finding::Refuted,
            Ok(Ok(_)) => Finding::Proven,
            Ok(Err(_)) | Err(_) => Finding::Open,
        }
    }
}
