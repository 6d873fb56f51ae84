//! The code of Weft: `RedStuff`, the two-dimensional erasure code of the Walrus paper (arXiv 2505.05370, section 4), its commitments and the
//! metadata that binds them.
//!
//! A blob is cut into stripes ([`Layout`]). A stripe is a `k1 × k2` matrix `M` of symbols, filled row by row and zero-padded. With the systematic MDS
//! generators `G1` (`n × k1`) and `G2` (`n × k2`) over GF(2⁸), the extended grid is `E = G1 · M · G2ᵀ`, `n × n`:
//!
//! - primary sliver `i` is row `i`, `E[i, 0..k2]`: `k2` symbols;
//! - secondary sliver `j` is column `j`, `E[0..k1, j]`: `k1` symbols.
//!
//! [`encode_stripe`] makes all `2n` slivers. [`decode_from_primaries`] needs any `k1` primaries, [`decode_from_secondaries`] any `k2` secondaries.
//! A lost sliver is mended from the slivers that cross it: every helper sends the one [`symbol`] where they meet, and [`rebuild_sliver`] puts
//! `k2` of them (a primary) or `k1` of them (a secondary) together. What travels is as long as what was lost.
//!
//! The generators are those of the crate `reed-solomon-erasure` (Vandermonde made systematic), in evaluation form: the `k` source values are a
//! polynomial's values at the field elements `0..k`, the expanded ones its values at `k..n`.
//!
//! This crate does no I/O and knows no clock.

mod buffers;
mod code;
mod decode;
mod encode;
mod field;
mod hash;
mod inputs;
mod interpolate;
mod kernel;
mod labels;
mod layout;
pub mod merkle;
mod metadata;
pub mod piece;
mod repair;
mod stripe;
mod windows;

pub use buffers::{Buffer, Buffers};
pub use code::{Axis, Code, CodeError};
pub use decode::{
    decode_from_primaries, decode_from_primaries_into, decode_from_secondaries, decode_from_secondaries_into,
    rebuild_source_rows,
};
pub use encode::{
    EncodeError, EncodedSlivers, EncodedStripe, NextUse, StripeSource, encode_stripe, encode_stripe_into,
};
pub use hash::{BlobId, Hash, HashParseError};
pub use inputs::SliverError;
pub use kernel::engine_name;
pub use labels::{LabelError, Labels};
pub use layout::{Layout, LayoutError, StripeLayout};
pub use metadata::{Metadata, MetadataError, inline_root};
pub use repair::{rebuild_sliver, rebuild_sliver_into, symbol, symbol_into};
pub use stripe::{StripeHashes, StripeHashesError};
