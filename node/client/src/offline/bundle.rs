//! A folder of slivers: where its files are, and whether they are right.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use weft_redstuff::{Axis, Code, Metadata, StripeHashes, StripeLayout};

use super::OfflineError;
use super::manifest::Manifest;

const MANIFEST: &str = "metadata.json";

/// What is wrong with a sliver's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    Missing,
    Corrupt,
    Unreadable,
}

/// A sliver whose file isn't right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damaged {
    pub axis: Axis,
    pub index: u16,
    pub damage: Damage,
}

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let damage = match self.damage {
            Damage::Missing => "missing",
            Damage::Corrupt => "corrupt",
            Damage::Unreadable => "unreadable",
        };
        write!(f, "{}-{:03} ({damage})", self.axis.name(), self.index)
    }
}

/// A folder that [`super::encode()`] made.
#[derive(Debug)]
pub struct Bundle {
    folder: PathBuf,
    metadata: Metadata,
    stripes: Vec<StripeHashes>,
}

impl Bundle {
    /// Reads `metadata.json` and checks that it agrees with itself. Slivers aren't touched.
    pub fn open(folder: &Path) -> Result<Self, OfflineError> {
        let path = folder.join(MANIFEST);
        let text = fs::read(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => OfflineError::NoManifest { path: path.clone() },
            _ => OfflineError::Io { action: "read", path: path.clone(), source },
        })?;
        let manifest: Manifest = match serde_json::from_slice(&text) {
            Ok(manifest) => manifest,
            Err(source) => return Err(OfflineError::Json { path, source }),
        };
        let (metadata, stripes) = manifest.check().map_err(|what| OfflineError::Contradiction { path, what })?;
        Ok(Self { folder: folder.to_owned(), metadata, stripes })
    }

    /// The blob's metadata.
    pub const fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    pub(super) const fn code(&self) -> Code {
        self.metadata.code()
    }

    /// Each stripe with its hashes.
    pub(super) fn stripes(&self) -> impl Iterator<Item = (StripeLayout, &StripeHashes)> {
        self.metadata.layout.iter().zip(&self.stripes)
    }

    /// Where a sliver's file is.
    pub(super) fn path(&self, stripe: u32, axis: Axis, index: u16) -> PathBuf {
        sliver_path(&self.folder, stripe, axis, index)
    }

    /// A sliver's bytes, when its file holds what was committed to.
    pub(super) fn load(
        &self,
        stripe: &StripeLayout,
        hashes: &StripeHashes,
        axis: Axis,
        index: u16,
    ) -> Result<Vec<u8>, Damage> {
        let path = self.path(stripe.index, axis, index);
        let damage = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => Damage::Missing,
            _ => Damage::Unreadable,
        };
        // A file of another length isn't read: it may be of any length.
        if fs::metadata(&path).map_err(damage)?.len() != stripe.sliver_length(axis) as u64 {
            return Err(Damage::Corrupt);
        }
        let bytes = fs::read(&path).map_err(damage)?;
        if hashes.matches(axis, index, &bytes) { Ok(bytes) } else { Err(Damage::Corrupt) }
    }
}

pub(super) fn manifest_path(folder: &Path) -> PathBuf {
    folder.join(MANIFEST)
}

pub(super) fn stripe_name(stripe: u32) -> String {
    format!("stripe-{stripe:06}")
}

pub(super) fn sliver_path(folder: &Path, stripe: u32, axis: Axis, index: u16) -> PathBuf {
    folder.join(stripe_name(stripe)).join(format!("{}-{index:03}", axis.name()))
}

/// Says which slivers of a stripe there are, which are needed, and what is wrong with the others.
pub(super) fn describe_loss(code: Code, stripe: u32, damaged: &[Damaged]) -> String {
    let left = |axis| code.shards() as usize - damaged.iter().filter(|sliver| sliver.axis == axis).count();
    let names: Vec<String> = damaged.iter().map(Damaged::to_string).collect();
    format!(
        "{}: {} good primary slivers are left and {} good secondary ones, it takes {} primary or {} secondary ones; damaged: {}",
        stripe_name(stripe),
        left(Axis::Primary),
        left(Axis::Secondary),
        code.slivers_to_decode(Axis::Primary),
        code.slivers_to_decode(Axis::Secondary),
        names.join(", ")
    )
}
