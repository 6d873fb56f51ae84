//! The simulation: `make sim SEEDS=100`, `make sim SEED=17`.
//!
//! Each simulation is a process of its own. What the libraries below draw at random (hash maps, tokio's choice among what is
//! ready) comes from the kernel by one call, which is answered here with the same bytes each time; tokio also counts the
//! runtimes of a process.

use std::{
    collections::BTreeMap,
    env,
    ffi::c_void,
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
    thread,
    time::Instant,
};

use weft_sim::{Bug, Options, Outcome, run};

/// Seeds that are run where nothing else is said.
const SEEDS: u64 = 6;

/// So many seeds bring every kind of misfortune, and what is to come of it.
const VARIED: usize = 40;
const MISFORTUNES: [&str; 13] = [
    "blight", "blow", "cheat", "dark", "disk", "expiring", "faulty", "loss", "retire", "return", "scale", "wish",
    "delete",
];

/// Names what a child shall do, as JSON.
const OPTIONS: &str = "WEFT_SIMULATE";

/// Begins the line on which it tells what came out.
const OUTCOME: &str = "outcome: ";

/// The C library's call for randomness, with no randomness in it.
///
/// # Safety
/// As for the C library's: `buffer` has room for `length` bytes.
#[expect(unsafe_code, reason = "it takes the place of a function of the C library")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(buffer: *mut c_void, length: usize, _flags: u32) -> isize {
    // SAFETY: by the call's contract the buffer has room for that many bytes.
    unsafe { std::ptr::write_bytes(buffer.cast::<u8>(), 7, length) };
    length as isize
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().filter(|value| !value.is_empty()).map(|value| value.parse().expect("a number"))
}

/// Simulates in a process of its own.
fn simulate(options: Options) -> Outcome {
    let mut child = Command::new(env::current_exe().expect("this program has a path"));
    child.args(["--exact", "one_seed", "--ignored", "--nocapture"]);
    child.env(OPTIONS, serde_json::to_string(&options).expect("options are JSON"));
    child.stderr(if options.tells { Stdio::inherit() } else { Stdio::null() });
    let output = child.output().expect("a child starts");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let outcome = told.lines().find_map(|line| Some(line.split_once(OUTCOME)?.1));
    let outcome = outcome.unwrap_or_else(|| panic!("seed {} ends without an outcome: {told}", options.seed));
    serde_json::from_str(outcome).expect("an outcome is JSON")
}

#[test]
#[ignore = "the other tests run it, in a process of its own"]
fn one_seed() {
    let Ok(options) = env::var(OPTIONS) else { return };
    let options = serde_json::from_str(&options).expect("options are JSON");
    println!("\n{OUTCOME}{}", serde_json::to_string(&run(&options)).expect("an outcome is JSON"));
}

fn simulate_and_tell(seed: u64, bug: Option<Bug>) -> Outcome {
    let started = Instant::now();
    let outcome = simulate(Options { seed, bug, tells: false });
    let (simulated, took) = (outcome.simulated.as_secs(), started.elapsed().as_secs_f64());
    println!("seed {seed}: {simulated} s in {took:.1} s, {} messages, {:?}", outcome.messages, outcome.counts);
    outcome
}

/// Simulates many, as many at a time as there are processors.
fn simulate_all(seeds: impl Iterator<Item = u64> + Send) -> Vec<(u64, Outcome)> {
    let (seeds, outcomes) = (Mutex::new(seeds), Mutex::new(Vec::new()));
    let next = || seeds.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || {
        while let Some(seed) = next() {
            let outcome = simulate_and_tell(seed, None);
            outcomes.lock().unwrap_or_else(PoisonError::into_inner).push((seed, outcome));
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    outcomes.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// `SEED` replays one and tells everything; `SEEDS` says how many are simulated, from `FROM` on.
#[test]
fn nothing_acknowledged_is_lost_and_the_fleet_comes_to_rest() {
    let outcomes = if let Some(seed) = number("SEED") {
        vec![(seed, simulate(Options { seed, bug: None, tells: true }))]
    } else {
        let from = number("FROM").unwrap_or(1);
        simulate_all(from..from + number("SEEDS").unwrap_or(SEEDS))
    };
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for (kind, count) in outcomes.iter().flat_map(|(_, outcome)| &outcome.counts) {
        *counts.entry(kind).or_default() += count;
    }
    println!("{} seeds: {counts:?}", outcomes.len());
    let told = |(seed, outcome): &(u64, Outcome)| {
        Some(format!("seed {seed} (replay: make sim SEED={seed}): {}", outcome.wrong.first()?))
    };
    let told: Vec<String> = outcomes.iter().filter_map(told).collect();
    assert!(told.is_empty(), "{} of {} seeds fail\n{}", told.len(), outcomes.len(), told.join("\n"));
    if outcomes.len() >= VARIED {
        let unseen: Vec<&&str> = MISFORTUNES.iter().filter(|kind| !counts.contains_key(**kind)).collect();
        assert!(unseen.is_empty(), "{unseen:?} never happened: {counts:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let trace = |seed| {
        let outcome = simulate(Options { seed, bug: None, tells: false });
        assert!(outcome.messages > 1000, "much happens: {outcome:?}");
        (outcome.trace, outcome.events, outcome.messages)
    };
    let first = trace(3);
    assert_eq!(first, trace(3), "the same seed");
    assert_ne!(first, trace(7), "another seed");
}

/// Simulates one seed after the other until the bug is found.
fn is_found(bug: Bug, within: u64, sign: &str) {
    let found =
        (1..=within).find_map(|seed| Some((seed, simulate_and_tell(seed, Some(bug)).wrong.into_iter().next()?)));
    let (seed, wrong) = found.unwrap_or_else(|| panic!("{bug:?} isn't found within {within} seeds"));
    println!("{bug:?} is found by seed {seed}: {wrong}");
    assert!(wrong.contains(sign), "{bug:?} is found as {wrong}");
}

#[test]
fn a_store_that_does_not_fsync_is_found() {
    is_found(Bug::NoFsync, 10, "");
}

#[test]
fn a_put_that_is_answered_early_is_found() {
    is_found(Bug::EarlyAnswer, 20, "gone");
}

#[test]
fn a_delete_that_is_answered_early_is_found() {
    is_found(Bug::EarlyDelete, 20, "R13");
}

#[test]
fn a_volume_that_is_destroyed_early_is_found() {
    is_found(Bug::EarlyDestroy, 20, "is destroyed");
}

#[test]
fn a_copy_that_is_dropped_early_is_found() {
    is_found(Bug::EarlyDrop, 5, "R23");
}

#[test]
fn a_time_floor_that_jumps_ahead_is_found() {
    is_found(Bug::HastyFloor, 10, "R15");
}

#[test]
fn a_faulty_member_that_is_taken_for_honest_is_found() {
    is_found(Bug::HiddenCheat, 20, "is honest");
}

#[test]
fn a_read_that_ends_early_is_found() {
    is_found(Bug::ShortRead, 5, "other bytes");
}

#[test]
fn a_fleet_that_does_not_come_to_rest_is_found() {
    is_found(Bug::NoPods, 5, "come to rest");
}

#[test]
fn a_lost_blob_that_nobody_lists_is_found() {
    is_found(Bug::ListsNothing, 20, "come to rest");
}

#[test]
fn a_volume_that_goes_with_what_is_left_of_a_lost_blob_is_found() {
    is_found(Bug::KeepsNothing, 40, "R20");
}

#[test]
fn a_cheater_that_nobody_challenges_is_found() {
    is_found(Bug::NoChallenges, 20, "R29");
}
