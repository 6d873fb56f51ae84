//! Deleting (R24): the intent and the term are in status already; here the object is read live and deleted as read.

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt;
use thiserror::Error;
use weft_crds::DeletionPolicy;

use crate::{
    act::{Means, members::Which, volumes},
    api::{ApiError, Object},
    names,
};

#[derive(Debug, Error)]
pub enum DestroyError {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error("{name} is to be deleted, but term {term} has recorded no intent to")]
    NoIntent { name: String, term: u64 },
    #[error("{name} was to be deleted in term {ours}; the leader of term {theirs} has revoked that (R24)")]
    Revoked { name: String, ours: u64, theirs: u64 },
}

/// Deletes a pod, with its own grace period.
pub async fn pod(with: &Means<'_>, which: Which, attempt: u32, uid: &str) -> Result<(), DestroyError> {
    let name = names::member_pod(&with.subject.name, which.member, which.incarnation, attempt);
    match intended::<Pod>(with, &name, uid).await? {
        Some(pod) => Ok(with.subject.namespace.delete_as_read(&pod).await?),
        None => Ok(()),
    }
}

/// Deletes a claim, and its volume with it.
pub async fn claim(with: &Means<'_>, which: Which, uid: &str) -> Result<(), DestroyError> {
    let name = names::member_claim(&with.subject.name, which.member, with.objects.origin(which));
    let Some(claim) = intended::<PersistentVolumeClaim>(with, &name, uid).await? else { return Ok(()) };
    let volume = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref()).filter(|name| !name.is_empty());
    // A volume kept for ever by the committee's policy would be an orphan here: nothing in it is needed any more.
    if let Some(volume) = volume.filter(|volume| with.objects.volumes.by_name.contains_key(*volume)) {
        volumes::settle(with.subject, &claim, volume, DeletionPolicy::Delete).await?;
    }
    Ok(with.subject.namespace.delete_as_read(&claim).await?)
}

/// The object as it is now, if it is the one that status says is to go; `None` if it went already. A later leader may
/// have revoked the intent after it was recorded: then it has touched the object, before this read or after it.
async fn intended<K: Object>(with: &Means<'_>, name: &str, uid: &str) -> Result<Option<K>, DestroyError> {
    let recorded = |intent: &weft_crds::Destruction| intent.uid == uid && intent.term == with.term;
    if !with.subject.status.destroying.iter().any(recorded) {
        return Err(DestroyError::NoIntent { name: name.to_owned(), term: with.term });
    }
    let live: Option<K> = with.subject.namespace.get(name).await?;
    let live = live.filter(|live| live.uid().as_deref() == Some(uid) && live.meta().deletion_timestamp.is_none());
    let touched = |live: &K| live.annotations().get(names::TOUCHED)?.parse().ok();
    match live.as_ref().and_then(touched).filter(|theirs: &u64| *theirs > with.term) {
        Some(theirs) => Err(DestroyError::Revoked { name: name.to_owned(), ours: with.term, theirs }),
        None => Ok(live),
    }
}
