use std::path::PathBuf;

use clap::Args;
use weft_client::offline::{self, Rebuilt};

use crate::failure::{Outcome, say};

/// Check a folder of slivers, and rebuild those that are missing or corrupt (offline)
#[derive(Args)]
pub(crate) struct Repair {
    /// The folder that `weft encode` made
    dir: PathBuf,
}

impl Repair {
    pub(crate) fn run(self) -> Outcome {
        let mut tell = |rebuilt: &Rebuilt| {
            let Rebuilt { stripe, sliver, length, helpers, symbols } = rebuilt;
            let helping = sliver.axis.crossing().name();
            say(format_args!(
                "rebuilt stripe-{stripe:06}/{sliver}: {length} bytes from {symbols} bytes, a symbol of each of {helpers} {helping} slivers"
            ));
        };
        let repaired = offline::repair(&self.dir, &mut tell)?;
        say(format_args!(
            "{} slivers were good, {} rebuilt: {} bytes from {} bytes of crossing symbols",
            repaired.good, repaired.rebuilt, repaired.rebuilt_bytes, repaired.symbol_bytes
        ));
        Ok(())
    }
}
