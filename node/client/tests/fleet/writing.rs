use weft_client::{GetError, PutError};

use crate::{
    content, eventually,
    fake::{FakeFleet, Fault},
    get, put, stripe,
};

#[tokio::test]
async fn blobs_of_all_sizes_come_back() {
    let fleet = FakeFleet::start().await;
    let (client, full) = (fleet.client(), stripe(FakeFleet::code()));
    let sizes = [0, 1, 64 * 28, 64 * 28 + 1, 1 << 20, full - 1, full, full + 1, 2 * full + 12345];
    for (nonce, size) in (0..).zip(sizes) {
        let bytes = content(size);
        let stored = put(&client, nonce, &bytes).await.unwrap();
        assert_eq!((stored.metadata.length(), stored.metadata.check_layout()), (size as u64, Ok(())));
        assert!(get(&client, stored.id, None).await.unwrap() == bytes, "{size} bytes");
        eventually("all members learn of the blob", || fleet.knowing(stored.id) == 7).await;
    }
}

#[tokio::test]
async fn a_small_blob_takes_one_call_a_holder_for_each_answer() {
    let fleet = FakeFleet::start().await;
    let client = fleet.client();
    let asked =
        || fleet.members.iter().map(|member| (member.asked_for_acks(), member.asked_apart())).collect::<Vec<_>>();
    for (nonce, size) in [(1, 5000), (2, 1 << 20)] {
        let bytes = content(size);
        let id = put(&client, nonce, &bytes).await.unwrap().id;
        eventually("all members learn of the blob", || fleet.knowing(id) == 7).await;
        assert!(get(&client, id, None).await.unwrap() == bytes);
        assert_eq!(asked(), [(u32::from(nonce), 0); 7]);
    }
    // What is larger goes by streams.
    let bytes = content(5 << 20);
    let id = put(&client, 3, &bytes).await.unwrap().id;
    assert!(get(&client, id, None).await.unwrap() == bytes);
    assert!(asked().iter().all(|(_, apart)| *apart > 0));
}

#[tokio::test]
async fn members_of_before_take_and_give_small_blobs_too() {
    let fleet = FakeFleet::start().await;
    let client = fleet.client();
    for (nonce, before) in [(1, 3), (2, 7)] {
        fleet.members[..before].iter().for_each(|member| member.set(Fault::OnlyUploads));
        let bytes = content(70_000);
        let id = put(&client, nonce, &bytes).await.unwrap().id;
        eventually("all members learn of the blob", || fleet.knowing(id) == 7).await;
        assert!(get(&client, id, None).await.unwrap() == bytes);
        assert!(fleet.members[..before].iter().all(|member| member.asked_apart() > 0));
    }
}

#[tokio::test]
async fn a_put_succeeds_only_on_receipts_of_a_quorum() {
    let fleet = FakeFleet::start().await;
    let client = fleet.client();
    // 28 shards, 19 to a quorum, 4 a member: five members must have receipted.
    fleet.members[..3].iter().for_each(|member| member.set(Fault::NoReceipts));
    for (nonce, size) in [(1, 100), (2, 5000)] {
        let error = put(&client, nonce, &content(size)).await.unwrap_err();
        assert!(matches!(&error, PutError::TooFew { did: "receipted", answered: 16, quorum: 19, .. }), "{error}");
    }
    fleet.members[0].set(Fault::None);
    put(&client, 3, &content(5000)).await.unwrap();
}

#[tokio::test]
async fn forged_acks_and_receipts_count_for_nothing() {
    let fleet = FakeFleet::start().await;
    let client = fleet.client();
    fleet.members[..3].iter().for_each(|member| member.set(Fault::Forges));
    let error = put(&client, 1, &content(5000)).await.unwrap_err();
    assert!(matches!(&error, PutError::TooFew { did: "acked", answered: 16, quorum: 19, .. }), "{error}");
    fleet.members[1].set(Fault::None);
    put(&client, 2, &content(5000)).await.unwrap();
}

