//! The tables, and the seal on their rows.
//!
//! redb verifies its checksums only when it repairs a file, so a flipped bit in a row would be returned as if it had been
//! written. Hence every row but the chunks of slivers (whose hashes are known to who reads them) carries a tag: the
//! first 8 bytes of BLAKE3 over table, key and payload. It finds rotten rows and rows at a wrong place.

use std::fmt;

use redb::TableDefinition;

use crate::StoreError;

/// A table of the store. Its number is part of the format of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Table {
    /// The store's own: format version, counters.
    Meta,
    /// name → protocol record of the node.
    State,
    /// blob → registry entry.
    Entries,
    /// session → [`crate::Upload`].
    Uploads,
    /// upload → (), for every upload that a session or a holding names.
    Live,
    /// (upload, stripe) → the stripe's description.
    Stripes,
    /// Of format 1: (upload, stripe, axis, index) → the sliver's length, u32.
    Slivers,
    /// Of format 1: (upload, stripe, axis, index, chunk) → a piece of a sliver, bare.
    Chunks,
    /// blob → upload, and the node's mark, if it put one.
    Holdings,
    /// (blob, shard) → ().
    Missing,
    /// (shard, slot) → number of its rows in [`Table::Missing`].
    MissingCounts,
    /// Of format 1: upload → (), for uploads whose chunks wait to be swept.
    Trash,
    /// (upload, stripe) → where the slivers lie that are held of it. Answers "is it there" without reading any.
    Extents,
    /// segment → how much of it is still held.
    Segments,
    /// key → row of the node's own index, as it encodes them.
    Index,
}

/// redb's type of all of them: the keys are encoded by [`crate::keys`].
pub(crate) type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;

const TAG: usize = 8;

impl Table {
    pub(crate) const COUNT: usize = 15;

    pub(crate) const ALL: [Self; Self::COUNT] = [
        Self::Meta,
        Self::State,
        Self::Entries,
        Self::Uploads,
        Self::Live,
        Self::Stripes,
        Self::Slivers,
        Self::Chunks,
        Self::Holdings,
        Self::Missing,
        Self::MissingCounts,
        Self::Trash,
        Self::Extents,
        Self::Segments,
        Self::Index,
    ];

    /// Its name in the file, and in metrics and errors.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::State => "state",
            Self::Entries => "entries",
            Self::Uploads => "uploads",
            Self::Live => "live",
            Self::Stripes => "stripes",
            Self::Slivers => "slivers",
            Self::Chunks => "chunks",
            Self::Holdings => "holdings",
            Self::Missing => "missing",
            Self::MissingCounts => "missing_counts",
            Self::Trash => "trash",
            Self::Extents => "extents",
            Self::Segments => "segments",
            Self::Index => "index",
        }
    }

    pub(crate) const fn definition(self) -> Definition {
        TableDefinition::new(self.name())
    }

    /// The row's value as stored.
    pub(crate) fn seal(self, key: &[u8], mut payload: Vec<u8>) -> Vec<u8> {
        let tag = self.tag(key, &payload);
        payload.extend_from_slice(&tag);
        payload
    }

    /// The payload of a stored row.
    pub(crate) fn unseal<'row>(self, key: &[u8], row: &'row [u8]) -> Result<&'row [u8], StoreError> {
        if matches!(self, Self::Chunks) {
            return Ok(row);
        }
        let damaged = |what: &str| StoreError::Corrupt { table: self, what: what.to_owned() };
        let (payload, tag) = row.split_last_chunk::<TAG>().ok_or_else(|| damaged("a row is too short"))?;
        if self.tag(key, payload) == *tag { Ok(payload) } else { Err(damaged("a row doesn't match its checksum")) }
    }

    fn tag(self, key: &[u8], payload: &[u8]) -> [u8; TAG] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.name().as_bytes());
        hasher.update(&(key.len() as u64).to_le_bytes());
        hasher.update(key);
        hasher.update(payload);
        let mut tag = [0; TAG];
        tag.copy_from_slice(&hasher.finalize().as_bytes()[..TAG]);
        tag
    }
}

impl fmt::Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
