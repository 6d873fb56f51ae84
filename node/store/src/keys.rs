//! The words of the store's keys. On disk all numbers are big-endian, so that the order of the bytes is the order of the numbers.

use std::fmt;

/// Number of an upload: names the slivers of one put or one repair on this volume. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UploadNumber(pub u64);

impl fmt::Display for UploadNumber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Which of a shard's two slivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Axis {
    /// A row of the grid.
    Primary,
    /// A column of the grid.
    Secondary,
}

impl Axis {
    pub(crate) fn byte(self) -> u8 {
        match self {
            Self::Primary => 0,
            Self::Secondary => 1,
        }
    }

    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Primary),
            1 => Some(Self::Secondary),
            _ => None,
        }
    }
}

/// Place of a sliver on this volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SliverKey {
    /// The upload that brought it.
    pub upload: UploadNumber,
    /// Stripe of the blob, from 0.
    pub stripe: u32,
    /// Row or column.
    pub axis: Axis,
    /// Index of the row or column, 0..n.
    pub index: u8,
}

/// An open upload session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// The number under which its stripes and slivers are stored.
    pub number: UploadNumber,
    /// When it was last asked for: seconds since 1970 by the clock of who asked.
    pub used_at: u64,
    /// What the node wants to remember of it; opaque here.
    pub note: Vec<u8>,
}

/// Running totals, exact as of a commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Slivers held, of finished and unfinished uploads.
    pub slivers: u64,
    /// Their bytes.
    pub sliver_bytes: u64,
    /// Registry entries.
    pub entries: u64,
    /// Rows of the list of what is missing.
    pub missing: u64,
}

impl UploadNumber {
    pub(crate) fn key(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    pub(crate) fn from_key(key: &[u8]) -> Option<Self> {
        Some(Self(u64::from_be_bytes(key.get(..8)?.try_into().ok()?)))
    }

    pub(crate) fn and_stripe(key: &[u8]) -> Option<(Self, u32)> {
        let key: &[u8; 12] = key.try_into().ok()?;
        Some((Self::from_key(key)?, u32::from_be_bytes(*key.last_chunk()?)))
    }

    pub(crate) fn stripe_key(self, stripe: u32) -> [u8; 12] {
        let mut key = [0; 12];
        key[..8].copy_from_slice(&self.key());
        key[8..].copy_from_slice(&stripe.to_be_bytes());
        key
    }
}

impl SliverKey {
    pub(crate) fn key(&self) -> [u8; 14] {
        let mut key = [0; 14];
        key[..12].copy_from_slice(&self.upload.stripe_key(self.stripe));
        key[12] = self.axis.byte();
        key[13] = self.index;
        key
    }

    pub(crate) fn chunk_key(&self, chunk: u16) -> [u8; 16] {
        let mut key = [0; 16];
        key[..14].copy_from_slice(&self.key());
        key[14..].copy_from_slice(&chunk.to_be_bytes());
        key
    }

    pub(crate) fn from_key(key: &[u8]) -> Option<Self> {
        let key: &[u8; 14] = key.try_into().ok()?;
        Some(Self {
            upload: UploadNumber::from_key(key)?,
            stripe: u32::from_be_bytes(key[8..12].try_into().ok()?),
            axis: Axis::from_byte(key[12])?,
            index: key[13],
        })
    }
}

impl Upload {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(16 + self.note.len());
        bytes.extend_from_slice(&self.number.key());
        bytes.extend_from_slice(&self.used_at.to_be_bytes());
        bytes.extend_from_slice(&self.note);
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            number: UploadNumber::from_key(bytes)?,
            used_at: u64::from_be_bytes(bytes.get(8..16)?.try_into().ok()?),
            note: bytes[16..].to_vec(),
        })
    }
}

/// The slot of a blob: one of 256 parts of all IDs, by which what is missing is counted.
pub fn slot_of(blob: &[u8; 32]) -> u8 {
    blob[0]
}

pub(crate) fn missing_key(blob: &[u8; 32], shard: u8) -> [u8; 33] {
    let mut key = [0; 33];
    key[..32].copy_from_slice(blob);
    key[32] = shard;
    key
}
