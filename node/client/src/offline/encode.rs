//! `weft encode`: a file to a folder of slivers.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use bytes::Bytes;
use weft_redstuff::{
    Axis, BlobId, Code, EncodedStripe, Labels, Layout, LayoutError, Metadata, StripeHashes, encode_stripe, merkle,
};

use super::OfflineError;
use super::bundle::{manifest_path, sliver_path, stripe_name};
use super::files::{publish, read_full};
use super::manifest::Manifest;

/// How to encode.
#[derive(Debug, Clone, Copy)]
pub struct EncodeOptions {
    pub code: Code,
    /// Bytes of every symbol; by default what a fleet would choose.
    pub symbol_size: Option<u32>,
}

/// What was encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoded {
    pub id: BlobId,
    pub layout: Layout,
    /// Bytes of all slivers.
    pub stored: u64,
}

/// Encodes the regular or other readable file `input` into `folder`, which must be new or empty. On failure the folder is left as it was.
pub fn encode(input: &Path, folder: &Path, options: EncodeOptions) -> Result<Encoded, OfflineError> {
    let EncodeOptions { code, symbol_size } = options;
    // Refuses impossible sizes before anything is made.
    let full = match symbol_size {
        Some(size) => Layout::with_symbol_size(code, 0, size)?.symbol_size(),
        None => Layout::full_symbol_size(code),
    };
    let mut file = File::open(input).map_err(OfflineError::io("open", input))?;
    if file.metadata().map_err(OfflineError::io("read", input))?.is_dir() {
        return Err(OfflineError::IsFolder { path: input.to_owned() });
    }
    let existed = prepare(folder)?;
    let result = write_all(&mut file, input, folder, options, full);
    if result.is_err() {
        // All that is in the folder was just made. The first error is the one to tell.
        let _ = fs::remove_dir_all(folder);
        if existed {
            let _ = fs::create_dir(folder);
        }
    }
    result
}

/// Makes the folder unless it is there and empty; whether it was.
fn prepare(folder: &Path) -> Result<bool, OfflineError> {
    match fs::read_dir(folder) {
        Ok(mut entries) => match entries.next() {
            None => Ok(true),
            Some(_) => Err(OfflineError::NotEmpty { path: folder.to_owned() }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(folder).map_err(OfflineError::io("create", folder))?;
            Ok(false)
        }
        Err(source) => Err(OfflineError::Io { action: "use", path: folder.to_owned(), source }),
    }
}

fn write_all(
    input: &mut impl io::Read,
    input_path: &Path,
    folder: &Path,
    EncodeOptions { code, symbol_size }: EncodeOptions,
    full: u32,
) -> Result<Encoded, OfflineError> {
    let layout_of = |length| -> Result<Layout, LayoutError> {
        symbol_size.map_or_else(|| Layout::sliced(code, length), |size| Layout::with_symbol_size(code, length, size))
    };
    let capacity = code.stripe_capacity(full) as usize;
    let mut digest = blake3::Hasher::new();
    let (mut roots, mut stripes, mut length, mut stored) = (merkle::Builder::new(), Vec::new(), 0u64, 0u64);
    loop {
        let mut data = vec![0; capacity];
        let read = read_full(input, &mut data).map_err(OfflineError::io("read", input_path))?;
        // A whole stripe is encoded alike whether it is the last or not; an empty file has one stripe.
        if read == 0 && length > 0 {
            break;
        }
        data.truncate(read);
        digest.update(&data);
        length += read as u64;
        let size = if read == capacity { full } else { layout_of(read as u64)?.tail_symbol_size() };
        let stripe = encode_stripe(code, size, Bytes::from(data))?;
        stored += write_stripe(folder, stripes.len() as u32, &stripe)?;
        let hashes = stripe.hashes();
        roots.push(hashes.root());
        stripes.push(hashes.clone());
        if read < capacity {
            break;
        }
    }
    let metadata = Metadata {
        root: roots.root(),
        layout: layout_of(length)?,
        labels: Labels::default(),
        expiry: None,
        digest: digest.finalize().into(),
        nonce: [0; 16],
    };
    write_manifest(folder, &metadata, &stripes)?;
    Ok(Encoded { id: metadata.id(), layout: metadata.layout, stored })
}

/// Writes a stripe's slivers; how many bytes they are. Nothing is synced: without `metadata.json`, which comes last, the folder doesn't count.
fn write_stripe(folder: &Path, index: u32, stripe: &EncodedStripe) -> Result<u64, OfflineError> {
    let path = folder.join(stripe_name(index));
    fs::create_dir(&path).map_err(OfflineError::io("create", &path))?;
    let mut stored = 0;
    for axis in Axis::BOTH {
        for sliver in 0..stripe.code().shards() {
            let path = sliver_path(folder, index, axis, sliver);
            let bytes = stripe.sliver(axis, sliver);
            fs::write(&path, &bytes).map_err(OfflineError::io("write", &path))?;
            stored += bytes.len() as u64;
        }
    }
    Ok(stored)
}

fn write_manifest(folder: &Path, metadata: &Metadata, stripes: &[StripeHashes]) -> Result<(), OfflineError> {
    let path = manifest_path(folder);
    let mut text = match serde_json::to_vec_pretty(&Manifest::new(metadata, stripes)) {
        Ok(text) => text,
        Err(source) => return Err(OfflineError::Json { path, source }),
    };
    text.push(b'\n');
    publish(&path, &text)
}
