//! Daemons that outlive the process which starts them, and are found again by their machine's cgroup.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use super::ClusterError;
use super::cgroup::Cgroups;
use super::layout::Layout;
use crate::process::{is_running, tail};
use crate::wait::wait_until;

/// Moves itself into the cgroup whose `cgroup.procs` is the first argument, then becomes the rest of them: whatever the
/// daemon forks is in the group from its first instruction.
const ENTER_GROUP: &str = r#"echo $$ >"$0" && exec "$@""#;

/// A running daemon.
#[derive(Clone, Debug)]
pub(crate) struct Daemon {
    pub(crate) name: &'static str,
    pub(crate) pid: u32,
    log: PathBuf,
}

impl Daemon {
    /// Starts a daemon on a machine, in its network namespace and cgroup. `command` is the program and its arguments.
    pub(crate) fn start(
        layout: &Layout,
        cgroups: &Cgroups,
        machine: usize,
        name: &'static str,
        command: &[String],
    ) -> Result<Self, ClusterError> {
        let folder = layout.machine_folder(machine).join("log");
        let log = folder.join(format!("{name}.log"));
        let io = |source| ClusterError::File { path: log.clone(), source };
        fs::create_dir_all(&folder).map_err(io)?;
        let output = File::options().append(true).create(true).open(&log).map_err(io)?;
        let tasks = cgroups.daemons(&layout.machine_cgroup(machine))?;
        // `setsid` and `nsenter` become the daemon, so the id stays the same; and no terminal's hang-up reaches it.
        let mut child = Command::new("setsid")
            .args(["sh", "-c", ENTER_GROUP])
            .arg(tasks)
            .arg("nsenter")
            .arg(format!("--net={}", layout.namespace_path(machine).display()))
            .args(command)
            .stdin(Stdio::null())
            .stdout(output.try_clone().map_err(io)?)
            .stderr(output)
            .spawn()
            .map_err(|error| ClusterError::Command { command: name.to_owned(), message: error.to_string() })?;
        let pid = child.id();
        // When it ends while this process still runs, somebody has to take note, or it stays a zombie.
        thread::spawn(move || child.wait());
        Ok(Self { name, pid, log })
    }

    /// Waits until `ready` says so, or the daemon has ended.
    pub(crate) fn wait(
        &self,
        limit: Duration,
        mut ready: impl FnMut() -> Result<(), String>,
    ) -> Result<(), ClusterError> {
        let mut ended = false;
        wait_until(&format!("{} to be ready", self.name), limit, || {
            ended = ended || !is_running(self.pid);
            if ended { Ok(Some(false)) } else { ready().map(|()| Some(true)) }
        })
        .map_err(|error| error.to_string())
        .and_then(|ready| if ready { Ok(()) } else { Err(format!("{} ended", self.name)) })
        .map_err(|reason| ClusterError::Daemon { reason, log: self.log.clone(), words: tail(&self.log, 15) })
    }
}

/// The id of a process in a machine's cgroup that runs `program`.
pub(crate) fn find(cgroups: &Cgroups, layout: &Layout, machine: usize, program: &Path) -> Option<u32> {
    let name = program.file_name()?;
    cgroups
        .processes(&layout.machine_cgroup(machine))
        .into_iter()
        .filter_map(|pid| u32::try_from(pid).ok())
        .find(|pid| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.file_name() == Some(name)))
}
