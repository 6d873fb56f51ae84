//! The commands that speak to a fleet's gateways.

mod blob;
mod gateway;
mod get;
mod kubeconfig;
mod list;
mod mirror;
mod progress;
mod put;
mod remove;
mod retry;
mod stat;

use clap::Args;
use weft_client::http::Gateways;

pub(crate) use self::{blob::Blob, get::Get, list::List, mirror::Mirror, put::Put, remove::Remove, stat::StatBlob};
use crate::{
    failure::{Outcome, block_on},
    kubernetes::Output,
};

/// Which fleet, and how to print.
#[derive(Debug, Args)]
pub(crate) struct Online {
    #[command(flatten)]
    gateway: gateway::GatewayOptions,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    output: Output,
    /// Report the first failure instead of trying again
    #[arg(long)]
    no_retry: bool,
}

/// A connection to a fleet while a command runs.
pub(crate) struct Session {
    gateways: Gateways,
    json: bool,
    retry: bool,
    /// Forwards to pods as long as it lives.
    _forward: Option<kubeconfig::Forward>,
}

impl Online {
    /// Runs a command on a fleet.
    pub(crate) fn run(&self, command: impl AsyncFnOnce(Session) -> Outcome) -> Outcome {
        block_on(async {
            let (gateways, forward) = self.gateway.connect().await?;
            command(Session {
                gateways,
                json: self.json || self.output.is_json(),
                retry: !self.no_retry,
                _forward: forward,
            })
            .await
        })
    }
}
