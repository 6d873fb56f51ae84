//! `weft-node serve` and `weft-node gateway`.

use std::process::ExitCode;

use clap::Parser;
use tikv_jemallocator::Jemalloc;
use weft_node::{args::Args, run, telemetry};

/// Stripes are megabytes that come and go: memory that was used a moment ago is used again, and given back when it wasn't for
/// ten seconds. Of the system's own allocator each new one is fresh pages, which cost more than all that is computed of them.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

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
