//! Blobs whose writers lied (R19): proven by who tries to mend them, then by everybody; read by nobody, and in nobody's way.

use std::{collections::BTreeMap, time::Duration};

use weft_client::{Consistency, GetError};
use weft_proto::v1::Inventory;
use weft_protocol::ShardSet;
use weft_redstuff::{Axis, BlobId};
use weft_store::{Room, StoreError};

use super::fleet::{Fleet, OrderChanges, content, eventually, get, lose, put};

/// Nobody rebuilds what an upload may still bring.
const UPLOADED: Duration = Duration::from_secs(31);

async fn orders(fleet: &Fleet, listed: &[BlobId]) -> BTreeMap<u32, Inventory> {
    fleet.order_all(OrderChanges { unrecoverable: listed.to_vec(), ..OrderChanges::default() }).await
}

async fn convicted_by_all(fleet: &Fleet, blob: BlobId) {
    for (id, member) in fleet.members() {
        eventually(&format!("member {id} has proven it"), || async { member.is_invalid(&blob) }).await;
    }
}

fn is_invalid<T>(outcome: &Result<T, GetError>) -> bool {
    matches!(outcome, Err(GetError::Inconsistent { .. }))
}

#[tokio::test(flavor = "multi_thread")]
async fn r19_a_bad_writer_is_proven_by_everybody_and_in_nobodys_way() {
    let mut fleet = Fleet::start(4).await;
    let client = fleet.client();
    let (first, second) = (content(1, 100_000), content(2, 100_000));
    let (bad, good) = (fleet.put_contradiction(&first, &second).await, put(&client, 3, &first).await.id);
    fleet.whole().await;
    fleet.clock.pass(UPLOADED);
    // Nobody has tried to mend it, so nobody knows; and readers get the one content, or an error.
    assert_eq!(get(&client, bad).await, first);
    assert!(is_invalid(&client.read(bad, None, Consistency::Strict).await));

    lose(&fleet.member(2), bad).await;
    convicted_by_all(&fleet, bad).await;
    assert!(is_invalid(&client.read(bad, None, Consistency::Committed).await));
    assert!(is_invalid(&client.stat(bad).await));
    assert!(fleet.members().iter().all(|(_, member)| !member.is_invalid(&good)));
    assert_eq!(get(&client, good).await, first);

    // Who has proven it waits for no list, and no repair goes on trying.
    let told = orders(&fleet, &[]).await;
    for (id, inventory) in &told {
        assert_eq!((&inventory.invalid[..], inventory.invalid_blobs), (&[bad.0.to_vec().into()][..], 1), "member {id}");
        assert_eq!(inventory.unrecoverable_blobs, 0);
    }
    assert!(told.values().all(|inventory| inventory.shards.iter().all(|shard| shard.missing_slivers == 0)));
    let before = fleet.member(2).repair_bytes();
    lose(&fleet.member(2), good).await;
    eventually("the other blob is mended", || async { fleet.member(2).held_slivers(&good, 0).unwrap().len() == 8 })
        .await;
    // Four shards' primaries and secondaries of a blob of 16 shards come to about as much as the blob.
    let moved = fleet.member(2).repair_bytes() - before;
    assert!(moved < 150_000, "{moved} bytes: nothing of the bad one was asked for again");

    // The verdict outlives the process, and goes with the blob.
    fleet.kill(1).await;
    fleet.restart(1).await;
    assert!(fleet.member(1).is_invalid(&bad));
    fleet.settled().await;
    client.delete(bad, &fleet.deletes).await.unwrap();
    for (id, member) in fleet.members() {
        eventually(&format!("member {id} has forgotten it"), || async { !member.is_invalid(&bad) }).await;
    }
    assert!(orders(&fleet, &[]).await.values().all(|inventory| inventory.invalid_blobs == 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn r19_a_verdict_counts_for_nothing_without_its_proof() {
    let mut fleet = Fleet::start(4).await;
    let client = fleet.client();
    let (bytes, other) = (content(1, 100_000), content(2, 100_000));
    let good = put(&client, 1, &bytes).await.id;
    fleet.whole().await;
    // A member calls a good blob invalid: its record says so.
    convict(&fleet, 3, good).await;
    fleet.kill(3).await;
    fleet.restart(3).await;
    assert!(fleet.member(3).is_invalid(&good));
    fleet.settled().await;
    assert_eq!(get(&client, good).await, bytes);
    assert_eq!(client.stat(good).await.unwrap().length(), 100_000);

    for id in 0..3 {
        eventually("the lie is found", || async { looked_into(&fleet, id, "refuted") == 1 }).await;
        assert!(!fleet.member(id).is_invalid(&good));
    }
    let bad = fleet.put_contradiction(&bytes, &other).await;
    fleet.whole().await;
    fleet.clock.pass(UPLOADED);
    lose(&fleet.member(2), bad).await;
    for id in 0..3 {
        eventually("the bad one is proven", || async { fleet.member(id).is_invalid(&bad) }).await;
        assert!(!fleet.member(id).is_invalid(&good));
    }
    assert_eq!(get(&client, good).await, bytes);
}

/// How many verdicts of that outcome a member has looked into.
fn looked_into(fleet: &Fleet, id: u32, result: &str) -> u64 {
    let member = fleet.member(id);
    let text = member.metrics().render(&member.levels().unwrap());
    let line = format!("weft_verdicts_total{{result=\"{result}\"}} ");
    text.lines().find_map(|told| told.strip_prefix(&line)?.parse().ok()).unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn r19_others_prove_a_verdict_by_the_very_slivers_that_it_names() {
    let fleet = Fleet::start(4).await;
    let bytes = content(1, 100_000);
    let bad = fleet.put_flaw(&bytes, Axis::Secondary, 0).await;
    fleet.whole().await;
    fleet.clock.pass(UPLOADED);
    // Whoever holds the bad secondary loses a primary, and mends it from what is at home first. By other secondaries it would be
    // right.
    let code = fleet.newest().code;
    let holder = fleet.newest().holder(code.shard_of(Axis::Secondary, 0) as u8).unwrap().clone();
    let id = holder.member.0;
    let primary = code.sliver_index(holder.shards.iter().next().unwrap().into(), Axis::Primary);
    let sliver = fleet.member(id).read_sliver(&bad, 0, Axis::Primary, primary).await.unwrap().unwrap();
    fleet.rot(id, &sliver);
    assert_eq!(fleet.member(id).read_sliver(&bad, 0, Axis::Primary, primary).await.unwrap(), None);
    convicted_by_all(&fleet, bad).await;
    assert_eq!((0..4).map(|id| looked_into(&fleet, id, "refuted")).sum::<u64>(), 0);
    assert!(is_invalid(&fleet.client().read(bad, None, Consistency::Committed).await));
}

/// Writes a verdict on a blob's first primary into a member's volume, behind its back.
async fn convict(fleet: &Fleet, id: u32, blob: BlobId) {
    let helpers = ShardSet::first(fleet.newest().code.slivers_to_decode(Axis::Secondary));
    let write = fleet.member(id).store().write(Room::Reserved, move |tx| {
        // Stripe, axis, index; and the eleven first secondaries, by which it should be wrong.
        let verdict = [&[0; 9][..], &helpers.to_bytes()].concat();
        tx.put_state(&format!("invalid/{blob}"), verdict);
        Ok::<_, StoreError>(())
    });
    write.await.expect("the store takes it");
}
