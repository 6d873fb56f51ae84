//! A fleet loses a member, mends itself, and takes a replacement in.

mod fleet;

use fleet::{Fleet, OrderChanges, content, get, put};
use weft_proto::v1::Target;

#[tokio::test(flavor = "multi_thread")]
async fn lost_slivers_are_rebuilt_and_a_replacement_takes_them_over() {
    let mut fleet = Fleet::start(7).await;
    let client = fleet.client();
    let contents = [0, 300, 5_000, 200_000, 9_000_000].map(|length| content(length as u64, length));
    let mut blobs = Vec::new();
    for (nonce, content) in contents.iter().enumerate() {
        blobs.push(put(&client, nonce as u8, content).await.id);
    }
    let lost = fleet.newest().seats[6].shards;
    fleet.kill(6).await;
    let custody = fleet.without(&[6]);
    fleet.change_view(&custody).await;
    fleet.whole().await;
    for (blob, content) in blobs.iter().zip(&contents) {
        assert_eq!(get(&client, *blob).await, content);
    }

    fleet.wipe(6).await;
    fleet.order_all(OrderChanges::default()).await;
    let epoch = fleet.with(6, lost).await;
    let target = Target { epoch: epoch.epoch, shards: lost.to_bytes().to_vec().into() };
    fleet.order(6, OrderChanges { target: Some(target), ..OrderChanges::default() }).await.unwrap();
    fleet.whole().await;
    fleet.change_view(&epoch).await;
    fleet.whole().await;
    assert_eq!(fleet.member(6).must_hold(), lost);
    for (blob, content) in blobs.iter().zip(&contents) {
        assert_eq!(get(&client, *blob).await, content);
    }
}
