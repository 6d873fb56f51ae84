//! `weft-node serve` and `weft-node gateway`.

use std::process::ExitCode;

use clap::Parser;
use weft_node::{args::Args, run, telemetry};

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let spans = telemetry::init(&args.command);
    let code = match run::run(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", run::chain(&*error));
            ExitCode::FAILURE
        }
    };
    if let Some(spans) = spans {
        spans.end().await;
    }
    code
}
