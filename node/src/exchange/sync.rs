//! Becoming synced to a view (R9): reconciling with holders of n − f of its shards that refuse it.

use thiserror::Error;
use tonic::Status;
use weft_protocol::{DecodeError, Signed, SignedView, Statement, SyncError, SyncTally};

use super::{ask, pull::PullError, pull::pull};
use crate::member::{Member, MemberError, Peer, ToSync};

/// How often a peer whose registry moves is asked in one round.
const ATTEMPTS: u32 = 4;

#[derive(Debug, Error)]
pub(super) enum SyncPeerError {
    #[error("ask for its standing: {0}")]
    Call(#[from] Status),
    #[error("read its standing: {0}")]
    Decode(#[from] DecodeError),
    #[error("it does not refuse the view yet")]
    NotRefusing,
    #[error("merge its registry: {0}")]
    Pull(#[from] PullError),
    #[error(transparent)]
    Sync(#[from] SyncError),
    #[error("remember it: {0}")]
    Remember(#[from] MemberError),
}

/// Tries to become synced to a view that this member refuses.
pub(super) async fn sync(member: &Member, ToSync { view, declared }: &ToSync) -> Result<(), MemberError> {
    let id = view.view.id();
    let mut tally = SyncTally::new(&view.view, declared);
    if view.view.seat(member.identity().member).is_some()
        && let Some(own) = member.standing(&id)?
    {
        // A member that isn't synced to the view's predecessor itself doesn't count for its own shards.
        if let Err(error) = tally.add(&own) {
            tracing::debug!(%error, "sync: this member does not count for itself");
        }
    }
    for peer in member.reachable_peers() {
        if tally.is_synced() {
            break;
        }
        if view.view.seat(peer.0).is_none_or(|seat| seat.incarnation.number != peer.1) {
            continue;
        }
        if let Err(error) = count(member, view, peer, &mut tally).await {
            tracing::debug!(member = %peer.0, epoch = id.epoch, revision = id.revision, %error, "sync: the peer does not count");
        }
    }
    if !tally.is_synced() {
        tracing::debug!(epoch = id.epoch, revision = id.revision, wanting = tally.wanting(), "sync: not yet");
        return Ok(());
    }
    member.set_synced(id).await
}

/// Counts a peer, after merging the registry that its standing tells of. Blobs that come under the next view move the
/// registry meanwhile: then its standing is asked for again.
async fn count(member: &Member, view: &SignedView, peer: Peer, tally: &mut SyncTally<'_>) -> Result<(), SyncPeerError> {
    let mut left = ATTEMPTS;
    loop {
        left -= 1;
        let reply = ask(member, peer, Some(view.view.id())).await?;
        if reply.standing.is_empty() {
            return Err(SyncPeerError::NotRefusing);
        }
        let standing = Signed::decode(&reply.standing)?;
        let Statement::Standing { registry, .. } = &standing.statement else { return Err(SyncPeerError::NotRefusing) };
        // Where the digests are equal there is nothing to merge.
        if *registry != member.registry_digest() {
            match pull(member, peer, Some(*registry)).await {
                Err(PullError::Moved) if left > 0 => continue,
                pulled => pulled?,
            }
        }
        tally.add(&standing)?;
        member.remember(standing).await?;
        return Ok(());
    }
}