#[tokio::test]
async fn two_members_that_fail_or_hang_stop_no_put() {
    let fleet = FakeFleet::start().await;
    let client = fleet.client();
    let bytes = content(stripe(FakeFleet::code()) * 6);
    for (nonce, fault) in [(1, Fault::Unavailable), (2, Fault::Hangs), (3, Fault::NoUploads)] {
        fleet.members[5..].iter().for_each(|member| member.set(fault));
        for (nonce, bytes) in [(nonce, &bytes[..]), (10 + nonce, &bytes[..5000])] {
            let stored = put(&client, nonce, bytes).await.unwrap();
            assert!(get(&client, stored.id, None).await.unwrap() == bytes, "{fault:?}");
        }
    }
    fleet.members[4..].iter().for_each(|member| member.set(Fault::Unavailable));
    assert!(put(&client, 4, &bytes).await.is_err());
    assert!(put(&client, 14, &bytes[..5000]).await.is_err());
}

/// Three of seven can't, and that is too many: no other needs to be waited for, whether it hangs or, like members whose view
/// can't be sealed any more, asks to be asked again.
#[tokio::test]
async fn a_put_that_cannot_succeed_is_refused_whoever_else_keeps_it_waiting() {
    let fleet = FakeFleet::start().await;
    let client = fleet.client();
    let stored = put(&client, 1, &content(100)).await.unwrap().id;
    fleet.members[..3].iter().for_each(|member| member.set(Fault::Unavailable));
    fleet.members[3].set(Fault::Hangs);
    fleet.members[4..].iter().for_each(|member| member.refuse());
    let error = put(&client, 2, &content(100)).await.unwrap_err();
    assert!(matches!(&error, PutError::TooFew { did: "acked", answered: 16, quorum: 19, .. }), "{error}");
    fleet.members[3].set(Fault::None);
    let error = client.delete(stored, &fleet.delete_key).await.unwrap_err();
    assert!(matches!(&error, weft_client::DeleteError::TooFew { wanting: 3, .. }), "{error}");
}

#[tokio::test]
async fn a_full_fleet_is_told_from_one_that_is_away() {
    let fleet = FakeFleet::start().await;
    let client = fleet.client();
    client.fleet().refresh().await.unwrap();
    fleet.members[..3].iter().for_each(|member| member.set(Fault::Full));
    let error = put(&client, 1, &content(5000)).await.unwrap_err();
    assert!(matches!(&error, PutError::NoRoom { .. }), "{error}");
}

#[tokio::test]
async fn a_retried_put_gets_the_same_id_and_another_one_a_new_one() {
    let fleet = FakeFleet::start().await;
    let (client, bytes) = (fleet.client(), content(70_000));
    let first = put(&client, 1, &bytes).await.unwrap();
    assert_eq!(put(&client, 1, &bytes).await.unwrap().id, first.id);
    assert_ne!(put(&client, 2, &bytes).await.unwrap().id, first.id);
}

#[tokio::test]
async fn a_deleted_blob_is_gone_for_good() {
    let fleet = FakeFleet::start().await;
    let (client, bytes) = (fleet.client(), content(70_000));
    let id = put(&client, 1, &bytes).await.unwrap().id;
    client.delete(id, &fleet.delete_key).await.unwrap();
    assert!(matches!(get(&client, id, None).await, Err(GetError::Deleted(_))));
    assert!(matches!(put(&client, 1, &bytes).await, Err(PutError::Deleted(gone)) if gone == id));
    client.delete(id, &fleet.delete_key).await.unwrap();
}

#[tokio::test]
async fn a_delete_needs_receipts_and_the_right_key() {
    let fleet = FakeFleet::start().await;
    let client = fleet.client();
    let id = put(&client, 1, &content(10)).await.unwrap().id;
    let stranger = weft_protocol::SigningKey::from_seed([3; 32]);
    let error = client.delete(id, &stranger).await.unwrap_err();
    assert!(matches!(error, weft_client::DeleteError::NoAuthority(_)), "{error}");
    fleet.members[..3].iter().for_each(|member| member.set(Fault::NoReceipts));
    let error = client.delete(id, &fleet.delete_key).await.unwrap_err();
    assert!(matches!(error, weft_client::DeleteError::TooFew { wanting: 3, .. }), "{error}");
    fleet.all(Fault::None);
    client.delete(id, &fleet.delete_key).await.unwrap();
}
