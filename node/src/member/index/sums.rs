//! What is summed over the rows of the index: totals, the hashes of its parts, and its sketch.

use weft_protocol::{Decoder, Encoder, SetHash, Sketch};
use weft_redstuff::{BlobId, Hash};

use crate::member::{
    MemberError,
    rows::{Kind, PARTS, ROW, row, whole},
};

/// Cells kept of the registry's sketch: enough to find some 700 differences.
pub(super) const CELLS: usize = 1024;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) live: u64,
    pub(crate) tombstones: u64,
    pub(crate) voids: u64,
    /// Slivers and bytes that one shard has of all blobs.
    pub(crate) slivers: u64,
    pub(crate) bytes: u64,
    /// Live blobs with slivers.
    pub(crate) blobs: u64,
}

impl Totals {
    fn count(&mut self, kind: Kind, by: fn(u64, u64) -> u64) {
        match kind {
            Kind::Hidden { .. } => {}
            Kind::Deleted => self.tombstones = by(self.tombstones, 1),
            Kind::Void { .. } => self.voids = by(self.voids, 1),
            Kind::Live { slivers, bytes, position: _ } => {
                self.live = by(self.live, 1);
                self.slivers = by(self.slivers, slivers);
                self.bytes = by(self.bytes, bytes);
                self.blobs = by(self.blobs, u64::from(slivers > 0));
            }
        }
    }
}

#[derive(Debug)]
pub(super) struct Sums {
    pub(super) totals: Totals,
    /// Of the rows that are told, by the first byte of the ID.
    sets: Vec<SetHash>,
    /// Digests of those that haven't changed since they were made.
    digests: Vec<Option<Hash>>,
    /// Of all, if none has.
    whole: Option<Hash>,
    /// Of the rows that are told.
    pub(super) sketch: Sketch<ROW>,
    /// Rows that have changed since the sums were written.
    pub(super) unsummed: u64,
}

impl Default for Sums {
    fn default() -> Self {
        let (sets, digests) = (vec![SetHash::default(); PARTS], vec![None; PARTS]);
        Self { totals: Totals::default(), sets, digests, whole: None, sketch: Sketch::empty(CELLS), unsummed: 0 }
    }
}

impl Sums {
    /// Takes a row away, and adds the one in its place.
    pub(super) fn change(&mut self, blob: &BlobId, from: Option<Kind>, to: Option<Kind>) {
        if let Some(from) = from {
            self.totals.count(from, |total, by| total - by);
        }
        if let Some(to) = to {
            self.totals.count(to, |total, by| total + by);
        }
        let told = |kind: Option<Kind>| kind.filter(|kind| kind.is_told()).map(|kind| row(blob, kind.rank()));
        let (from, to) = (told(from), told(to));
        if from == to {
            return;
        }
        let part = usize::from(blob.0[0]);
        if let Some(row) = from {
            self.sets[part].remove(&row);
            self.sketch.remove(&row);
        }
        if let Some(row) = to {
            self.sets[part].insert(&row);
            self.sketch.insert(&row);
        }
        self.digests[part] = None;
        self.whole = None;
    }

    pub(super) fn set(&self, part: u8) -> &SetHash {
        &self.sets[usize::from(part)]
    }

    /// The digests of all parts.
    pub(super) fn digests(&mut self) -> Vec<Hash> {
        let digests = self.sets.iter().zip(&mut self.digests);
        digests.map(|(set, known)| *known.get_or_insert_with(|| set.digest())).collect()
    }

    /// The digest of the whole registry.
    pub(super) fn digest(&mut self) -> Hash {
        if let Some(digest) = self.whole {
            return digest;
        }
        let digest = whole(&self.digests());
        *self.whole.insert(digest)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let Totals { live, tombstones, voids, slivers, bytes, blobs } = self.totals;
        let totals = Encoder::new().u64(live).u64(tombstones).u64(voids).u64(slivers).u64(bytes).u64(blobs);
        let sets = self.sets.iter().fold(totals, |to, set| to.fixed(&set.encode()));
        sets.bytes(&self.sketch.encode()).finish()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, MemberError> {
        let mut from = Decoder::new("sums of the index", bytes);
        let totals = Totals {
            live: from.u64()?,
            tombstones: from.u64()?,
            voids: from.u64()?,
            slivers: from.u64()?,
            bytes: from.u64()?,
            blobs: from.u64()?,
        };
        let mut sets = Vec::with_capacity(PARTS);
        for _ in 0..PARTS {
            sets.push(SetHash::decode(&from.fixed()?));
        }
        let sketch = Sketch::decode(from.bytes()?).filter(|sketch| sketch.cells() == CELLS);
        let sketch = sketch.ok_or(MemberError::Malformed { field: "sums" })?;
        from.finish()?;
        Ok(Self { totals, sets, sketch, ..Self::default() })
    }
}
