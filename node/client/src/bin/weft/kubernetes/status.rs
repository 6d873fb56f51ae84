use std::{
    io::{IsTerminal, Write as _},
    time::{Duration, Instant},
};

use clap::Args;
use jiff::Timestamp;
use tokio::time::sleep;

use self::report::Report;
use super::{Cluster, Committee, Output, pace::Pace};
use crate::failure::{BoxError as Error, Outcome, block_on, say};

mod render;
mod report;

/// Between looks at the committee.
const LOOK: Duration = Duration::from_millis(500);
/// Between redraws.
const REDRAW: Duration = Duration::from_secs(2);
/// How long the status, which is written every few seconds, is looked at to learn how fast a repair goes.
const MEASURE: Duration = Duration::from_secs(12);

/// Show a fleet: members, margins, what is missing and how fast it is mended
#[derive(Debug, Args)]
pub(crate) struct Status {
    #[command(flatten)]
    of: Committee,
    #[command(flatten)]
    output: Output,
    /// Look again every two seconds, until interrupted
    #[arg(long, short)]
    watch: bool,
    /// Don't wait to learn how fast a repair goes
    #[arg(long, conflicts_with = "watch")]
    now: bool,
}

impl Status {
    pub(crate) fn run(self) -> Outcome {
        block_on(async {
            let cluster = self.of.kube.connect().await?;
            let name = self.of.committee.as_deref();
            if self.watch {
                return self.keep_on(&cluster, name).await;
            }
            let (mut pace, began) = (Pace::default(), Instant::now());
            let mut report = look(&cluster, name, &mut pace).await?;
            while !self.now && report.is_repairing() && report.repair.is_none() && began.elapsed() < MEASURE {
                sleep(LOOK).await;
                report = look(&cluster, name, &mut pace).await?;
            }
            self.output.print(&report, || render::render(&report, Timestamp::now()))
        })
    }

    async fn keep_on(&self, cluster: &Cluster, name: Option<&str>) -> Outcome {
        let (mut pace, clears) = (Pace::default(), std::io::stdout().is_terminal() && !self.output.is_json());
        loop {
            let report = look(cluster, name, &mut pace).await;
            if clears {
                // From the top, over what was there.
                write!(std::io::stdout(), "\x1b[2J\x1b[H")?;
            }
            match report {
                Ok(report) => self.output.print(&report, || render::render(&report, Timestamp::now()))?,
                // An API server that is away for a moment ends nothing.
                Err(error) => say(format_args!("{error}")),
            }
            if !clears {
                say(format_args!(""));
            }
            sleep(REDRAW).await;
        }
    }
}

async fn look(cluster: &Cluster, name: Option<&str>, pace: &mut Pace) -> Result<Report, Error> {
    let committee = cluster.committee(name).await?;
    let missing = committee.status.as_ref().and_then(|status| status.missing);
    if let Some(missing) = missing {
        pace.see(Instant::now(), missing.bytes);
    }
    Ok(Report::new(committee, pace.repair()))
}
