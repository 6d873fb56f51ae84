//! Each rule, broken against running members: they refuse.

use bytes::Bytes;
use tonic::Code;
use weft_client::Connector;
use weft_node::member::Condition;
use weft_proto::v1::{
    Ailment, DeleteRequest, FinishRequest, LackingRequest, LookupRequest, UploadRequest, reads_client::ReadsClient,
};
use weft_protocol::{Certificate, Encoder, Entry, MemberId, Seal, Signed, SigningKey, Statement, Tombstone};
use weft_redstuff::Metadata;
use weft_store::View;

use super::fleet::{
    FLEET, Fleet, OrderChanges, content, eventually, get, put,
    requests::{ack, blob, certified, certify, changed, finish, peers, small, writes},
};

#[tokio::test(flavor = "multi_thread")]
async fn r5_a_refused_view_gets_no_acks_receipts_or_deletes() {
    let fleet = Fleet::start(7).await;
    let (view, entry) = (fleet.newest().clone(), certified(&fleet, 1).await);
    let order = fleet.seal_order(&fleet.without(&[6]));
    fleet.order(0, OrderChanges { seal_order: Some(order), ..OrderChanges::default() }).await.unwrap();
    let (metadata, content) = blob(&fleet, 2);
    let status = writes(&fleet, 0).finish(finish(&view, &metadata, &content)).await.unwrap_err();
    assert!(changed(&status).sealing);
    let status = writes(&fleet, 0).certify(certify(&view, &entry)).await.unwrap_err();
    assert!(changed(&status).sealing);
    let tombstone = Tombstone::sign(FLEET, entry.blob(), &fleet.deletes);
    let delete = DeleteRequest { view: view.hash().0.to_vec().into(), tombstone: tombstone.encode().into() };
    let status = writes(&fleet, 0).delete(delete).await.unwrap_err();
    assert!(changed(&status).sealing);
    assert!(fleet.member(0).entry(&entry.blob()).unwrap().is_none());
    // One that doesn't refuse the view still receipts.
    writes(&fleet, 1).certify(certify(&view, &entry)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn r8_a_certificate_of_a_sealed_view_gets_no_receipt() {
    let mut fleet = Fleet::start(7).await;
    let (old, entry) = (fleet.newest().clone(), certified(&fleet, 1).await);
    let successor = fleet.without(&[6]);
    fleet.change_view(&successor).await;
    let status = writes(&fleet, 0).certify(certify(&old, &entry)).await.unwrap_err();
    let changed = changed(&status);
    assert!(!changed.sealing && !changed.seal.is_empty());
    // Nor of the new view: a certificate that nobody receipted may be void (R12).
    let status = writes(&fleet, 0).certify(certify(&successor, &entry)).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(fleet.member(0).entry(&entry.blob()).unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn r9_a_replacement_is_not_synced_by_one_peer() {
    let mut fleet = Fleet::start(7).await;
    let stored = put(&fleet.client(), 1, &content(1, 200)).await;
    fleet.kill(6).await;
    let successor = fleet.without(&[6]);
    fleet.change_view(&successor).await;
    for id in 1..6 {
        fleet.kill(id).await;
    }
    fleet.wipe(6).await;
    fleet.order(6, OrderChanges::default()).await.unwrap();
    let newcomer = fleet.member(6);
    eventually("the newcomer has the one peer's registry", || async { newcomer.entry(&stored.id).unwrap().is_some() })
        .await;
    let inventory = fleet.order(6, OrderChanges::default()).await.unwrap();
    assert!(!inventory.counts && inventory.synced.is_empty());
    for id in 1..6 {
        fleet.run(id).await;
    }
    eventually("the newcomer is synced by a quorum", || async { newcomer.counts() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r12_a_certificate_that_nobody_was_answered_on_is_void_and_comes_back_only_under_a_later_view() {
    let mut fleet = Fleet::start(7).await;
    let (view, entry) = (fleet.newest().clone(), certified(&fleet, 1).await);
    let blob = entry.blob();
    // One member has the certificate, and is away while the others go on to the next view.
    writes(&fleet, 6).certify(certify(&view, &entry)).await.unwrap();
    fleet.kill(6).await;
    let successor = fleet.without(&[5]);
    fleet.change_view(&successor).await;
    for (id, member) in fleet.members() {
        eventually(&format!("member {id} is synced"), || async { member.synced() == Some(view.id()) }).await;
        assert!(member.entry(&blob).unwrap().is_none());
    }
    fleet.run(6).await;
    for id in [0, 1, 2, 3, 4, 6] {
        let member = fleet.member(id);
        eventually(&format!("member {id} knows the void"), || async {
            matches!(member.entry(&blob).unwrap(), Some(Entry::Void(_)))
        })
        .await;
    }
    fleet.client().get(blob, None).await.expect_err("nobody was ever told that it is stored");
    // Who has the void still counts among those who lack the blob: it must not vote for the certificate.
    for id in [0, 1, 2, 3, 4, 6] {
        let request = LackingRequest {
            view: view.id().encode(Encoder::new()).finish().into(),
            blobs: vec![Bytes::copy_from_slice(blob.as_bytes())],
        };
        let said = peers(&fleet, id, "member/5/1").lacking(request).await.unwrap().into_inner().lacks.remove(0);
        let lacks = Signed::decode(&said.lacking).unwrap();
        assert!(!said.known && lacks.statement.says_lacking(&view.id(), &blob));
    }
    // Void, and not deleted: the put may be finished under the view that follows.
    fleet.settled().await;
    let (metadata, content) = self::blob(&fleet, 1);
    let mut acks = Vec::new();
    for id in [0, 1, 2, 3, 4, 6] {
        acks.push(ack(&fleet, id, &successor, &metadata, &content).await);
    }
    let certificate = Certificate::new(&successor, blob, acks).unwrap();
    let renewed = Entry::Live { metadata, inline: Some(content.clone()), certificate };
    writes(&fleet, 0).certify(certify(&successor, &renewed)).await.unwrap();
    for id in [1, 2, 3, 4, 6] {
        let member = fleet.member(id);
        eventually(&format!("member {id} has the renewed certificate"), || async {
            member.entry(&blob).unwrap() == Some(renewed.clone())
        })
        .await;
    }
    assert_eq!(get(&fleet.client(), blob).await, content);
}

#[tokio::test(flavor = "multi_thread")]
async fn r13_a_forged_tombstone_deletes_nothing() {
    let fleet = Fleet::start(7).await;
    let (client, content) = (fleet.client(), content(1, 100_000));
    let stored = put(&client, 1, &content).await;
    let forged = Tombstone::sign(FLEET, stored.id, &SigningKey::from_seed([66; 32]));
    for id in 0..7 {
        let view = fleet.newest().hash().0.to_vec().into();
        let delete = DeleteRequest { view, tombstone: forged.encode().into() };
        let status = writes(&fleet, id).delete(delete).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
    }
    assert_eq!(get(&client, stored.id).await, content);
    client.delete(stored.id, &fleet.deletes).await.unwrap();
    client.get(stored.id, None).await.expect_err("the blob is deleted");
}

#[tokio::test(flavor = "multi_thread")]
async fn r13_a_member_acks_once_it_is_synced_to_the_view_before() {
    let mut fleet = Fleet::start(7).await;
    let (sealed, successor) = (fleet.view.clone().unwrap(), fleet.without(&[6]));
    let order = fleet.seal_order(&successor);
    let changes = OrderChanges { seal_order: Some(order.clone()), ..OrderChanges::default() };
    for id in [5, 6] {
        fleet.kill(id).await;
    }
    // Five refuse the view, and four of them are gone before the fifth could reconcile with anybody.
    let mut refusals = Vec::new();
    for id in [1, 2, 3, 4, 0] {
        let inventory = fleet.order(id, changes.clone()).await.unwrap();
        refusals.push(Signed::decode(&inventory.refusal).unwrap());
        if id != 0 {
            fleet.kill(id).await;
        }
    }
    fleet.seal = Some(Seal { sealed, successor: order.successor.clone(), refusals, declaration: None });
    fleet.view = Some(order.successor);
    fleet.order(0, OrderChanges::default()).await.unwrap();
    let (metadata, content) = blob(&fleet, 1);
    let status = writes(&fleet, 0).finish(finish(&successor, &metadata, &content)).await.unwrap_err();
    let changed = changed(&status);
    assert!(changed.syncing && changed.newest.is_empty() && !fleet.member(0).counts());
    for id in 1..6 {
        fleet.run(id).await;
    }
    fleet.order_all(OrderChanges::default()).await;
    fleet.settled().await;
    ack(&fleet, 0, &successor, &metadata, &content).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r8_what_a_blob_brings_with_its_metadata_is_acked_only_if_it_is_the_blobs() {
    let fleet = Fleet::start(7).await;
    let (view, content) = (fleet.newest().clone(), content(1, 5000));
    let (metadata, part) = small(&view, 1, &content);
    let with = |metadata: &Metadata, stripe| FinishRequest { stripe: Some(stripe), ..finish(&view, metadata, &[]) };
    let refused = async |stripe, code: Code| {
        let status = writes(&fleet, 0).finish(with(&metadata, stripe)).await.unwrap_err();
        assert_eq!(status.code(), code, "{status}");
        let member = fleet.member(0);
        assert!(member.store().view().uploads(None, 9).unwrap().is_empty(), "nothing of it is kept");
        assert!(member.held_slivers(&metadata.id(), 0).unwrap().is_empty());
    };
    // Another blob's stripe, another number, another symbol size, a sliver of other bytes, no pair of any shard.
    let (other_metadata, other) = small(&view, 2, &[7; 5000]);
    refused(other.of(&[0, 1]), Code::InvalidArgument).await;
    refused(UploadRequest { stripe: 1, ..part.of(&[0, 1]) }, Code::InvalidArgument).await;
    refused(
        UploadRequest { symbol_size: metadata.layout.tail_symbol_size() + 1, ..part.of(&[0, 1]) },
        Code::InvalidArgument,
    )
    .await;
    let mut forged = part.of(&[0, 1]);
    forged.slivers[0].data = vec![0; forged.slivers[0].data.len()].into();
    refused(forged, Code::InvalidArgument).await;
    let mut halves = part.of(&[0, 1]);
    halves.slivers.retain(|sliver| sliver.axis == 0);
    refused(halves, Code::NotFound).await;
    // What overlaps with what is there, and again: what is acked grows, and stays.
    let steps = [(&[1, 2][..], &[1, 2][..]), (&[0, 1], &[0, 1, 2]), (&[2, 3], &[0, 1, 2, 3]), (&[0], &[0, 1, 2, 3])];
    for (brought, acked) in steps {
        let reply = writes(&fleet, 0).finish(with(&metadata, part.of(brought))).await.expect("acked").into_inner();
        let Statement::Ack { shards, .. } = Signed::decode(&reply.ack).unwrap().statement else { panic!("no ack") };
        assert_eq!(shards, acked.iter().copied().collect());
    }
    // Under a view that is being sealed nothing is taken, nor of what was deleted.
    let tombstone = Tombstone::sign(FLEET, other_metadata.id(), &fleet.deletes);
    let delete = DeleteRequest { view: view.hash().0.to_vec().into(), tombstone: tombstone.encode().into() };
    writes(&fleet, 0).delete(delete).await.expect("receipted");
    let status = writes(&fleet, 0).finish(with(&other_metadata, other.of(&[0]))).await.unwrap_err();
    assert_eq!(status.code(), Code::AlreadyExists);
    assert!(fleet.member(0).held_slivers(&other_metadata.id(), 0).unwrap().is_empty());
    let order = fleet.seal_order(&fleet.without(&[6]));
    fleet.order(0, OrderChanges { seal_order: Some(order), ..OrderChanges::default() }).await.unwrap();
    let (third, part) = small(&view, 3, &[9; 5000]);
    let status = writes(&fleet, 0).finish(with(&third, part.of(&[0]))).await.unwrap_err();
    assert!(changed(&status).sealing);
}

#[tokio::test(flavor = "multi_thread")]
async fn r1_a_foreign_volume_serves_nothing() {
    let mut fleet = Fleet::start(7).await;
    let stored = put(&fleet.client(), 1, &content(1, 200)).await;
    fleet.kill(0).await;
    fleet.kill(1).await;
    let foreign = fleet.places[&0].disk.clone();
    fleet.places.get_mut(&1).unwrap().disk = foreign;
    fleet.run(1).await;
    let inventory = fleet.order(1, OrderChanges::default()).await.unwrap();
    assert_eq!(inventory.ailment(), Ailment::ForeignVolume);
    let address = fleet.places[&1].port.address().to_string();
    let mut reads = ReadsClient::new(fleet.connector("gateway").channel(&address).unwrap());
    let status = reads
        .lookup(LookupRequest { blob: stored.id.0.to_vec().into(), ..LookupRequest::default() })
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
}

#[tokio::test(flavor = "multi_thread")]
async fn r1_a_rewound_volume_signs_nothing() {
    let mut fleet = Fleet::start(7).await;
    put(&fleet.client(), 1, &content(1, 200)).await;
    fleet.kill(0).await;
    let snapshot = fleet.places[&0].disk.contents();
    fleet.run(0).await;
    fleet.settled().await;
    for nonce in 2..5 {
        put(&fleet.client(), nonce, &content(1, 200)).await;
    }
    let incarnation = fleet.member(0).identity().incarnation;
    let signed = fleet.order(0, OrderChanges::default()).await.unwrap().sequence;
    // It is judged by the first that hold enough.
    for (id, peer) in fleet.members().into_iter().skip(1) {
        eventually(&format!("member {id} remembers what the member signed"), || async {
            let remembered = peer.remembered(MemberId(0), incarnation).unwrap();
            remembered.is_some_and(|remembered| remembered.header.sequence >= signed)
        })
        .await;
    }
    fleet.kill(0).await;
    fleet.places[&0].disk.restore(snapshot);
    fleet.run(0).await;
    let member = fleet.member(0);
    eventually("peers tell of the rewind", || async { matches!(member.condition(), Condition::Rewound { .. }) }).await;
    let (metadata, content) = blob(&fleet, 9);
    let status = writes(&fleet, 0).finish(finish(fleet.newest(), &metadata, &content)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let order = fleet.seal_order(&fleet.without(&[6]));
    let changes = OrderChanges { seal_order: Some(order), ..OrderChanges::default() };
    let inventory = fleet.order(0, changes).await.unwrap();
    assert_eq!(inventory.ailment(), Ailment::Rewound);
    assert!(inventory.refusal.is_empty());
    // It stays so: what it commits from now on doesn't hide that it was behind.
    fleet.restart(0).await;
    assert!(matches!(fleet.member(0).condition(), Condition::Rewound { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn r4_an_operator_with_an_old_term_is_refused() {
    let fleet = Fleet::start(7).await;
    fleet.order(0, OrderChanges { term: Some(5), ..OrderChanges::default() }).await.unwrap();
    let status = fleet.order(0, OrderChanges { term: Some(4), ..OrderChanges::default() }).await.unwrap_err();
    assert_eq!(status.code(), Code::Aborted);
    // It shows for whom: an operator whose objects were set back learns how far the fleet is (R26).
    let claim = weft_protocol::TermClaim::decode(status.details()).unwrap();
    assert_eq!(claim.term, 5);
    claim.verify(&fleet.key.public()).unwrap();
    assert_eq!(fleet.order(0, OrderChanges { term: Some(5), ..OrderChanges::default() }).await.unwrap().term, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn r6_a_view_that_moves_too_much_is_refused() {
    let fleet = Fleet::start(7).await;
    // Twelve shards move, and f is nine.
    let order = fleet.seal_order(&fleet.without(&[4, 5, 6]));
    let changes = OrderChanges { seal_order: Some(order), ..OrderChanges::default() };
    let status = fleet.order(0, changes).await.unwrap_err();
    assert_eq!(status.code(), Code::Aborted);
    assert!(fleet.order(0, OrderChanges::default()).await.unwrap().refusal.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_whose_disk_fails_says_so_and_obeys_nothing() {
    let fleet = Fleet::start(4).await;
    fleet.places[&0].disk.fail_next_sync();
    put(&fleet.client(), 1, &content(1, 200)).await;
    let member = fleet.member(0);
    eventually("the store takes no writes", || async { member.store().health().read_only.is_some() }).await;
    let order = fleet.seal_order(&fleet.without(&[3]));
    let changes = OrderChanges { seal_order: Some(order), term: Some(2), ..OrderChanges::default() };
    let inventory = fleet.order(0, changes).await.unwrap();
    assert_eq!((inventory.ailment(), inventory.term), (Ailment::ReadOnly, 1));
    assert!(inventory.refusal.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_tells_the_size_that_its_volume_has_by_now() {
    let fleet = Fleet::start(4).await;
    let told = async || fleet.order(0, OrderChanges::default()).await.unwrap().volume.unwrap().capacity_bytes;
    let before = told().await;
    fleet.places[&0].disk.set_capacity(2 * before);
    assert_eq!(told().await, 2 * before);
    let member = fleet.member(0);
    let text = member.metrics().render(&member.levels().unwrap());
    assert!(text.contains(&format!("\nweft_store_capacity_bytes {}\n", 2 * before)), "{text}");
}
