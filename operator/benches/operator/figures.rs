//! What is counted: the operator's process by `/proc`, and its calls by the API server's audit log.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::PathBuf,
    time::Duration,
};

use serde::Deserialize;

use crate::Failure;

/// So often a second the kernel counts a process's time, for whoever reads `/proc` (`proc_pid_stat(5)`).
const TICKS: f64 = 100.0;
/// Writes that are told of by what they were.
const TOLD: usize = 5;

/// Calls of the API server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Calls {
    pub(crate) reads: u64,
    /// But of Leases.
    pub(crate) writes: u64,
    pub(crate) leases: u64,
    /// Watches that were begun.
    pub(crate) watches: u64,
    /// The first writes, as verb and path.
    pub(crate) written: Vec<String>,
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
pub(crate) struct AuditLog {
    path: PathBuf,
    at: u64,
}

impl AuditLog {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, at: 0 }
    }

    /// What was called for since it was read last.
    pub(crate) fn read(&mut self) -> Result<Calls, Failure> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            // Nothing was called for yet.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Calls::default()),
            Err(error) => return Err(error.into()),
        };
        file.seek(SeekFrom::Start(self.at))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        // The last line may be half written.
        text.truncate(text.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1));
        self.at += text.len() as u64;
        let mut calls = Calls::default();
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            calls.count(&serde_json::from_slice(line)?);
        }
        Ok(calls)
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

    pub(crate) fn add(&mut self, more: Self) {
        let Self { reads, writes, leases, watches, written } = more;
        self.reads += reads;
        self.writes += writes;
        self.leases += leases;
        self.watches += watches;
        let room = TOLD.saturating_sub(self.written.len());
        self.written.extend(written.into_iter().take(room));
    }
}

/// A process, as the kernel tells of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process(pub(crate) u32);

impl Process {
    /// The processor time that it has had.
    pub(crate) fn time(self) -> Result<Duration, Failure> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0))?;
        let (_, fields) = stat.rsplit_once(')').ok_or("no name in /proc/…/stat")?;
        // utime and stime are fields 14 and 15; what is left begins with field 3.
        let ticks = fields.split_whitespace().skip(14 - 3).take(2).map(str::parse::<u64>);
        let ticks = ticks.sum::<Result<u64, _>>()?;
        Ok(Duration::from_secs_f64(ticks as f64 / TICKS))
    }

    /// The memory that it has now, in MiB.
    pub(crate) fn memory(self) -> Result<f64, Failure> {
        self.status("VmRSS:")
    }

    /// The most that it ever had, in MiB.
    pub(crate) fn peak(self) -> Result<f64, Failure> {
        self.status("VmHWM:")
    }

    fn status(self, key: &str) -> Result<f64, Failure> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0))?;
        let line = status.lines().find_map(|line| line.strip_prefix(key)).ok_or_else(|| format!("no {key}"))?;
        let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kib / 1024.0)
    }
}

/// The time within which so many in a hundred came, of sorted times: the nearest rank.
pub(crate) fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}
