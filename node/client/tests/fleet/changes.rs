use weft_client::FleetError;
use weft_protocol::SigningKey;

use crate::{
    content, eventually,
    fake::{FakeFleet, Fault},
    get, put, stripe,
};

#[tokio::test]
async fn acks_and_receipts_are_renewed_under_a_newer_view() {
    let fleet = FakeFleet::start().await;
    let (client, bytes) = (fleet.client(), content(stripe(FakeFleet::code()) + 1));
    client.fleet().current().await.unwrap();
    let (view, seal) = fleet.without_last();
    fleet.members[6].set(Fault::Unavailable);
    fleet.members[..6].iter().for_each(|member| member.install(view.clone(), Some(seal.clone())));
    let stored = put(&client, 1, &bytes).await.unwrap();
    assert_eq!(stored.view, view.view.id());
    assert!(get(&client, stored.id, None).await.unwrap() == bytes);
}

#[tokio::test]
async fn a_put_waits_while_the_view_is_being_sealed() {
    let fleet = FakeFleet::start().await;
    let client = fleet.client();
    client.fleet().current().await.unwrap();
    fleet.members.iter().for_each(|member| member.refuse());
    let (view, seal) = fleet.without_last();
    let bytes = content(5000);
    let putting = put(&client, 1, &bytes);
    let changing = async {
        eventually("an ack was asked for", || fleet.members[0].asked_for_acks() > 0).await;
        fleet.members[..6].iter().for_each(|member| member.install(view.clone(), Some(seal.clone())));
    };
    let (stored, ()) = tokio::join!(putting, changing);
    assert_eq!(stored.unwrap().view, view.view.id());
}

#[tokio::test]
async fn a_put_waits_for_holders_that_are_still_syncing() {
    let fleet = FakeFleet::start().await;
    let (client, bytes) = (fleet.client(), content(5000));
    // One more than may be missing.
    fleet.members[..3].iter().for_each(|member| member.set(Fault::NotSynced));
    let putting = put(&client, 1, &bytes);
    let syncing = async {
        eventually("an ack was asked for again", || fleet.members[0].asked_for_acks() > 1).await;
        fleet.members[0].set(Fault::None);
    };
    let (stored, ()) = tokio::join!(putting, syncing);
    assert!(get(&client, stored.unwrap().id, None).await.unwrap() == bytes);
}

#[tokio::test]
async fn a_view_that_is_not_sealed_or_not_the_operators_is_not_taken() {
    let fleet = FakeFleet::start().await;
    let (view, mut seal) = fleet.without_last();
    seal.refusals.truncate(4);
    let client = fleet.client();
    let first = client.fleet().current().await.unwrap();
    fleet.members.iter().for_each(|member| member.install(view.clone(), Some(seal.clone())));
    assert_eq!(client.fleet().refresh().await.unwrap().hash, first.hash);

    let stranger = fleet.client_trusting(SigningKey::from_seed([50; 32]).public());
    assert!(matches!(stranger.fleet().current().await, Err(FleetError::NoView { .. })));
}

/// One member answers at once, and the others are waited for.
#[tokio::test]
async fn a_view_is_never_known_without_its_holders() {
    let fleet = FakeFleet::start().await;
    fleet.members[1..].iter().for_each(|member| member.set(Fault::Hangs));
    let client = fleet.client();
    let asking = client.fleet().refresh();
    let looking = async {
        eventually("a view is known", || client.fleet().known().is_some()).await;
        client.fleet().known().map(|current| current.holders.len())
    };
    let (asked, seen) = tokio::join!(asking, looking);
    assert_eq!((asked.unwrap().holders.len(), seen), (7, Some(7)));
}

/// The first answer tells of two members, a later one of all.
#[tokio::test]
async fn whoever_is_told_of_later_is_known_too() {
    let fleet = FakeFleet::start().await;
    fleet.members[0].tell_of(2);
    fleet.members[2..].iter().for_each(|member| member.set(Fault::Hangs));
    let client = fleet.client();
    // Before and after it is known that there are more.
    for _ in 0..2 {
        fleet.members[1].set(Fault::Hangs);
        client.fleet().refresh().await.unwrap();
        fleet.members[1].set(Fault::None);
        assert_eq!(client.fleet().refresh().await.unwrap().holders.len(), 7);
    }
}

#[tokio::test]
async fn before_the_first_view_it_is_said_that_there_is_none() {
    let fleet = FakeFleet::start().await;
    let (client, stranger) = (fleet.client(), fleet.client_trusting(SigningKey::from_seed([77; 32]).public()));
    fleet.members[1..].iter().for_each(|member| member.forget_view());
    // A view that isn't the operator's is the graver news.
    assert!(matches!(stranger.fleet().current().await, Err(FleetError::NoView { .. })));
    client.fleet().current().await.unwrap();

    let client = fleet.client();
    fleet.members[0].forget_view();
    // Both seeds, and then the one that still answers.
    let error = client.fleet().current().await.unwrap_err();
    assert!(matches!(error, FleetError::NoFirstView { members: 2, .. }), "{error:?}");
    fleet.members[1].set(Fault::Unavailable);
    let error = fleet.client().fleet().current().await.unwrap_err();
    assert!(matches!(error, FleetError::NoFirstView { members: 1, .. }), "{error:?}");
    fleet.members[0].set(Fault::Unavailable);
    assert!(matches!(fleet.client().fleet().current().await, Err(FleetError::NoView { .. })));
}
