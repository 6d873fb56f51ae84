//! Why the cluster did not do what was asked.

use std::io;
use std::path::PathBuf;

use crate::images::ImageError;
use crate::kubectl::KubectlError;
use crate::parts::PartsError;
use crate::pki::PkiError;
use crate::wait::Timeout;

/// The step that failed, and what it was done to.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The binaries.
    #[error(transparent)]
    Parts(#[from] PartsError),
    /// Keys and certificates.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// An image.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A request to the cluster.
    #[error(transparent)]
    Kubectl(#[from] KubectlError),
    /// Something that didn't come about.
    #[error(transparent)]
    Timeout(#[from] Timeout),
    /// A name that can't be used.
    #[error("name a cluster {name:?}: 1 to 20 lower-case letters and digits")]
    Name {
        /// The name.
        name: String,
    },
    /// The name of a run.
    #[error("name a run {name:?}: 8 lower-case letters and digits")]
    Run {
        /// The name.
        name: String,
    },
    /// More workers than there are addresses, or none.
    #[error("start {workers} workers: 1 to {most}")]
    Workers {
        /// How many were asked for.
        workers: usize,
        /// How many there may be.
        most: usize,
    },
    /// All numbers are taken.
    #[error("choose a network: there are too many clusters already")]
    TooMany,
    /// It isn't up.
    #[error("find the cluster {name}: it is not up")]
    NotUp {
        /// Its name.
        name: String,
    },
    /// A worker that the cluster doesn't have.
    #[error("find worker {worker}: the cluster has {workers}")]
    NoWorker {
        /// The number asked for.
        worker: usize,
        /// How many there are.
        workers: usize,
    },
    /// A machine without power.
    #[error("reach {machine}: it has no power")]
    MachineDown {
        /// The machine.
        machine: String,
    },
    /// This host can't run a cluster.
    #[error("run a local cluster on this host: {what}")]
    Unsupported {
        /// What is missing.
        what: String,
    },
    /// A tool of the system.
    #[error("run `{command}`: {message}")]
    Command {
        /// The command.
        command: String,
        /// Its error.
        message: String,
    },
    /// A daemon.
    #[error("{reason}; last words ({}):\n{words}", log.display())]
    Daemon {
        /// What went wrong.
        reason: String,
        /// Its log.
        log: PathBuf,
        /// The end of its log.
        words: String,
    },
    /// A file.
    #[error("use {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The state of a cluster.
    #[error("understand {}", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
}
