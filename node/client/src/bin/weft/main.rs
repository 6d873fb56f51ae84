//! `weft`: stores and fetches blobs, and works the code by hand.

mod decode;
mod encode;
mod failure;
mod repair;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "weft", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Encode(encode::Encode),
    Repair(repair::Repair),
    Decode(decode::Decode),
}

fn main() -> ExitCode {
    failure::report(match Arguments::parse().command {
        Command::Encode(command) => command.run(),
        Command::Repair(command) => command.run(),
        Command::Decode(command) => command.run(),
    })
}
