//! A lost member that comes back (R25): it serves what it holds, and nothing else; admitted again, it is a newcomer
//! that needs nearly nothing moved.

use weft_protocol::{ShardSet, Tombstone};
use weft_redstuff::{Axis, BlobId};

use super::fleet::{FLEET, Fleet, OrderChanges, content, eventually, get, put, requests};
use tonic::{Code, transport::Channel};
use weft_client::Connector;
use weft_node::member::Condition;
use weft_proto::v1::{
    DeleteRequest, Inventory, SliverRequest, Target, reads_client::ReadsClient, writes_client::WritesClient,
};

fn channel(fleet: &Fleet, id: u32) -> Channel {
    let address = fleet.places[&id].port.address().to_string();
    fleet.connector("gateway").channel(&address).expect("the address is one")
}

/// What a gateway gets when it asks a member to ack a blob under the newest view, and to delete it.
async fn asked_to_sign(fleet: &Fleet, id: u32, blob: BlobId) -> [Code; 2] {
    let entry = fleet.member(0).entry(&blob).unwrap().expect("the blob is known");
    let weft_protocol::Entry::Live { metadata, .. } = &entry else { panic!("the blob is live") };
    let view: bytes::Bytes = fleet.newest().hash().0.to_vec().into();
    let finish = requests::finish(fleet.newest(), metadata, &[]);
    let delete = DeleteRequest { view, tombstone: Tombstone::sign(FLEET, blob, &fleet.deletes).encode().into() };
    let mut writes = WritesClient::new(channel(fleet, id));
    let ack = writes.finish(finish).await.expect_err("nothing is acked").code();
    [ack, writes.delete(delete).await.expect_err("nothing is receipted").code()]
}

fn moved(inventory: &Inventory) -> u64 {
    let received = |activity: &Option<weft_proto::v1::Activity>| activity.as_ref().unwrap().bytes_received;
    received(&inventory.repair) + received(&inventory.migration)
}

