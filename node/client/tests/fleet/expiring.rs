//! What expires (R15).

use bytes::Bytes;
use futures::stream;
use weft_client::{Client, GetError, PutError, PutRequest, Stored};
use weft_protocol::{SigningKey, TimeFloor};

use crate::{
    content,
    fake::{FLEET, FakeFleet},
    get,
};

/// Puts what expires then.
async fn put_until(client: &Client, nonce: u8, bytes: &[u8], expiry: u64) -> Result<Stored, PutError> {
    let request = PutRequest { nonce: [nonce; 16], expiry: Some(expiry), ..PutRequest::default() };
    client.put(request, stream::iter([Ok(Bytes::copy_from_slice(bytes))])).await
}

#[tokio::test]
async fn r15_what_the_operator_says_has_expired_is_gone_whoever_has_it_still() {
    let fleet = FakeFleet::start().await;
    let client = fleet.client();
    let (large, small) = (content(5000), content(100));
    let ids = [
        put_until(&client, 1, &large, 1000).await.unwrap().id,
        put_until(&client, 2, &small, 1000).await.unwrap().id,
        put_until(&client, 3, &small, 1001).await.unwrap().id,
    ];
    for (member, key, known) in [(0, &SigningKey::from_seed([66; 32]), None), (6, &fleet.operator, Some(1000))] {
        fleet.members[member].tell_time(&TimeFloor::sign(FLEET, 1000, key));
        client.fleet().refresh().await.unwrap();
        assert_eq!(client.fleet().time(), known);
        let mut gone = Vec::new();
        for id in ids {
            gone.push(matches!(get(&client, id, None).await, Err(GetError::NotFound(_))));
        }
        assert_eq!(gone, [known.is_some(), known.is_some(), false], "by what member {member} says");
    }
    fleet.members[6].tell_time(&TimeFloor::sign(FLEET, 999, &fleet.operator));
    client.fleet().refresh().await.unwrap();
    assert_eq!(client.fleet().time(), Some(1000), "it never falls");
}

#[tokio::test]
async fn r15_a_put_whose_time_has_come_is_refused_before_its_content_is_sent() {
    let fleet = FakeFleet::start().await;
    let client = fleet.client();
    fleet.members[0].tell_time(&TimeFloor::sign(FLEET, 1000, &fleet.operator));
    client.fleet().refresh().await.unwrap();
    let error = put_until(&client, 1, &content(5000), 1000).await.unwrap_err();
    assert!(matches!(error, PutError::Expired { expiry: 1000, time: 1000 }), "{error}");
    assert!(fleet.members.iter().all(|member| member.asked_for_acks() == 0));
    put_until(&client, 1, &content(5000), 1001).await.unwrap();
}
