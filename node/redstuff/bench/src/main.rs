//! `codec-table`: measures the code beside the other libraries, or says what a fleet stores for a byte.

mod options;
mod report;

use std::process::ExitCode;

use clap::Parser;
use options::{Options, What};

fn main() -> ExitCode {
    let options = Options::parse();
    let done = match &options.what {
        Some(What::Storage(storage)) => storage.run().map(|()| Vec::new()),
        None => report::run(&options),
    };
    match done {
        Ok(missed) if missed.is_empty() => ExitCode::SUCCESS,
        Ok(missed) => {
            for sentence in missed {
                eprintln!("{sentence}");
            }
            ExitCode::FAILURE
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::from(2)
        }
    }
}
