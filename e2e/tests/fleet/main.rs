//! A fleet on a real cluster: scenarios in a namespace each, one after another, on one cluster that ends with them. Needs root.
//!
//! `WEFT` names the `weft` command and `WEFT_IMAGE_TAR` the image; `make test` sets both.

mod scenarios;
mod theatre;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

use theatre::{Outcome, Theatre};

type Scenario = fn(&Theatre) -> Outcome;

const SCENARIOS: [(&str, Scenario); 5] = [
    ("a_committee_becomes_ready_and_keeps_its_blobs", scenarios::ready),
    ("a_deleted_pod_comes_back_to_its_volume_and_nothing_is_repaired", scenarios::pod_deleted),
    ("a_deleted_volume_is_replaced_and_rebuilt", scenarios::volume_deleted),
    ("a_worker_without_power_is_replaced_after_the_deadline", scenarios::worker_dead),
    ("the_demonstration_keeps_its_promises", scenarios::demonstration),
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // They share a cluster of which one takes a worker away.
    arguments.test_threads = Some(1);
    let theatre = Theatre::closed();
    let trials = SCENARIOS.map(|(name, scenario)| {
        let theatre = theatre.clone();
        Trial::test(name, move || theatre.play(scenario).map_err(|error| theatre::told(&*error).into()))
    });
    let conclusion = libtest_mimic::run(&arguments, trials.into());
    theatre.close();
    conclusion.exit_code()
}
