//! A fuzzer's bytes, taken from the front. What is lacking is zero, so that every input means something.

use weft_redstuff::{Axis, Code, Hash};

#[derive(Debug, Clone)]
pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> [u8; N] {
        let taken = self.take(N);
        let mut array = [0; N];
        array[..taken.len()].copy_from_slice(taken);
        array
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    /// Below `end`, which isn't zero.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.u64() % end
    }

    pub(crate) fn hash(&mut self) -> Hash {
        Hash(self.array())
    }

    /// As many bytes as there are, up to so many.
    pub(crate) fn take(&mut self, most: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// Bytes after their length.
    pub(crate) fn bytes(&mut self) -> &'a [u8] {
        let length = self.u16();
        self.take(length.into())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn rest(self) -> &'a [u8] {
        self.0
    }

    pub(crate) fn axis(&mut self) -> Axis {
        Axis::BOTH[usize::from(self.byte() % 2)]
    }

    /// Any code.
    pub(crate) fn code(&mut self) -> Code {
        let shards = 4 + u16::from(self.byte()) % 252;
        let faults = 1 + u16::from(self.byte()) % ((shards - 1) / 3);
        Code::new(shards, faults).expect("within the bounds")
    }
}

/// Bytes that follow from a seed.
pub(crate) fn noise(length: usize, seed: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(seed).finalize_xof().fill(&mut bytes);
    bytes
}
