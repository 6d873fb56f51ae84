//! Clients that keep reading and writing while something happens to a fleet.

use std::time::Duration;

use weft_e2e::demo::{Load, Run, compare};

use crate::scenarios::or_dump;
use crate::theatre::Outcome;

/// Two fleets at once make 25 operations a second together.
const PERIOD: Duration = Duration::from_millis(80);

/// Does `work` under load; afterwards no operation has failed, each tried once, and all bytes come back.
pub(crate) async fn under_load<W: Future<Output = Outcome>>(run: &Run, work: W) -> Outcome {
    let load = Load::begin(run.gateway.clone(), &run.stored, PERIOD);
    let worked = or_dump(run, work).await;
    let tally = load.end().await?;
    worked?;
    println!("{} operations, {:.1} a second", tally.operations(), tally.rate());
    assert!(tally.reads > 0 && tally.writes > 0, "{tally:?}");
    assert_eq!((&tally.failed_reads, &tally.failed_writes, tally.different), (&[].into(), &[].into(), 0));
    let all = [run.stored.as_slice(), &tally.written].concat();
    assert_eq!(compare(&run.fleet, &run.gateway, &all).await, Vec::<String>::new());
    Ok(())
}
