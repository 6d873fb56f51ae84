use bytes::Bytes;
use futures::stream;
use weft_client::{ByteRange, Filter, GetError, ListQuery, Order, PutRequest, time};
use weft_redstuff::{BlobId, Labels};

use crate::{
    content, eventually,
    fake::{FakeFleet, Fault},
    get, put, stripe,
};

#[tokio::test]
async fn ranges_are_those_bytes_and_no_others() {
    let fleet = FakeFleet::start().await;
    let (client, full) = (fleet.client(), stripe(FakeFleet::code()) as u64);
    let bytes = content(full as usize + 300_000);
    let id = put(&client, 1, &bytes).await.unwrap().id;
    let length = bytes.len() as u64;
    let row = full / 10;
    let ranges = [
        ByteRange::From(0, Some(0)),
        ByteRange::From(row - 1, Some(row)),
        ByteRange::From(row, Some(2 * row - 1)),
        ByteRange::From(full - 5, Some(full + 5)),
        ByteRange::From(length - 1, None),
        ByteRange::Last(400_000),
        ByteRange::From(0, None),
    ];
    for range in ranges {
        let part = range.within(length).unwrap();
        let expected = &bytes[part.start as usize..part.end as usize];
        assert!(get(&client, id, Some(range)).await.unwrap() == expected, "{range:?}");
    }
    let outside = client.get(id, Some(ByteRange::From(length, None))).await.unwrap_err();
    assert!(matches!(outside, GetError::Range { length: told, .. } if told == length));
}

#[tokio::test]
async fn two_members_that_are_away_or_lie_stop_no_get() {
    let fleet = FakeFleet::start().await;
    let client = fleet.client();
    let bytes = content(stripe(FakeFleet::code()) + 100_000);
    let large = put(&client, 1, &bytes).await.unwrap().id;
    let small = put(&client, 2, &bytes[..5000]).await.unwrap().id;
    for fault in [Fault::Unavailable, Fault::Hangs, Fault::Lies] {
        // These hold source rows: their rows must be rebuilt from others.
        fleet.members[..2].iter().for_each(|member| member.set(fault));
        assert!(get(&client, large, None).await.unwrap() == bytes, "{fault:?}");
        assert!(get(&client, large, Some(ByteRange::From(0, Some(9)))).await.unwrap() == bytes[..10], "{fault:?}");
        assert!(get(&client, small, None).await.unwrap() == bytes[..5000], "{fault:?}");
    }
}

#[tokio::test]
async fn with_too_few_rows_there_is_an_error_and_no_wrong_byte() {
    let fleet = FakeFleet::start().await;
    let client = fleet.client();
    let id = put(&client, 1, &content(100_000)).await.unwrap().id;
    // 10 rows are needed; two members have 8.
    fleet.members[2..].iter().for_each(|member| member.set(Fault::Lies));
    assert!(matches!(get(&client, id, None).await, Err(GetError::Unavailable { .. })));
}

#[tokio::test]
async fn not_found_takes_synced_members() {
    let fleet = FakeFleet::start().await;
    let client = fleet.client();
    let unknown = BlobId([5; 32]);
    assert!(matches!(get(&client, unknown, None).await, Err(GetError::NotFound(_))));
    // 2f + 1 = 19 shards are five members.
    fleet.members[..2].iter().for_each(|member| member.set(Fault::NotSynced));
    assert!(matches!(get(&client, unknown, None).await, Err(GetError::NotFound(_))));
    fleet.members[2].set(Fault::Unavailable);
    assert!(matches!(get(&client, unknown, None).await, Err(GetError::Unavailable { .. })));
}

#[tokio::test]
async fn a_member_that_is_not_synced_yet_hides_no_delete() {
    let fleet = FakeFleet::start().await;
    let client = fleet.client();
    // A blob of which the first five members are asked first.
    let mut nonce = 0;
    let id = loop {
        nonce += 1;
        let id = put(&client, nonce, &content(50)).await.unwrap().id;
        if id.0[31].is_multiple_of(7) {
            break id;
        }
    };
    eventually("all members have the blob", || fleet.knowing(id) == 7).await;
    let before = fleet.members[0].entry(id);
    client.delete(id, &fleet.delete_key).await.unwrap();
    // Five of those that signed its receipts have new owners, who have yet to be synced.
    for member in &fleet.members[..5] {
        member.set(Fault::NotSynced);
        member.learn(before.clone());
    }
    assert!(matches!(get(&fleet.client(), id, None).await, Err(GetError::Deleted(_))));
}

