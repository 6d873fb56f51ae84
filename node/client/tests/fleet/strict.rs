//! What `consistency=strict` is for: blobs whose writer committed to slivers that contradict each other (R17, R19).

use bytes::Bytes;
use futures::TryStreamExt;
use weft_client::{ByteRange, Client, Consistency, GetError};
use weft_redstuff::BlobId;

use crate::{
    content,
    fake::{FakeFleet, Fault},
    get, put, stripe,
};

/// The bytes that came, and how it ended.
async fn strictly(client: &Client, id: BlobId, range: Option<ByteRange>) -> (Vec<u8>, Result<(), GetError>) {
    let mut content = match client.read(id, range, Consistency::Strict).await {
        Ok(content) => content.bytes,
        Err(error) => return (Vec::new(), Err(error)),
    };
    let mut bytes = Vec::new();
    loop {
        match content.try_next().await {
            Ok(Some(piece)) => bytes.extend_from_slice(&piece),
            Ok(None) => return (bytes, Ok(())),
            Err(error) => return (bytes, Err(error)),
        }
    }
}

fn is_inconsistent(outcome: &Result<(), GetError>) -> bool {
    matches!(outcome, Err(GetError::Inconsistent { .. }))
}

#[tokio::test]
async fn sound_blobs_are_read_strictly() {
    let fleet = FakeFleet::start().await;
    let client = fleet.client();
    let full = stripe(FakeFleet::code());
    for (nonce, length) in (0..).zip([10, 5000, full, 2 * full + 77]) {
        let bytes = content(length);
        let id = put(&client, nonce, &bytes).await.unwrap().id;
        fleet.members[..2].iter().for_each(|member| member.set(Fault::Unavailable));
        let (read, outcome) = strictly(&client, id, None).await;
        assert!(read == bytes, "{outcome:?}");
        let last = Some(ByteRange::Last(9));
        assert!(strictly(&client, id, last).await.0 == bytes[length - 9..]);
        fleet.all(Fault::None);
    }
}

#[tokio::test]
async fn of_a_bad_writers_blob_no_byte_is_returned() {
    let fleet = FakeFleet::start().await;
    let client = fleet.client();
    let (first, second) = (Bytes::from(content(300_000)), Bytes::from(content(300_001)).slice(1..));
    let id = fleet.plant(&[(first.clone(), second.clone())], &first);
    // A reader of primaries gets the one content; a reader of secondaries an error, and never the other content.
    assert!(get(&client, id, None).await.unwrap() == first);
    for range in [None, Some(ByteRange::From(0, Some(0)))] {
        let (bytes, outcome) = strictly(&client, id, range).await;
        assert!(bytes.is_empty() && is_inconsistent(&outcome), "{outcome:?}");
    }
    fleet.all(Fault::NoPrimaries);
    assert!(matches!(get(&client, id, None).await, Err(GetError::Inconsistent { .. })));
    let (bytes, outcome) = strictly(&client, id, None).await;
    assert!(bytes.is_empty() && is_inconsistent(&outcome), "{outcome:?}");
}

#[tokio::test]
async fn a_bad_stripe_after_a_good_one_breaks_the_content_off() {
    let fleet = FakeFleet::start().await;
    let client = fleet.client();
    let whole = Bytes::from(content(stripe(FakeFleet::code()) + 90_000));
    let (good, tail) = (whole.slice(..whole.len() - 90_000), whole.slice(whole.len() - 90_000..));
    let other = Bytes::from(content(90_000));
    let id = fleet.plant(&[(good.clone(), good.clone()), (tail, other)], &whole);
    assert!(get(&client, id, None).await.unwrap() == whole);
    let (bytes, outcome) = strictly(&client, id, None).await;
    assert!(bytes == good && is_inconsistent(&outcome), "{} bytes, {outcome:?}", bytes.len());
    let (bytes, outcome) = strictly(&client, id, Some(ByteRange::Last(1))).await;
    assert!(bytes.is_empty() && is_inconsistent(&outcome), "{outcome:?}");
}

#[tokio::test]
async fn a_content_with_another_digest_is_not_returned_whole() {
    let fleet = FakeFleet::start().await;
    let client = fleet.client();
    let bytes = Bytes::from(content(300_000));
    let id = fleet.plant(&[(bytes.clone(), bytes.clone())], b"something else");
    assert!(get(&client, id, None).await.unwrap() == bytes);
    let (read, outcome) = strictly(&client, id, None).await;
    assert!(read.is_empty() && is_inconsistent(&outcome), "{outcome:?}");
}

/// Two members have 8 of 28 shards, and f = 9: so many may lie.
#[tokio::test]
async fn r19_what_all_honest_members_convict_is_read_by_nobody_and_what_liars_do_by_everybody() {
    let fleet = FakeFleet::start().await;
    let client = fleet.client();
    let bytes = content(100_000);
    let id = put(&client, 1, &bytes).await.unwrap().id;
    fleet.members[..2].iter().for_each(|member| member.set(Fault::Convicts));
    assert!(get(&client, id, None).await.unwrap() == bytes);
    client.stat(id).await.unwrap();
    // Whoever lies and answers first.
    for liar in 0..7 {
        fleet.all(Fault::Convicts);
        (0..2).for_each(|next| fleet.members[(liar + next) % 7].set(Fault::None));
        for _ in 0..5 {
            assert!(matches!(get(&client, id, None).await, Err(GetError::Inconsistent { .. })));
            assert!(matches!(client.stat(id).await, Err(GetError::Inconsistent { .. })));
        }
    }
    client.delete(id, &fleet.delete_key).await.unwrap();
}
