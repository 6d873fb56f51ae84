//! Uploads that are acked and never certified (R11): their slivers go by a void (R12), and those of a put that goes on
//! don't.

use std::time::Duration;

use weft_protocol::{Certificate, Entry, View};
use weft_redstuff::{BlobId, Metadata};
use weft_store::{Room, View as _};

use super::fleet::{
    Fleet, content, eventually, get,
    requests::{ack, certify, writes},
};

/// An upload that everyone has acked under the newest view, and whose gateway is gone.
async fn abandoned(fleet: &Fleet) -> (BlobId, Metadata) {
    let bytes = content(1, 50_000);
    match fleet.acked(&bytes, &bytes).await {
        Entry::Live { metadata, .. } => (metadata.id(), metadata),
        other => panic!("{other:?} is no upload"),
    }
}

/// The next view, in which everyone holds what they held.
async fn seal(fleet: &mut Fleet) -> View {
    let successor = fleet.without(&[]);
    fleet.change_view(&successor).await;
    successor
}

fn is_void(fleet: &Fleet, id: u32, blob: &BlobId) -> bool {
    matches!(fleet.member(id).entry(blob).unwrap(), Some(Entry::Void(_)))
}

async fn everyone_has_the_void(fleet: &Fleet, blob: &BlobId) {
    for (id, _) in fleet.members() {
        eventually(&format!("member {id} has the void"), || async { is_void(fleet, id, blob) }).await;
    }
}

/// The record that tells under which view something without a certificate was acked.
fn noted(blob: &BlobId) -> String {
    format!("noted/{blob}")
}

/// Four shards, two slivers each.
fn has_slivers(fleet: &Fleet) -> bool {
    fleet.members().iter().all(|(_, member)| member.levels().unwrap().slivers == 8)
}

/// Tidies up twice, so that all that was to be done the first time has been done.
async fn minutes_pass(fleet: &Fleet, minutes: u64) {
    for session in [200, 201] {
        fleet.tidy_up_after(Duration::from_secs(30 * minutes), session).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r11_slivers_that_were_acked_and_never_certified_go_by_a_void() {
    let mut fleet = Fleet::start(7).await;
    let (blob, _) = abandoned(&fleet).await;
    fleet.hours_pass(3).await;
    assert!(!is_void(&fleet, 0, &blob) && has_slivers(&fleet), "the view isn't sealed: a certificate may come");
    fleet.kill(6).await;
    seal(&mut fleet).await;
    minutes_pass(&fleet, 50).await;
    assert!(!is_void(&fleet, 0, &blob), "the put may have its acks renewed");
    fleet.hours_pass(1).await;
    everyone_has_the_void(&fleet, &blob).await;
    assert!(has_slivers(&fleet), "an ack under this view may have been given before the void came");
    seal(&mut fleet).await;
    fleet.hours_pass(1).await;
    for (id, member) in fleet.members() {
        eventually(&format!("member {id} has dropped them"), || async { member.levels().unwrap().slivers == 0 }).await;
    }

    // Who was away hears of it, and is no exception.
    fleet.run(6).await;
    eventually("the member that was away has the void", || async { is_void(&fleet, 6, &blob) }).await;
    seal(&mut fleet).await;
    eventually("it has dropped them", || async {
        fleet.hours_pass(1).await;
        fleet.member(6).levels().unwrap().slivers == 0
    })
    .await;
    // Of the void itself nothing stays either (R14).
    for (id, member) in fleet.members() {
        eventually(&format!("member {id} has forgotten the blob"), || async {
            fleet.hours_pass(1).await;
            member.entry(&blob).unwrap().is_none()
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r11_a_put_that_is_late_keeps_its_slivers() {
    let mut fleet = Fleet::start(7).await;
    let (blob, metadata) = abandoned(&fleet).await;
    let newest = seal(&mut fleet).await;
    // Its gateway reaches everyone again, and then is slow for hours.
    let mut acks = Vec::new();
    for id in 0..7 {
        acks.push(ack(&fleet, id, &newest, &metadata, &[]).await);
    }
    fleet.hours_pass(3).await;
    for id in 0..7 {
        assert!(fleet.member(id).entry(&blob).unwrap().is_none(), "member {id} waits for the certificate");
    }
    assert!(has_slivers(&fleet));
    certified(&fleet, &newest, metadata, acks).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r11_a_void_by_those_who_were_not_asked_again_ends_no_put_that_goes_on() {
    let mut fleet = Fleet::start(7).await;
    let (blob, metadata) = abandoned(&fleet).await;
    let newest = seal(&mut fleet).await;
    // Two weren't reached: they can't know that the put goes on with twenty shards of the others.
    let mut acks = Vec::new();
    for id in 0..5 {
        acks.push(ack(&fleet, id, &newest, &metadata, &[]).await);
    }
    fleet.hours_pass(1).await;
    everyone_has_the_void(&fleet, &blob).await;
    fleet.hours_pass(2).await;
    assert!(has_slivers(&fleet));
    certified(&fleet, &newest, metadata, acks).await;
    // Nor does it end later.
    seal(&mut fleet).await;
    fleet.hours_pass(2).await;
    assert!(has_slivers(&fleet));
    assert_eq!(get(&fleet.client(), blob).await, content(1, 50_000));
}

/// The put is certified and acknowledged after all, and everything is where it belongs.
async fn certified(fleet: &Fleet, view: &View, metadata: Metadata, acks: Vec<weft_protocol::Signed>) {
    let blob = metadata.id();
    let certificate = Certificate::new(view, blob, acks).unwrap();
    let entry = Entry::Live { metadata, inline: None, certificate };
    for id in 0..7 {
        writes(fleet, id).certify(certify(view, &entry)).await.unwrap();
    }
    for (id, member) in fleet.members() {
        assert_eq!(member.levels().unwrap().missing_slivers, 0, "member {id}");
        assert_eq!(member.store().view().state(&noted(&blob)).unwrap(), None, "what is live needs no note");
    }
    assert!(has_slivers(fleet));
    assert_eq!(get(&fleet.client(), blob).await, content(1, 50_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn r11_what_has_no_note_has_a_view_more() {
    let mut fleet = Fleet::start(4).await;
    let (blob, _) = abandoned(&fleet).await;
    for (_, member) in fleet.members() {
        let forget = member.store().write(Room::Reserved, move |tx| {
            tx.remove_state(&noted(&blob));
            tx.holding(&blob.0).map(|held| assert!(held.is_some()))
        });
        forget.await.unwrap();
    }
    seal(&mut fleet).await;
    fleet.hours_pass(3).await;
    assert!(!is_void(&fleet, 0, &blob) && has_slivers(&fleet));
    seal(&mut fleet).await;
    fleet.hours_pass(1).await;
    everyone_has_the_void(&fleet, &blob).await;
}
