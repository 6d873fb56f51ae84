//! Digests of the rows of the registry's parts, for peers of before there were digests of sets.

use std::sync::{Mutex, MutexGuard, PoisonError};

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

impl Part {
    /// Its digest, if it hasn't changed since.
    fn sound(&self) -> Option<Hash> {
        self.digest.filter(|(of, _)| *of >= self.changed).map(|(_, digest)| digest)
    }
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
        let mut parts = self.lock();
        for blob in blobs {
            parts[usize::from(blob.0[0])].changed = commit;
        }
    }

    /// Of all parts, in a snapshot that is taken now. Takes the time of going through the rows of those that changed: writes go on meanwhile.
    pub(super) fn digests(&self, newest: &impl View) -> Result<Vec<Hash>, MemberError> {
        let now = newest.sequence();
        let known: Vec<Option<Hash>> = self.lock().iter().map(Part::sound).collect();
        let mut digests = Vec::with_capacity(PARTS);
        for (part, known) in (0..=u8::MAX).zip(known) {
            digests.push(known.map_or_else(|| digest(newest, part), Ok)?);
        }
        for (part, made) in self.lock().iter_mut().zip(&digests) {
            if part.digest.is_none_or(|(of, _)| of < now) {
                part.digest = Some((now, *made));
            }
        }
        Ok(digests)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Part>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn digest(from: &impl View, part: u8) -> Result<Hash, MemberError> {
    let (mut digest, mut after) = (Digest::default(), None);
    loop {
        let (rows, more) = page(from, &[part], after, PAGE)?;
        for (blob, kind) in &rows {
            digest.add(blob, kind.rank());
        }
        after = rows.last().map(|(blob, _)| *blob);
        if !more {
            return Ok(digest.finish());
        }
    }
}
