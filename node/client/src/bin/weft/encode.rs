use std::path::PathBuf;

use clap::Args;
use weft_client::offline::{self, EncodeOptions};
use weft_redstuff::Code;

use crate::failure::{Outcome, say};

/// Encode a file into a folder of plain sliver files (offline)
#[derive(Args)]
pub(crate) struct Encode {
    /// The file to encode
    file: PathBuf,
    /// The folder for the slivers: new or empty
    dir: PathBuf,
    /// Shards: how many primary and how many secondary slivers a stripe has (4 to 255)
    #[arg(long, value_name = "N", default_value_t = 10)]
    shards: u16,
    /// How many shards may be lost or lie [default: the most, (N - 1) / 3]
    #[arg(long, value_name = "F")]
    fault_tolerance: Option<u16>,
    /// Bytes of a symbol [default: what suits the code and the file's length]
    #[arg(long, value_name = "BYTES")]
    symbol_size: Option<u32>,
}

impl Encode {
    pub(crate) fn run(self) -> Outcome {
        let Self { file, dir, shards, fault_tolerance, symbol_size } = self;
        let code = fault_tolerance.map_or_else(|| Code::with_shards(shards), |f| Code::new(shards, f))?;
        let encoded = offline::encode(&file, &dir, EncodeOptions { code, symbol_size })?;
        let (length, stripes) = (encoded.layout.length(), encoded.layout.stripes());
        say(format_args!("blob ID {}", encoded.id));
        say(format_args!(
            "{length} bytes in {stripes} stripes of {} source rows and {} source columns: {} slivers, {} bytes",
            code.source_rows(),
            code.source_columns(),
            u64::from(stripes) * 2 * u64::from(code.shards()),
            encoded.stored,
        ));
        say(format_args!("any {} shards' slivers may be lost", code.fault_tolerance()));
        Ok(())
    }
}
