//! Digests of the rows of the registry's parts, for peers of before there were digests of sets.

use std::sync::{Mutex, PoisonError};

use weft_redstuff::{BlobId, Hash};
use weft_store::View;

use super::{PAGE, page};
use crate::member::{
    MemberError,
    rows::{Digest, PARTS},
};

/// What is known of a part.
#[derive(Debug, Clone, Copy, Default)]
struct Part {
    /// The commit that changed it last.
    changed: u64,
    /// Its digest, as of a commit.
    digest: Option<(u64, Hash)>,
}

/// Digests that are made when somebody asks: of the parts that have changed since, by a walk over their rows.
#[derive(Debug)]
pub(super) struct Older(Mutex<Vec<Part>>);

impl Default for Older {
    fn default() -> Self {
        Self(Mutex::new(vec![Part::default(); PARTS]))
    }
}

impl Older {
    /// A commit that is under way changes these blobs' rows.
    pub(super) fn change(&self, commit: u64, blobs: impl Iterator<Item = BlobId>) {
        let mut parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for blob in blobs {
            parts[usize::from(blob.0[0])].changed = commit;
        }
    }

    /// Of all parts, in a snapshot that is taken now.
    pub(super) fn digests(&self, newest: impl View) -> Result<Vec<Hash>, MemberError> {
        let (mut parts, now) = (self.0.lock().unwrap_or_else(PoisonError::into_inner), newest.sequence());
        let mut digests = Vec::with_capacity(PARTS);
        for (part, known) in (0..=u8::MAX).zip(parts.iter_mut()) {
            digests.push(match known.digest {
                Some((of, digest)) if of >= known.changed => digest,
                _ => known.digest.insert((now, digest(&newest, part)?)).1,
            });
        }
        Ok(digests)
    }
}

fn digest(from: &impl View, part: u8) -> Result<Hash, MemberError> {
    let (mut digest, mut after) = (Digest::default(), None);
    loop {
        let (rows, more) = page(from, &[part], after, PAGE)?;
        rows.iter().for_each(|(blob, kind)| digest.add(blob, kind.rank()));
        after = rows.last().map(|(blob, _)| *blob);
        if !more {
            return Ok(digest.finish());
        }
    }
}
