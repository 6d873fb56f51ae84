//! Migration: copying whole slivers from the member that still holds them (R22), and reading them again before anyone
//! may drop the old copy (R23).

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::future::join_all;
use tonic::{Code, Status, Streaming};
use weft_proto::v1::{SliverItem, SliverRequest, SliversRequest, peers_client::PeersClient};
use weft_protocol::Seat;
use weft_redstuff::{Axis, BlobId, Hash};

use crate::{
    answer::{Answer, Asked},
    member::{Member, Peer, Way},
    repair::{Place, Source, Together},
};

/// Copies slivers from their items' sources, one request a source. What a source doesn't serve stays on the work list, and
/// is rebuilt from symbols the next time. Gives the sources that broke off, and whether they were waited for in vain.
pub(crate) async fn copy(member: &Member, portion: &[Place]) -> BTreeMap<Peer, bool> {
    let mut by_source: BTreeMap<Peer, Vec<&Place>> = BTreeMap::new();
    for place in portion {
        let Source::Copy(source) = place.item.source else { continue };
        if member.held_slivers(&place.item.blob, place.stripe).is_ok_and(|held| !place.is_among(&held)) {
            by_source.entry(source).or_default().push(place);
        }
    }
    let copies = by_source.into_iter().map(|(source, wanted)| async move {
        let status = copy_from(member, source, &wanted).await.err()?;
        tracing::debug!(member = %source.0, incarnation = source.1, %status, "copy: the holder does not serve");
        Some((source, status.code() == Code::DeadlineExceeded))
    });
    join_all(copies).await.into_iter().flatten().collect()
}

async fn copy_from(member: &Member, source: Peer, wanted: &[&Place]) -> Result<(), Status> {
    let places = wanted.iter().map(|place| (place.item.blob, place.stripe, place.axis, place.index));
    let bytes = wanted.iter().map(|place| place.length()).sum();
    let mut slivers = slivers(member, source, places, bytes).await?;
    let mut stored = Together::new();
    // What came before the source broke off is stored, and counted.
    let broke_off = loop {
        match slivers.next().await {
            Ok(Some(reply)) => {
                let Some(place) = wanted.get(reply.item as usize).filter(|_| reply.held) else { continue };
                member.metrics().copy_received(reply.data.len());
                stored.begin(store(member, place, reply.data)).await;
            }
            Ok(None) => break Ok(()),
            Err(status) => break Err(status),
        }
    };
    stored.all().await;
    broke_off
}

/// Asks a peer to show its slivers of these indices, of one axis of a stripe, `length` bytes each, and gives `take` each that
/// comes, unchecked. Tells whether the peer was waited for in vain.
pub(crate) async fn show(
    member: &Member,
    seat: &Seat,
    (blob, stripe, axis, length): (BlobId, u32, Axis, usize),
    indices: &[u16],
    mut take: impl FnMut(u16, Bytes),
) -> bool {
    let shown = async {
        let places = indices.iter().map(|index| (blob, stripe, axis, *index));
        let bytes = (length * indices.len()) as u64;
        let mut slivers = slivers(member, (seat.member, seat.incarnation.number), places, bytes).await?;
        while let Some(reply) = slivers.next().await? {
            member.metrics().symbols_received(reply.data.len());
            if let Some(index) = indices.get(reply.item as usize).filter(|_| reply.held) {
                take(*index, reply.data);
            }
        }
        Ok::<_, Status>(())
    };
    let Err(status) = shown.await else { return false };
    tracing::debug!(member = %seat.member, %blob, stripe, %status, "the peer doesn't show its slivers");
    status.code() == Code::DeadlineExceeded
}

/// Asks a peer for whole slivers: of blob and stripe, axis and index, of so many bytes together. Of the answer nothing is
/// checked but that it isn't more.
async fn slivers(
    member: &Member,
    source: Peer,
    places: impl Iterator<Item = (BlobId, u32, Axis, u16)>,
    bytes: u64,
) -> Result<Answer<Streaming<SliverItem>>, Status> {
    let request = |(blob, stripe, axis, index): (BlobId, u32, Axis, u16)| SliverRequest {
        blob: Bytes::copy_from_slice(&blob.0),
        stripe,
        axis: axis as u32,
        index: u32::from(index),
    };
    let request = SliversRequest { items: places.map(request).collect() };
    let mut client = PeersClient::new(member.channel_to(source)?).max_decoding_message_size(weft_proto::MAX_MESSAGE);
    let asked = Asked { things: request.items.len() as u32, bytes };
    Answer::to(client.slivers(request), asked).await
}

async fn store(member: &Member, place: &Place, data: Bytes) {
    let Place { item, stripe, axis, index } = place.clone();
    let Ok(Some((symbol_size, hashes))) = member.stripe_hashes(&item.blob, stripe) else { return };
    if hashes.get(axis, index) != Some(Hash::of(&data)) {
        tracing::warn!(blob = %item.blob, stripe, axis = axis.name(), index, source = ?item.source,
            "a copied sliver has not its committed hash; it will be rebuilt");
        return;
    }
    let length = data.len();
    match member.put_slivers(item.blob, stripe, &hashes, symbol_size, vec![(axis, index, data)], Way::Copied).await {
        Ok(()) => member.metrics().sliver_copied(length),
        Err(error) => tracing::warn!(blob = %item.blob, %error, "a copied sliver could not be stored"),
    }
}
