//! What happens to fleets, and what must come of it; the longer stories have files of their own.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::time::Duration;

use futures::FutureExt as _;
use weft_e2e::demo::{Run, Scale};

use crate::load::under_load;
use crate::shell::Shell;
use crate::theatre::{Outcome, Theatre};
use crate::{cheater, command, epochs};

const CHART_LIMIT: Duration = Duration::from_secs(120);

/// A fleet of four: it is looked after by `kubectl weft`, its epochs go on whoever dies, and who cheats in it is found.
pub(crate) fn four(theatre: &Theatre) -> Outcome {
    theatre.wait(async {
        let run = theatre.run("four", Scale { members: 4, ..Scale::SMALL }).await?;
        let shell = Shell::of(&run)?;
        or_dump(&run, command::looks(&run, &shell)).await?;
        under_load(&run, Box::pin(epochs::deaths(&run, &shell))).await?;
        or_dump(&run, cheater::found(&run)).await?;
        run.fleet.delete().await?;
        Ok(())
    })
}

/// `helm test`: the operator's image asks the operator through its Service.
pub(crate) fn chart(theatre: &Theatre) -> Outcome {
    theatre.wait(async {
        let told = theatre.stage()?.test_chart(CHART_LIMIT).await?;
        let phases: Vec<&str> = told.lines().filter(|line| line.starts_with("Phase:")).collect();
        assert_eq!(phases.len(), 1, "{told}");
        assert!(phases[0].ends_with("Succeeded"), "{told}");
        Ok(())
    })
}

/// `make demo`, in small.
pub(crate) fn demonstration(theatre: &Theatre) -> Outcome {
    theatre.wait(async {
        let run = theatre.run("demonstration", Scale::TEST).await?;
        let (run, report) = run.lose().await?;
        println!("{report}");
        assert_eq!(report.broken(), Vec::<String>::new());
        // Silence counts from the first call that failed, so never from before the cut.
        let (noticed, lost) = (report.milestones.noticed, report.milestones.lost);
        assert!(noticed.is_some_and(|noticed| noticed < Duration::from_secs(60)), "{noticed:?}");
        assert!(lost.is_some_and(|lost| lost >= Duration::from_secs(30)), "{lost:?}");
        run.fleet.delete().await?;
        Ok(())
    })
}

/// Does `work`, and tells what a person would look at where it fails.
pub(crate) async fn or_dump<W: Future<Output = Outcome>>(run: &Run, work: W) -> Outcome {
    let outcome = AssertUnwindSafe(work).catch_unwind().await;
    if !matches!(outcome, Ok(Ok(()))) {
        run.fleet.dump().await;
    }
    outcome.unwrap_or_else(|panic| resume_unwind(panic))
}
