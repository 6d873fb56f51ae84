//! The commands that speak to Kubernetes: they read and write a committee's objects; the operator does the rest.

mod adopt;
mod cluster;
mod epoch;
mod pace;
mod plan;
mod recover;
mod status;
#[cfg(test)]
mod testing;
mod text;

use clap::{Args, ValueEnum};
use serde::Serialize;

pub(crate) use self::{
    adopt::Adopt,
    cluster::{Cluster, KubeOptions},
    epoch::EpochCommand,
    plan::Plan,
    recover::Recover,
    status::Status,
    text::{columns, table},
};
use crate::failure::{Outcome, say};

/// Which committee.
#[derive(Debug, Args)]
pub(crate) struct Committee {
    /// The committee's name [default: the only one in the namespace]
    #[arg(env = "WEFT_COMMITTEE")]
    committee: Option<String>,
    #[command(flatten)]
    kube: KubeOptions,
}

/// How to print.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Output {
    /// How to print
    #[arg(long = "output", short = 'o', value_name = "FORMAT", default_value = "table")]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

impl Output {
    pub(crate) fn is_json(self) -> bool {
        self.format == Format::Json
    }

    /// Prints a value as JSON, or the text made of it.
    fn print(self, value: &impl Serialize, text: impl FnOnce() -> String) -> Outcome {
        match self.format {
            Format::Json => say(format_args!("{}", serde_json::to_string_pretty(value)?)),
            Format::Table => say(format_args!("{}", text().trim_end())),
        }
        Ok(())
    }
}
