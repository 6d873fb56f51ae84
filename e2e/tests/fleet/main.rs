//! A fleet on a real cluster: scenarios in a namespace each, on one cluster that ends with them. Those that take workers away
//! have it for themselves. Needs root.
//!
//! `WEFT` names the `weft` command and `WEFT_IMAGE_TAR` the image; `make test` sets both.

mod chart;
mod scenarios;
mod theatre;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

use theatre::{Outcome, Theatre, Turn};

type Scenario = fn(&Theatre) -> Outcome;

const SCENARIOS: [(&str, Turn, Scenario); 6] = [
    ("the_chart_passes_its_own_test", Turn::Shared, chart::tested),
    ("a_committee_becomes_ready_and_keeps_its_blobs", Turn::Shared, scenarios::ready),
    ("a_deleted_pod_comes_back_to_its_volume_and_nothing_is_repaired", Turn::Shared, scenarios::pod_deleted),
    ("a_deleted_volume_is_replaced_and_rebuilt", Turn::Shared, scenarios::volume_deleted),
    ("a_worker_without_power_is_replaced_after_the_deadline", Turn::Alone, scenarios::worker_dead),
    ("the_demonstration_keeps_its_promises", Turn::Alone, scenarios::demonstration),
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // More at once would wait for the same few processors.
    arguments.test_threads = arguments.test_threads.or(Some(1));
    let theatre = Theatre::closed();
    let trials = SCENARIOS.map(|(name, turn, scenario)| {
        let theatre = theatre.clone();
        Trial::test(name, move || theatre.play(name, turn, scenario).map_err(|error| theatre::told(&*error).into()))
    });
    let conclusion = libtest_mimic::run(&arguments, trials.into());
    theatre.close();
    theatre.print_times();
    conclusion.exit_code()
}
