//! What follows from the exchanges: the work list, being synced, reconciling registries.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{sync::watch, time::Instant};
use weft_redstuff::Hash;

use super::{Heard, collect::collect, orphans, pull::pull, sync::sync};
use crate::member::{Member, MemberError, Peer};

/// At least this long between two pulls from one peer: registries always differ for a moment while blobs are written.
const PULL_INTERVAL: Duration = Duration::from_secs(5);

/// Between two looks for upload sessions that nobody finished, for slivers of blobs that are void or never were certified,
/// and for tombstones that can go: at the most.
const TIDY_INTERVAL: Duration = Duration::from_secs(60);

/// Between two attempts to become synced to the view before, while puts wait for it (R13).
const SYNC_INTERVAL: Duration = Duration::from_millis(200);

/// Between two looks for shards to read again.
const VERIFY_INTERVAL: Duration = Duration::from_secs(1);

/// What was looked at last.
#[derive(Debug, Default)]
struct Tidied {
    at: Option<Instant>,
    /// The view in which uploads that were acked and never certified were asked about.
    orphans: Option<Hash>,
}

/// Runs for the life of the process, after each round of exchanges and each change of view, target or work list.
pub(crate) async fn upkeep(member: Arc<Member>, mut heard: watch::Receiver<Heard>) {
    let mut pulled = HashMap::new();
    let mut tidied = Tidied::default();
    let mut changes = member.changes();
    loop {
        let digests = heard.borrow_and_update().clone();
        changes.mark_unchanged();
        if let Err(error) = round(&member, &digests, &mut pulled, &mut tidied).await {
            tracing::warn!(%error, "upkeep: a round failed; it will be tried again");
        }
        tokio::select! {
            biased;
            told = heard.changed() => if told.is_err() { return },
            _ = changes.changed() => {}
            () = member.env().clock.sleep(SYNC_INTERVAL), if member.is_seated() && !member.counts() => {}
        }
    }
}

async fn round(
    member: &Member,
    heard: &Heard,
    pulled: &mut HashMap<Peer, Instant>,
    tidied: &mut Tidied,
) -> Result<(), MemberError> {
    if let Err(error) = member.expire().await {
        // The rest doesn't wait for it.
        tracing::warn!(%error, "blobs whose time has come could not be dropped");
    }
    if member.work_is_stale() {
        member.renew_work().await?;
    }
    // In order, since who is synced to a view counts for the next. Where too few are left of an old one's holders, a
    // later one may still be within reach, and takes the place of all before it.
    for view in member.to_sync() {
        sync(member, &view).await?;
    }
    let now = member.env().clock.now();
    let seated = |(id, number): &Peer| {
        let newest = member.newest();
        newest.is_some_and(|newest| newest.view.seat(*id).is_some_and(|seat| seat.incarnation.number == *number))
    };
    // A registry that the newest view fences is never merged: what it has and others don't is gone (R14).
    for (peer, (kind, digest)) in heard.iter().filter(|(peer, _)| seated(peer)) {
        let recent = pulled.get(peer).is_some_and(|last| now.duration_since(*last) < PULL_INTERVAL);
        if recent || *digest == member.registry_digest(*kind).await? {
            continue;
        }
        pulled.insert(*peer, now);
        if let Err(error) = pull(member, *peer, None).await {
            tracing::debug!(member = %peer.0, incarnation = peer.1, %error, "registry: the peer's could not be merged");
        }
    }
    let interval = TIDY_INTERVAL.min(member.env().keep_tombstones);
    if tidied.at.is_none_or(|last| now.duration_since(last) >= interval) {
        tidied.at = Some(now);
        member.drop_old_sessions().await?;
        member.drop_void().await?;
        member.drop_unclaimed().await?;
        orphans::settle(member, &mut tidied.orphans).await?;
        collect(member).await?;
    }
    Ok(())
}

/// Reads what the member holds of its shards again, for the life of the process (R23).
pub(crate) async fn verify(member: Arc<Member>) {
    loop {
        let verified = match member.unverified() {
            Ok(Some(shard)) => member.verify(shard).await,
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = verified {
            tracing::warn!(%error, "verify: slivers could not be read again");
        }
        member.env().clock.sleep(VERIFY_INTERVAL).await;
    }
}
