//! What takes part in a measurement: a library of this process, or one in a process of its own.

use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use codec_engine::{Arena, Library, Runner, Task};

/// One of those that take turns.
pub struct Contestant {
    name: String,
    place: Place,
}

enum Place {
    Here { library: Box<dyn Library>, runner: Option<Box<Runner>> },
    Elsewhere(Process),
}

impl std::fmt::Debug for Contestant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Contestant").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Contestant {
    pub fn here(library: Box<dyn Library>) -> Self {
        Self { name: library.name().to_owned(), place: Place::Here { library, runner: None } }
    }

    /// A program that lies beside this one and serves a library on its standard streams.
    pub fn elsewhere(name: &str, program: &str) -> Result<Self, String> {
        let process = Process::start(program).map_err(|why| {
            format!("{program} doesn't start ({why}): build the whole workspace, as `make bench-codec` does")
        })?;
        Ok(Self { name: name.to_owned(), place: Place::Elsewhere(process) })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Gets ready in its best arrangement, and says which that is. Wrong results are an error.
    pub(crate) fn begin(&mut self, task: Task, arena: &mut Arena) -> Result<String, String> {
        match &mut self.place {
            Place::Here { library, runner } => {
                let ready = Runner::best(&**library, task, arena)?;
                let arrangement = ready.arrangement().to_string();
                *runner = Some(Box::new(ready));
                Ok(arrangement)
            }
            Place::Elsewhere(process) => process.ask(&format!("task {task}")),
        }
        .map_err(|why| format!("{}: {why}", self.name))
    }

    /// One round's time for an operation.
    pub(crate) fn round(&mut self, arena: &mut Arena, least: Duration) -> Result<Duration, String> {
        match &mut self.place {
            Place::Here { runner, .. } => Ok(runner.as_mut().ok_or("not begun")?.round(arena, least)),
            Place::Elsewhere(process) => {
                let answer = process.ask(&format!("round {}", least.as_nanos()))?;
                answer.parse().map(Duration::from_nanos).map_err(|_| format!("{}: not a time: {answer}", self.name))
            }
        }
    }

    /// Gives back what it got ready.
    pub(crate) fn end(&mut self) -> Result<(), String> {
        match &mut self.place {
            Place::Here { runner, .. } => *runner = None,
            Place::Elsewhere(process) => drop(process.ask("end")?),
        }
        Ok(())
    }
}

struct Process {
    child: Child,
    /// Taken when it is to end.
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Process {
    fn start(program: &str) -> io::Result<Self> {
        let path = env::current_exe()?.with_file_name(program);
        let mut child = Command::new(path).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (requests, answers) = (child.stdin.take(), child.stdout.take().expect("it was piped"));
        Ok(Self { child, requests, answers: BufReader::new(answers) })
    }

    fn ask(&mut self, request: &str) -> Result<String, String> {
        let lost = |why: io::Error| format!("its process is gone: {why}");
        let mut answer = String::new();
        writeln!(self.requests.as_mut().expect("it lives"), "{request}").map_err(lost)?;
        self.answers.read_line(&mut answer).map_err(lost)?;
        match answer.trim_end_matches('\n').split_once(' ') {
            Some(("ok", answer)) => Ok(answer.to_owned()),
            Some(("error", why)) => Err(why.to_owned()),
            _ => Err(format!("its process ended, or answered {answer:?} to {request}")),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It ends with its input.
        self.requests = None;
        if let Err(why) = self.child.wait() {
            eprintln!("a library's process can't be waited for: {why}");
        }
    }
}
