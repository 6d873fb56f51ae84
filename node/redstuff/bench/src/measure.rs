//! Measuring everything side by side: rounds of all contestants take turns, so that a noisy machine hits all alike.

use std::time::{Duration, Instant};

use codec_engine::{Arena, Task};

use crate::contestant::Contestant;

const FEWEST_ROUNDS: usize = 3;
/// A round of shorter operations repeats them for so long.
const ROUND: Duration = Duration::from_millis(20);

/// What one contestant did.
#[derive(Debug, Clone)]
pub struct Measured {
    pub name: String,
    pub arrangement: String,
    /// The median of all rounds, for one operation.
    pub time: Duration,
}

/// One task by all contestants.
#[derive(Debug, Clone)]
pub struct Cell {
    pub task: Task,
    pub measured: Vec<Measured>,
}

impl Cell {
    pub fn of(&self, name: &str) -> Option<&Measured> {
        self.measured.iter().find(|measured| measured.name == name)
    }

    /// Seconds of an operation.
    pub fn seconds(&self, name: &str) -> Option<f64> {
        self.of(name).map(|measured| measured.time.as_secs_f64())
    }

    /// 10⁹ bytes of content a second.
    pub fn rate(&self, measured: &Measured) -> f64 {
        self.task.bytes() as f64 / measured.time.as_secs_f64() / 1e9
    }

    /// The fastest of those that are chosen.
    pub fn fastest(&self, chosen: impl Fn(&str) -> bool) -> Option<&Measured> {
        self.measured.iter().filter(|measured| chosen(&measured.name)).min_by_key(|measured| measured.time)
    }

    /// How many times as long `other` takes as `name`.
    pub fn ratio(&self, name: &str, other: &str) -> Option<f64> {
        Some(self.seconds(other)? / self.seconds(name)?)
    }
}

/// Measures for about `each` a contestant.
pub fn measure(task: Task, contestants: &mut [Contestant], arena: &mut Arena, each: Duration) -> Result<Cell, String> {
    eprintln!("{task}");
    let mut arrangements = Vec::new();
    for contestant in &mut *contestants {
        arrangements.push(contestant.begin(task, arena)?);
    }
    let mut times = vec![Vec::new(); contestants.len()];
    let start = Instant::now();
    while times[0].len() < FEWEST_ROUNDS || start.elapsed() < each * contestants.len() as u32 {
        for (contestant, times) in contestants.iter_mut().zip(&mut times) {
            times.push(contestant.round(arena, ROUND)?);
        }
    }
    let mut measured = Vec::new();
    for ((contestant, arrangement), times) in contestants.iter_mut().zip(arrangements).zip(times) {
        contestant.end()?;
        measured.push(Measured { name: contestant.name().to_owned(), arrangement, time: median(times) });
    }
    Ok(Cell { task, measured })
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
