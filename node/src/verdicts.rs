//! Bad writers (R19): proving that a blob's slivers contradict each other, and passing verdicts on.
//!
//! What proves a verdict are k slivers with their committed hashes. They aren't stored a second time: they lie where they
//! belong, and who hears of a verdict asks their holders for them, and believes nothing but what comes of it. A repair finds
//! the first; peers tell each other which blobs they have convicted.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::time::timeout;
use tonic::Status;
use weft_proto::v1::{VerdictsRequest, peers_client::PeersClient};
use weft_protocol::{Seat, View};
use weft_redstuff::{Axis, BlobId, Code, Hash, StripeHashes, rebuild_sliver, symbol};

use crate::{
    member::{Member, MemberError, Peer, Verdict, verdict},
    migrate,
};

/// Between two looks at what peers have told.
const INTERVAL: Duration = Duration::from_secs(2);

/// Verdicts asked for at a time.
const PAGE: u32 = 256;

/// How long a peer may take to tell its verdicts, and to give slivers of one stripe.
const DEADLINE: Duration = Duration::from_secs(2);
const SLIVERS: Duration = Duration::from_secs(30);

/// Runs for the life of the process.
pub(crate) async fn run(member: Arc<Member>) {
    let mut distrusted = BTreeSet::new();
    loop {
        if let Err(error) = round(&member, &mut distrusted).await {
            tracing::warn!(%error, "verdicts: a round failed; it will be tried again");
        }
        member.env().clock.sleep(INTERVAL).await;
    }
}

/// Forgets verdicts on what is gone, and looks into those that peers have and this member hasn't.
async fn round(member: &Member, distrusted: &mut BTreeSet<Peer>) -> Result<(), MemberError> {
    member.drop_verdicts().await?;
    let own = member.invalid_digest();
    for (peer, digest) in member.told_invalid() {
        if Some(digest) == own || distrusted.contains(&peer) {
            continue;
        }
        match hear(member, peer).await {
            Ok(Heard::Honest) => {}
            Ok(Heard::Lie(blob)) => {
                tracing::warn!(member = %peer.0, incarnation = peer.1, %blob, "the peer calls a blob invalid whose slivers agree; its verdicts are left alone");
                distrusted.insert(peer);
            }
            Err(HearError::Call(status)) => {
                tracing::debug!(member = %peer.0, incarnation = peer.1, %status, "the peer doesn't tell its verdicts");
            }
            Err(HearError::Member(error)) => return Err(error),
        }
    }
    Ok(())
}

enum Heard {
    Honest,
    /// It has a verdict that is refuted.
    Lie(BlobId),
}

enum HearError {
    Call(Status),
    Member(MemberError),
}

/// Looks into a peer's verdicts, one after the other, at the rate at which repair may receive.
async fn hear(member: &Member, peer: Peer) -> Result<Heard, HearError> {
    let mut client = PeersClient::new(member.channel_to(peer).map_err(HearError::Member)?);
    let mut after: Option<BlobId> = None;
    loop {
        let last = after.map(|blob| blob.0.to_vec().into()).unwrap_or_default();
        let reply = timeout(DEADLINE, client.verdicts(VerdictsRequest { after: last, limit: PAGE }));
        let silent = |_| HearError::Call(Status::deadline_exceeded("the peer is silent"));
        let reply = reply.await.map_err(silent)?.map_err(HearError::Call)?.into_inner();
        for told in &reply.verdicts {
            let malformed = || HearError::Call(Status::internal("a verdict is malformed"));
            let blob = BlobId::from_slice(&told.blob).ok_or_else(malformed)?;
            let verdict = verdict(told.stripe, told.axis, told.index).ok_or_else(malformed)?;
            // In order, so that a peer that repeats itself is not listened to for ever.
            if after.is_some_and(|last| last >= blob) {
                return Err(malformed());
            }
            after = Some(blob);
            if member.is_invalid(&blob) || !member.kind(&blob).is_some_and(crate::member::Kind::is_live) {
                continue;
            }
            match look_into(member, blob, verdict).await.map_err(HearError::Member)? {
                Finding::Refuted => return Ok(Heard::Lie(blob)),
                Finding::Proven | Finding::Open => {}
            }
        }
        if !reply.more || reply.verdicts.is_empty() {
            return Ok(Heard::Honest);
        }
    }
}

