//! Volumes and members of the version before.

use std::{collections::BTreeSet, sync::Arc};

use futures::stream;
use weft_client::{Order, PutRequest, time};
use weft_proto::v1::{
    EntryIdsRequest, ExchangeRequest, Identity, ListRequest, LookupReply, LookupRequest, RegistryDigestsRequest,
};
use weft_protocol::Entry;
use weft_redstuff::{BlobId, Labels, Metadata};
use weft_store::{Options, Room, Store, StoreError, View as _, Writer};

use super::fleet::{
    FLEET, Fleet, OrderChanges, content, eventually, get,
    older::older,
    put, put_until,
    requests::{peers, reads},
};

/// Seconds since 1970.
const TIME: u64 = 1_800_000_000;

/// Everyone knows the same blobs.
async fn everyone_agrees(fleet: &Fleet) {
    eventually("all registries are equal", || async {
        let inventories = fleet.order_all(OrderChanges::default()).await;
        inventories.into_values().map(|inventory| inventory.registry_digest).collect::<BTreeSet<_>>().len() == 1
    })
    .await;
}

async fn delete(fleet: &Fleet, blob: BlobId) {
    fleet.client().delete(blob, &fleet.deletes).await.expect("deleted");
}

#[tokio::test(flavor = "multi_thread")]
async fn r9_members_of_two_versions_reconcile_and_sync_to_a_view() {
    let mut fleet = Fleet::start(7).await;
    for id in 0..4 {
        fleet.fronts.insert(id, older());
        fleet.restart(id).await;
    }
    fleet.settled().await;
    fleet.kill(6).await;
    let mut stored = Vec::new();
    for nonce in 1..9 {
        stored.push(put(&fleet.client(), nonce, &content(nonce.into(), 40_000)).await.id);
    }
    delete(&fleet, stored[0]).await;
    fleet.run(6).await;
    fleet.kill(1).await;
    for nonce in 9..12 {
        stored.push(put(&fleet.client(), nonce, &content(nonce.into(), 300)).await.id);
    }
    fleet.run(1).await;
    everyone_agrees(&fleet).await;
    fleet.kill(5).await;
    let successor = fleet.without(&[5]);
    fleet.change_view(&successor).await;
    fleet.whole().await;
    for (blob, nonce) in stored[1..].iter().zip(2_u64..) {
        let length = if nonce < 9 { 40_000 } else { 300 };
        assert_eq!(get(&fleet.client(), *blob).await, content(nonce, length));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_of_before_are_told_entries_and_others_what_they_say() {
    let fleet = Fleet::start(7).await;
    let client = fleet.client();
    let stored = [put(&client, 1, &content(1, 300)).await.id, put(&client, 2, &content(2, 40_000)).await.id];
    fleet.whole().await;
    let mut reads = reads(&fleet, 0);
    for blob in stored {
        let known = fleet.member(0).entry(&blob).unwrap().expect("everyone knows it");
        for summary in [false, true] {
            let lookup = LookupRequest { blob: blob.0.to_vec().into(), content: false, summary };
            let LookupReply { entry, live, .. } = reads.lookup(lookup).await.unwrap().into_inner();
            if summary {
                let Entry::Live { metadata, inline, .. } = &known else { panic!("it is live") };
                let live = live.expect("what was asked for");
                assert_eq!((&live.metadata[..], live.inline.as_deref()), (&metadata.encode()[..], inline.as_deref()));
                assert!(entry.is_empty());
            } else {
                assert_eq!((Entry::decode(&entry), live), (Ok(known.clone()), None));
            }
        }
    }
    delete(&fleet, stored[0]).await;
    eventually("the member knows of the delete", || async {
        let lookup = LookupRequest { blob: stored[0].0.to_vec().into(), content: false, summary: true };
        let reply = reads.clone().lookup(lookup).await.unwrap().into_inner();
        reply.live.is_none() && Entry::decode(&reply.entry).is_ok_and(|entry| entry.is_deleted())
    })
    .await;
}

/// What a peer of before is told, by what it would make of it.
#[tokio::test(flavor = "multi_thread")]
async fn digests_of_rows_are_told_to_who_asks_for_no_others() {
    let fleet = Fleet::start(4).await;
    for nonce in 1..5 {
        put(&fleet.client(), nonce, &content(nonce.into(), 300)).await;
    }
    everyone_agrees(&fleet).await;
    let mut peer = peers(&fleet, 0, "member/1/1");
    let asked = EntryIdsRequest { limit: 1000, ..EntryIdsRequest::default() };
    let ids = peer.entry_ids(asked).await.unwrap().into_inner().ids;
    let mut parts = vec![blake3::Hasher::new(); 256];
    for row in ids.chunks(49) {
        parts[usize::from(row[0])].update(row);
    }
    let expected: Vec<u8> = parts.iter().flat_map(|part| *part.finalize().as_bytes()).collect();
    let told = peer.registry_digests(RegistryDigestsRequest { digest_kind: 0 }).await.unwrap().into_inner();
    assert_eq!((told.digest_kind, &told.digests[..]), (0, &expected[..]));
    let sets = peer.registry_digests(RegistryDigestsRequest { digest_kind: 7 }).await.unwrap().into_inner();
    assert_eq!(sets.digest_kind, 1, "the newest that is known here");
    assert_ne!(sets.digests, told.digests);
    let member = fleet.member(1);
    let from = Identity {
        fleet: FLEET.0.to_vec().into(),
        member: 1,
        incarnation: 1,
        volume: member.identity().incarnation.volume.0.to_vec().into(),
    };
    let sequence = member.sign_now(weft_protocol::Statement::Sequence).encode().into();
    let asked = ExchangeRequest { from: Some(from), sequence, ..ExchangeRequest::default() };
    let told = peer.exchange(asked).await.unwrap().into_inner();
    assert_eq!((told.digest_kind, &told.registry_digest[..]), (0, &blake3::hash(&expected).as_bytes()[..]));
}

/// Makes a member's volume one that has no index, as all were; or one on which it was begun, of one blob.
fn take_the_index_away(fleet: &Fleet, id: u32, is_begun: bool) {
    let options = Options { writer: Writer::Inline, reserve_bytes: 0, ..Options::default() };
    let store = Store::open(Arc::new(fleet.places[&id].disk.clone()), &options).unwrap();
    let mut rows = store.view().index_rows(b"b", None, usize::MAX).unwrap();
    assert_eq!(rows.len(), 3);
    if is_begun {
        rows.remove(0);
    }
    let gone = store.write_blocking(Room::Reserved, move |tx| {
        if is_begun {
            for (key, _) in &rows {
                tx.remove_index(key);
            }
        } else {
            tx.remove_index_of(&[]);
        }
        tx.remove_state("sums");
        Ok::<_, StoreError>(())
    });
    gone.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_of_before_gets_an_index_of_all_that_it_knows() {
    let mut fleet = Fleet::start(4).await;
    fleet.time_is(TIME).await;
    let stays = put(&fleet.client(), 1, &content(1, 50_000)).await.id;
    let ends = put_until(&fleet.client(), 2, &content(2, 300), Some(TIME + 100)).await.unwrap().id;
    let gone = put(&fleet.client(), 3, &content(3, 300)).await.id;
    delete(&fleet, gone).await;
    everyone_agrees(&fleet).await;
    let before = fleet.member(0).levels().unwrap();
    for is_begun in [true, false] {
        fleet.kill(0).await;
        take_the_index_away(&fleet, 0, is_begun);
        fleet.run(0).await;
        fleet.settled().await;
        everyone_agrees(&fleet).await;
        let levels = fleet.member(0).levels().unwrap();
        assert_eq!((levels.blobs, levels.tombstones), (before.blobs, before.tombstones));
        assert_eq!((levels.blobs, levels.tombstones), (2, 1));
    }
    fleet.time_is(TIME + 100).await;
    let member = fleet.member(0);
    eventually("the blob has expired", || async { member.entry(&ends).unwrap().is_none() }).await;
    delete(&fleet, stays).await;
    everyone_agrees(&fleet).await;
    assert_eq!(fleet.member(0).levels().unwrap().blobs, 0);
}

/// What a member lists newest first; nothing while it can't.
async fn newest(fleet: &Fleet, id: u32) -> Option<Vec<BlobId>> {
    let mut reads = reads(fleet, id);
    let request = ListRequest { limit: 10, order: Order::Newest.wire(), ..ListRequest::default() };
    let reply = match reads.list(request).await {
        Ok(reply) => reply.into_inner(),
        Err(status) => {
            assert_eq!(status.code(), tonic::Code::FailedPrecondition, "{status}");
            return None;
        }
    };
    assert!(reply.dated);
    Some(reply.metadata.iter().map(|metadata| Metadata::id_of(metadata)).collect())
}

/// As a release leaves a member's volume that keeps no order of creation: one that never had any, or that had it in between,
/// deleted `gone` and put the others.
fn take_the_order_away(fleet: &Fleet, id: u32, gone: Option<BlobId>) {
    let options = Options { writer: Writer::Inline, reserve_bytes: 0, ..Options::default() };
    let store = Store::open(Arc::new(fleet.places[&id].disk.clone()), &options).unwrap();
    let rows = store.view().index_rows(b"c", None, usize::MAX).unwrap();
    let taken = store.write_blocking(Room::Reserved, move |tx| {
        tx.remove_index_of(b"c");
        match (gone, rows.first()) {
            (Some(gone), Some((key, _))) => {
                let stale = [&key[..key.len() - BlobId::LENGTH], &gone.0].concat();
                tx.put_index(&stale, Vec::new());
                tx.put_state("newest", vec![7; 32]);
            }
            (_, _) => tx.remove_state("newest"),
        }
        Ok::<_, StoreError>(())
    });
    taken.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_of_before_gets_an_order_of_creation_and_keeps_it() {
    let mut fleet = Fleet::start(4).await;
    fleet.time_is(TIME).await;
    let mut stored = Vec::new();
    for (nonce, expiry) in [(1, None), (2, Some(TIME + 100)), (3, None), (4, None)] {
        let created = format!("2026-01-0{nonce}T00:00:00Z");
        let labels = Labels::new([(time::CREATED.to_owned(), created)].into()).unwrap();
        let request = PutRequest { nonce: [nonce; 16], labels, expiry };
        let content = stream::iter([Ok(content(nonce.into(), 300))]);
        stored.push(fleet.client().put(request, content).await.unwrap().id);
    }
    let [first, second, third, fourth] = stored[..] else { panic!("four were put") };
    everyone_agrees(&fleet).await;
    assert_eq!(newest(&fleet, 0).await, Some(vec![fourth, third, second, first]));
    delete(&fleet, fourth).await;
    everyone_agrees(&fleet).await;
    for gone in [None, Some(fourth)] {
        fleet.kill(0).await;
        take_the_order_away(&fleet, 0, gone);
        fleet.run(0).await;
        fleet.settled().await;
        eventually("the member has the order of creation", || async { newest(&fleet, 0).await.is_some() }).await;
        assert_eq!(newest(&fleet, 0).await, Some(vec![third, second, first]));
    }
    fleet.time_is(TIME + 100).await;
    let rows = |fleet: &Fleet| fleet.member(0).store().view().index_rows(b"c", None, 9).unwrap().len();
    eventually("what has expired is gone from it", || async { rows(&fleet) == 2 }).await;
    delete(&fleet, third).await;
    eventually("what is deleted is gone from it", || async { rows(&fleet) == 1 }).await;
    assert_eq!(newest(&fleet, 0).await, Some(vec![first]));
    // A start finds what the last commit left, and makes nothing anew, which would drop the row of what was never there.
    fleet.kill(0).await;
    {
        let options = Options { writer: Writer::Inline, reserve_bytes: 0, ..Options::default() };
        let store = Store::open(Arc::new(fleet.places[&0].disk.clone()), &options).unwrap();
        let marked = store.write_blocking(Room::Reserved, |tx| {
            tx.put_index(&[b"c", &[0xff; 8][..], &[7; 32]].concat(), Vec::new());
            Ok::<_, StoreError>(())
        });
        marked.unwrap();
    }
    fleet.run(0).await;
    assert_eq!(newest(&fleet, 0).await, Some(vec![first]));
    fleet.settled().await;
    assert_eq!(rows(&fleet), 2);
}
