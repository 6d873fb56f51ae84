//! Puts stop before what is lost could no longer be rebuilt for want of room.

use weft_client::PutError;

use super::fleet::{Fleet, OrderChanges, content, eventually, get, put, put_until};

#[tokio::test(flavor = "multi_thread")]
async fn puts_stop_while_a_loss_still_fits_and_go_on_after_deletes() {
    let mut fleet = Fleet::start(4).await;
    let client = fleet.client();
    let first = put(&client, 1, &content(1, 100_000)).await.id;
    fleet.whole().await;
    let each = fleet.order(0, OrderChanges::default()).await.unwrap().shard_bytes;
    assert!(each > 100_000 / 16, "{each}");
    fleet.shard_bytes_limit = 2 * each - 1;
    fleet.order_all(OrderChanges::default()).await;
    for length in [100_000, 5 << 20] {
        let error = put_until(&client, 2, &content(2, length), None).await.unwrap_err();
        assert!(matches!(&error, PutError::NoRoom { .. } | PutError::Upload(_)), "{error}");
        assert!(error.to_string().contains("let storage.size grow"), "{error}");
    }
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
