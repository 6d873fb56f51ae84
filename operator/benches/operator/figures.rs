//! What is counted of the operator's process, by `/proc`; and ranks of what was measured.

use std::{fs, time::Duration};

use crate::Failure;

/// So often a second the kernel counts a process's time, for whoever reads `/proc` (`proc_pid_stat(5)`).
const TICKS: f64 = 100.0;

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
