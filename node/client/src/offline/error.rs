//! What can go wrong offline. Messages say what to do about it.

use std::io;
use std::path::PathBuf;

use thiserror::Error;
use weft_redstuff::{Axis, EncodeError, LayoutError, SliverError};

/// Why an offline command failed.
#[derive(Debug, Error)]
pub enum OfflineError {
    #[error("can't {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{} isn't empty: name a new or an empty folder", path.display())]
    NotEmpty { path: PathBuf },
    #[error("{} is a folder: name a file", path.display())]
    IsFolder { path: PathBuf },
    #[error("{} isn't a regular file: name a new file, or a regular one to replace", path.display())]
    NotRegular { path: PathBuf },
    #[error("can't lay the file out")]
    Layout(#[from] LayoutError),
    #[error("can't encode a stripe")]
    Encode(#[from] EncodeError),
    #[error("can't combine slivers of {stripe}")]
    Combine { stripe: String, source: SliverError },
    #[error(
        "{} doesn't exist: either this folder wasn't made by `weft encode`, or encoding didn't finish (then encode again)",
        path.display()
    )]
    NoManifest { path: PathBuf },
    #[error("{} isn't valid JSON of the expected form: restore it from a copy", path.display())]
    Json { path: PathBuf, source: serde_json::Error },
    #[error("{} contradicts itself ({what}), so nothing can be checked against it: restore it from a copy", path.display())]
    Contradiction { path: PathBuf, what: String },
    #[error("{}\nnothing was lost by trying: bring back some of these files and run it again", losses.join("\n"))]
    TooFewSlivers { losses: Vec<String> },
    #[error(
        "{stripe}/{}-{index:03} can't be rebuilt: what the others give isn't what metadata.json promises, so the stripe was encoded wrongly; \
         encode the original file again",
        axis.name()
    )]
    Inconsistent { stripe: String, axis: Axis, index: u16 },
    #[error(
        "the decoded content isn't the one that metadata.json promises, so the file was encoded wrongly; encode the original again"
    )]
    Digest,
}

impl OfflineError {
    /// For `map_err`: names the step and the path.
    pub(super) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}
