//! Unrecoverable blobs (R20): those that are so by this member's own evidence, and those that the operator has listed,
//! because members with more than f shards say so.
//!
//! What a listed blob lacks stays on the work list, and doesn't count as missing: it is *set aside*. The inventory names
//! what was set aside by the list, so that nobody takes a member for whole by a list that no longer holds. What this member has
//! proven to be invalid is set aside by itself (R19).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use weft_protocol::ShardSet;
use weft_redstuff::BlobId;
use weft_store::{StoreError, View};

use super::{Member, MemberError, index, lock};

/// How many blobs an inventory names, as many as the operator lists.
const TOLD: usize = 1024;

/// Blobs, shared with whoever took them a moment ago.
pub(crate) type Blobs = Arc<BTreeSet<BlobId>>;

/// What an inventory says of unrecoverable blobs.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) blobs: Vec<Bytes>,
    pub(super) total: u64,
}

impl Member {
    /// What repair has found to be unrecoverable, without what is gone or whole by now.
    pub fn unrecoverable(&self) -> Result<BTreeSet<BlobId>, MemberError> {
        let (found, view) = (lock(&self.unrecoverable).clone(), self.store.view());
        let mut blobs = BTreeSet::new();
        for blob in found.iter().filter(|blob| !self.is_invalid(blob)) {
            if index::is_live(&view, blob)? && !view.missing_of(&blob.0)?.is_empty() {
                blobs.insert(*blob);
            }
        }
        Ok(blobs)
    }

    pub(crate) fn set_unrecoverable(&self, blobs: BTreeSet<BlobId>) {
        *lock(&self.unrecoverable) = Arc::new(blobs);
    }

    /// The blobs that the operator's newest order lists.
    pub(crate) fn listed(&self) -> Blobs {
        lock(&self.listed).clone()
    }

    pub(super) fn set_listed(&self, blobs: Blobs) {
        *lock(&self.listed) = blobs;
    }

    pub(super) fn tell_unrecoverable(&self) -> Result<Told, MemberError> {
        let blobs = self.unrecoverable()?;
        Ok(Told { total: blobs.len() as u64, blobs: wire(blobs.iter().take(TOLD)) })
    }
}

pub(super) fn wire<'b>(blobs: impl Iterator<Item = &'b BlobId>) -> Vec<Bytes> {
    blobs.map(|blob| Bytes::copy_from_slice(&blob.0)).collect()
}

/// Those of `listed` that lack something here, and which shards of them.
pub(super) fn set_aside(view: &impl View, listed: &BTreeSet<BlobId>) -> Result<BTreeMap<BlobId, ShardSet>, StoreError> {
    let mut aside = BTreeMap::new();
    for blob in listed {
        let missing: ShardSet = view.missing_of(&blob.0)?.into_iter().collect();
        if !missing.is_empty() {
            aside.insert(*blob, missing);
        }
    }
    Ok(aside)
}

/// Whether any blob misses that shard that isn't set aside.
pub(super) fn lacks(view: &impl View, shard: u8, listed: &BTreeSet<BlobId>) -> Result<bool, StoreError> {
    if listed.is_empty() || !view.lacks(shard)? {
        return view.lacks(shard);
    }
    let rows = view.missing_counts()?.into_iter().filter(|((of, _), _)| *of == shard).map(|(_, count)| count);
    let aside = set_aside(view, listed)?.into_values().filter(|missing| missing.contains(shard)).count();
    Ok(rows.sum::<u64>() > aside as u64)
}
