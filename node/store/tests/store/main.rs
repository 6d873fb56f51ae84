//! The store from outside: over the fake disk, and over a real directory.

mod basics;
mod crash;
mod failures;
mod fixture;
mod full;
mod group;
mod lock;
mod log;
mod model;
mod rot;

use std::sync::Arc;

use weft_store::fake::FakeDisk;
use weft_store::{Options, Store, StoreError, Writer};

/// Small caches, so that pages are really read from the disk, and small segments, so that there are many.
pub(crate) fn options(writer: Writer) -> Options {
    Options { cache_bytes: 1 << 20, reserve_bytes: 0, writer, segment_bytes: Some(256 << 10) }
}

pub(crate) fn open(disk: &FakeDisk, writer: Writer) -> Result<Store, StoreError> {
    Store::open(Arc::new(disk.clone()), &options(writer))
}

/// `SplitMix64`: the tests' own random numbers.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }
}
