use std::path::PathBuf;

use clap::Args;
use indicatif::HumanBytes;
use serde_json::json;
use weft_client::{
    Consistency,
    http::mirror::{self, Outcome as Became},
};

use super::{gateway::GatewayOptions, progress::Bars};
use crate::failure::{Outcome, block_on, say};

/// Copy a fleet's blobs to another fleet; run again, it copies what is new
///
/// Copies have their originals' content, labels, content type and expiry, and their IDs too where both fleets have the same code.
/// Deletes aren't followed. A fleet is a committee, as NAME or NAMESPACE/NAME, or the URL of a gateway.
#[derive(Debug, Args)]
pub(crate) struct Mirror {
    /// The fleet that is copied
    from: String,
    /// The fleet that gets the copies
    to: String,
    /// The kubeconfig's context of the first
    #[arg(long, value_name = "CONTEXT", help_heading = "From")]
    from_context: Option<String>,
    /// A file with its token
    #[arg(long, value_name = "FILE", help_heading = "From")]
    from_token_file: Option<PathBuf>,
    /// A file with the certificate authority of its gateways, PEM
    #[arg(long, value_name = "FILE", help_heading = "From")]
    from_ca_file: Option<PathBuf>,
    /// The kubeconfig's context of the second
    #[arg(long, value_name = "CONTEXT", help_heading = "To")]
    to_context: Option<String>,
    /// A file with its token
    #[arg(long, value_name = "FILE", help_heading = "To")]
    to_token_file: Option<PathBuf>,
    /// A file with the certificate authority of its gateways, PEM
    #[arg(long, value_name = "FILE", help_heading = "To")]
    to_ca_file: Option<PathBuf>,
    /// Blobs copied at one time
    #[arg(long, value_name = "N", default_value = "4", value_parser = clap::value_parser!(u8).range(1..))]
    parallel: u8,
    /// Encode every stripe again before any of its bytes is copied, and refuse blobs whose writers lied
    #[arg(long)]
    strict: bool,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
}

/// What became of all.
#[derive(Debug, Default)]
struct Counts {
    copied: u64,
    bytes: u64,
    there: u64,
    gone: u64,
    failed: u64,
}

impl Mirror {
    pub(crate) fn run(self) -> Outcome {
        block_on(self.mirror())
    }

    async fn mirror(self) -> Outcome {
        let Self { from, to, parallel, strict, json, .. } = self;
        let from = GatewayOptions::of(&from, self.from_context, self.from_token_file, self.from_ca_file);
        let to = GatewayOptions::of(&to, self.to_context, self.to_token_file, self.to_ca_file);
        // Forwards to pods live as long as these.
        let ((from, _from), (to, _to)) = (from.connect().await?, to.connect().await?);
        let consistency = if strict { Consistency::Strict } else { Consistency::Committed };
        let mirror = mirror::Mirror { from, to, consistency, parallel: parallel.into() };
        let bar = Bars::new(json).add("mirror", 0);
        let mut counts = Counts::default();
        let told = |blob: &weft_client::http::BlobAnswer, became: Became| match became {
            Became::There => counts.there += 1,
            Became::Gone => counts.gone += 1,
            Became::Copied { id } => {
                counts.copied += 1;
                counts.bytes += blob.length;
                bar.inc(blob.length);
                bar.suspend(|| tell(json, &blob.id, &id, blob.length));
            }
            Became::Failed(error) => {
                counts.failed += 1;
                bar.suspend(|| eprintln!("weft: {}: {error}", blob.id));
            }
        };
        mirror.run(|bytes| bar.inc_length(bytes), told).await?;
        bar.finish_and_clear();
        let Counts { copied, bytes, there, gone, failed } = counts;
        let bytes = HumanBytes(bytes);
        eprintln!("{copied} copied ({bytes}), {there} there before, {gone} gone meanwhile, {failed} failed");
        if failed > 0 { Err(format!("{failed} blobs could not be copied; run it again").into()) } else { Ok(()) }
    }
}

fn tell(as_json: bool, from: &str, to: &str, length: u64) {
    match (as_json, from == to) {
        (true, _) => say(format_args!("{}", json!({ "from": from, "to": to, "length": length }))),
        (false, true) => say(format_args!("{from}  {length:>12}")),
        (false, false) => say(format_args!("{from}  {length:>12}  {to}")),
    }
}
