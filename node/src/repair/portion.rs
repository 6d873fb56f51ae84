//! What a portion of a batch needs before its slivers can be had: its stripes' hashes; and how what comes is stored.

use std::collections::BTreeSet;

use futures::{FutureExt, StreamExt, stream::FuturesUnordered};
use tonic::{Code, Status, Streaming};
use weft_proto::v1::{StripeHashesRequest, StripeItem, StripesRequest, peers_client::PeersClient};
use weft_protocol::MemberId;
use weft_redstuff::{Hash, StripeHashes, merkle};

use super::{
    batch::Place,
    work::{Item, Source},
};
use crate::{
    answer::{Answer, Asked},
    member::{Member, MemberError, Way},
};

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

/// Fetches, from any peer, the hashes of stripes of which this member has none, and checks them against the blob's
/// root. What isn't found now is asked for again with its item's next turn. Gives the peers that were waited for in vain.
pub(super) async fn fetch_stripe_hashes(
    member: &Member,
    peers: &[MemberId],
    places: &[Place],
) -> Result<Vec<MemberId>, MemberError> {
    let (mut seen, mut wanted, mut silent) = (BTreeSet::new(), Vec::new(), Vec::new());
    for Place { item, stripe, .. } in places {
        if seen.insert((item.blob, *stripe)) && member.stripe_hashes(&item.blob, *stripe)?.is_none() {
            wanted.push((&**item, *stripe));
        }
    }
    for peer in peers.iter().copied() {
        if wanted.is_empty() {
            break;
        }
        let (served, ended) = ask(member, peer, &wanted).await;
        wanted = wanted.into_iter().zip(served).filter(|(_, ok)| !ok).map(|(want, _)| want).collect();
        if let Err(status) = ended {
            tracing::debug!(%peer, %status, "stripe hashes: the peer does not serve");
            if status.code() == Code::DeadlineExceeded {
                silent.push(peer);
            }
        }
    }
    Ok(silent)
}

/// Which of the stripes a peer gave, and how that ended.
async fn ask(member: &Member, peer: MemberId, wanted: &[(&Item, u32)]) -> (Vec<bool>, Result<(), Status>) {
    let mut kept = Together::new();
    let ended = async {
        let mut replies = stripes(member, peer, wanted).await?;
        while let Some(reply) = replies.next().await? {
            kept.begin(keep(member, wanted, reply)).await;
        }
        Ok(())
    };
    let ended = ended.await;
    let mut served = vec![false; wanted.len()];
    for at in kept.all().await.into_iter().flatten() {
        served[at] = true;
    }
    (served, ended)
}

async fn stripes(
    member: &Member,
    peer: MemberId,
    wanted: &[(&Item, u32)],
) -> Result<Answer<Streaming<StripeItem>>, Status> {
    let item =
        |(item, stripe): &(&Item, u32)| StripeHashesRequest { blob: item.blob.0.to_vec().into(), stripe: *stripe };
    let items: Vec<StripeHashesRequest> = wanted.iter().map(item).collect();
    // Of each its hashes, and its path in a tree of no more leaves than a `u32` counts.
    let hashes = |(item, _): &(&Item, u32)| 2 * u64::from(item.layout.code().shards()) + u64::from(u32::BITS);
    let bytes = wanted.iter().map(hashes).sum::<u64>() * Hash::LENGTH as u64;
    let asked = Asked { things: items.len() as u32, bytes };
    let mut client = PeersClient::new(member.peer_channel(peer)?).max_decoding_message_size(weft_proto::MAX_MESSAGE);
    Answer::to(client.stripes(StripesRequest { items }), asked).await
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
