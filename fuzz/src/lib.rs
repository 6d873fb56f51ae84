//! What is fuzzed: a function of any bytes each, which panics where the code that it calls breaks a promise.
//!
//! `make fuzz` builds them with libFuzzer. `tests/corpus.rs` gives each its seeds and what fuzzing has ever found, as a plain test.

mod commitments;
mod gateway;
mod input;
mod metadata;
mod protocol;
#[path = "../../node/protocol/tests/sample/mod.rs"]
mod sample;
mod slivers;
mod store;
#[path = "../../node/protocol/tests/sample/parsers.rs"]
mod table;

/// Something to fuzz.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    pub name: &'static str,
    /// Panics where a promise is broken.
    pub run: fn(&[u8]),
    /// Inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Whether what it calls catches panics. Elsewhere each breaks a promise, on whatever thread it is.
    pub catches: bool,
}

pub const TARGETS: &[Target] = &[
    metadata::METADATA,
    metadata::LABELS,
    metadata::LAYOUT,
    commitments::STRIPE_HASHES,
    commitments::MERKLE,
    commitments::PIECE,
    slivers::ENCODE,
    slivers::DECODE,
    slivers::REBUILD,
    slivers::SYMBOL,
    protocol::PARSERS,
    protocol::CHECKS,
    protocol::SKETCH,
    store::LOG,
    store::VOLUME,
    gateway::GATEWAY,
];
