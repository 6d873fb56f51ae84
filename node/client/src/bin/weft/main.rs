//! `weft`: stores and fetches blobs, looks after fleets, and works the code by hand; as `kubectl-weft`, a plugin of kubectl.

mod arguments;
mod completion;
mod decode;
mod encode;
mod failure;
mod kubernetes;
mod online;
mod repair;

use std::process::ExitCode;

fn main() -> ExitCode {
    failure::report(arguments::Arguments::read().run())
}
