//! The command line: one file a subcommand.

use clap::{Parser, Subcommand};

use crate::failure::Outcome;
use crate::{decode, encode, online, repair};

/// Store and fetch blobs, and work the code by hand
#[derive(Parser)]
#[command(name = "weft", version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Put(online::Put),
    Get(online::Get),
    #[command(name = "ls", visible_alias = "list")]
    List(online::List),
    #[command(name = "rm", visible_alias = "delete")]
    Remove(online::Remove),
    #[command(name = "stat")]
    Stat(online::StatBlob),
    Encode(encode::Encode),
    Repair(repair::Repair),
    Decode(decode::Decode),
}

impl Arguments {
    pub(crate) fn run(self) -> Outcome {
        match self.command {
            Command::Put(command) => command.run(),
            Command::Get(command) => command.run(),
            Command::List(command) => command.run(),
            Command::Remove(command) => command.run(),
            Command::Stat(command) => command.run(),
            Command::Encode(command) => command.run(),
            Command::Repair(command) => command.run(),
            Command::Decode(command) => command.run(),
        }
    }
}
