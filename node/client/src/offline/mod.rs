//! The code by hand: a file to plain sliver files, mending them, and back. No fleet is needed.
//!
//! A folder holds, for every stripe `s`, the raw bytes of its slivers in `stripe-00000s/primary-00i` and `stripe-00000s/secondary-00i`, and
//! `metadata.json` with the code, the layout, the blob's ID and all hashes. An empty file has one stripe, of one-byte symbols, so that it can be lost and mended
//! as any other. The nonce is zero: the same file with the same parameters gives the same folder.
//!
//! Memory is bounded by one stripe's slivers.

mod bundle;
mod decode;
mod encode;
mod error;
mod files;
mod manifest;
mod repair;

pub use bundle::{Bundle, Damage, Damaged};
pub use decode::decode;
pub use encode::{EncodeOptions, Encoded, encode};
pub use error::OfflineError;
pub use repair::{Rebuilt, Repaired, repair};
