//! `weft-node serve` and `weft-node gateway`.

use std::process::ExitCode;

use clap::Parser;
use weft_node::{args::Args, run};

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    run::init_telemetry();
    match run::run(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", run::chain(&*error));
            ExitCode::FAILURE
        }
    }
}
