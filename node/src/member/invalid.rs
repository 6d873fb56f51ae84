//! Invalid blobs (R19): those whose writer lied, each with a sliver that others contradict. A verdict is recorded by who has
//! proven it, so that it outlives the slivers that it was proven from.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use weft_protocol::{Decoder, Encoder, ShardSet};
use weft_redstuff::{Axis, BlobId, Hash};
use weft_store::{Room, StoreError, View};

use super::{Blobs, Member, MemberError, index, lock, slivers, unrecoverable::wire};

/// Begins the names of the records of verdicts.
const INVALID: &str = "invalid/";

/// Blobs that are kept: a gateway that lies all day isn't to fill the memory. Beyond that nobody is heard, and blobs are tried as
/// any other.
const KEPT: usize = 1 << 16;

/// How many blobs an inventory names, as many as the operator lists.
const TOLD: usize = 1024;

/// Suspicions that wait to be looked into; repair has others as soon as these are.
const SUSPECTED: usize = 64;

/// Verdicts that go in one commit.
const BATCH: usize = 256;

/// A sliver whose committed hash isn't that of what the helpers yield: k slivers that cross it, each with its own committed
/// hash. Who has these can tell that no content has all the hashes that the writer committed to. Others that cross it may yield
/// the right one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) stripe: u32,
    pub(crate) axis: Axis,
    pub(crate) index: u16,
    /// The indices of the helpers.
    pub(crate) helpers: ShardSet,
}

/// The verdicts that this member has proven.
#[derive(Debug, Default)]
pub(super) struct Invalid {
    verdicts: BTreeMap<BlobId, Verdict>,
    /// Over the blobs; `None`: there are none.
    digest: Option<Hash>,
    /// What repair has come upon, to be looked into.
    suspected: BTreeMap<BlobId, Verdict>,
}

impl Invalid {
    pub(super) fn load(from: &impl View) -> Result<Self, MemberError> {
        let read = |(name, bytes): (String, Vec<u8>)| {
            let malformed = MemberError::Malformed { field: "verdict" };
            let blob = name.strip_prefix(INVALID).and_then(|blob| blob.parse().ok()).ok_or(malformed)?;
            Ok((blob, read_verdict(&bytes)?))
        };
        let rows = from.states(INVALID, None, usize::MAX)?;
        let verdicts = rows.into_iter().map(read).collect::<Result<_, MemberError>>()?;
        Ok(Self { digest: digest(&verdicts), verdicts, suspected: BTreeMap::new() })
    }

    fn change(&mut self, change: impl FnOnce(&mut BTreeMap<BlobId, Verdict>)) {
        change(&mut self.verdicts);
        self.digest = digest(&self.verdicts);
    }
}

impl Member {
    /// Whether this member has proven that the blob's writer lied.
    pub fn is_invalid(&self, blob: &BlobId) -> bool {
        lock(&self.invalid).verdicts.contains_key(blob)
    }

    /// The digest of the blobs that are invalid by this member's proofs: equal ones tell that peers know the same.
    pub(crate) fn invalid_digest(&self) -> Option<Hash> {
        lock(&self.invalid).digest
    }

    /// Verdicts in the order of IDs.
    pub(crate) fn verdicts(&self, after: Option<BlobId>, limit: usize) -> Vec<(BlobId, Verdict)> {
        let invalid = lock(&self.invalid);
        let later = invalid.verdicts.iter().filter(|(blob, _)| after.is_none_or(|after| **blob > after));
        later.take(limit).map(|(blob, verdict)| (*blob, *verdict)).collect()
    }

    /// How many live blobs are invalid by this member's proofs, and the first of them.
    pub(super) fn tell_invalid(&self) -> Result<(u64, Vec<Bytes>), MemberError> {
        let (blobs, view) = (self.convicted(), self.store.view());
        let mut live = Vec::new();
        for blob in &blobs {
            if index::is_live(&view, blob)? {
                live.push(blob);
            }
        }
        Ok((live.len() as u64, wire(live.into_iter().take(TOLD))))
    }

    /// The blobs that verdicts are kept of. A copy: readers ask what is among them while others go through it.
    fn convicted(&self) -> Vec<BlobId> {
        lock(&self.invalid).verdicts.keys().copied().collect()
    }

    /// Whether no verdict is kept any more.
    pub(crate) fn has_many_verdicts(&self) -> bool {
        lock(&self.invalid).verdicts.len() >= KEPT
    }

