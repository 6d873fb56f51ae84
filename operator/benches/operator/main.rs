//! How the operator does with many committees: its own program against a real API server, on Nodes that KWOK plays, with members
//! that this process plays. `make bench-operator` runs it; ARCHITECTURE.md ("How it grows") says what is measured.

mod binder;
mod cluster;
mod committees;
mod figures;
mod fleet;
#[expect(dead_code, reason = "what may befall members is for the tests")]
#[path = "../../tests/members/mod.rs"]
mod members;
mod report;
mod run;

use std::{env, error::Error, process::ExitCode, time::Duration};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::report::{Figures, table};

type Failure = Box<dyn Error + Send + Sync>;

/// Members of each committee.
const MEMBERS: u8 = 10;
/// Descriptors beside one a member.
const SPARE_DESCRIPTORS: u64 = 1000;

/// What is asked for by the environment.
#[derive(Clone, Debug)]
struct Wish {
    /// How many committees, of each run.
    committees: Vec<usize>,
    /// For how long it is looked at at rest.
    rest: Duration,
}

impl Wish {
    fn read() -> Result<Self, Failure> {
        let or = |name, silent: &str| match env::var(name) {
            Ok(text) if !text.trim().is_empty() => text,
            _ => silent.to_owned(),
        };
        let committees = or("COMMITTEES", "10 100 1000");
        let committees: Result<Vec<usize>, _> = committees.split_whitespace().map(str::parse).collect();
        let committees = committees.map_err(|error| format!("COMMITTEES are numbers: {error}"))?;
        if committees.contains(&0) {
            return Err("COMMITTEES are 1 at least".into());
        }
        let rest = or("REST", "600").parse().map_err(|error| format!("REST is a number of seconds: {error}"))?;
        Ok(Self { committees, rest: Duration::from_secs(rest) })
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match measure().await {
        Ok(runs) => {
            println!("{}", table(&runs));
            let broken: Vec<String> = runs.iter().flat_map(Figures::broken).collect();
            for sentence in &broken {
                eprintln!("{sentence}");
            }
            if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("the operator could not be measured: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn measure() -> Result<Vec<Figures>, Failure> {
    drop(rustls::crypto::ring::default_provider().install_default());
    let wish = Wish::read()?;
    let most = wish.committees.iter().max().copied().unwrap_or_default();
    allow_descriptors(most as u64 * u64::from(MEMBERS) + SPARE_DESCRIPTORS)?;
    let mut runs = Vec::new();
    for committees in wish.committees {
        runs.push(Box::pin(run::run(committees, wish.rest)).await?);
    }
    Ok(runs)
}

/// Each member is a connection, here and at the operator, which takes its limit over.
fn allow_descriptors(needed: u64) -> Result<(), Failure> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if maximum.is_some_and(|maximum| maximum < needed) {
        return Err(format!("it takes {needed} open files, and the limit is {maximum:?} (ulimit -Hn)").into());
    }
    if current.is_some_and(|current| current < needed) {
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    }
    Ok(())
}
