//! Runs what the command line says, until the process is told to end.

use std::error::Error;

use tokio::signal::unix::{SignalKind, signal};

use crate::{
    args::{Args, Command},
    gateway, serve,
};

/// Runs a command until SIGTERM or SIGINT.
pub async fn run(args: Args) -> Result<(), Box<dyn Error + Send + Sync>> {
    weft_client::allow_descriptors();
    match args.command {
        Command::Serve(args) => serve::serve(args, ended()).await?,
        // It ends by itself, when its running requests are done.
        Command::Gateway(args) => gateway::run(args).await?,
    }
    Ok(())
}

/// Resolves when the process is told to end.
async fn ended() {
    match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(mut terminate), Ok(mut interrupt)) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        }
        // Without handlers the signals end the process as they always did.
        _ => std::future::pending().await,
    }
}

/// An error and what caused it, in one line.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        // Many errors already tell their cause.
        if !line.contains(&cause) {
            line = format!("{line}: {cause}");
        }
        source = error.source();
    }
    line
}
