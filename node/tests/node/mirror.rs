//! One fleet's blobs copied to another.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use weft_client::{
    Consistency,
    http::{
        Gateways, HttpError, Put,
        mirror::{Mirror, Outcome},
    },
};
use weft_node::gateway::Access;

use super::{
    fleet::{Fleet, OrderChanges, content, eventually},
    gateway::Running,
};

/// A mirror's outcome: how many of each kind, and the copies' IDs by their originals'.
async fn run(from: &Gateways, to: &Gateways) -> (BTreeMap<&'static str, u32>, BTreeMap<String, String>) {
    let mirror = Mirror { from: from.clone(), to: to.clone(), consistency: Consistency::Strict, parallel: 3 };
    let (mut counts, mut copies) = (BTreeMap::new(), BTreeMap::new());
    let told = |blob: &weft_client::http::BlobAnswer, outcome: Outcome| {
        let kind = match outcome {
            Outcome::There => "there",
            Outcome::Gone => "gone",
            Outcome::Failed(error) => panic!("{}: {error}", blob.id),
            Outcome::Copied { id } => {
                copies.insert(blob.id.clone(), id);
                "copied"
            }
        };
        *counts.entry(kind).or_default() += 1;
    };
    mirror.run(|_| {}, told).await.expect("both can be listed");
    (counts, copies)
}

async fn store(gateways: &Gateways, seed: u64, length: usize) -> Result<String, HttpError> {
    let put = Put {
        key: format!("key {seed}"),
        labels: vec![("seed".to_owned(), seed.to_string())],
        content_type: Some("text/plain".to_owned()),
        expiry: seed.is_multiple_of(2).then_some(4_000_000_000),
        ..Put::default()
    };
    Ok(gateways.put(&put, content(seed, length)).await?.id)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_has_the_same_blobs_and_moves_what_is_new() {
    let (mut first, mut second) = (Fleet::start(4).await, Fleet::start(4).await);
    for fleet in [&mut first, &mut second] {
        // What expires is taken once the time is known.
        fleet.floor = Some(1_800_000_000);
        fleet.order_all(OrderChanges::default()).await;
    }
    let (from, to) = (Running::start(&first, Access::Open).await, Running::start(&second, Access::Open).await);
    let (from, to) = (from.client(None), to.client(None));
    let mut all = Vec::new();
    for (seed, length) in (0..).zip([0, 5, 3000, 300_000, 5 << 20]) {
        all.push(store(&from, seed, length).await.expect("stored"));
    }
    let (counts, copies) = run(&from, &to).await;
    assert_eq!(counts, BTreeMap::from([("copied", 5)]));
    assert!(
        copies.iter().all(|(original, copy)| original == copy),
        "the code is the same, and so are the IDs: {copies:?}"
    );
    for id in &all {
        let (one, other) = (from.stat(id).await.expect("there"), to.stat(id).await.expect("there"));
        assert_eq!(
            (&one.digest, &one.labels, &one.content_type, &one.expires),
            (&other.digest, &other.labels, &other.content_type, &other.expires)
        );
        assert!(to.get(id, None).await.expect("readable") == from.get(id, None).await.expect("readable"));
    }
    // A new one, one that was deleted at the source and stays, and one that was deleted at the target for good.
    all.push(store(&from, 9, 4000).await.expect("stored"));
    from.delete(&all[1]).await.expect("deleted");
    to.delete(&all[2]).await.expect("deleted");
    // A list is one member's, and a delete has then been heard of by a quorum.
    eventually("everybody has heard of it", || async {
        let told = [&first, &second].map(Fleet::members).into_iter().flatten();
        told.into_iter().all(|(_, member)| member.levels().is_ok_and(|levels| levels.tombstones == 1))
    })
    .await;
    assert_eq!(run(&from, &to).await.0, BTreeMap::from([("copied", 1), ("there", 3), ("gone", 1)]));
    assert_eq!(to.get(&all[1], None).await.expect("it stays"), content(1, 5));
    assert_eq!(run(&from, &to).await.0, BTreeMap::from([("there", 4), ("gone", 1)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_of_another_code_is_the_same_but_for_its_ids() {
    let (first, second) = (Fleet::start(4).await, Fleet::start(7).await);
    // Of uneven numbers, which don't expire.
    let (from, to) = (Running::start(&first, Access::Open).await, Running::start(&second, Access::Open).await);
    let (from, to) = (from.client(None), to.client(None));
    let mut originals = BTreeSet::new();
    for seed in [1, 3, 5] {
        originals.insert(store(&from, seed, 20_000).await.expect("stored"));
    }
    let (counts, copies) = run(&from, &to).await;
    assert_eq!(counts, BTreeMap::from([("copied", 3)]));
    assert!(copies.iter().all(|(original, copy)| originals.contains(original) && original != copy));
    for (original, copy) in &copies {
        let bytes: Bytes = from.get(original, None).await.expect("readable");
        assert!(to.get(copy, None).await.expect("readable") == bytes);
    }
    assert_eq!(run(&from, &to).await.0, BTreeMap::from([("there", 3)]));
}
