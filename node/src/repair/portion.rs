//! Portions: how much of a batch is fetched before it is stored. An item of a large blob is many of them, so that neither
//! memory nor how long gateways wait depends on the blob's size.

use std::collections::BTreeSet;

use futures::{FutureExt, StreamExt, stream::FuturesUnordered};
use weft_proto::v1::{StripeHashesRequest, StripeItem, StripesRequest, peers_client::PeersClient};
use weft_protocol::MemberId;
use weft_redstuff::{Axis, Hash, StripeHashes, StripeLayout, merkle};

use super::work::{Fleet, Item, Source};
use crate::member::{Member, MemberError, Way};

/// Writes that wait for a commit at one time.
const TOGETHER: usize = 128;

/// Writes that are begun one after the other and waited for together, so that they share commits.
#[derive(Debug)]
pub(crate) struct Together<F: Future> {
    begun: FuturesUnordered<F>,
    done: Vec<F::Output>,
}

impl<F: Future> Together<F> {
    pub(crate) fn new() -> Self {
        Self { begun: FuturesUnordered::new(), done: Vec::new() }
    }

    /// Begins another; waits only where too many are under way.
    pub(crate) async fn begin(&mut self, write: F) {
        self.begun.push(write);
        while let Some(Some(done)) = self.begun.next().now_or_never() {
            self.done.push(done);
        }
        while self.begun.len() >= TOGETHER
            && let Some(done) = self.begun.next().await
        {
            self.done.push(done);
        }
    }

    /// What they came to, in no order.
    pub(crate) async fn all(mut self) -> Vec<F::Output> {
        self.done.extend(self.begun.collect::<Vec<_>>().await);
        self.done
    }
}

/// A sliver of an item.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'i> {
    pub(crate) item: &'i Item,
    pub(crate) stripe: u32,
    pub(crate) axis: Axis,
    pub(crate) index: u16,
}

/// The items' slivers of these axes, stripe by stripe, as many in each portion as have so many bytes.
pub(super) fn portions<'i>(
    items: &'i [Item],
    axes: &'static [Axis],
    bytes: u64,
) -> impl Iterator<Item = Vec<Place<'i>>> {
    let mut places = items.iter().flat_map(move |item| {
        let of_stripe = move |stripe: StripeLayout| {
            axes.iter().map(move |axis| {
                let index = item.layout.code().sliver_index(item.shard.into(), *axis);
                let place = Place { item, stripe: stripe.index, axis: *axis, index };
                (place, stripe.sliver_length(*axis) as u64)
            })
        };
        item.layout.iter().flat_map(of_stripe)
    });
    std::iter::from_fn(move || {
        let (mut portion, mut length) = (Vec::new(), 0);
        while length < bytes
            && let Some((place, more)) = places.next()
        {
            portion.push(place);
            length += more;
        }
        (!portion.is_empty()).then_some(portion)
    })
}

/// Fetches, from any peer, the hashes of stripes of which this member has none, and checks them against the blob's
/// root. What isn't found now is asked for again with the next batch.
pub(super) async fn fetch_stripe_hashes(
    member: &Member,
    fleet: &Fleet,
    places: &[Place<'_>],
) -> Result<(), MemberError> {
    let (mut seen, mut wanted) = (BTreeSet::new(), Vec::new());
    for Place { item, stripe, .. } in places {
        if seen.insert((item.blob, *stripe)) && member.stripe_hashes(&item.blob, *stripe)?.is_none() {
            wanted.push((*item, *stripe));
        }
    }
    for peer in &fleet.reachable {
        if wanted.is_empty() {
            break;
        }
        match ask(member, *peer, &wanted).await {
            Ok(served) => wanted = wanted.into_iter().zip(served).filter(|(_, ok)| !ok).map(|(want, _)| want).collect(),
            Err(error) => tracing::debug!(%peer, %error, "stripe hashes: the peer does not serve"),
        }
    }
    Ok(())
}

async fn ask(member: &Member, peer: MemberId, wanted: &[(&Item, u32)]) -> Result<Vec<bool>, tonic::Status> {
    let request = StripesRequest {
        items: wanted
            .iter()
            .map(|(item, stripe)| StripeHashesRequest { blob: item.blob.0.to_vec().into(), stripe: *stripe })
            .collect(),
    };
    let mut client = PeersClient::new(member.peer_channel(peer)?).max_decoding_message_size(weft_proto::MAX_MESSAGE);
    let mut replies = client.stripes(request).await?.into_inner();
    let mut kept = Together::new();
    while let Some(reply) = replies.message().await? {
        kept.begin(keep(member, wanted, reply)).await;
    }
    let mut served = vec![false; wanted.len()];
    for at in kept.all().await.into_iter().flatten() {
        served[at] = true;
    }
    Ok(served)
}

/// Stores the hashes of a stripe, where they are proven. Gives which of the `wanted` they are.
async fn keep(member: &Member, wanted: &[(&Item, u32)], reply: StripeItem) -> Option<usize> {
    let at = reply.item as usize;
    let (item, stripe) = wanted.get(at).copied()?;
    let bytes = reply.hashes.len() + reply.path.iter().map(bytes::Bytes::len).sum::<usize>();
    match item.source {
        Source::Symbols => member.metrics().hashes_received(bytes),
        Source::Copy(_) => member.metrics().hashes_copied(bytes),
    }
    let hashes = StripeHashes::decode(item.layout.code(), &reply.hashes).ok()?;
    let path: Vec<Hash> = reply.path.iter().filter_map(|hash| Hash::from_slice(hash)).collect();
    let proven = merkle::verify(&item.root, &hashes.root(), stripe, item.layout.stripes(), &path);
    let (true, Some(layout)) = (proven, item.layout.stripe(stripe)) else { return None };
    let size = layout.symbol_size;
    let stored = member.put_slivers(item.blob, stripe, &hashes, size, Vec::new(), Way::Copied).await;
    stored.is_ok().then_some(at)
}

#[cfg(test)]
mod tests {
    use weft_redstuff::{BlobId, Code, Layout};

    use super::*;

    fn item(code: Code, length: u64, shard: u8) -> Item {
        let layout = Layout::for_length(code, length).unwrap();
        Item { blob: BlobId([shard; 32]), shard, layout, root: Hash([0; 32]), source: Source::Symbols }
    }

    #[test]
    fn portions_are_all_slivers_once_and_none_is_longer_than_it_may_be() {
        let code = Code::new(32, 6).unwrap();
        // Inline blobs have none.
        let items = [item(code, 100 << 20, 3), item(code, 0, 4), item(code, 64, 5), item(code, 4096, 31)];
        let length =
            |place: &Place<'_>| place.item.layout.stripe(place.stripe).unwrap().sliver_length(place.axis) as u64;
        for most in [1, 4 << 10, 2 << 20, 16 << 20] {
            let mut all = Vec::new();
            for portion in portions(&items, &Axis::BOTH, most) {
                let (_, before) = portion.split_last().unwrap();
                assert!(before.iter().map(length).sum::<u64>() < most);
                all.extend(portion.iter().map(|place| (place.item.blob, place.stripe, place.axis, place.index)));
            }
            let stripes = items.iter().map(|item| item.layout.stripes() as usize).sum::<usize>();
            assert_eq!((stripes, all.len()), (13 + 1, 2 * stripes), "with {most} bytes");
            assert!(all.is_sorted());
            all.dedup();
            assert_eq!(all.len(), 2 * stripes);
            assert!(all.iter().all(|(blob, _, axis, index)| code.shard_of(*axis, *index) == u16::from(blob.0[0])));
        }
    }
}
