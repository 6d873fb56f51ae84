//! `weft`: stores and fetches blobs, and works the code by hand.

mod arguments;
mod decode;
mod encode;
mod failure;
mod online;
mod repair;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    failure::report(arguments::Arguments::parse().run())
}