#[tokio::test(flavor = "multi_thread")]
async fn r25_a_fenced_incarnation_serves_its_slivers_and_signs_nothing() {
    let mut fleet = Fleet::start(7).await;
    let content = content(1, 300_000);
    let blob = put(&fleet.client(), 1, &content).await.id;
    let shard = fleet.newest().seats[6].shards.iter().next().unwrap();
    let index = fleet.newest().code.sliver_index(u16::from(shard), Axis::Primary);
    // It is given up while it still runs: who keeps its shards now copies from it rather than rebuild.
    let custody = fleet.without(&[6]);
    fleet.change_view(&custody).await;
    fleet.whole().await;
    let mut rebuilt = 0;
    for inventory in fleet.order_all(OrderChanges::default()).await.values() {
        rebuilt += inventory.repair.as_ref().unwrap().bytes_rebuilt;
    }
    assert_eq!(rebuilt, 0, "copying is cheaper");

    fleet.restart(6).await;
    fleet.settled().await;
    let request =
        SliverRequest { blob: blob.0.to_vec().into(), stripe: 0, axis: Axis::Primary as u32, index: u32::from(index) };
    let sliver = ReadsClient::new(channel(&fleet, 6)).get_sliver(request).await.unwrap().into_inner().data;
    let (_, hashes) = fleet.member(0).stripe_hashes(&blob, 0).unwrap().unwrap();
    assert!(hashes.matches(Axis::Primary, index, &sliver));
    assert_eq!(asked_to_sign(&fleet, 6, blob).await, [Code::OutOfRange; 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn r25_a_returned_volume_keeps_what_matches_and_needs_nothing_else_moved() {
    let mut fleet = Fleet::start(7).await;
    let client = fleet.client();
    let contents = [200, 300_000, 9_000_000].map(|length| content(length as u64, length));
    let mut blobs = Vec::new();
    for (nonce, content) in contents.iter().enumerate() {
        blobs.push(put(&client, nonce as u8, content).await.id);
    }
    let deleted = put(&client, 8, &content(8, 300_000)).await.id;
    let lost = fleet.newest().seats[6].shards;
    let before = fleet.order(6, OrderChanges::default()).await.unwrap();
    fleet.whole().await;
    fleet.kill(6).await;
    let custody = fleet.without(&[6]);
    fleet.change_view(&custody).await;
    client.delete(deleted, &fleet.deletes).await.unwrap();
    blobs.push(put(&client, 9, &content(9, 500)).await.id);
    let rotten = rot(&fleet, blobs[1], lost).await;

    fleet.readmit(6).await;
    let member = fleet.member(6);
    assert!(member.entry(&blobs[1]).unwrap().is_none() && member.newest().is_none(), "it knows nothing any more");
    assert!(member.levels().unwrap().slivers > 0);
    let after = fleet.order(6, OrderChanges::default()).await.unwrap();
    let identity = |inventory: &Inventory| inventory.identity.clone().unwrap();
    assert_eq!(identity(&after).incarnation, 2);
    assert_ne!(identity(&after).volume, identity(&before).volume);
    assert_ne!(after.public_key, before.public_key);

    let epoch = fleet.with(6, lost).await;
    fleet.settled().await;
    assert_eq!(asked_to_sign(&fleet, 6, blobs[1]).await, [Code::OutOfRange; 2]);
    let target = Target { epoch: epoch.epoch, shards: lost.to_bytes().to_vec().into() };
    fleet.order(6, OrderChanges { target: Some(target), ..OrderChanges::default() }).await.unwrap();
    eventually("it holds what it shall hold", || async {
        member.counts()
            && member.must_hold() == lost
            && member.levels().unwrap().missing_slivers == 0
            && member.entry(&blobs[3]).unwrap().is_some()
    })
    .await;
    fleet.change_view(&epoch).await;
    fleet.whole().await;
    let inventory = fleet.order(6, OrderChanges::default()).await.unwrap();
    let (moved, held) = (moved(&inventory), inventory.held_sliver_bytes);
    println!("{moved} bytes moved for {held} that a returned volume holds");
    assert!(moved >= rotten && moved <= 2 * rotten && 20 * moved < held, "{moved} of {held} bytes moved");
    for (blob, content) in blobs.iter().zip(&contents) {
        assert_eq!(get(&client, *blob).await, content);
    }
    // Four shards of both blobs with slivers, and nothing of the deleted one: one stripe, and two.
    let stripes = [blobs[1], blobs[2]].map(|blob| live_stripes(&fleet, blob)).iter().sum::<u64>();
    assert_eq!(member.levels().unwrap().slivers, 2 * 4 * stripes);
    // It stays who it is now.
    fleet.restart(6).await;
    fleet.settled().await;
    assert_eq!(fleet.member(6).identity().public_key(), member.identity().public_key());
    assert_eq!(fleet.member(6).condition(), Condition::Healthy);
}

fn live_stripes(fleet: &Fleet, blob: BlobId) -> u64 {
    match fleet.member(0).entry(&blob).unwrap() {
        Some(weft_protocol::Entry::Live { metadata, .. }) => u64::from(metadata.layout.stripes()),
        _ => 0,
    }
}

/// Spoils one sliver of a blob on the disk of member 6, which doesn't run, and gives its length.
async fn rot(fleet: &Fleet, blob: BlobId, shards: ShardSet) -> u64 {
    let shard = shards.iter().next().unwrap();
    let index = fleet.newest().code.sliver_index(u16::from(shard), Axis::Primary);
    let custodian = fleet.member(fleet.newest().holder(shard).expect("somebody keeps it").member.0);
    fleet.whole().await;
    let sound = custodian.read_sliver(&blob, 0, Axis::Primary, index).await.unwrap().expect("it is rebuilt");
    fleet.rot(6, &sound);
    sound.len() as u64
}

#[tokio::test(flavor = "multi_thread")]
async fn r25_only_a_volume_of_the_member_is_admitted_again() {
    let mut fleet = Fleet::start(7).await;
    fleet.kill(5).await;
    fleet.kill(6).await;
    // Another member's disk; and one of an incarnation that is not before the present one.
    for (member, incarnation, readmit) in [(5, 2, Some(1)), (6, 1, Some(1)), (6, 3, Some(2))] {
        let disk = fleet.places[&6].disk.clone();
        let place = fleet.places.get_mut(&member).unwrap();
        (place.disk, place.incarnation, place.readmit) = (disk, incarnation, readmit);
        fleet.run(member).await;
        let running = fleet.places[&member].running.as_ref().unwrap();
        let kept = running.member.as_ref().map(|member| member.identity().incarnation.number);
        assert_eq!(kept, (member == 6 && incarnation == 1).then_some(1), "member {member}-{incarnation}");
        fleet.kill(member).await;
    }
}
