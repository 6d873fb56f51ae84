//! Bytes that must never change: fleets hold blobs with them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bytes::Bytes;
use weft_redstuff::{Axis, Code, Hash, Labels, Layout, Metadata, encode_stripe, inline_root, merkle};

/// Bytes `0, 7, 14, …` modulo 251.
fn content(length: usize) -> Bytes {
    (0..length).map(|i| (i * 7 % 251) as u8).collect::<Vec<u8>>().into()
}

/// One line a value.
fn vectors() -> String {
    let mut lines = String::new();
    let mut line = |name: &str, value: &dyn std::fmt::Display| writeln!(lines, "{name}: {value}").unwrap();

    let stripe = encode_stripe(Code::new(4, 1).unwrap(), 2, content(11)).unwrap();
    for axis in Axis::BOTH {
        for index in 0..4 {
            line(&format!("n 4, f 1, {} {index}", axis.name()), &hex::encode(stripe.sliver(axis, index)));
        }
    }
    for (shards, fault_tolerance) in [(4, 1), (10, 3), (28, 9), (31, 4), (100, 33), (255, 84)] {
        let code = Code::new(shards, fault_tolerance).unwrap();
        let stripe = encode_stripe(code, 5, content(code.stripe_capacity(5) as usize - 3)).unwrap();
        line(&format!("n {shards}, f {fault_tolerance}, stripe root"), &stripe.hashes().root());
    }
    let leaves: Vec<Hash> = ["a", "b", "c"].map(|text| Hash::of(text.as_bytes())).to_vec();
    let metadata = Metadata {
        root: merkle::root(&leaves),
        layout: Layout::for_length(Code::with_shards(28).unwrap(), 20_000_000).unwrap(),
        labels: Labels::new(BTreeMap::from([("app".into(), "weft".into())])).unwrap(),
        expiry: Some(1_800_000_000),
        digest: Hash::of(b"content"),
        nonce: *b"0123456789abcdef",
    };
    line("blob root", &metadata.root);
    line("metadata", &hex::encode(metadata.encode()));
    line("blob id", &metadata.id());
    line("inline root", &inline_root(b"content"));
    lines
}

#[test]
fn slivers_roots_metadata_and_ids_are_frozen() {
    assert_eq!(vectors(), include_str!("golden.txt"));
}
