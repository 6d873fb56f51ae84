//! The command line: one file a subcommand.

use clap::{Parser, Subcommand};

use crate::failure::Outcome;
use crate::{decode, encode, repair};

/// Store and fetch blobs, and work the code by hand
#[derive(Parser)]
#[command(name = "weft", version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Encode(encode::Encode),
    Repair(repair::Repair),
    Decode(decode::Decode),
}

impl Arguments {
    pub(crate) fn run(self) -> Outcome {
        match self.command {
            Command::Encode(command) => command.run(),
            Command::Repair(command) => command.run(),
            Command::Decode(command) => command.run(),
        }
    }
}
