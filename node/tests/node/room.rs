//! Puts stop before what is lost could no longer be rebuilt for want of room.

use tonic::Code;
use weft_client::PutError;
use weft_proto::v1::FinishRequest;

use super::fleet::{
    Fleet, OrderChanges, content, eventually, get, put, put_until,
    requests::{finish, small, writes},
};

#[tokio::test(flavor = "multi_thread")]
async fn puts_stop_while_a_loss_still_fits_and_go_on_after_deletes() {
    let mut fleet = Fleet::start(4).await;
    let client = fleet.client();
    let first = put(&client, 1, &content(1, 100_000)).await.id;
    fleet.whole().await;
    let each = fleet.order(0, OrderChanges::default()).await.unwrap().shard_bytes.expect("it tells");
    assert!(each > 100_000 / 16, "{each}");
    fleet.shard_bytes_limit = 2 * each - 1;
    fleet.order_all(OrderChanges::default()).await;
    for length in [100_000, 5 << 20] {
        let error = put_until(&client, 2, &content(2, length), None).await.unwrap_err();
        assert!(matches!(&error, PutError::NoRoom { .. } | PutError::Upload(_)), "{error}");
        assert!(error.to_string().contains("let storage.size grow"), "{error}");
    }
    // The next process holds to it as well, without an operator.
    fleet.restart(3).await;
    fleet.settled().await;
    let view = fleet.newest().clone();
    let (metadata, part) = small(&view, 2, &content(2, 100_000));
    let shards: Vec<u8> = view.seats[3].shards.iter().collect();
    let request = FinishRequest { stripe: Some(part.of(&shards)), ..finish(&view, &metadata, &[]) };
    let status = writes(&fleet, 3).finish(request).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    // What is stored is read, put once more, and deleted; what goes into the registry takes no room of this kind.
    assert_eq!(get(&client, first).await, content(1, 100_000));
    assert_eq!(put(&client, 1, &content(1, 100_000)).await.id, first);
    put(&client, 3, &content(3, 100)).await;
    client.delete(first, &fleet.deletes).await.unwrap();
    eventually("all have deleted it", || async {
        fleet.members().iter().all(|(_, member)| member.levels().is_ok_and(|levels| levels.tombstones == 1))
    })
    .await;
    put(&client, 2, &content(2, 100_000)).await;
}
