//! Tombstones and voids go again (R14), and what they ended doesn't come back.

use tonic::Code;
use weft_client::GetError;
use weft_protocol::{Certificate, Entry, SignedView};
use weft_redstuff::{BlobId, Metadata};

use super::fleet::{
    Fleet, OrderChanges, content, eventually, get,
    liar::Liar,
    put,
    requests::{ack, begun, certified, certify, changed, finish, writes},
};

/// A blob that was put and deleted: its entry, and the view of its certificate.
async fn deleted(fleet: &Fleet, nonce: u8) -> (Entry, SignedView) {
    let (view, entry) = (fleet.view.clone().unwrap(), certified(fleet, nonce).await);
    for id in fleet.places.keys() {
        writes(fleet, *id).certify(certify(&view.view, &entry)).await.expect("receipted");
    }
    fleet.client().delete(entry.blob(), &fleet.deletes).await.expect("deleted");
    (entry, view)
}

fn parts(entry: &Entry) -> (Metadata, Vec<u8>) {
    let Entry::Live { metadata, inline: Some(content), .. } = entry else { panic!("an inline blob") };
    (metadata.clone(), content.clone())
}

/// The next view, in which everyone holds what they held.
async fn seal(fleet: &mut Fleet) {
    let successor = fleet.without(&[]);
    fleet.change_view(&successor).await;
}

fn is_deleted(fleet: &Fleet, id: u32, blob: &BlobId) -> bool {
    matches!(fleet.member(id).entry(blob).unwrap(), Some(Entry::Deleted(_)))
}

async fn everyone_has_the_tombstone(fleet: &Fleet, blob: &BlobId) {
    for (id, _) in fleet.members() {
        eventually(&format!("member {id} has the tombstone"), || async { is_deleted(fleet, id, blob) }).await;
    }
}

