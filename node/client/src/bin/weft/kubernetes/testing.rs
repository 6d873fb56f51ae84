//! A committee with everything that can be told of one.

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use weft_crds::{Epoch, StorageCommittee};

fn read<T: DeserializeOwned>(json: &str) -> T {
    serde_json::from_str(json).unwrap()
}

pub(super) fn committee() -> StorageCommittee {
    read(include_str!("fixtures/committee.json"))
}

pub(super) fn epochs() -> Vec<Epoch> {
    read(include_str!("fixtures/epochs.json"))
}

/// When the fixtures were looked at.
pub(super) fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}