    /// What counts neither as missing nor for a margin here: what the operator has listed, and what this member has proven to be
    /// invalid, for which it needs nobody's word.
    pub(crate) fn aside(&self) -> Blobs {
        self.with_invalid(self.listed())
    }

    /// The same of a list that was taken before.
    pub(super) fn with_invalid(&self, listed: Blobs) -> Blobs {
        let invalid = lock(&self.invalid);
        if invalid.verdicts.is_empty() {
            return listed;
        }
        Arc::new(listed.iter().chain(invalid.verdicts.keys()).copied().collect())
    }

    /// Notes what repair has come upon: it isn't to wait for what comes of it.
    pub(crate) fn suspect(&self, blob: BlobId, verdict: Verdict) {
        let mut invalid = lock(&self.invalid);
        if invalid.suspected.len() < SUSPECTED && !invalid.verdicts.contains_key(&blob) {
            invalid.suspected.insert(blob, verdict);
        }
    }

    pub(crate) fn take_suspected(&self) -> BTreeMap<BlobId, Verdict> {
        std::mem::take(&mut lock(&self.invalid).suspected)
    }

    /// Records a verdict that this member has proven, unless the blob is gone. Where the store takes no writes it holds until the
    /// process ends.
    pub(crate) async fn convict(&self, blob: BlobId, verdict: Verdict) -> Result<(), MemberError> {
        if self.has_many_verdicts() || !self.is_live(&blob)? {
            return Ok(());
        }
        let Verdict { stripe, axis, index, helpers: _ } = verdict;
        tracing::warn!(%blob, stripe, axis = axis.name(), index, "the blob's writer lied: its slivers contradict each other (R19)");
        lock(&self.invalid).change(|verdicts| _ = verdicts.insert(blob, verdict));
        self.notify();
        let write = self.store.write(Room::Reserved, move |tx| {
            if index::is_live(tx, &blob)? {
                tx.put_state(&name(&blob), write_verdict(verdict));
            }
            Ok::<_, MemberError>(())
        });
        match write.await {
            Err(error) if error.is_read_only() => Ok(()),
            written => written.map(drop),
        }
    }

    /// Forgets some of the verdicts on blobs that were deleted, or have expired, or are void.
    pub(crate) async fn drop_verdicts(&self) -> Result<(), MemberError> {
        let (view, mut gone) = (self.store.view(), BTreeSet::new());
        for blob in self.convicted() {
            if gone.len() < BATCH && !index::is_live(&view, &blob)? {
                gone.insert(blob);
            }
        }
        if gone.is_empty() || self.is_read_only() {
            return Ok(());
        }
        let write = self.store.write(Room::Reserved, move |tx| {
            for blob in &gone {
                tx.remove_state(&name(blob));
            }
            Ok::<_, StoreError>(gone)
        });
        let gone = write.await?.value;
        lock(&self.invalid).change(|verdicts| verdicts.retain(|blob, _| !gone.contains(blob)));
        Ok(())
    }
}

fn name(blob: &BlobId) -> String {
    format!("{INVALID}{blob}")
}

fn digest(verdicts: &BTreeMap<BlobId, Verdict>) -> Option<Hash> {
    let all: Vec<u8> = verdicts.keys().flat_map(|blob| blob.0).collect();
    (!all.is_empty()).then(|| Hash::of(&all))
}

fn write_verdict(verdict: Verdict) -> Vec<u8> {
    let Verdict { stripe, axis, index, helpers } = verdict;
    Encoder::new().u32(stripe).u8(axis as u8).u32(index.into()).fixed(&helpers.to_bytes()).finish()
}

fn read_verdict(bytes: &[u8]) -> Result<Verdict, MemberError> {
    let mut from = Decoder::new("verdict", bytes);
    let (stripe, axis, index, helpers) = (from.u32()?, from.u8()?, from.u32()?, from.fixed::<32>()?);
    from.finish()?;
    verdict(stripe, axis.into(), index, &helpers).ok_or(MemberError::Malformed { field: "verdict" })
}

/// A verdict as the wire tells it.
pub(crate) fn verdict(stripe: u32, axis: u32, index: u32, helpers: &[u8]) -> Option<Verdict> {
    let helpers = ShardSet::from_bytes(helpers.try_into().ok()?);
    Some(Verdict { stripe, axis: slivers::axis(axis)?, index: u16::try_from(index).ok()?, helpers })
}