async fn everyone_forgets(fleet: &Fleet, blob: &BlobId) {
    for (id, member) in fleet.members() {
        eventually(&format!("member {id} has forgotten the blob"), || async {
            fleet.hours_pass(1).await;
            member.entry(blob).unwrap().is_none()
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r14_tombstones_go_once_their_view_is_sealed_and_nothing_brings_the_blob_back() {
    let mut fleet = Fleet::start(7).await;
    let (entry, view) = deleted(&fleet, 1).await;
    let (blob, (metadata, content)) = (entry.blob(), parts(&entry));
    everyone_has_the_tombstone(&fleet, &blob).await;
    fleet.hours_pass(3).await;
    assert!(is_deleted(&fleet, 0, &blob), "its view isn't sealed");
    seal(&mut fleet).await;
    everyone_forgets(&fleet, &blob).await;
    for (_, inventory) in fleet.order_all(OrderChanges::default()).await {
        assert_eq!((inventory.blobs, inventory.tombstones), (0, 0));
    }

    // A gateway's certificate of the old view gets no receipt, under that view or the new one.
    let newest = fleet.newest().clone();
    let status = writes(&fleet, 0).certify(certify(&view.view, &entry)).await.unwrap_err();
    assert!(!changed(&status).sealing);
    let status = writes(&fleet, 0).certify(certify(&newest, &entry)).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    // A gateway that began before the blob was deleted gets no acks; one that begins now puts a new blob.
    for id in 0..7 {
        let mut stale = finish(&newest, &metadata, &content);
        stale.begun = begun(&view.view);
        let status = writes(&fleet, id).finish(stale).await.unwrap_err();
        assert!(status.message().contains("R14"), "{status}");
    }
    // What a liar keeps of it comes to a void.
    fleet.kill(6).await;
    let _liar = Liar::offer(&fleet, 6, entry, view).await;
    for id in 0..6 {
        let member = fleet.member(id);
        eventually(&format!("member {id} has the void"), || async {
            let known = member.entry(&blob).unwrap();
            assert!(known.as_ref().is_none_or(|known| !known.is_live()), "the blob is back");
            matches!(known, Some(Entry::Void(_)))
        })
        .await;
    }
    assert!(matches!(fleet.client().get(blob, None).await, Err(GetError::NotFound(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn r14_a_put_that_begins_after_the_collection_is_a_new_one() {
    let mut fleet = Fleet::start(4).await;
    let bytes = content(1, 200);
    let stored = put(&fleet.client(), 1, &bytes).await;
    fleet.client().delete(stored.id, &fleet.deletes).await.unwrap();
    everyone_has_the_tombstone(&fleet, &stored.id).await;
    seal(&mut fleet).await;
    everyone_forgets(&fleet, &stored.id).await;
    assert_eq!(put(&fleet.client(), 1, &bytes).await.id, stored.id);
    assert_eq!(get(&fleet.client(), stored.id).await, bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn r14_a_member_that_was_away_keeps_everybody_from_collecting() {
    let mut fleet = Fleet::start(7).await;
    let (view, entry) = (fleet.newest().clone(), certified(&fleet, 1).await);
    let blob = entry.blob();
    for id in 0..7 {
        writes(&fleet, id).certify(certify(&view, &entry)).await.unwrap();
    }
    fleet.kill(6).await;
    fleet.client().delete(blob, &fleet.deletes).await.unwrap();
    everyone_has_the_tombstone(&fleet, &blob).await;
    seal(&mut fleet).await;
    fleet.hours_pass(3).await;
    fleet.run(6).await;
    // Had the others forgotten, they would void what it knows.
    eventually("the member that was away has the tombstone", || async { is_deleted(&fleet, 6, &blob) }).await;
    seal(&mut fleet).await;
    everyone_forgets(&fleet, &blob).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r14_a_newcomer_acks_no_put_from_before_what_the_others_have_collected() {
    let mut fleet = Fleet::start(7).await;
    let (entry, view) = deleted(&fleet, 1).await;
    everyone_has_the_tombstone(&fleet, &entry.blob()).await;
    seal(&mut fleet).await;
    everyone_forgets(&fleet, &entry.blob()).await;
    let successor = fleet.without(&[6]);
    fleet.change_view(&successor).await;
    fleet.wipe(6).await;
    fleet.order_all(OrderChanges::default()).await;
    let successor = fleet.with(6, (24..28).collect()).await;
    fleet.change_view(&successor).await;
    let (metadata, content) = parts(&entry);
    let mut stale = finish(fleet.newest(), &metadata, &content);
    stale.begun = begun(&view.view);
    let status = writes(&fleet, 6).finish(stale).await.unwrap_err();
    assert!(status.message().contains("R14"), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn r12_a_void_drops_no_slivers_that_were_acked_under_a_later_view() {
    let mut fleet = Fleet::start(7).await;
    let bytes = content(1, 50_000);
    let (view, entry) = (fleet.newest().clone(), fleet.acked(&bytes, &bytes).await);
    let (blob, Entry::Live { metadata, .. }) = (entry.blob(), &entry) else { panic!("a blob") };
    // One member has the certificate, and is away while the put goes on under the next view.
    writes(&fleet, 6).certify(certify(&view, &entry)).await.unwrap();
    fleet.kill(6).await;
    seal(&mut fleet).await;
    let newest = fleet.newest().clone();
    let mut acks = Vec::new();
    for id in 0..6 {
        acks.push(ack(&fleet, id, &newest, metadata, &[]).await);
    }
    fleet.run(6).await;
    for id in 0..6 {
        let member = fleet.member(id);
        eventually(&format!("member {id} has the void"), || async {
            matches!(member.entry(&blob).unwrap(), Some(Entry::Void(_)))
        })
        .await;
    }
    fleet.hours_pass(1).await;
    let certificate = Certificate::new(&newest, blob, acks).unwrap();
    let renewed = Entry::Live { metadata: metadata.clone(), inline: None, certificate };
    for id in 0..6 {
        writes(&fleet, id).certify(certify(&newest, &renewed)).await.unwrap();
    }
    assert_eq!(fleet.member(0).levels().unwrap().missing_slivers, 0);
    assert_eq!(get(&fleet.client(), blob).await, bytes);
}
