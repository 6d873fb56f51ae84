//! kubectl, bound to one cluster.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::parts::{Parts, PartsError};

/// Runs kubectl with one kubeconfig.
#[derive(Clone, Debug)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
}

/// Why kubectl gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum KubectlError {
    /// It could not be run.
    #[error("run kubectl {arguments}")]
    Run {
        /// What it was asked.
        arguments: String,
        /// Why.
        source: io::Error,
    },
    /// It said no.
    #[error("kubectl {arguments}: {message}")]
    Refused {
        /// What it was asked.
        arguments: String,
        /// Its standard error.
        message: String,
    },
}

impl Kubectl {
    pub(crate) fn new(parts: &Parts, kubeconfig: &Path) -> Result<Self, PartsError> {
        Ok(Self { program: parts.path("kubectl")?, kubeconfig: kubeconfig.to_owned() })
    }

    /// Runs it and returns its standard output.
    pub fn run(&self, arguments: &[&str]) -> Result<String, KubectlError> {
        self.feed(arguments, "")
    }

    /// Server-side applies manifests (YAML or JSON).
    pub fn apply(&self, manifests: &str) -> Result<(), KubectlError> {
        self.feed(&["apply", "--server-side", "--force-conflicts", "-f", "-"], manifests).map(drop)
    }

    fn feed(&self, arguments: &[&str], input: &str) -> Result<String, KubectlError> {
        let run = |source| KubectlError::Run { arguments: arguments.join(" "), source };
        let mut child = Command::new(&self.program)
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(run)?;
        // It may end without having read everything: its own message says why.
        let fed = child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes()));
        let output = child.wait_with_output().map_err(run)?;
        if !output.status.success() {
            let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(KubectlError::Refused { arguments: arguments.join(" "), message });
        }
        fed.transpose().map_err(run)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
