//! The heartbeat of the fleet: every second each member asks every peer what it knows, and tells what it knows itself.
//!
//! Views and their seals spread this way, refusals come together to seals, and members remember each other's sequences
//! (R1, R5). The upkeep that follows from it is in [`upkeep`].

mod collect;
mod differ;
mod orphans;
mod pull;
mod sync;
mod upkeep;
mod void;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures::future::join_all;
use tonic::Status;
use weft_proto::v1::{ExchangeReply, ExchangeRequest, peers_client::PeersClient};
use weft_protocol::{Encoder, Incarnation, MemberId, Signed, ViewId, VolumeId};
use weft_redstuff::Hash;

use crate::{
    answer,
    member::{DigestKind, Lacking, Member, MemberError, Peer},
};
pub(crate) use upkeep::{upkeep, verify};

/// Between two rounds.
const INTERVAL: Duration = Duration::from_secs(1);

/// What was heard in the last round: the peers' registry digests.
pub(crate) type Heard = BTreeMap<Peer, (DigestKind, Hash)>;

/// Exchanges with everyone, for the life of the process.
pub(crate) async fn run(member: Arc<Member>, heard: tokio::sync::watch::Sender<Heard>) {
    loop {
        let own = (member.identity().member, member.identity().incarnation.number);
        let peers: Vec<Peer> = member.peers().into_keys().filter(|peer| *peer != own).collect();
        let replies = join_all(peers.iter().map(|peer| async { (*peer, ask(&member, *peer, None).await) })).await;
        let (mut digests, mut remembered, mut lacking) = (Heard::new(), Vec::new(), Lacking::default());
        let mut invalid = BTreeMap::new();
        let mut reachable = BTreeSet::new();
        for (peer, reply) in replies {
            match reply {
                Ok(reply) => {
                    reachable.insert(peer);
                    invalid.extend(Hash::from_slice(&reply.invalid).map(|digest| (peer, digest)));
                    if reply.read_only {
                        // What it remembers may be old, and its registry will never be like ours: it is there to be read.
                        continue;
                    }
                    let kind = DigestKind::read(reply.digest_kind);
                    digests.extend(Hash::from_slice(&reply.registry_digest).map(|digest| (peer, (kind, digest))));
                    remembered.push((peer, reply.remembered.clone()));
                    if let Some(told) = Lacking::read(&reply.lacking) {
                        lacking.add(&told);
                    }
                    if let Err(error) = take(&member, &reply).await {
                        tracing::warn!(member = %peer.0, incarnation = peer.1, %error, "exchange: what the peer said is refused");
                    }
                }
                Err(status) => {
                    tracing::debug!(member = %peer.0, incarnation = peer.1, %status, "exchange: the peer does not answer");
                }
            }
        }
        if let Err(error) = member.remember().await {
            tracing::warn!(%error, "exchange: what peers have signed could not be recorded");
        }
        member.set_reachable(reachable);
        member.set_peers_lacking(lacking);
        member.set_told_invalid(invalid);
        if let Err(error) = member.judge(&remembered).await {
            tracing::warn!(%error, "exchange: what peers remember of this volume could not be recorded");
        }
        heard.send_replace(digests);
        member.env().clock.sleep(INTERVAL).await;
    }
}

/// One exchange with a peer. `standing_for`: the view that the peer is asked to refuse.
async fn ask(member: &Member, peer: Peer, standing_for: Option<ViewId>) -> Result<ExchangeReply, Status> {
    let request = say(member, standing_for);
    let mut client = PeersClient::new(member.channel_to(peer)?).max_decoding_message_size(weft_proto::MAX_MESSAGE);
    let reply = answer::soon(client.exchange(request)).await?;
    match &reply.identity {
        Some(identity)
            if (identity.member, identity.incarnation) == (peer.0.0, peer.1)
                && identity.fleet == member.identity().fleet.0[..] =>
        {
            Ok(reply)
        }
        _ => Err(Status::unavailable("another member answers at this address")),
    }
}

