//! Invalid blobs (R19): those whose writer lied, each with a sliver that others contradict. A verdict is recorded by who has
//! proven it, so that it outlives the slivers that it was proven from.

use std::collections::BTreeMap;

use bytes::Bytes;
use weft_protocol::{Decoder, Encoder};
use weft_redstuff::{Axis, BlobId, Hash};
use weft_store::{Room, StoreError, View};

use super::{Kind, Member, MemberError, lock, slivers, unrecoverable::wire};

/// Begins the names of the records of verdicts.
const INVALID: &str = "invalid/";

/// Blobs that are kept: a gateway that lies all day isn't to fill the memory. What is beyond is tried as any other.
const KEPT: usize = 1 << 16;

/// How many blobs an inventory names, as many as the operator lists.
const TOLD: usize = 1024;

/// A sliver whose committed hash isn't that of what the slivers yield which cross it, k of them, each with its own committed
/// hash: who has these can tell that no content has all the hashes that the writer committed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) stripe: u32,
    pub(crate) axis: Axis,
    pub(crate) index: u16,
}

/// The verdicts that this member has proven.
#[derive(Debug, Default)]
pub(super) struct Invalid {
    verdicts: BTreeMap<BlobId, Verdict>,
    /// Over the blobs; `None`: there are none.
    digest: Option<Hash>,
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
        Ok(Self { digest: digest(&verdicts), verdicts })
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
    pub(super) fn tell_invalid(&self) -> (u64, Vec<Bytes>) {
        let invalid = lock(&self.invalid);
        let live = || invalid.verdicts.keys().filter(|blob| self.kind(blob).is_some_and(Kind::is_live));
        (live().count() as u64, wire(live().take(TOLD)))
    }

    /// Records a verdict that this member has proven, unless the blob is gone.
    pub(crate) async fn convict(&self, blob: BlobId, verdict: Verdict) -> Result<(), MemberError> {
        if lock(&self.invalid).verdicts.len() >= KEPT {
            return Ok(());
        }
        let write = self.store.write(Room::Reserved, move |tx| {
            let live = slivers::is_live(tx, &blob)?;
            if live {
                tx.put_state(&name(&blob), write_verdict(verdict));
            }
            Ok::<_, MemberError>(live)
        });
        if write.await?.value {
            let Verdict { stripe, axis, index } = verdict;
            tracing::warn!(%blob, stripe, axis = axis.name(), index, "the blob's writer lied: its slivers contradict each other (R19)");
            lock(&self.invalid).change(|verdicts| _ = verdicts.insert(blob, verdict));
            self.notify();
        }
        Ok(())
    }

    /// Forgets the verdicts on blobs that were deleted, or have expired.
    pub(crate) async fn drop_verdicts(&self) -> Result<(), MemberError> {
        let gone = |blob: &&BlobId| matches!(self.kind(blob), None | Some(Kind::Deleted | Kind::Hidden { .. }));
        let gone: Vec<BlobId> = lock(&self.invalid).verdicts.keys().filter(gone).copied().collect();
        if gone.is_empty() {
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
    let Verdict { stripe, axis, index } = verdict;
    Encoder::new().u32(stripe).u8(axis as u8).u32(index.into()).finish()
}

fn read_verdict(bytes: &[u8]) -> Result<Verdict, MemberError> {
    let mut from = Decoder::new("verdict", bytes);
    let (stripe, axis, index) = (from.u32()?, from.u8()?, from.u32()?);
    from.finish()?;
    verdict(stripe, axis.into(), index).ok_or(MemberError::Malformed { field: "verdict" })
}

/// A verdict as the wire tells it.
pub(crate) fn verdict(stripe: u32, axis: u32, index: u32) -> Option<Verdict> {
    Some(Verdict { stripe, axis: slivers::axis(axis)?, index: u16::try_from(index).ok()? })
}
