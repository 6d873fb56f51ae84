//! Fleets on a real cluster: scenarios in a namespace each, on one cluster that ends with them. Those that take workers away
//! have it for themselves. Needs root.
//!
//! `WEFT` names the `weft` command and `WEFT_IMAGE_TAR` the image; `make test` sets both. `make test-long` plays those that are
//! ignored otherwise, and builds what `WEFT_PREVIOUS_IMAGE_TAR` names: the image of the release before.

mod adoption;
mod cheater;
mod command;
mod cookbook;
mod degradation;
mod epochs;
mod growth;
mod load;
mod page;
mod policies;
mod previous;
mod rest;
mod rollout;
mod scenarios;
mod settle;
mod shell;
mod theatre;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

use theatre::{Outcome, Theatre, Turn};

type Scenario = fn(&Theatre) -> Outcome;

/// How many scenarios share the cluster: more would only wait for its processors.
const AT_ONCE: usize = 2;

/// Begun in this order; with the numbers that they have in `e2e/scenarios.txt`.
const SCENARIOS: [(&str, &[u8], Turn, Scenario); 12] = [
    ("the_cookbook_is_true", &[3, 4, 20, 25], Turn::Shared, cookbook::losses_and_changes),
    ("epochs_end_in_the_same_place_whoever_dies_and_cheaters_are_found", &[15, 19], Turn::Shared, scenarios::four),
    ("a_fleet_degrades_gracefully_and_comes_back_by_itself", &[12], Turn::Long, degradation::member_after_member),
    ("nobody_reaches_members_but_who_has_to_and_they_reach_nobody_else", &[], Turn::Shared, policies::hold),
    ("the_chart_passes_its_own_test", &[], Turn::Shared, scenarios::chart),
    ("the_demonstration_keeps_its_promises", &[1, 7, 9], Turn::Alone, scenarios::demonstration),
    ("a_namespace_goes_and_its_fleet_is_taken_up_again", &[24], Turn::Long, adoption::again),
    ("members_restart_with_another_spec", &[21], Turn::Long, rollout::one_after_another),
    ("members_of_the_release_before_are_looked_after", &[21, 22], Turn::Long, previous::is_run),
    ("a_fleet_at_rest_is_written_nothing_of", &[2], Turn::Long, rest::nothing_is_written),
    ("volumes_grow_online", &[], Turn::Long, growth::online),
    ("machines_are_drained_and_lost", &[7, 18], Turn::Long, cookbook::machines),
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = arguments.test_threads.or(Some(AT_ONCE));
    let theatre = Theatre::closed();
    let trials = SCENARIOS.map(|(name, numbers, turn, scenario)| {
        let theatre = theatre.clone();
        let play = move || theatre.play(name, numbers, turn, scenario).map_err(|error| theatre::told(&*error).into());
        Trial::test(name, play).with_ignored_flag(turn == Turn::Long)
    });
    let conclusion = libtest_mimic::run(&arguments, trials.into());
    theatre.close();
    theatre.print_times();
    conclusion.exit_code()
}