/// What came of looking into a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finding {
    Proven,
    /// The slivers agree.
    Refuted,
    /// Too few slivers can be had now.
    Open,
}

/// Fetches k of the slivers that cross the named one, and records the verdict where these contradict it.
pub(crate) async fn look_into(member: &Member, blob: BlobId, verdict: Verdict) -> Result<Finding, MemberError> {
    let (started, before) = (member.env().clock.now(), member.repair_bytes());
    let Some(newest) = member.newest() else { return Ok(Finding::Open) };
    let Some((symbol_size, hashes)) = member.stripe_hashes(&blob, verdict.stripe)? else { return Ok(Finding::Open) };
    let Some(expected) = hashes.get(verdict.axis, verdict.index) else { return Ok(Finding::Refuted) };
    let code = newest.view.code;
    let mut crossing = Crossing { member, code, blob, verdict, symbol_size, hashes, symbols: Vec::new() };
    crossing.gather(&newest.view).await;
    let found = crossing.compare(expected).await;
    member.throttle(started, member.repair_bytes() - before).await;
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
    symbols: Vec<(u16, Vec<u8>)>,
}

impl Crossing<'_> {
    fn axis(&self) -> Axis {
        self.verdict.axis.crossing()
    }

    fn wanting(&self) -> usize {
        usize::from(self.code.slivers_to_decode(self.axis())).saturating_sub(self.symbols.len())
    }

    /// Those held here first, then one holder after the other, so that no more than a sliver is kept in memory.
    async fn gather(&mut self, view: &View) {
        let held = self.member.held_slivers(&self.blob, self.verdict.stripe).unwrap_or_default();
        let axis = self.axis();
        for (_, index) in held.into_iter().filter(|(held, _)| *held == axis) {
            if self.wanting() == 0 {
                return;
            }
            let read = self.member.read_sliver(&self.blob, self.verdict.stripe, axis, index).await;
            if let Ok(Some(sliver)) = read {
                self.take(index, &sliver);
            }
        }
        let own = self.member.identity().member;
        for seat in view.seats.iter().filter(|seat| seat.member != own) {
            if self.wanting() == 0 {
                return;
            }
            let asked = timeout(SLIVERS, self.ask(seat)).await;
            let failed = asked.map_or_else(|_| Some(Status::deadline_exceeded("the peer is silent")), Result::err);
            if let Some(status) = failed {
                tracing::debug!(member = %seat.member, blob = %self.blob, %status, "a verdict's slivers can't be had from the peer");
            }
        }
    }

    async fn ask(&mut self, seat: &Seat) -> Result<(), Status> {
        let index = |shard: u8| self.code.sliver_index(shard.into(), self.axis());
        let unknown = |index: &u16| self.symbols.iter().all(|(known, _)| known != index);
        let indices: Vec<u16> = seat.shards.iter().map(index).filter(unknown).take(self.wanting()).collect();
        let places = indices.iter().map(|index| (self.blob, self.verdict.stripe, self.axis(), *index));
        let mut slivers = migrate::slivers(self.member, (seat.member, seat.incarnation.number), places).await?;
        while let Some(reply) = slivers.message().await? {
            self.member.metrics().symbols_received(reply.data.len());
            if let Some(index) = indices.get(reply.item as usize).filter(|_| reply.held) {
                self.take(*index, &reply.data);
            }
        }
        Ok(())
    }

    /// Takes a sliver's symbol, if the sliver is the one that was committed to.
    fn take(&mut self, index: u16, sliver: &[u8]) {
        let known = self.symbols.iter().any(|(known, _)| *known == index);
        if known || !self.hashes.matches(self.axis(), index, sliver) {
            return;
        }
        if let Ok(symbol) = symbol(self.code, self.axis(), sliver, self.symbol_size, self.verdict.index) {
            self.symbols.push((index, symbol));
        }
    }

    /// Whether the sliver that these yield has the hash that was committed to.
    async fn compare(self, expected: Hash) -> Finding {
        if self.wanting() > 0 {
            return Finding::Open;
        }
        let Self { code, verdict, symbol_size, symbols, .. } = self;
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
