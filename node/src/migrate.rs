//! Migration: copying whole slivers from the member that still holds them (R22), and reading them again before anyone
//! may drop the old copy (R23).

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use futures::future::join_all;
use tokio::time::timeout;
use tonic::{Status, Streaming};
use weft_proto::v1::{SliverItem, SliverRequest, SliversRequest, peers_client::PeersClient};
use weft_protocol::Seat;
use weft_redstuff::{Axis, BlobId, Hash};

use crate::{
    member::{Member, Peer, Way},
    repair::{Place, Source, Together},
};

/// How long a peer may take to show its slivers of one stripe.
const SHOWN: Duration = Duration::from_secs(20);

/// Copies slivers from their items' sources, one request a source. What a source doesn't serve stays on the work list, and
/// is rebuilt from symbols the next time.
pub(crate) async fn copy(member: &Member, portion: &[Place<'_>]) {
    let mut by_source: BTreeMap<Peer, Vec<Place<'_>>> = BTreeMap::new();
    for place in portion {
        let Source::Copy(source) = place.item.source else { continue };
        let lacks = |held: Vec<_>| !held.contains(&(place.axis, place.index));
        if member.held_slivers(&place.item.blob, place.stripe).is_ok_and(lacks) {
            by_source.entry(source).or_default().push(*place);
        }
    }
    join_all(by_source.into_iter().map(|(source, wanted)| async move {
        if let Err(status) = copy_from(member, source, &wanted).await {
            tracing::debug!(member = %source.0, incarnation = source.1, %status, "copy: the holder does not serve");
        }
    }))
    .await;
}

async fn copy_from(member: &Member, source: Peer, wanted: &[Place<'_>]) -> Result<(), Status> {
    let places = wanted.iter().map(|place| (place.item.blob, place.stripe, place.axis, place.index));
    let mut slivers = slivers(member, source, places).await?;
    let mut stored = Together::new();
    // What came before the source broke off is stored, and counted.
    let broke_off = loop {
        match slivers.message().await {
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

/// Asks a peer to show its slivers of these indices, of one axis of a stripe, and gives `take` each that comes, unchecked.
pub(crate) async fn show(
    member: &Member,
    seat: &Seat,
    (blob, stripe, axis): (BlobId, u32, Axis),
    indices: &[u16],
    mut take: impl FnMut(u16, Bytes),
) {
    let shown = async {
        let places = indices.iter().map(|index| (blob, stripe, axis, *index));
        let mut slivers = slivers(member, (seat.member, seat.incarnation.number), places).await?;
        while let Some(reply) = slivers.message().await? {
            member.metrics().symbols_received(reply.data.len());
            if let Some(index) = indices.get(reply.item as usize).filter(|_| reply.held) {
                take(*index, reply.data);
            }
        }
        Ok::<_, Status>(())
    };
    let shown = timeout(SHOWN, shown).await.unwrap_or_else(|_| Err(Status::deadline_exceeded("the peer is silent")));
    if let Err(status) = shown {
        tracing::debug!(member = %seat.member, %blob, stripe, %status, "the peer doesn't show its slivers");
    }
}

/// Asks a peer for whole slivers: of blob and stripe, axis and index. Nothing of the answer is checked.
pub(crate) async fn slivers(
    member: &Member,
    source: Peer,
    places: impl Iterator<Item = (BlobId, u32, Axis, u16)>,
) -> Result<Streaming<SliverItem>, Status> {
    let request = |(blob, stripe, axis, index): (BlobId, u32, Axis, u16)| SliverRequest {
        blob: Bytes::copy_from_slice(&blob.0),
        stripe,
        axis: axis as u32,
        index: u32::from(index),
    };
    let request = SliversRequest { items: places.map(request).collect() };
    let mut client = PeersClient::new(member.channel_to(source)?).max_decoding_message_size(weft_proto::MAX_MESSAGE);
    Ok(client.slivers(request).await?.into_inner())
}

async fn store(member: &Member, place: &Place<'_>, data: Bytes) {
    let Place { item, stripe, axis, index } = *place;
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
