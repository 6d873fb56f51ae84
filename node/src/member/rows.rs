//! What members tell each other of their registries: a row for each blob, and digests of rows.

use weft_protocol::{Entry, Rank};
use weft_redstuff::{BlobId, Hash};

use super::slivers::bytes_of_a_shard;

/// The registry is digested in parts, by the first byte of the ID: equal digests tell which parts are shared.
pub(crate) const PARTS: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Slivers and their bytes that one shard has of the blob; none of an inline one.
    Live {
        slivers: u64,
        bytes: u64,
        /// Epoch and revision of the certificate's view.
        position: (u64, u64),
    },
    /// The epoch and revision up to which certificates are void (R12).
    Void {
        position: (u64, u64),
    },
    Deleted,
    /// A tombstone or void that isn't told any more, since everyone has it (R14). It holds here as before.
    Hidden {
        rank: Rank,
    },
}

/// Bytes of a kind on the wire: a byte (1 live, 2 tombstone, 3 void), epoch and revision (big-endian; 0 of a tombstone).
pub(crate) const KIND: usize = 1 + 8 + 8;

/// What the digests of the registry's parts are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DigestKind {
    /// BLAKE3 of the rows in order of ID: all that peers of before tell and read.
    Rows,
    /// [`SetHash`](weft_protocol::SetHash) of the rows.
    Sets,
}

impl DigestKind {
    /// As a peer tells, or asks for it.
    pub(crate) const fn read(kind: u32) -> Self {
        if kind == 0 { Self::Rows } else { Self::Sets }
    }

    pub(crate) const fn wire(self) -> u32 {
        match self {
            Self::Rows => 0,
            Self::Sets => 1,
        }
    }
}

/// Bytes of a row: a blob's ID, and its kind.
pub(crate) const ROW: usize = BlobId::LENGTH + KIND;

impl Kind {
    /// `position` finds that of a view by its hash.
    pub(crate) fn of(entry: &Entry, position: impl FnOnce(&Hash) -> (u64, u64)) -> Self {
        let rank = entry.rank(position);
        match entry {
            Entry::Deleted(_) => Self::Deleted,
            Entry::Void(_) => Self::Void { position: rank.position },
            Entry::Live { metadata, .. } => Self::Live {
                slivers: 2 * u64::from(metadata.layout.stripes()),
                bytes: bytes_of_a_shard(&metadata.layout),
                position: rank.position,
            },
        }
    }

    pub(crate) fn rank(self) -> Rank {
        match self {
            Self::Live { position, .. } => Rank { deleted: false, position, void: false },
            Self::Void { position } => Rank { deleted: false, position, void: true },
            Self::Deleted => Rank { deleted: true, position: (0, 0), void: false },
            Self::Hidden { rank } => rank,
        }
    }

    pub(crate) fn is_live(self) -> bool {
        matches!(self, Self::Live { .. })
    }

    pub(crate) fn is_told(self) -> bool {
        !matches!(self, Self::Hidden { .. })
    }
}

/// A blob's row, as in `EntryIdsReply`.
pub(crate) fn row(blob: &BlobId, rank: Rank) -> [u8; ROW] {
    let mut row = [0; ROW];
    let (id, kind) = row.split_at_mut(BlobId::LENGTH);
    id.copy_from_slice(blob.as_bytes());
    kind.copy_from_slice(&rank_bytes(rank));
    row
}

/// What a row says behind the ID.
pub(crate) fn rank_bytes(rank: Rank) -> [u8; KIND] {
    let Rank { deleted, position: (epoch, revision), void } = rank;
    let mut kind = [0; KIND];
    kind[0] = if deleted { 2 } else { 1 + 2 * u8::from(void) };
    kind[1..9].copy_from_slice(&epoch.to_be_bytes());
    kind[9..].copy_from_slice(&revision.to_be_bytes());
    kind
}

/// Reads a row; `None` where it is malformed.
pub(crate) fn read_row(bytes: &[u8]) -> Option<(BlobId, Rank)> {
    let (id, kind) = bytes.split_at_checked(BlobId::LENGTH)?;
    Some((BlobId::from_slice(id)?, read_rank(kind)?))
}

/// Reads what a row says behind the ID; `None` where it is malformed.
pub(crate) fn read_rank(kind: &[u8]) -> Option<Rank> {
    let (tag, position) = kind.split_first()?;
    let (epoch, revision) = position.split_first_chunk::<8>()?;
    let position = (u64::from_be_bytes(*epoch), u64::from_be_bytes(revision.try_into().ok()?));
    match tag {
        1 | 3 => Some(Rank { deleted: false, position, void: *tag == 3 }),
        2 if position == (0, 0) => Some(Rank { deleted: true, position, void: false }),
        _ => None,
    }
}

/// The digest of a registry, from those of its parts.
pub(crate) fn whole(digests: &[Hash]) -> Hash {
    let mut hasher = blake3::Hasher::new();
    for digest in digests {
        hasher.update(digest.as_bytes());
    }
    hasher.finalize().into()
}

/// Reads the digests of all parts.
pub(crate) fn read_digests(bytes: &[u8]) -> Option<Vec<Hash>> {
    let digests: Vec<Hash> = bytes.chunks(Hash::LENGTH).map(Hash::from_slice).collect::<Option<_>>()?;
    (digests.len() == PARTS).then_some(digests)
}

/// The digest of a part by [`DigestKind::Rows`], from its rows in order of ID.
#[derive(Debug, Clone, Default)]
pub(crate) struct Digest(blake3::Hasher);

impl Digest {
    pub(crate) fn add(&mut self, blob: &BlobId, rank: Rank) {
        self.0.update(&row(blob, rank));
    }

    pub(crate) fn finish(&self) -> Hash {
        self.0.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_what_holds_of_a_blob() {
        let live = |position| Kind::Live { slivers: 0, bytes: 0, position };
        for kind in [live((1, 2)), live((7, 0)), Kind::Void { position: (3, 4) }, Kind::Deleted] {
            assert_eq!(read_row(&row(&BlobId([9; 32]), kind.rank())), Some((BlobId([9; 32]), kind.rank())));
        }
        let mut malformed = row(&BlobId([9; 32]), Kind::Deleted.rank());
        malformed[BlobId::LENGTH] = 9;
        assert_eq!(read_row(&malformed), None);
        let order = [live((1, 2)), Kind::Void { position: (1, 2) }, live((1, 3)), Kind::Deleted].map(Kind::rank);
        assert!(order.is_sorted_by(|a, b| a < b));
    }
}
