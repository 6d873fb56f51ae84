//! One stripe's hashes, proven against the blob's root.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, stream::FuturesUnordered};
use tokio::time::sleep;
use weft_proto::v1::{StripeHashesReply, StripeHashesRequest};
use weft_redstuff::{BlobId, Hash, Metadata, StripeHashes, merkle};

use crate::{Current, Holder};

/// For one member's answer.
const ANSWER: Duration = Duration::from_secs(5);
/// After which another member is asked too.
const HEDGE: Duration = Duration::from_millis(150);

/// Asks one member after the other, the next one at a failure or when it takes long.
pub(super) async fn stripe_hashes(
    current: &Current,
    id: BlobId,
    metadata: &Metadata,
    stripe: u32,
) -> Result<StripeHashes, Vec<String>> {
    let holders = current.by_health(id.0[30].wrapping_add(stripe as u8));
    let mut waiting = holders.into_iter().chain(current.others.iter().cloned()).collect::<Vec<_>>().into_iter();
    let (mut asked, mut failures) = (FuturesUnordered::new(), Vec::new());
    loop {
        if let Some(holder) = waiting.next() {
            asked.push(ask(holder, id, metadata, stripe));
        }
        tokio::select! {
            biased;
            answer = asked.next() => match answer {
                Some(Ok(hashes)) => return Ok(hashes),
                Some(Err(reason)) => failures.push(reason),
                None => return Err(failures),
            },
            () = sleep(HEDGE), if waiting.len() > 0 => {}
        }
    }
}

/// The hashes of a blob's only stripe, where these are they.
pub(super) fn proven(metadata: &Metadata, hashes: &[u8]) -> Option<StripeHashes> {
    let hashes = StripeHashes::decode(metadata.code(), hashes).ok()?;
    merkle::verify(&metadata.root, &hashes.root(), 0, metadata.layout.stripes(), &[]).then_some(hashes)
}

async fn ask(holder: Arc<Holder>, id: BlobId, metadata: &Metadata, stripe: u32) -> Result<StripeHashes, String> {
    let member = holder.member();
    let request = StripeHashesRequest { blob: Bytes::copy_from_slice(id.as_bytes()), stripe };
    let reply = holder.call(ANSWER, holder.reads().get_stripe_hashes(request)).await;
    let StripeHashesReply { hashes, path } =
        reply.map_err(|status| format!("member {member}: {}", status.message()))?;
    let path: Option<Vec<Hash>> = path.iter().map(|hash| Hash::from_slice(hash)).collect();
    let hashes = StripeHashes::decode(metadata.code(), &hashes).map_err(|error| format!("member {member}: {error}"))?;
    let proven = path
        .is_some_and(|path| merkle::verify(&metadata.root, &hashes.root(), stripe, metadata.layout.stripes(), &path));
    if proven { Ok(hashes) } else { Err(format!("member {member}: the hashes of stripe {stripe} aren't the blob's")) }
}
