//! The command line: one file a subcommand.

use std::{ffi::OsStr, path::PathBuf};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::failure::Outcome;
use crate::{completion, decode, encode, kubernetes, online, repair};

/// Store and fetch blobs, look after fleets, and work the code by hand
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
    Blob(online::Blob),
    Mirror(online::Mirror),
    Status(kubernetes::Status),
    Plan(kubernetes::Plan),
    Epoch(kubernetes::EpochCommand),
    Recover(kubernetes::Recover),
    Adopt(kubernetes::Adopt),
    Encode(encode::Encode),
    Repair(repair::Repair),
    Decode(decode::Decode),
    Completion(completion::Completion),
}

impl Arguments {
    /// From the command line. Installed as `kubectl-weft` the command is a plugin of kubectl, and says so in its help.
    pub(crate) fn read() -> Self {
        let program = std::env::args_os().next().map(PathBuf::from);
        let stem = program.as_ref().and_then(|program| program.file_stem()).and_then(OsStr::to_str);
        let is_plugin = stem.is_some_and(|stem| stem == "kubectl-weft" || stem == "kubectl_weft");
        let command = Self::command();
        let command = if is_plugin { command.bin_name("kubectl weft") } else { command };
        Self::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
    }

    pub(crate) fn run(self) -> Outcome {
        match self.command {
            Command::Put(command) => command.run(),
            Command::Get(command) => command.run(),
            Command::List(command) => command.run(),
            Command::Remove(command) => command.run(),
            Command::Stat(command) => command.run(),
            Command::Blob(command) => command.run(),
            Command::Mirror(command) => command.run(),
            Command::Status(command) => command.run(),
            Command::Plan(command) => command.run(),
            Command::Epoch(command) => command.run(),
            Command::Recover(command) => command.run(),
            Command::Adopt(command) => command.run(),
            Command::Encode(command) => command.run(),
            Command::Repair(command) => command.run(),
            Command::Decode(command) => command.run(),
            Command::Completion(command) => command.run(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_line_is_sound() {
        Arguments::command().debug_assert();
    }
}
