use std::path::PathBuf;

use clap::Args;
use weft_client::offline;

use crate::failure::{Outcome, say};

/// Decode a folder of slivers into a file (offline)
#[derive(Args)]
pub(crate) struct Decode {
    /// The folder that `weft encode` made
    dir: PathBuf,
    /// The file to write; a regular file of that name is replaced
    file: PathBuf,
}

impl Decode {
    pub(crate) fn run(self) -> Outcome {
        let metadata = offline::decode(&self.dir, &self.file)?;
        say(format_args!("{} bytes of blob {} in {}", metadata.length(), metadata.id(), self.file.display()));
        Ok(())
    }
}
