//! A blob's metadata, whose hash is the blob's ID.

use std::collections::BTreeMap;

use thiserror::Error;

use crate::code::{Code, CodeError};
use crate::hash::{BlobId, Hash};
use crate::labels::{LabelError, Labels};
use crate::layout::{Layout, LayoutError};

const BLOB_ID: &str = "weft v1 blob id";
const INLINE_ROOT: &str = "weft v1 inline root";
const MAGIC: &[u8; 4] = b"weft";
const VERSION: u8 = 1;

/// Why bytes aren't metadata.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum MetadataError {
    #[error("metadata begin with \"weft\" and version {VERSION}")]
    Version,
    #[error("metadata end early or go on past their end")]
    Length,
    #[error("metadata name an impossible code")]
    Code(#[from] CodeError),
    #[error("metadata name an impossible layout")]
    Layout(#[from] LayoutError),
    #[error("metadata hold labels out of bounds")]
    Labels(#[from] LabelError),
    #[error("metadata aren't in their canonical form: {what}")]
    NotCanonical { what: &'static str },
    #[error("the symbol sizes aren't those of the rule for {length} bytes")]
    SymbolSizes { length: u64 },
}

/// All that a blob's ID stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// [`crate::merkle::root`] over the stripes' roots; [`inline_root`] of an inline blob.
    pub root: Hash,
    /// The code, the content's length and the symbol sizes.
    pub layout: Layout,
    pub labels: Labels,
    /// Seconds since 1970 (UTC), from which on the blob is gone (R15).
    pub expiry: Option<u64>,
    /// BLAKE3 of the content.
    pub digest: Hash,
    /// Chosen by the put: a retry repeats it and gets the same ID, another put of the same content doesn't.
    pub nonce: [u8; 16],
}

/// The root of an inline blob.
pub fn inline_root(content: &[u8]) -> Hash {
    Hash::derived(INLINE_ROOT, &[content])
}

impl Metadata {
    /// Encoded metadata are never longer than this, in bytes.
    pub const MAX_ENCODED: usize = FIXED_LENGTH + 8 + Labels::MAX_COUNT * (1 + Labels::MAX_KEY + 2 + Labels::MAX_VALUE);

    pub const fn code(&self) -> Code {
        self.layout.code()
    }

    /// The content's length in bytes.
    pub const fn length(&self) -> u64 {
        self.layout.length()
    }

    /// Refuses symbol sizes other than the rule's for this code and length (PROTOCOL R16): what a fleet stores.
    pub fn check_layout(&self) -> Result<(), MetadataError> {
        if Layout::for_length(self.code(), self.length())? == self.layout {
            Ok(())
        } else {
            Err(MetadataError::SymbolSizes { length: self.length() })
        }
    }

    /// Whether `content` is this inline blob's content.
    pub fn matches_inline(&self, content: &[u8]) -> bool {
        self.layout.is_inline()
            && self.length() == content.len() as u64
            && self.digest == Hash::of(content)
            && self.root == inline_root(content)
    }

    /// The blob's ID.
    pub fn id(&self) -> BlobId {
        Self::id_of(&self.encode())
    }

    /// The ID of encoded metadata.
    pub fn id_of(encoded: &[u8]) -> BlobId {
        BlobId(Hash::derived(BLOB_ID, &[encoded]).0)
    }

    /// The canonical form. Integers are little-endian:
    ///
    /// `"weft"`, version 1 (1 byte), n (1), f (1), length (8), symbol size (4), last symbol size (4), root (32), digest (32), nonce (16),
    /// whether there is an expiry (1: 0 or 1) and if so the expiry (8), number of labels (1), and for each, keys ascending: key length (1), key, value
    /// length (2), value.
    pub fn encode(&self) -> Vec<u8> {
        let Self { root, layout, labels, expiry, digest, nonce } = self;
        let mut bytes = Vec::with_capacity(FIXED_LENGTH + 8);
        bytes.extend_from_slice(MAGIC);
        bytes.push(VERSION);
        bytes.push(layout.code().shards() as u8);
        bytes.push(layout.code().fault_tolerance() as u8);
        bytes.extend_from_slice(&layout.length().to_le_bytes());
        bytes.extend_from_slice(&layout.symbol_size().to_le_bytes());
        bytes.extend_from_slice(&layout.tail_symbol_size().to_le_bytes());
        bytes.extend_from_slice(root.as_bytes());
        bytes.extend_from_slice(digest.as_bytes());
        bytes.extend_from_slice(nonce);
        bytes.push(u8::from(expiry.is_some()));
        bytes.extend(expiry.iter().flat_map(|seconds| seconds.to_le_bytes()));
        bytes.push(labels.as_map().len() as u8);
        for (key, value) in labels.as_map() {
            bytes.push(key.len() as u8);
            bytes.extend_from_slice(key.as_bytes());
            bytes.extend_from_slice(&(value.len() as u16).to_le_bytes());
            bytes.extend_from_slice(value.as_bytes());
        }
        bytes
    }

    /// Reads [`Metadata::encode`]. Only the canonical form is read: whatever is decoded encodes to the same bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, MetadataError> {
        let mut reader = Reader { rest: bytes };
        if reader.take(MAGIC.len())? != MAGIC || reader.byte()? != VERSION {
            return Err(MetadataError::Version);
        }
        let code = Code::new(reader.byte()?.into(), reader.byte()?.into())?;
        let length = u64::from_le_bytes(reader.array()?);
        let symbol_size = u32::from_le_bytes(reader.array()?);
        let tail_symbol_size = u32::from_le_bytes(reader.array()?);
        let layout = Layout::from_sizes(code, length, symbol_size, tail_symbol_size)?;
        let root = Hash(reader.array()?);
        let digest = Hash(reader.array()?);
        let nonce = reader.array()?;
        let expiry = match reader.byte()? {
            0 => None,
            1 => Some(u64::from_le_bytes(reader.array()?)),
            _ => return Err(MetadataError::NotCanonical { what: "the expiry's flag is 0 or 1" }),
        };
        let labels = reader.labels()?;
        if !reader.rest.is_empty() {
            return Err(MetadataError::Length);
        }
        Ok(Self { root, layout, labels, expiry, digest, nonce })
    }
}

/// Bytes of encoded metadata without expiry and labels.
const FIXED_LENGTH: usize = MAGIC.len() + 3 + 8 + 4 + 4 + 32 + 32 + 16 + 1 + 1;

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], MetadataError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(MetadataError::Length)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], MetadataError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(MetadataError::Length)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn byte(&mut self) -> Result<u8, MetadataError> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn text(&mut self, length: usize) -> Result<String, MetadataError> {
        let bytes = self.take(length)?.to_vec();
        String::from_utf8(bytes).map_err(|_| MetadataError::NotCanonical { what: "labels are UTF-8" })
    }

    fn labels(&mut self) -> Result<Labels, MetadataError> {
        let mut labels = BTreeMap::new();
        for _ in 0..self.byte()? {
            let key_length = self.byte()?;
            let key = self.text(key_length.into())?;
            let value_length = u16::from_le_bytes(self.array()?);
            let value = self.text(value_length.into())?;
            if labels.last_key_value().is_some_and(|(last, _)| *last >= key) {
                return Err(MetadataError::NotCanonical { what: "labels are in ascending order of their keys" });
            }
            labels.insert(key, value);
        }
        Ok(Labels::new(labels)?)
    }
}
