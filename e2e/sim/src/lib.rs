//! The simulation: a whole fleet in one process, from one seed.
//!
//! The real planner, the real orders to members, the real node (services, loops, store) and the real client run on
//! simulated network, clock, disks, randomness and cluster. Everything is on one thread, and everything that is left to
//! chance follows from the seed: the same seed gives the same trace.

mod blight;
mod cheat;
mod dice;
mod driver;
mod env;
mod ledger;
mod nemesis;
mod net;
mod operator;
mod oracle;
mod planted;
mod process;
mod stage;
mod trace;
mod workload;

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

pub use planted::Bug;

/// What to simulate.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Options {
    pub seed: u64,
    pub bug: Option<Bug>,
    /// Tells every event on standard error.
    pub tells: bool,
}

/// What a simulation came to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    /// A hash of everything that happened, and when.
    pub trace: String,
    /// Events, and messages on the network, in the trace.
    pub events: u64,
    pub messages: u64,
    pub counts: BTreeMap<String, u64>,
    /// How long it took in the simulation.
    pub simulated: Duration,
    /// What was found wrong; empty: nothing.
    pub wrong: Vec<String>,
}

/// Runs one simulation to its end, or until something is wrong.
pub fn run(options: &Options) -> Outcome {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    let told = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).without_time();
    let _told = options.tells.then(|| tracing::subscriber::set_default(told.finish()));
    driver::run(options)
}
