//! `weft decode`: a folder of slivers to the file.

use std::fs;
use std::io;
use std::path::Path;

use weft_redstuff::{Axis, Metadata, StripeHashes, StripeLayout, decode_from_primaries, decode_from_secondaries};

use super::bundle::{Damaged, describe_loss, stripe_name};
use super::files::Draft;
use super::{Bundle, OfflineError};

/// Decodes `folder` into the file `output`, which appears complete and verified or not at all; a regular file there is replaced. Slivers aren't
/// changed. Per stripe it takes any `k1` good primaries (the source rows if they are good: they are the data) or else any `k2` good secondaries.
pub fn decode(folder: &Path, output: &Path) -> Result<Metadata, OfflineError> {
    let bundle = Bundle::open(folder)?;
    check_output(output)?;
    let mut draft = Draft::new(output)?;
    let mut digest = blake3::Hasher::new();
    for (stripe, hashes) in bundle.stripes() {
        let source = decode_stripe(&bundle, stripe, hashes)?;
        let content = &source[..stripe.length as usize];
        digest.update(content);
        draft.write(content)?;
    }
    if bundle.metadata().digest != digest.finalize().into() {
        return Err(OfflineError::Digest);
    }
    draft.publish()?;
    Ok(bundle.metadata().clone())
}

/// A regular file or nothing may be replaced; a device, say, may not.
fn check_output(output: &Path) -> Result<(), OfflineError> {
    match fs::symlink_metadata(output) {
        Ok(found) if found.is_dir() => Err(OfflineError::IsFolder { path: output.to_owned() }),
        Ok(found) if !found.is_file() => Err(OfflineError::NotRegular { path: output.to_owned() }),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(OfflineError::Io { action: "replace", path: output.to_owned(), source }),
    }
}

/// A stripe's zero-padded source.
fn decode_stripe(bundle: &Bundle, stripe: StripeLayout, hashes: &StripeHashes) -> Result<Vec<u8>, OfflineError> {
    let mut damaged = Vec::new();
    for axis in Axis::BOTH {
        let slivers = load_enough(bundle, stripe, hashes, axis, &mut damaged);
        if slivers.len() < bundle.code().slivers_to_decode(axis) as usize {
            continue;
        }
        let given: Vec<(u16, &[u8])> = slivers.iter().map(|(index, bytes)| (*index, &bytes[..])).collect();
        let source = match axis {
            Axis::Primary => decode_from_primaries(bundle.code(), stripe.symbol_size, &given),
            Axis::Secondary => decode_from_secondaries(bundle.code(), stripe.symbol_size, &given),
        };
        return source.map_err(|source| OfflineError::Combine { stripe: stripe_name(stripe.index), source });
    }
    Err(OfflineError::TooFewSlivers { losses: vec![describe_loss(bundle.code(), stripe.index, &damaged)] })
}

/// The first good slivers of an axis, as many as it takes to decode, or fewer when there aren't enough. Damaged ones that were met are added to `damaged`.
fn load_enough(
    bundle: &Bundle,
    stripe: StripeLayout,
    hashes: &StripeHashes,
    axis: Axis,
    damaged: &mut Vec<Damaged>,
) -> Vec<(u16, Vec<u8>)> {
    let mut slivers = Vec::new();
    for index in 0..bundle.code().shards() {
        if slivers.len() == bundle.code().slivers_to_decode(axis) as usize {
            break;
        }
        match bundle.load(&stripe, hashes, axis, index) {
            Ok(bytes) => slivers.push((index, bytes)),
            Err(damage) => damaged.push(Damaged { axis, index, damage }),
        }
    }
    slivers
}
