//! A stripe's commitments: the hashes of its 2n slivers, and the root that binds them.

use thiserror::Error;

use crate::code::{Axis, Code};
use crate::hash::Hash;

const ROOT: &str = "weft v1 stripe root";

/// Why bytes aren't a stripe's hashes.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum StripeHashesError {
    #[error("a stripe's hashes are {expected} bytes for this code, not {actual}")]
    Length { expected: usize, actual: usize },
}

/// The BLAKE3 hashes of a stripe's slivers: `n` primaries, `n` secondaries, in order of their indexes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StripeHashes {
    primary: Vec<Hash>,
    secondary: Vec<Hash>,
}

impl StripeHashes {
    /// From `n` hashes of each axis. `None` when there aren't `n` of each.
    pub fn new(code: Code, primary: Vec<Hash>, secondary: Vec<Hash>) -> Option<Self> {
        let shards = code.shards() as usize;
        (primary.len() == shards && secondary.len() == shards).then_some(Self { primary, secondary })
    }

    /// All hashes of one axis.
    pub fn axis(&self, axis: Axis) -> &[Hash] {
        match axis {
            Axis::Primary => &self.primary,
            Axis::Secondary => &self.secondary,
        }
    }

    /// One sliver's hash. `None` when there is no such sliver.
    pub fn get(&self, axis: Axis, index: u16) -> Option<Hash> {
        self.axis(axis).get(index as usize).copied()
    }

    /// Whether `sliver` is what was committed to.
    pub fn matches(&self, axis: Axis, index: u16, sliver: &[u8]) -> bool {
        self.get(axis, index) == Some(Hash::of(sliver))
    }

    /// The stripe's root: commits to the number of shards and to all 2n hashes.
    pub fn root(&self) -> Hash {
        Hash::derived(ROOT, &[&[self.primary.len() as u8], &self.encode()])
    }

    /// Canonical form: primaries, then secondaries, 32 bytes each (64n bytes).
    pub fn encode(&self) -> Vec<u8> {
        self.primary.iter().chain(&self.secondary).flat_map(|hash| hash.0).collect()
    }

    /// Reads [`StripeHashes::encode`]. Whether they are the blob's is for [`StripeHashes::root`] and [`crate::merkle::verify`] to say.
    pub fn decode(code: Code, bytes: &[u8]) -> Result<Self, StripeHashesError> {
        let shards = code.shards() as usize;
        let expected = 2 * shards * Hash::LENGTH;
        if bytes.len() != expected {
            return Err(StripeHashesError::Length { expected, actual: bytes.len() });
        }
        let mut hashes: Vec<Hash> = bytes.as_chunks::<{ Hash::LENGTH }>().0.iter().copied().map(Hash).collect();
        let secondary = hashes.split_off(shards);
        Ok(Self { primary: hashes, secondary })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(code: Code) -> StripeHashes {
        let hash = |at: u16| Hash::of(&at.to_le_bytes());
        StripeHashes::new(
            code,
            (0..code.shards()).map(hash).collect(),
            (1000..1000 + code.shards()).map(hash).collect(),
        )
        .unwrap()
    }

    #[test]
    fn hashes_survive_their_encoding() {
        let code = Code::with_shards(7).unwrap();
        let hashes = sample(code);
        let bytes = hashes.encode();
        assert_eq!(StripeHashes::decode(code, &bytes), Ok(hashes));
        let expected = bytes.len();
        assert_eq!(
            StripeHashes::decode(code, &bytes[1..]),
            Err(StripeHashesError::Length { expected, actual: expected - 1 })
        );
    }

    #[test]
    fn the_root_depends_on_every_hash_and_its_place() {
        let code = Code::with_shards(4).unwrap();
        let hashes = sample(code);
        let root = hashes.root();
        for at in 0..8 {
            let mut bytes = hashes.encode();
            bytes[at * 32] ^= 1;
            assert_ne!(StripeHashes::decode(code, &bytes).unwrap().root(), root);
        }
        let swapped = StripeHashes::new(code, hashes.secondary.clone(), hashes.primary.clone()).unwrap();
        assert_ne!(swapped.root(), root);
    }

    #[test]
    fn a_code_wants_n_hashes_of_each_axis() {
        let hashes = sample(Code::with_shards(4).unwrap());
        assert_eq!(StripeHashes::new(Code::with_shards(5).unwrap(), hashes.primary, hashes.secondary), None);
    }
}
