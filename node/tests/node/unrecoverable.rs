//! Blobs of which too little is left (R20): found by those who lack them, listed by the operator, in nobody's way, and
//! gone by a delete or by a volume that comes back.

use std::{collections::BTreeMap, time::Duration};

use weft_proto::v1::{Inventory, Retire};
use weft_protocol::ShardSet;
use weft_redstuff::BlobId;
use weft_store::View as _;

use super::fleet::{Fleet, OrderChanges, content, eventually, get, lose, put};

/// Nobody rebuilds what an upload may still bring.
const UPLOADED: Duration = Duration::from_secs(31);

/// Orders everyone who runs, and lists these blobs.
async fn list(fleet: &Fleet, blobs: &[BlobId]) -> BTreeMap<u32, Inventory> {
    fleet.order_all(OrderChanges { unrecoverable: blobs.to_vec(), ..OrderChanges::default() }).await
}

/// Waits until these members, and no others, say that this blob alone is unrecoverable. What is listed is another matter.
async fn told_by(fleet: &Fleet, members: &[u32], blob: BlobId) {
    eventually("those who lack the blob have found out", || async {
        let found = |id: u32, member: &weft_node::member::Member| {
            let expected = members.contains(&id).then_some(blob);
            member.unrecoverable().unwrap().into_iter().eq(expected)
        };
        fleet.members().iter().all(|(id, member)| found(*id, member))
    })
    .await;
    for (id, inventory) in list(fleet, &[]).await {
        let expected: &[bytes::Bytes] = if members.contains(&id) { &[blob.0.to_vec().into()] } else { &[] };
        assert_eq!(inventory.unrecoverable, expected);
        assert_eq!(inventory.unrecoverable_blobs, expected.len() as u64);
        assert_eq!(inventory.shards.iter().any(|shard| shard.missing_slivers > 0), members.contains(&id));
    }
}

/// Waits until nobody names any blob.
async fn told_by_nobody(fleet: &Fleet) {
    for (id, member) in fleet.members() {
        eventually(&format!("member {id} names no blob"), || async { member.unrecoverable().unwrap().is_empty() })
            .await;
    }
}

