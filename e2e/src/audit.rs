//! What an API server writes down of calls, an `audit.k8s.io/v1` Event a line.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};
use thiserror::Error;

/// Writes that are told of by what they were.
const TOLD: usize = 5;

/// Has what matches `rule` (its users, say) written down without bodies, once it is answered; a watch, which may last for ever,
/// also when it begins.
pub(crate) fn policy(mut rule: Value) -> String {
    rule["level"] = json!("Metadata");
    let policy = json!({
        "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
        "rules": [rule, {"level": "None"}],
    });
    policy.to_string()
}

/// What kube-apiserver is told of it.
pub(crate) fn arguments(policy: &Path, log: &Path) -> [String; 3] {
    [
        format!("--audit-policy-file={}", policy.display()),
        format!("--audit-log-path={}", log.display()),
        // MiB: it is read as one file.
        "--audit-log-maxsize=65536".to_owned(),
    ]
}

/// Why an audit log can't be read.
#[derive(Debug, Error)]
pub enum AuditError {
    /// The file can't be read.
    #[error("read the audit log {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line is no Event.
    #[error("understand a line of the audit log")]
    Line(#[from] serde_json::Error),
}

/// Calls of the API server.
#[derive(Clone, Debug, Default)]
pub struct Calls {
    /// Reads that were answered.
    pub reads: u64,
    /// Writes, but of Leases.
    pub writes: u64,
    /// Writes of Leases.
    pub leases: u64,
    /// Watches that were begun.
    pub watches: u64,
    /// The first writes, as verb and path.
    pub written: Vec<String>,
}

/// One line of the log, as far as it is read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    stage: String,
    verb: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    object_ref: Option<Reference>,
}

#[derive(Deserialize)]
struct Reference {
    resource: Option<String>,
}

/// The audit log, read as it grows.
#[derive(Debug)]
pub struct AuditLog {
    path: PathBuf,
    at: u64,
}

impl AuditLog {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, at: 0 }
    }

    /// What was called for since it was read last.
    pub fn read(&mut self) -> Result<Calls, AuditError> {
        let mut text = self.rest().map_err(|source| AuditError::Read { path: self.path.clone(), source })?;
        // The last line may be half written.
        text.truncate(text.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1));
        self.at += text.len() as u64;
        let mut calls = Calls::default();
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            calls.count(&serde_json::from_slice(line)?);
        }
        Ok(calls)
    }

    fn rest(&self) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        match File::open(&self.path) {
            Ok(mut file) => {
                file.seek(SeekFrom::Start(self.at))?;
                file.read_to_end(&mut text)?;
            }
            // Nothing was called for yet.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(text)
    }
}

impl Calls {
    fn count(&mut self, line: &Line) {
        let resource = line.object_ref.as_ref().and_then(|reference| reference.resource.as_deref());
        match (line.stage.as_str(), line.verb.as_str()) {
            ("ResponseStarted", "watch") => self.watches += 1,
            (_, "watch") | ("ResponseStarted", _) => {}
            (_, "get" | "list") => self.reads += 1,
            _ if resource == Some("leases") => self.leases += 1,
            (_, verb) => {
                self.writes += 1;
                if self.written.len() < TOLD {
                    self.written.push(format!("{verb} {}", line.request_uri));
                }
            }
        }
    }

    /// Adds what was called for later.
    pub fn add(&mut self, more: Self) {
        let Self { reads, writes, leases, watches, written } = more;
        self.reads += reads;
        self.writes += writes;
        self.leases += leases;
        self.watches += watches;
        let room = TOLD.saturating_sub(self.written.len());
        self.written.extend(written.into_iter().take(room));
    }
}
