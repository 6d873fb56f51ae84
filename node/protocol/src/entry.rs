//! Registry entries: what every member knows of every blob.

use thiserror::Error;
use weft_redstuff::{BlobId, Hash, Metadata};

use crate::{
    certificate::{Certificate, CertificateError},
    codec::{DecodeError, Decoder, Encoder},
    identity::FleetId,
    keys::{KeyError, PublicKey},
    tombstone::Tombstone,
    view::View,
    void::Void,
};

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EntryError {
    #[error("the entry is of blob {theirs}, not of {ours}")]
    OtherBlob { ours: BlobId, theirs: BlobId },
    #[error("the symbol sizes are not the rule's for the blob's code and length (R16)")]
    Layout,
    #[error("the code is not the committee's")]
    OtherCode,
    #[error("the inline content does not match the metadata")]
    Inline,
    #[error("view {0}, which the certificate names, is not known here")]
    UnknownView(Hash),
    #[error("the certificate does not hold: {0}")]
    Certificate(#[from] CertificateError),
    #[error("the void does not hold: {0}")]
    Void(CertificateError),
    #[error("the tombstone is of fleet {theirs}, not of {ours}")]
    OtherFleet { ours: FleetId, theirs: FleetId },
    #[error("the tombstone's signature does not hold: {0}")]
    Tombstone(#[from] KeyError),
    #[error("the tombstone's key {0} may not delete (R13)")]
    NoAuthority(PublicKey),
}

/// A certified blob, the tombstone of one, or the proof that its certificates are void.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    Live {
        metadata: Metadata,
        /// The content of a blob of at most 64n bytes.
        inline: Option<Vec<u8>>,
        certificate: Certificate,
    },
    Deleted(Tombstone),
    Void(Void),
}

/// Which of a blob's entries holds: the greatest. A tombstone beats all (R13); a void beats the certificates of views up
/// to its own, and gives way to a later one (R12).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    pub deleted: bool,
    /// Epoch and revision of the certificate's view, or of the void's.
    pub position: (u64, u64),
    pub void: bool,
}

impl Entry {
    pub fn blob(&self) -> BlobId {
        match self {
            Self::Live { metadata, .. } => metadata.id(),
            Self::Deleted(tombstone) => tombstone.blob,
            Self::Void(void) => void.blob,
        }
    }

    pub fn is_live(&self) -> bool {
        matches!(self, Self::Live { .. })
    }

    /// Checks the entry against the views that the checker knows. `fleet` is the checker's; `view` finds a view by
    /// its hash; `may_delete` knows the keys that any view gave the right to delete.
    pub fn check<'v>(
        &self,
        fleet: FleetId,
        view: impl FnOnce(&Hash) -> Option<&'v View>,
        may_delete: impl FnOnce(&PublicKey) -> bool,
    ) -> Result<(), EntryError> {
        match self {
            Self::Live { metadata, inline, certificate } => {
                let blob = metadata.id();
                if certificate.blob != blob {
                    return Err(EntryError::OtherBlob { ours: blob, theirs: certificate.blob });
                }
                check_content(metadata, inline.as_deref())?;
                let view = view(&certificate.view).ok_or(EntryError::UnknownView(certificate.view))?;
                if view.code != metadata.code() {
                    return Err(EntryError::OtherCode);
                }
                certificate.check(view)?;
                Ok(())
            }
            Self::Deleted(tombstone) => {
                if tombstone.fleet != fleet {
                    return Err(EntryError::OtherFleet { ours: fleet, theirs: tombstone.fleet });
                }
                tombstone.verify()?;
                if may_delete(&tombstone.key) { Ok(()) } else { Err(EntryError::NoAuthority(tombstone.key)) }
            }
            Self::Void(void) => {
                let counted = view(&void.counted).ok_or(EntryError::UnknownView(void.counted))?;
                void.check(counted).map_err(EntryError::Void)
            }
        }
    }

    pub fn is_deleted(&self) -> bool {
        matches!(self, Self::Deleted(_))
    }

    /// The hash of the view that is needed to check the entry.
    pub fn names(&self) -> Option<Hash> {
        match self {
            Self::Live { certificate, .. } => Some(certificate.view),
            Self::Deleted(_) => None,
            Self::Void(void) => Some(void.counted),
        }
    }

    /// The entry's rank among those of its blob; `position` finds that of a view by its hash.
    pub fn rank(&self, position: impl FnOnce(&Hash) -> (u64, u64)) -> Rank {
        match self {
            Self::Live { certificate, .. } => {
                Rank { deleted: false, position: position(&certificate.view), void: false }
            }
            Self::Deleted(_) => Rank { deleted: true, position: (0, 0), void: false },
            Self::Void(void) => Rank { deleted: false, position: void.view.position(), void: true },
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Live { metadata, inline, certificate } => Encoder::new()
                .u8(1)
                .bytes(&metadata.encode())
                .option(inline.as_ref(), |to, content| to.bytes(content))
                .bytes(&certificate.encode()),
            Self::Deleted(tombstone) => Encoder::new().u8(2).bytes(&tombstone.encode()),
            Self::Void(void) => Encoder::new().u8(3).bytes(&void.encode()),
        }
        .finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Decoder::new("registry entry", bytes);
        let entry = match Summary::read(&mut from)? {
            Summary::Live { metadata, inline } => {
                let metadata = Metadata::decode(metadata).map_err(|error| from.invalid(error.to_string()))?;
                let inline = inline.map(<[u8]>::to_vec);
                Self::Live { metadata, inline, certificate: Certificate::decode(from.bytes()?)? }
            }
            Summary::Deleted => Self::Deleted(Tombstone::decode(from.bytes()?)?),
            Summary::Void => Self::Void(Void::decode(from.bytes()?)?),
        };
        from.finish()?;
        Ok(entry)
    }
}

/// What an encoded entry says, without what proves it: for who has proof already, or wants none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Summary<'e> {
    Live {
        /// Encoded.
        metadata: &'e [u8],
        /// The content of a blob of at most 64n bytes.
        inline: Option<&'e [u8]>,
    },
    Deleted,
    Void,
}

impl<'e> Summary<'e> {
    /// Of an encoded entry, whose proof isn't looked at.
    pub fn of(entry: &'e [u8]) -> Result<Self, DecodeError> {
        Self::read(&mut Decoder::new("registry entry", entry))
    }

    fn read(from: &mut Decoder<'e>) -> Result<Self, DecodeError> {
        Ok(match from.u8()? {
            1 => Self::Live { metadata: from.bytes()?, inline: from.option(Decoder::bytes)? },
            2 => Self::Deleted,
            3 => Self::Void,
            other => return Err(from.invalid(format!("{other} is no kind of entry"))),
        })
    }
}

/// Whether metadata keeps to the rules of R16, and inline content to the metadata.
pub fn check_content(metadata: &Metadata, inline: Option<&[u8]>) -> Result<(), EntryError> {
    metadata.check_layout().map_err(|_| EntryError::Layout)?;
    match (metadata.layout.is_inline(), inline) {
        (false, None) => Ok(()),
        (true, Some(content)) if metadata.matches_inline(content) => Ok(()),
        _ => Err(EntryError::Inline),
    }
}