/// How many slivers a member has of a blob's first stripe.
fn held(fleet: &Fleet, id: u32, blob: &BlobId) -> usize {
    fleet.member(id).held_slivers(blob, 0).unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn r20_what_is_listed_is_in_nobodys_way_and_leaves_by_delete() {
    let mut fleet = Fleet::start(7).await;
    let client = fleet.client();
    let (kept, content) = (put(&client, 1, &content(1, 100_000)).await.id, content(1, 100_000));
    let lost = put(&client, 2, &content).await.id;
    fleet.whole().await;
    fleet.clock.pass(UPLOADED);
    // 8 of 28 primaries are left, and k1 = 10.
    for id in 0..5 {
        lose(&fleet.member(id), lost).await;
    }
    told_by(&fleet, &[0, 1, 2, 3, 4], lost).await;

    for (id, inventory) in list(&fleet, &[lost]).await {
        let aside: &[bytes::Bytes] = if id < 5 { &[lost.0.to_vec().into()] } else { &[] };
        assert_eq!(inventory.set_aside, aside, "member {id}");
        assert!(inventory.shards.iter().all(|shard| shard.missing_slivers == 0), "{inventory:?}");
        assert_eq!(inventory.lacking, bytes::Bytes::new());
    }
    // It stays on the work lists, and the rest is mended.
    assert!(fleet.members().iter().all(|(id, member)| (*id < 5) == (member.store().view().totals().missing > 0)));
    lose(&fleet.member(0), kept).await;
    eventually("the other blob is mended", || async { held(&fleet, 0, &kept) == 8 }).await;

    // Its shards move on: what there is of it is copied, and what is spare of it stays.
    let custody = fleet.without(&[6]);
    fleet.change_view(&custody).await;
    list(&fleet, &[lost]).await;
    fleet.whole().await;
    eventually("custodians have what there was", || async {
        (0..6).map(|id| held(&fleet, id, &lost)).sum::<usize>() == 16
    })
    .await;
    eventually("every shard is verified without it", || async {
        let inventories = list(&fleet, &[lost]).await;
        let seated = inventories.iter().filter(|(id, _)| **id != 6);
        seated.flat_map(|(_, inventory)| &inventory.shards).all(|shard| shard.verified)
    })
    .await;
    retire(&fleet, 6, &[lost]).await;
    eventually("the other blob's copies go", || async { held(&fleet, 6, &kept) == 0 }).await;
    assert_eq!(held(&fleet, 6, &lost), 8);

    client.delete(lost, &fleet.deletes).await.unwrap();
    told_by_nobody(&fleet).await;
    // Also from who has no seat any more.
    for (id, _) in fleet.members() {
        eventually(&format!("member {id} has none of it"), || async { held(&fleet, id, &lost) == 0 }).await;
    }
    assert!(list(&fleet, &[]).await.values().all(|inventory| inventory.set_aside.is_empty()));
    fleet.whole().await;
    assert_eq!(get(&client, kept).await, content);
}

/// Tells a member that no view seats to drop all copies, but of what is listed.
async fn retire(fleet: &Fleet, id: u32, listed: &[BlobId]) {
    let (view, spare) = (fleet.newest(), ShardSet::first(fleet.newest().code.shards()));
    let order = Retire { view: view.hash().0.to_vec().into(), shards: spare.to_bytes().to_vec().into() };
    let changes = OrderChanges { retire: Some(order), unrecoverable: listed.to_vec(), ..OrderChanges::default() };
    fleet.order(id, changes).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn r20_a_silent_holder_is_no_evidence_and_a_volume_that_comes_back_heals() {
    let mut fleet = Fleet::start(7).await;
    let content = content(1, 100_000);
    let blob = put(&fleet.client(), 1, &content).await.id;
    fleet.whole().await;
    fleet.clock.pass(UPLOADED);
    let (lost, successor) = ([4, 5, 6], fleet.declaring(&[4, 5, 6]));
    for id in lost {
        fleet.kill(id).await;
    }
    eventually("the lost are out of reach", || async {
        fleet.members().iter().all(|(_, member)| member.reachable().len() == 3)
    })
    .await;
    // 8 of 28 primaries are in reach, and k1 = 10; the others' holders may come back.
    for id in [0, 1] {
        lose(&fleet.member(id), blob).await;
    }
    for id in [0, 1] {
        let member = fleet.member(id);
        eventually("it has asked, and doesn't know", || async {
            let told = member.metrics().render(&member.levels().unwrap());
            told.lines().any(|line| line.starts_with("weft_repair_looks_total{result=\"unknown\"}"))
        })
        .await;
        assert_eq!(member.unrecoverable().unwrap(), [].into());
    }

    fleet.change_view(&successor).await;
    told_by(&fleet, &[0, 1, 2, 3], blob).await;
    list(&fleet, &[blob]).await;
    fleet.whole().await;
    // A write needs nobody to have it.
    put(&fleet.client(), 2, &content).await;

    // One of the lost comes back, and its four shards are enough.
    fleet.run(4).await;
    eventually("the blob is mended", || async {
        fleet.members().iter().all(|(id, member)| *id > 3 || member.store().view().totals().missing == 0)
    })
    .await;
    told_by_nobody(&fleet).await;
    fleet.whole().await;
    assert_eq!(get(&fleet.client(), blob).await, content);
}

#[tokio::test(flavor = "multi_thread")]
async fn r20_as_much_as_the_code_needs_is_enough() {
    let fleet = Fleet::start(7).await;
    let content = content(1, 100_000);
    let blob = put(&fleet.client(), 1, &content).await.id;
    fleet.whole().await;
    fleet.clock.pass(UPLOADED);
    // 12 of 28 primaries are left.
    for id in 0..4 {
        lose(&fleet.member(id), blob).await;
    }
    eventually("everybody has its slivers again", || async { (0..7).all(|id| held(&fleet, id, &blob) == 8) }).await;
    fleet.whole().await;
    told_by_nobody(&fleet).await;
    assert!(list(&fleet, &[]).await.values().all(|inventory| inventory.set_aside.is_empty()));
    assert_eq!(get(&fleet.client(), blob).await, content);
}
