//! The table, and what is promised.

use std::time::Duration;

use weft_e2e::Calls;

use crate::figures::percentile;

/// What is promised of any size: MiB at the most, and the time within which 99 in a hundred reactions come.
const MEMORY: f64 = 300.0;
const REACTION: Duration = Duration::from_secs(2);

/// What one run came to.
pub(crate) struct Figures {
    pub(crate) committees: usize,
    pub(crate) nodes: usize,
    /// Until all were ready.
    pub(crate) ready: Duration,
    /// MiB.
    pub(crate) peak: f64,
    pub(crate) rest: Rest,
    /// From a pod's deletion to the next one's creation, sorted.
    pub(crate) reactions: Vec<Duration>,
}

/// What was seen in a window of time at rest.
pub(crate) struct Rest {
    pub(crate) window: Duration,
    /// The most, in MiB.
    pub(crate) memory: f64,
    pub(crate) processor: Duration,
    pub(crate) calls: Calls,
    /// Calls of members.
    pub(crate) asked: u64,
}

impl Rest {
    fn a_minute(&self, count: u64) -> String {
        format!("{:.1}", count as f64 * 60.0 / self.window.as_secs_f64())
    }
}

impl Figures {
    fn row(&self) -> Vec<String> {
        let Self { committees, nodes, ready, peak, rest, reactions } = self;
        let milliseconds = |time: Duration| time.as_millis().to_string();
        vec![
            committees.to_string(),
            nodes.to_string(),
            ready.as_secs().to_string(),
            format!("{peak:.0}"),
            format!("{:.0}", rest.memory),
            format!("{:.1}", 100.0 * rest.processor.as_secs_f64() / rest.window.as_secs_f64()),
            rest.a_minute(rest.calls.reads),
            rest.calls.writes.to_string(),
            rest.a_minute(rest.calls.leases),
            rest.a_minute(rest.calls.watches),
            rest.a_minute(rest.asked),
            milliseconds(percentile(reactions, 50)),
            milliseconds(percentile(reactions, 99)),
            milliseconds(percentile(reactions, 100)),
        ]
    }

    /// What was promised and doesn't hold, each in a sentence.
    pub(crate) fn broken(&self) -> Vec<String> {
        let Self { committees, peak, rest, reactions, .. } = self;
        let mut broken = Vec::new();
        if *peak > MEMORY {
            broken.push(format!("With {committees} committees it took {peak:.0} MiB, and {MEMORY} are promised."));
        }
        let late = percentile(reactions, 99);
        if late > REACTION {
            broken.push(format!(
                "With {committees} committees the 99th percentile of its reactions was {late:.1?}, and {REACTION:?} are promised."
            ));
        }
        if rest.calls.writes > 0 {
            broken.push(format!(
                "With {committees} committees at rest it wrote {} times in {:?}, and never is promised: {}.",
                rest.calls.writes,
                rest.window,
                rest.calls.written.join(", ")
            ));
        }
        broken
    }
}

/// All runs, as Markdown.
pub(crate) fn table(runs: &[Figures]) -> String {
    let head = [
        "committees",
        "Nodes",
        "all Ready, s",
        "memory: most, MiB",
        "at rest, MiB",
        "processor at rest, %",
        "reads a minute",
        "writes at rest",
        "Lease renewals a minute",
        "watches a minute",
        "calls of members a minute",
        "reaction: p50, ms",
        "p99, ms",
        "most, ms",
    ];
    let rows: Vec<Vec<String>> = runs.iter().map(Figures::row).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].len());
        cells.chain([head[column].len()]).max().unwrap_or_default()
    };
    let line = |cells: &[String]| {
        let cells = cells.iter().enumerate().map(|(column, cell)| format!(" {cell:>width$} |", width = width(column)));
        format!("|{}\n", cells.collect::<String>())
    };
    let rule = (0..head.len()).map(|column| format!(" {}: |", "-".repeat(width(column) - 1)));
    let rule = format!("|{}\n", rule.collect::<String>());
    line(&head.map(str::to_owned)) + &rule + &rows.iter().map(|row| line(row)).collect::<String>()
}