#[tokio::test]
async fn one_member_brings_no_blob_back_that_nobody_else_knows() {
    let fleet = FakeFleet::start().await;
    let client = fleet.client();
    let id = put(&client, 1, &content(50)).await.unwrap().id;
    eventually("all members have the blob", || fleet.knowing(id) == 7).await;
    // It was deleted, and its tombstone has been collected; one of them has it from an old volume, say.
    for member in &fleet.members[1..] {
        member.forget(id);
    }
    assert!(matches!(get(&client, id, None).await, Err(GetError::NotFound(_))));
    // While too few answer that it isn't there, it may be one that was just put.
    fleet.members[1..4].iter().for_each(|member| member.set(Fault::NotSynced));
    assert!(get(&client, id, None).await.is_ok());
}

#[tokio::test]
async fn lists_are_in_order_and_page_by_page() {
    let fleet = FakeFleet::start().await;
    let client = fleet.client();
    let mut ids = Vec::new();
    for nonce in 0..5 {
        ids.push(put(&client, nonce, &[nonce]).await.unwrap().id);
    }
    ids.sort_unstable();
    let (mut listed, mut after) = (Vec::new(), None);
    loop {
        let page = client.list(&ListQuery { after, limit: 2, ..ListQuery::default() }).await.unwrap();
        listed.extend(page.blobs.iter().map(|(id, _)| *id));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(listed, ids);
}

#[tokio::test]
async fn what_is_rare_is_found_page_by_page_whoever_leads_nowhere() {
    let fleet = FakeFleet::start().await;
    let client = fleet.client();
    let mut blobs = Vec::new();
    for nonce in 0..7 {
        blobs.push(put(&client, nonce, &[nonce]).await.unwrap());
    }
    eventually("all members have the blobs", || blobs.iter().all(|blob| fleet.knowing(blob.id) == 7)).await;
    let last = blobs.iter().max_by_key(|blob| blob.id).unwrap();
    let filter = Filter { digest: Some(last.metadata.digest), ..Filter::default() };
    fleet.all(Fault::LooksAtTwo);
    for liars in [0, 2] {
        fleet.members[..liars].iter().for_each(|member| member.set(Fault::LeadsNowhere));
        for order in [Order::Id, Order::Newest] {
            let (mut query, mut found) =
                (ListQuery { order, limit: 10, filter: filter.clone(), after: None }, Vec::new());
            loop {
                let page = client.list(&query).await.unwrap();
                found.push(page.blobs.into_iter().map(|(id, _)| id).collect::<Vec<_>>());
                query.after = page.next;
                if query.after.is_none() {
                    break;
                }
            }
            assert_eq!(found, [vec![], vec![], vec![], vec![last.id]], "{order:?}, {liars} liars");
        }
    }
}

#[tokio::test]
async fn members_that_know_of_no_times_list_nothing_by_time() {
    let fleet = FakeFleet::start().await;
    let client = fleet.client();
    let mut blobs = Vec::new();
    for (nonce, created) in [(0, Some("2026-01-01T00:00:00Z")), (1, Some("2026-01-02T00:00:00Z")), (2, None)] {
        let labels = created.map(|text| (time::CREATED.to_owned(), text.to_owned()));
        let labels = Labels::new(labels.into_iter().collect()).unwrap();
        let request = PutRequest { nonce: [nonce; 16], labels, ..PutRequest::default() };
        blobs.push(client.put(request, stream::iter([Ok(Bytes::from_static(b"content"))])).await.unwrap().id);
    }
    let query = ListQuery { order: Order::Newest, limit: 10, ..ListQuery::default() };
    let by_time = [blobs[1], blobs[0], blobs[2]];
    let ids = |page: weft_client::Page| page.blobs.iter().map(|(id, _)| *id).collect::<Vec<_>>();
    eventually("all members have the blobs", || blobs.iter().all(|id| fleet.knowing(*id) == 7)).await;
    // Those with more than f shards still know.
    fleet.members[..4].iter().for_each(|member| member.set(Fault::ListsById));
    assert_eq!(ids(client.list(&query).await.unwrap()), by_time);
    let first = ListQuery { limit: 1, ..query.clone() };
    assert_eq!(ids(client.list(&first).await.unwrap()), by_time[..1]);
    fleet.members.iter().for_each(|member| member.set(Fault::ListsById));
    let refused = client.list(&query).await.unwrap_err();
    assert!(refused.to_string().contains("a release that doesn't list by time"), "{refused}");
    let since = ListQuery { filter: Filter { since: Some(1), ..Filter::default() }, limit: 10, ..ListQuery::default() };
    assert!(client.list(&since).await.is_err());
    assert_eq!(client.list(&ListQuery { limit: 10, ..ListQuery::default() }).await.unwrap().blobs.len(), 3);
}
