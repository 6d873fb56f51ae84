//! Becoming synced to a view (R9): reconciling with holders of n − f of its shards that refuse it.

use thiserror::Error;
use tonic::Status;
use weft_protocol::{DecodeError, Signed, SignedView, Statement, SyncError, SyncTally};

use super::{ask, pull::PullError, pull::pull};
use crate::member::{DigestKind, Member, MemberError, Peer, ToSync};

/// How often a peer whose registry moves is asked in one round.
const ATTEMPTS: u32 = 4;

/// A view's epoch and revision.
type Horizon = (u64, u64);

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
        && let Some(own) = member.standing(&id, DigestKind::Sets).await?
    {
        // A member that isn't synced to the view's predecessor itself doesn't count for its own shards.
        if let Err(error) = tally.add(&own) {
            tracing::debug!(%error, "sync: this member does not count for itself");
        }
    }
    let mut horizons = Vec::new();
    for peer in member.reachable_peers() {
        if tally.is_synced() {
            break;
        }
        let Some(seat) = view.view.seat(peer.0).filter(|seat| seat.incarnation.number == peer.1) else { continue };
        match count(member, view, peer, &mut tally).await {
            Ok(horizon) => horizons.push((horizon, seat.shards.len())),
            Err(error) => {
                tracing::debug!(member = %peer.0, epoch = id.epoch, revision = id.revision, %error, "sync: the peer does not count");
            }
        }
    }
    if !tally.is_synced() {
        tracing::debug!(epoch = id.epoch, revision = id.revision, wanting = tally.wanting(), "sync: not yet");
        return Ok(());
    }
    member.set_synced(id, agreed(horizons, view.view.code.fault_tolerance())).await
}

/// The highest horizon that peers with more than f shards have reached: one of them tells the truth. Where all honest
/// ones among those that sync a member have collected a tombstone, it is at least that tombstone's (R14).
fn agreed(mut horizons: Vec<(Option<Horizon>, u16)>, f: u16) -> Option<Horizon> {
    horizons.sort_unstable_by(|one, other| other.cmp(one));
    let mut shards = 0;
    let reached = horizons.into_iter().find(|(_, of)| {
        shards += of;
        shards > f
    });
    reached?.0
}

/// Counts a peer, after merging the registry that its standing tells of. Blobs that come under the next view move the
/// registry meanwhile: then its standing is asked for again. Gives the peer's horizon.
async fn count(
    member: &Member,
    view: &SignedView,
    peer: Peer,
    tally: &mut SyncTally<'_>,
) -> Result<Option<Horizon>, SyncPeerError> {
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
        if *registry != member.registry_digest(DigestKind::read(reply.digest_kind)).await? {
            match pull(member, peer, Some(*registry)).await {
                Err(PullError::Moved) if left > 0 => continue,
                pulled => pulled?,
            }
        }
        tally.add(&standing)?;
        member.hear_sequence(standing)?;
        member.remember().await?;
        return Ok(read_horizon(&reply.horizon));
    }
}

fn read_horizon(told: &[u8]) -> Option<Horizon> {
    let (epoch, revision) = told.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*epoch), u64::from_be_bytes(revision.try_into().ok()?)))
}

pub(super) fn write_horizon((epoch, revision): Horizon) -> Vec<u8> {
    [epoch.to_be_bytes(), revision.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r14_a_horizon_is_believed_when_more_than_f_shards_have_reached_it() {
        assert_eq!(
            agreed(vec![(Some((9, 9)), 2), (Some((2, 1)), 1), (None, 4)], 2),
            Some((2, 1)),
            "a liar invents one"
        );
        assert_eq!(agreed(vec![(Some((2, 1)), 2), (Some((2, 0)), 2), (None, 2)], 2), Some((2, 0)));
        assert_eq!(agreed(vec![(Some((2, 1)), 2), (None, 5)], 2), None);
        assert_eq!(agreed(vec![(Some((2, 1)), 2)], 2), None, "too few have told");
        assert_eq!(read_horizon(&write_horizon((3, 4))), Some((3, 4)));
    }
}
