//! Why the demonstration, or a test that shares its steps, could not go on.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::cluster::ClusterError;
use crate::images::ImageError;
use crate::kubectl::KubectlError;
use crate::parts::PartsError;

/// The step that failed, and what it was done to.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The local cluster.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The binaries.
    #[error(transparent)]
    Parts(#[from] PartsError),
    /// The image.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// kubectl.
    #[error(transparent)]
    Kubectl(#[from] KubectlError),
    /// The kubeconfig.
    #[error("use the kubeconfig {}", path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// Why.
        source: kube::config::KubeconfigError,
    },
    /// A request to the API server.
    #[error("{what}")]
    Api {
        /// What was asked.
        what: String,
        /// Why.
        source: Box<kube::Error>,
    },
    /// A command that was run.
    #[error("run `{command}`: {message}")]
    Command {
        /// The command.
        command: String,
        /// Its error.
        message: String,
    },
    /// A file.
    #[error("read {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something that didn't come about.
    #[error("{what} did not come about within {} s", limit.as_secs())]
    Timeout {
        /// What was waited for.
        what: String,
        /// For how long.
        limit: Duration,
    },
    /// What a demonstration needs and this machine or cluster doesn't have.
    #[error("{0}")]
    Unfit(String),
    /// The gateway.
    #[error("{what}: {reason}")]
    Gateway {
        /// What was asked.
        what: String,
        /// Why not.
        reason: String,
    },
    /// A task of this process.
    #[error("a task of the demonstration ended early")]
    Task(#[from] tokio::task::JoinError),
}

impl DemoError {
    /// Names a request to the API server that failed.
    pub(crate) fn api(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let what = what.into();
        move |source| Self::Api { what, source: Box::new(source) }
    }
}
