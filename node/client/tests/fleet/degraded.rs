//! Members go one after another: writes go on within f, reads as far as the code reaches, and nothing is ever wrong.

use std::error::Error;

use weft_client::{GetError, PutError, Stored, UploadError};
use weft_redstuff::BlobId;

use crate::{
    content, eventually,
    fake::{FakeFleet, Fault},
    get, put, stripe,
};

/// How many shards could take part in a put, and how many it takes, as it is told.
fn too_few(outcome: Result<Stored, PutError>) -> (u16, u16) {
    let error = outcome.expect_err("it is refused");
    let (left, quorum) = match &error {
        PutError::Upload(UploadError::TooFew { left, quorum, .. }) => (*left, *quorum),
        PutError::TooFew { answered, quorum, .. } => (*answered, *quorum),
        other => panic!("{other}"),
    };
    let causes = std::iter::successors(Some(&error as &dyn Error), |error| (*error).source()).map(ToString::to_string);
    let told = causes.collect::<Vec<_>>().join(": ");
    assert!(told.contains(&format!("only {left} shards")) && told.contains(&quorum.to_string()), "{told}");
    (left, quorum)
}

/// Seven members with 4 of 28 shards each: f = 9, a quorum is 19, 10 primaries or 19 secondaries decode.
#[tokio::test]
async fn writes_end_beyond_f_and_reads_where_the_code_ends() {
    let fleet = FakeFleet::start().await;
    let client = fleet.client();
    let bytes = content(stripe(FakeFleet::code()) + 100_000);
    let id = put(&client, 1, &bytes).await.unwrap().id;
    let small = put(&client, 2, &bytes[..50]).await.unwrap().id;
    eventually("all members have the blobs", || fleet.knowing(id) == 7 && fleet.knowing(small) == 7).await;
    for away in 1..=7_u8 {
        fleet.members[usize::from(away) - 1].set(Fault::Unavailable);
        let left = 28 - 4 * u16::from(away);
        let written = put(&client, 10 + away, &bytes[..50_000]).await;
        let inline = put(&client, 20 + away, &bytes[..50]).await;
        match away {
            1..=2 => assert!(written.is_ok() && inline.is_ok(), "{away} away"),
            // It is refused once so many have failed that it must be; whoever has yet to fail still counts.
            _ => {
                for (told, quorum) in [too_few(written), too_few(inline)] {
                    assert!((left..=16).contains(&told) && quorum == 19, "{away} away: {told} of {quorum}");
                }
            }
        }
        let read = get(&client, id, None).await;
        match away {
            1..=4 => assert!(read.unwrap() == bytes, "{away} away"),
            _ => assert!(matches!(read, Err(GetError::Unavailable { .. })), "{away} away"),
        }
        // It lies whole in each registry, but the 8 shards that are left may all have missed its delete (R13).
        let read = get(&client, small, None).await;
        match away {
            1..=4 => assert!(read.unwrap() == bytes[..50], "{away} away"),
            _ => assert!(matches!(read, Err(GetError::Unavailable { .. })), "{away} away"),
        }
        // 2f + 1 = 19 shards tell that a blob isn't there.
        let unknown = get(&client, BlobId([5; 32]), None).await;
        match away {
            1..=2 => assert!(matches!(unknown, Err(GetError::NotFound(_))), "{away} away"),
            _ => assert!(matches!(unknown, Err(GetError::Unavailable { .. })), "{away} away"),
        }
    }
    fleet.all(Fault::None);
    assert!(get(&client, id, None).await.unwrap() == bytes);
    put(&client, 40, &bytes).await.unwrap();
}

#[tokio::test]
async fn secondaries_are_enough_where_primaries_are_not() {
    let fleet = FakeFleet::start().await;
    let client = fleet.client();
    let bytes = content(stripe(FakeFleet::code()) + 100_000);
    let id = put(&client, 1, &bytes).await.unwrap().id;
    fleet.all(Fault::NoPrimaries);
    assert!(get(&client, id, None).await.unwrap() == bytes);
    // Two members with 8 primaries, and five with 20 secondaries besides.
    fleet.members[..2].iter().for_each(|member| member.set(Fault::None));
    assert!(get(&client, id, None).await.unwrap() == bytes);
    // 16 secondaries and 8 primaries are too few of either.
    fleet.members[4..].iter().for_each(|member| member.set(Fault::Unavailable));
    let Err(GetError::Unavailable { reasons, .. }) = get(&client, id, None).await else { panic!("it is refused") };
    assert!(reasons[0].contains("8 primary slivers, it takes 10; or 16 secondary slivers, it takes 19"), "{reasons:?}");
    // Lies are worth nothing.
    fleet.members[4..].iter().for_each(|member| member.set(Fault::Lies));
    assert!(matches!(get(&client, id, None).await, Err(GetError::Unavailable { .. })));
}

#[tokio::test]
async fn a_holder_of_an_earlier_view_is_read_from_too() {
    let fleet = FakeFleet::start().await;
    let client = fleet.client();
    let bytes = content(stripe(FakeFleet::code()) + 100_000);
    let id = put(&client, 1, &bytes).await.unwrap().id;
    eventually("all members have the blob", || fleet.knowing(id) == 7).await;
    let (view, seal) = fleet.without_last();
    fleet.members.iter().for_each(|member| member.install(view.clone(), Some(seal.clone())));
    // 8 primaries are left at holders of the newest view, 4 at a member that it doesn't seat.
    fleet.members[..4].iter().for_each(|member| member.set(Fault::Unavailable));
    let fresh = fleet.client();
    let known = fresh.fleet().current().await;
    assert!(known.is_err(), "both seeds are away: {known:?}");
    client.fleet().refresh().await.unwrap();
    assert!(get(&client, id, None).await.unwrap() == bytes);
    fleet.members[6].set(Fault::Unavailable);
    assert!(matches!(get(&client, id, None).await, Err(GetError::Unavailable { .. })));
}

#[tokio::test]
async fn every_sliver_is_found_where_it_is() {
    let fleet = FakeFleet::start().await;
    let client = fleet.client();
    let id = put(&client, 1, &content(stripe(FakeFleet::code()) + 100_000)).await.unwrap().id;
    eventually("all members have the blob", || fleet.knowing(id) == 7).await;
    let placement = client.locate(id).await.unwrap();
    assert_eq!((placement.held().len(), placement.read_margin()), (28, 18));
    fleet.members[0].set(Fault::NoPrimaries);
    fleet.members[1].set(Fault::Unavailable);
    let placement = client.locate(id).await.unwrap();
    assert_eq!((placement.held().len(), placement.read_margin()), (20, 10));
    let silent = placement.holdings.iter().filter(|holding| holding.slivers.is_err()).count();
    assert_eq!(silent, 1);
}
