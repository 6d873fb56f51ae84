//! The operator's process.

use std::process::ExitCode;

use clap::Parser;
use weft_operator::{Args, run};

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "the operator ends");
            ExitCode::FAILURE
        }
    }
}
