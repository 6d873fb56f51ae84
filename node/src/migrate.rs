//! Migration: copying whole slivers from the member that still holds them (R22), and reading them again before anyone
//! may drop the old copy (R23).

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::future::join_all;
use tonic::Streaming;
use weft_proto::v1::{SliverItem, SliverRequest, SliversRequest, peers_client::PeersClient};
use weft_redstuff::{Axis, BlobId, Hash};

use crate::{
    member::{Member, Peer, Way},
    repair::{Item, Source},
};

/// One sliver to copy.
#[derive(Clone, Copy)]
struct Want<'i> {
    item: &'i Item,
    stripe: u32,
    axis: Axis,
    index: u16,
}

/// Copies the slivers of all items from their sources, one request a source. What a source doesn't serve stays on the
/// work list, and is rebuilt from symbols the next time.
pub(crate) async fn copy(member: &Member, items: &[Item]) {
    let mut by_source: BTreeMap<Peer, Vec<Want<'_>>> = BTreeMap::new();
    for item in items {
        let Source::Copy(source) = item.source else { continue };
        let wanted = item.slivers().map(|(stripe, axis, index)| Want { item, stripe, axis, index });
        let lacking = wanted.filter(|want| {
            member.held_slivers(&item.blob, want.stripe).is_ok_and(|held| !held.contains(&(want.axis, want.index)))
        });
        by_source.entry(source).or_default().extend(lacking);
    }
    join_all(by_source.into_iter().map(|(source, wanted)| async move {
        if let Err(status) = copy_from(member, source, &wanted).await {
            tracing::debug!(member = %source.0, incarnation = source.1, %status, "copy: the holder does not serve");
        }
    }))
    .await;
}

async fn copy_from(member: &Member, source: Peer, wanted: &[Want<'_>]) -> Result<(), tonic::Status> {
    let places = wanted.iter().map(|want| (want.item.blob, want.stripe, want.axis, want.index));
    let mut slivers = slivers(member, source, places).await?;
    while let Some(reply) = slivers.message().await? {
        let Some(want) = wanted.get(reply.item as usize).filter(|_| reply.held) else { continue };
        member.metrics().copy_received(reply.data.len());
        store(member, want, reply.data).await;
    }
    Ok(())
}

/// Asks a peer for whole slivers: of blob and stripe, axis and index. Nothing of the answer is checked.
pub(crate) async fn slivers(
    member: &Member,
    source: Peer,
    places: impl Iterator<Item = (BlobId, u32, Axis, u16)>,
) -> Result<Streaming<SliverItem>, tonic::Status> {
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

async fn store(member: &Member, want: &Want<'_>, data: Bytes) {
    let Want { item, stripe, axis, index } = *want;
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
