//! Collecting tombstones and voids (R14): asking everyone whom the newest view seats.

use bytes::{BufMut, Bytes, BytesMut};
use futures::future::join_all;
use tonic::Status;
use weft_proto::v1::{Leftover, LeftoversReply, LeftoversRequest, peers_client::PeersClient};
use weft_protocol::{Rank, View};
use weft_redstuff::{BlobId, Hash};

use crate::{
    answer,
    member::{Member, MemberError, Peer, ROW, Step, row, step},
};

/// Entries looked at, and asked about, at a time.
const PAGE: usize = 1024;

/// Takes the next step with what is left of blobs that are gone. One member that doesn't answer, or isn't synced, keeps
/// everything.
pub(super) async fn collect(member: &Member) -> Result<(), MemberError> {
    let Some(newest) = member.may_collect() else { return Ok(()) };
    let (view, hash) = (&newest.view, newest.view.hash());
    let (mut after, mut gone) = (None, 0);
    loop {
        let rows = member.leftovers(after, PAGE)?;
        let Some((last, _)) = rows.last() else { break };
        after = Some(*last);
        let here = member.leftovers_here(view, &rows)?;
        let may_step = |leftover: &Leftover| matches!(leftover, Leftover::Ready | Leftover::Hidden);
        let mine: Vec<_> = rows.into_iter().zip(here).filter(|(_, here)| may_step(here)).collect();
        if mine.is_empty() {
            continue;
        }
        let Some(there) = ask_all(member, view, hash, &mine).await else { break };
        let next = |(at, ((blob, rank), here)): (usize, ((BlobId, Rank), Leftover))| {
            let there: Vec<Leftover> = there.iter().map(|told| told[at]).collect();
            Some((blob, rank, step(here, &there)?))
        };
        let steps: Vec<(BlobId, Rank, Step)> = mine.into_iter().enumerate().filter_map(next).collect();
        if !steps.is_empty() {
            gone += member.take_steps(hash, steps).await?;
        }
    }
    if gone > 0 {
        tracing::info!(gone, "registry: collected tombstones and voids that everyone had");
    }
    Ok(())
}

/// What the entries are at each of the others; `None` where one doesn't answer, or has yet to settle in this view.
async fn ask_all(
    member: &Member,
    view: &View,
    hash: Hash,
    mine: &[((BlobId, Rank), Leftover)],
) -> Option<Vec<Vec<Leftover>>> {
    let mut ids = BytesMut::with_capacity(mine.len() * ROW);
    for ((blob, rank), _) in mine {
        ids.put_slice(&row(blob, *rank));
    }
    let request = LeftoversRequest { view: Bytes::copy_from_slice(hash.as_bytes()), ids: ids.freeze() };
    let own = member.identity().member;
    let peers = view.seats.iter().filter(|seat| seat.member != own);
    let peers: Vec<Peer> = peers.map(|seat| (seat.member, seat.incarnation.number)).collect();
    let told = join_all(peers.iter().map(|peer| ask(member, *peer, request.clone()))).await;
    let read = |(peer, told): (&Peer, Result<LeftoversReply, Status>)| match told {
        Ok(reply) if reply.settled && reply.leftovers.len() == mine.len() => Some(reply.leftovers().collect()),
        Ok(_) => None,
        Err(status) => {
            tracing::debug!(member = %peer.0, incarnation = peer.1, %status, "registry: the peer keeps tombstones from going");
            None
        }
    };
    peers.iter().zip(told).map(read).collect()
}

async fn ask(member: &Member, peer: Peer, request: LeftoversRequest) -> Result<LeftoversReply, Status> {
    let mut client = PeersClient::new(member.channel_to(peer)?).max_decoding_message_size(weft_proto::MAX_MESSAGE);
    answer::soon(client.leftovers(request)).await
}
