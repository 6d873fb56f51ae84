//! `metadata.json`: the blob's metadata and every stripe's hashes, for people and tools.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use weft_redstuff::{Axis, Code, Hash, Labels, Layout, Metadata, StripeHashes, merkle};

/// The file, field by field. Hashes and the nonce are lower-case hex, sizes are bytes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    blob_id: String,
    length: u64,
    shards: u16,
    fault_tolerance: u16,
    k1: u16,
    k2: u16,
    symbol_size: u32,
    tail_symbol_size: u32,
    root: String,
    digest: String,
    nonce: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    expiry: Option<u64>,
    stripes: Vec<Stripe>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stripe {
    symbol_size: u32,
    root: String,
    primary: Vec<String>,
    secondary: Vec<String>,
}

fn texts(hashes: &[Hash]) -> Vec<String> {
    hashes.iter().map(Hash::to_string).collect()
}

impl Manifest {
    pub(super) fn new(metadata: &Metadata, stripes: &[StripeHashes]) -> Self {
        let Metadata { root, layout, labels, expiry, digest, nonce } = metadata;
        let stripe = |(stripe, hashes): (weft_redstuff::StripeLayout, &StripeHashes)| Stripe {
            symbol_size: stripe.symbol_size,
            root: hashes.root().to_string(),
            primary: texts(hashes.axis(Axis::Primary)),
            secondary: texts(hashes.axis(Axis::Secondary)),
        };
        Self {
            blob_id: metadata.id().to_string(),
            length: layout.length(),
            shards: layout.code().shards(),
            fault_tolerance: layout.code().fault_tolerance(),
            k1: layout.code().source_rows(),
            k2: layout.code().source_columns(),
            symbol_size: layout.symbol_size(),
            tail_symbol_size: layout.tail_symbol_size(),
            root: root.to_string(),
            digest: digest.to_string(),
            nonce: hex::encode(nonce),
            labels: labels.as_map().clone(),
            expiry: *expiry,
            stripes: layout.iter().zip(stripes).map(stripe).collect(),
        }
    }

    /// The metadata and hashes, once everything in the file agrees: hashes with roots, roots with the root, all with the blob's ID.
    /// Else says what doesn't.
    pub(super) fn check(self) -> Result<(Metadata, Vec<StripeHashes>), String> {
        let code = Code::new(self.shards, self.fault_tolerance).map_err(|error| error.to_string())?;
        if (self.k1, self.k2) != (code.source_rows(), code.source_columns()) {
            return Err(format!("k1 and k2 are {} and {} for this code", code.source_rows(), code.source_columns()));
        }
        let layout = Layout::from_sizes(code, self.length, self.symbol_size, self.tail_symbol_size);
        let layout = layout.map_err(|error| error.to_string())?;
        if self.stripes.len() != layout.stripes() as usize {
            return Err(format!("a file of {} bytes has {} stripes", self.length, layout.stripes()));
        }
        let mut roots = merkle::Builder::new();
        let mut stripes = Vec::with_capacity(self.stripes.len());
        for (stripe, expected) in self.stripes.into_iter().zip(layout.iter()) {
            let name = format!("stripe {}", expected.index);
            if stripe.symbol_size != expected.symbol_size {
                return Err(format!("{name} has symbols of {} bytes", expected.symbol_size));
            }
            let hashes = StripeHashes::new(code, hashes(&name, &stripe.primary)?, hashes(&name, &stripe.secondary)?);
            let hashes = hashes.ok_or_else(|| format!("{name} has {} hashes of each axis", code.shards()))?;
            if hashes.root() != parse::<Hash>("a stripe's root", &stripe.root)? {
                return Err(format!("{name}: its hashes don't give its root"));
            }
            roots.push(hashes.root());
            stripes.push(hashes);
        }
        let mut nonce = [0; 16];
        hex::decode_to_slice(&self.nonce, &mut nonce).map_err(|error| format!("the nonce: {error}"))?;
        let metadata = Metadata {
            root: parse("root", &self.root)?,
            layout,
            labels: Labels::new(self.labels).map_err(|error| error.to_string())?,
            expiry: self.expiry,
            digest: parse("digest", &self.digest)?,
            nonce,
        };
        if layout.is_inline() || metadata.root != roots.root() {
            return Err("the stripes' roots don't give the root".to_owned());
        }
        if metadata.id().to_string() != self.blob_id {
            return Err("the metadata don't give the blob ID".to_owned());
        }
        Ok((metadata, stripes))
    }
}

fn parse<T: FromStr<Err: std::fmt::Display>>(what: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|error| format!("{what}: {error}"))
}

fn hashes(stripe: &str, texts: &[String]) -> Result<Vec<Hash>, String> {
    texts.iter().map(|text| parse(&format!("a hash of {stripe}"), text)).collect()
}
