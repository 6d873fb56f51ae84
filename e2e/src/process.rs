//! Child processes that end with this one.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{self, Sender};
use std::thread;

/// A child that is killed when this is dropped, and by the kernel when this process ends in any way.
#[derive(Debug)]
pub(crate) struct Bound {
    child: Child,
    log: PathBuf,
}

type Request = (Command, Sender<io::Result<Child>>);

impl Bound {
    /// Starts `program`; everything that it prints goes to `log`.
    pub(crate) fn start<S: AsRef<OsStr>>(program: &Path, arguments: &[S], log: &Path) -> io::Result<Self> {
        Self::start_knowing(&[], program, arguments, log)
    }

    /// The same, with these variables beside those of this process.
    pub(crate) fn start_knowing<S: AsRef<OsStr>>(
        variables: &[(&str, &OsStr)],
        program: &Path,
        arguments: &[S],
        log: &Path,
    ) -> io::Result<Self> {
        let output = File::create(log)?;
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program)
            .args(arguments)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        let (answer, child) = mpsc::channel();
        let gone = || io::Error::other("the thread that starts processes is gone");
        keeper().send((command, answer)).map_err(|_| gone())?;
        Ok(Self { child: child.recv().map_err(|_| gone())??, log: log.to_owned() })
    }

    /// The process: `setpriv` has become the program.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// The last lines that it printed.
    pub(crate) fn last_words(&self) -> String {
        tail(&self.log, 15)
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        // Both fail only where it ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The thread that starts all children. The kernel's parent-death signal follows the *thread* that forked: a child of a test's
/// own thread would die with that test, even where others share it. This one lives as long as the process.
fn keeper() -> &'static Sender<Request> {
    static KEEPER: OnceLock<Sender<Request>> = OnceLock::new();
    KEEPER.get_or_init(|| {
        let (requests, inbox) = mpsc::channel::<Request>();
        thread::spawn(move || {
            for (mut command, answer) in inbox {
                // Nobody waits for the answer any more: then the child ends with its handle.
                if let Err(mpsc::SendError(Ok(mut child))) = answer.send(command.spawn()) {
                    let _ = child.kill();
                    let _ = child.wait();
                }
            }
        });
        requests
    })
}

/// The last `lines` lines of a log, or why there are none.
pub(crate) fn tail(log: &Path, lines: usize) -> String {
    match fs::read(log) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let all: Vec<&str> = text.lines().collect();
            all[all.len().saturating_sub(lines)..].join("\n")
        }
        Err(error) => format!("(no log at {}: {error})", log.display()),
    }
}

/// When a process began, in clock ticks since boot; `None` when there is no such process. Process ids are used again, a pair
/// of id and beginning is not.
pub(crate) fn began(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses, and may hold spaces and parentheses of its own.
    let (_, fields) = stat.rsplit_once(')')?;
    // `proc_pid_stat(5)`: starttime is field 22; what is left here begins with field 3.
    fields.split_whitespace().nth(22 - 3)?.parse().ok()
}

/// Whether there is such a process, zombies not counted: those wait for nothing but their parent.
pub(crate) fn is_running(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The state follows the program's name.
    stat.rsplit_once(") ").is_some_and(|(_, fields)| !fields.starts_with(['Z', 'X']))
}

#[cfg(test)]
mod tests {
    use std::process;
    use std::time::Duration;

    use super::*;
    use crate::wait::wait_until;

    #[test]
    fn a_process_is_known_by_its_beginning() {
        assert!(began(process::id()).is_some());
        assert!(is_running(process::id()));
        assert_eq!(began(u32::MAX), None);
        assert!(!is_running(u32::MAX));
    }

    #[test]
    fn a_child_outlives_the_thread_that_asked_for_it_but_not_its_handle() {
        let log = std::env::temp_dir().join(format!("weft-bound-{}", process::id()));
        let path = log.clone();
        let asked = thread::spawn(move || Bound::start(Path::new("sleep"), &["1000"], &path));
        let mut bound = asked.join().expect("the thread").expect("a child");
        assert_eq!(bound.ended().expect("a state"), None);

        let pid = bound.id();
        drop(bound);
        wait_until("the end", Duration::from_secs(5), || Ok(began(pid).is_none().then_some(()))).expect("ended");
        fs::remove_file(log).expect("a log");
    }
}