/// What this member tells its peers.
fn say(member: &Member, standing_for: Option<ViewId>) -> ExchangeRequest {
    let known = member.known();
    let id = |id: ViewId| Bytes::from(id.encode(Encoder::new()).finish());
    ExchangeRequest {
        from: Some(member.identity().wire()),
        standing_for: standing_for.map(id).unwrap_or_default(),
        newest: known.newest.as_ref().map(|newest| newest.encode().into()).unwrap_or_default(),
        seal: known.fence.seal().map(|seal| seal.encode().into()).unwrap_or_default(),
        refusal: known.refusal.as_ref().map(|refusal| refusal.encode().into()).unwrap_or_default(),
        successor: known.fence.successor().map(|next| next.encode().into()).unwrap_or_default(),
        sequence: member.signed_sequence().encode().into(),
        time_floor: member.time_floor().map(|floor| floor.encode().into()).unwrap_or_default(),
        digest_kind: DigestKind::Sets.wire(),
    }
}

/// Learns what a peer's reply tells.
async fn take(member: &Member, reply: &ExchangeReply) -> Result<(), MemberError> {
    member.learn(&reply.newest, &reply.seal).await?;
    member.collect(&reply.refusal, &reply.successor).await?;
    member.hear_sequence(Signed::decode(&reply.sequence)?)?;
    member.heed(&reply.time_floor).await?;
    member.learn_peers(&reply.peers).await
}

/// Learns what a peer's request tells, and answers it.
pub(crate) async fn answer(member: &Member, request: ExchangeRequest) -> Result<ExchangeReply, MemberError> {
    // What was remembered before: a volume that came back behind it must hear of it.
    let remembered = match request.from.as_ref().and_then(incarnation) {
        Some((peer, incarnation)) => member.remembered(peer, incarnation)?,
        None => None,
    };
    let kind = DigestKind::read(request.digest_kind);
    let read_only = !hear(member, &request).await? || member.is_read_only();
    let standing = if request.standing_for.is_empty() {
        None
    } else {
        let mut from = weft_protocol::Decoder::new("view id", &request.standing_for);
        let view = ViewId::decode(&mut from)?;
        from.finish()?;
        member.standing(&view, kind).await?
    };
    let horizon = if standing.is_some() { member.horizon()? } else { None };
    let said = say(member, None);
    Ok(ExchangeReply {
        identity: said.from,
        newest: said.newest,
        seal: said.seal,
        refusal: said.refusal,
        successor: said.successor,
        standing: standing.map(|standing| standing.encode().into()).unwrap_or_default(),
        registry_digest: member.registry_digest(kind).await?.0.to_vec().into(),
        remembered: remembered.map(|signed| signed.encode().into()).unwrap_or_default(),
        peers: member.peer_list(),
        sequence: said.sequence,
        time_floor: said.time_floor,
        lacking: member.lacking()?.wire(),
        horizon: horizon.map(|horizon| sync::write_horizon(horizon).into()).unwrap_or_default(),
        read_only,
        digest_kind: kind.wire(),
        invalid: member.invalid_digest().map(|digest| digest.0.to_vec().into()).unwrap_or_default(),
    })
}

/// Learns what a peer's request tells. `false`: the store takes no writes, so that nothing of it was recorded.
async fn hear(member: &Member, request: &ExchangeRequest) -> Result<bool, MemberError> {
    let heard = [
        member.learn(&request.newest, &request.seal).await.map(drop),
        member.collect(&request.refusal, &request.successor).await,
        member.hear_sequence(Signed::decode(&request.sequence)?),
        member.heed(&request.time_floor).await,
    ];
    for heard in heard {
        match heard {
            Err(error) if error.is_read_only() => return Ok(false),
            heard => heard?,
        }
    }
    Ok(true)
}

fn incarnation(identity: &weft_proto::v1::Identity) -> Option<(MemberId, Incarnation)> {
    let volume = VolumeId(identity.volume.as_ref().try_into().ok()?);
    Some((MemberId(identity.member), Incarnation { number: identity.incarnation, volume }))
}
