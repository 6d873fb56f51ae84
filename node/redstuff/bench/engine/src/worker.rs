//! A library in a process of its own.

use std::io::{self, BufRead, Write};
use std::time::Duration;

use crate::arena::Arena;
use crate::engine::Library;
use crate::runner::Runner;
use crate::task::Task;

/// Serves one library on the standard streams: `task <task>` gets it ready and is answered by `ok <arrangement>`, `round <nanoseconds>` by `ok
/// <nanoseconds>`, `end` by `ok`. A failure is answered by `error <sentence>`.
pub fn serve(library: &dyn Library) -> io::Result<()> {
    let (mut arena, mut runner) = (Arena::default(), None);
    for line in io::stdin().lock().lines() {
        let line = line?;
        let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let answer = match (verb, &mut runner) {
            ("task", _) => {
                // What went before is given back first.
                runner = None;
                arena.clear();
                rest.parse().and_then(|task: Task| Runner::best(library, task, &mut arena)).map(|ready| {
                    let arrangement = ready.arrangement().to_string();
                    runner = Some(ready);
                    arrangement
                })
            }
            ("round", Some(runner)) => rest
                .parse()
                .map(|least| runner.round(&mut arena, Duration::from_nanos(least)).as_nanos().to_string())
                .map_err(|_| format!("not a duration: {rest}")),
            ("end", _) => {
                runner = None;
                arena.clear();
                Ok(String::new())
            }
            _ => Err(format!("not understood: {line}")),
        };
        let mut out = io::stdout().lock();
        match answer {
            Ok(answer) => writeln!(out, "ok {answer}")?,
            Err(why) => writeln!(out, "error {why}")?,
        }
        out.flush()?;
    }
    Ok(())
}
