//! What the fleet's time has reached is gone, everywhere and for good (R15); nothing else is.

use tonic::Code;
use weft_client::{GetError, PutError};
use weft_node::member::Member;
use weft_proto::v1::{ExchangeRequest, Identity};
use weft_protocol::{Certificate, Entry, FleetId, SigningKey, TimeFloor};
use weft_redstuff::{BlobId, Metadata};
use weft_store::View as _;

use super::fleet::{
    self, FLEET, Fleet, OrderChanges, content, eventually, get,
    liar::Liar,
    put, put_until,
    requests::{blob, certify, finish, peers, writes},
    timeless::timeless,
};

/// The fleet's time when tests begin: seconds since 1970.
const TIME: u64 = 1_800_000_000;
const HOUR: u64 = 3600;

impl Fleet {
    /// A fleet that knows what time it is.
    async fn timed(members: u32) -> Self {
        let mut fleet = Self::start(members).await;
        fleet.time_is(TIME).await;
        fleet
    }

    /// Orders one member alone.
    async fn tell_time(&self, id: u32, seconds: u64) {
        let floor = Some(TimeFloor::sign(FLEET, seconds, &self.key));
        self.order(id, OrderChanges { time_floor: floor, ..OrderChanges::default() }).await.expect("the member obeys");
    }

    async fn everyone_knows(&self, blob: &BlobId) {
        for (id, member) in self.members() {
            eventually(&format!("member {id} knows the blob"), || async { is_live(&member, blob) }).await;
        }
        self.whole().await;
    }

    async fn nobody_has(&self, blob: &BlobId) {
        for (id, member) in self.members() {
            eventually(&format!("nothing of the blob is left at member {id}"), || async { has_nothing(&member, blob) })
                .await;
        }
    }

    /// All die at once, so that what isn't on their volumes is known to nobody.
    async fn restart_all(&mut self) {
        let ids: Vec<u32> = self.places.keys().copied().collect();
        for id in &ids {
            self.kill(*id).await;
        }
        for id in &ids {
            self.run(*id).await;
        }
    }
}

fn is_live(member: &Member, blob: &BlobId) -> bool {
    member.entry(blob).unwrap().is_some_and(|entry| entry.is_live())
}

fn has_nothing(member: &Member, blob: &BlobId) -> bool {
    let view = member.store().view();
    view.entry(&blob.0).unwrap().is_none()
        && view.holding(&blob.0).unwrap().is_none()
        && view.missing_of(&blob.0).unwrap().is_empty()
}

fn time_of(member: &Member) -> Option<u64> {
    member.time_floor().map(|floor| floor.seconds)
}

/// The certificate of an inline blob that ends then.
async fn certified_until(fleet: &Fleet, nonce: u8, expiry: u64) -> Entry {
    let view = fleet.newest().clone();
    let (metadata, content) = blob(fleet, nonce);
    let metadata = Metadata { expiry: Some(expiry), ..metadata };
    let mut acks = Vec::new();
    for id in fleet.places.keys() {
        acks.push(fleet::requests::ack(fleet, *id, &view, &metadata, &content).await);
    }
    let certificate = Certificate::new(&view, metadata.id(), acks).unwrap();
    Entry::Live { metadata, inline: Some(content), certificate }
}

#[tokio::test(flavor = "multi_thread")]
async fn r15_a_blob_expires_everywhere_when_its_time_has_come_and_no_restart_brings_it_back() {
    let mut fleet = Fleet::timed(7).await;
    let (client, bytes, small) = (fleet.client(), content(1, 50_000), content(2, 300));
    let sliced = put_until(&client, 1, &bytes, Some(TIME + 100)).await.expect("stored").id;
    let inline = put_until(&client, 2, &small, Some(TIME + 100)).await.expect("stored").id;
    let longer = put_until(&client, 3, &bytes, Some(TIME + 101)).await.expect("stored").id;
    let kept = put(&client, 4, &bytes).await.id;
    for blob in [sliced, inline, longer, kept] {
        fleet.everyone_knows(&blob).await;
    }
    fleet.time_is(TIME + 99).await;
    assert_eq!(get(&client, sliced).await, bytes);
    assert_eq!(get(&client, inline).await, small);

    // One member tells the others.
    fleet.tell_time(0, TIME + 100).await;
    for blob in [sliced, inline] {
        fleet.nobody_has(&blob).await;
        assert!(matches!(client.get(blob, None).await, Err(GetError::NotFound(_))));
        assert!(matches!(client.stat(blob).await, Err(GetError::NotFound(_))));
    }
    for blob in [longer, kept] {
        assert_eq!(get(&client, blob).await, bytes);
    }
    // Power is cut, and no operator is there: the floor went to the volumes with what it ended.
    fleet.restart_all().await;
    for (id, member) in fleet.members() {
        assert_eq!(time_of(&member), Some(TIME + 100), "member {id}");
        assert!(has_nothing(&member, &sliced) && has_nothing(&member, &inline), "member {id}");
        assert!(is_live(&member, &longer), "member {id}");
    }
    fleet.settled().await;
    // What goes next is found again without its put.
    fleet.tell_time(3, TIME + 101).await;
    fleet.nobody_has(&longer).await;
    let client = fleet.client();
    assert_eq!(get(&client, kept).await, bytes);
    let all = client.list(&weft_client::ListQuery { limit: 10, ..Default::default() }).await.unwrap();
    assert_eq!(all.blobs.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [kept]);
    for (id, member) in fleet.members() {
        let levels = member.levels().unwrap();
        assert_eq!((levels.blobs, levels.tombstones, levels.missing_slivers), (1, 0, 0), "member {id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r15_time_is_recorded_when_it_is_the_first_or_an_hour_has_passed_and_not_as_it_passes() {
    let mut fleet = Fleet::timed(4).await;
    for (told, recorded) in [(HOUR - 1, 0), (HOUR, HOUR), (2 * HOUR - 1, HOUR)] {
        fleet.time_is(TIME + told).await;
        for (_, member) in fleet.members() {
            assert_eq!(time_of(&member), Some(TIME + told));
        }
        fleet.restart_all().await;
        for (id, member) in fleet.members() {
            assert_eq!(time_of(&member), Some(TIME + recorded), "member {id}, told {told}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r15_a_peer_that_lags_brings_nothing_back_and_keeps_nobody_from_syncing() {
    let mut fleet = Fleet::unformed(7).await;
    for id in 0..7 {
        fleet.fronts.insert(id, timeless());
        fleet.restart(id).await;
    }
    fleet.form().await;
    fleet.time_is(TIME).await;
    let bytes = content(1, 50_000);
    let blob = put_until(&fleet.client(), 1, &bytes, Some(TIME + 100)).await.expect("stored").id;
    fleet.everyone_knows(&blob).await;
    for id in 0..6 {
        fleet.tell_time(id, TIME + 100).await;
    }
    for id in 0..6 {
        let member = fleet.member(id);
        eventually(&format!("the blob has expired at member {id}"), || async { has_nothing(&member, &blob) }).await;
    }
    // Five are needed to seal, and to sync to what was sealed; one of them still has the blob, and tells of it.
    fleet.kill(4).await;
    fleet.kill(5).await;
    let successor = fleet.without(&[]);
    fleet.change_view(&successor).await;
    assert!(is_live(&fleet.member(6), &blob), "the one that lags has it");
    for id in 0..4 {
        assert!(has_nothing(&fleet.member(id), &blob), "it came back to member {id}");
    }
    // To readers it is gone as soon as anybody shows them how late it is.
    assert!(matches!(fleet.client().get(blob, None).await, Err(GetError::NotFound(_))));
    fleet.tell_time(6, TIME + 100).await;
    fleet.nobody_has(&blob).await;
    assert!(matches!(fleet.client().get(blob, None).await, Err(GetError::NotFound(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn r15_what_a_liar_keeps_of_an_expired_blob_comes_to_nothing() {
    let mut fleet = Fleet::timed(7).await;
    let (entry, view) = (certified_until(&fleet, 1, TIME + 100).await, fleet.view.clone().unwrap());
    let blob = entry.blob();
    for id in 0..7 {
        writes(&fleet, id).certify(certify(&view.view, &entry)).await.expect("receipted");
    }
    fleet.time_is(TIME + 100).await;
    fleet.nobody_has(&blob).await;
    fleet.kill(6).await;
    let liar = Liar::offer(&fleet, 6, entry.clone(), view.clone()).await;
    eventually("everyone has heard the liar", || async { liar.asked() > 60 }).await;
    for id in 0..6 {
        assert!(has_nothing(&fleet.member(id), &blob), "it came back to member {id}");
        let status = writes(&fleet, id).certify(certify(&view.view, &entry)).await.unwrap_err();
        assert_eq!(status.code(), Code::AlreadyExists, "{status}");
        assert_eq!(TimeFloor::decode(status.details()).unwrap(), fleet.time_floor().unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r15_a_put_of_what_has_expired_is_refused_and_told_what_time_it_is() {
    let mut fleet = Fleet::timed(4).await;
    let expiry = Some(TIME + 100);
    let (large, small) = (content(1, 50_000), content(2, 100));
    for (nonce, bytes) in [(1, &large), (2, &small)] {
        put_until(&fleet.client(), nonce, bytes, expiry).await.expect("stored");
    }
    let first = put_until(&fleet.client(), 1, &large, expiry).await.expect("tried again").id;
    // It doesn't hear how late it is before members refuse its puts.
    let unaware = fleet.client();
    unaware.fleet().refresh().await.expect("there is a view");
    fleet.time_is(TIME + 100).await;
    fleet.nobody_has(&first).await;
    assert_eq!(unaware.fleet().time(), Some(TIME));
    for (restarted, client) in [(false, unaware), (true, fleet.client())] {
        if restarted {
            fleet.restart_all().await;
            fleet.settled().await;
        }
        for (nonce, bytes) in [(1, &large), (2, &small), (9, &small)] {
            let error = put_until(&client, nonce, bytes, expiry).await.expect_err("it has expired");
            let PutError::Expired { expiry, time } = &error else { panic!("{error}") };
            assert_eq!((*expiry, *time), (TIME + 100, TIME + 100));
            assert!(error.to_string().contains("the fleet's time is 2027-01-15T08:01:40Z"), "{error}");
        }
        fleet.nobody_has(&first).await;
        let (view, (metadata, content)) = (fleet.newest().clone(), blob(&fleet, 2));
        let metadata = Metadata { expiry, ..metadata };
        for id in 0..4 {
            let status = writes(&fleet, id).finish(finish(&view, &metadata, &content)).await.unwrap_err();
            assert_eq!(status.code(), Code::AlreadyExists, "{status}");
            assert_eq!(TimeFloor::decode(status.details()).unwrap(), fleet.time_floor().unwrap());
        }
    }
    put_until(&fleet.client(), 10, &small, Some(TIME + 101)).await.expect("its time is to come");
}

#[tokio::test(flavor = "multi_thread")]
async fn r15_nothing_is_put_that_expires_before_the_fleet_knows_what_time_it_is() {
    let mut fleet = Fleet::start(4).await;
    let bytes = content(1, 300);
    let error = put_until(&fleet.client(), 1, &bytes, Some(u64::MAX)).await.expect_err("there is no time");
    assert!(matches!(error, PutError::TooFew { .. }), "it may be tried again: {error}");
    assert!(error.to_string().contains("R15"), "{error}");
    let (view, (metadata, content)) = (fleet.newest().clone(), blob(&fleet, 2));
    let metadata = Metadata { expiry: Some(u64::MAX), ..metadata };
    let status = writes(&fleet, 0).finish(finish(&view, &metadata, &content)).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
    put(&fleet.client(), 3, &bytes).await;
    fleet.time_is(TIME).await;
    put_until(&fleet.client(), 1, &bytes, Some(TIME + 1)).await.expect("now there is");
}

#[tokio::test(flavor = "multi_thread")]
async fn r15_only_the_operators_word_for_this_fleet_counts_and_the_latest_of_them() {
    let mut fleet = Fleet::timed(4).await;
    let later = TIME + 10 * HOUR;
    let (own, other) = (SigningKey::from_seed([66; 32]), FleetId([8; 16]));
    let member = fleet.member(0);
    for (floor, why) in [
        (TimeFloor::sign(FLEET, later, &own), "forged"),
        (TimeFloor::sign(other, later, &fleet.key), "another fleet's"),
    ] {
        let changes = OrderChanges { time_floor: Some(floor.clone()), ..OrderChanges::default() };
        let status = fleet.order(0, changes).await.expect_err(why);
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        let peer = fleet.member(3).identity().clone();
        let request = ExchangeRequest {
            from: Some(Identity {
                fleet: FLEET.0.to_vec().into(),
                member: 3,
                incarnation: 1,
                volume: peer.incarnation.volume.0.to_vec().into(),
            }),
            sequence: fleet.member(3).sign_now(weft_protocol::Statement::Sequence).encode().into(),
            time_floor: floor.encode().into(),
            ..ExchangeRequest::default()
        };
        let status = peers(&fleet, 0, "member/3/1").exchange(request).await.expect_err(why);
        assert!(status.message().contains("R15"), "{status}");
        assert_eq!(time_of(&member), Some(TIME), "{why}");
    }
    fleet.tell_time(0, TIME - 5).await;
    assert_eq!(time_of(&member), Some(TIME), "a lower one");
    fleet.time_is(later).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r15_slivers_that_were_acked_and_never_certified_go_in_time() {
    let mut fleet = Fleet::timed(4).await;
    let bytes = content(1, 50_000);
    let blob = fleet.acked_until(&bytes, &bytes, Some(TIME + 100)).await.blob();
    let kept = fleet.acked_until(&bytes, &bytes, None).await.blob();
    let holds = |member: &Member, blob: &BlobId| member.store().view().holding(&blob.0).unwrap().is_some();
    fleet.restart_all().await;
    fleet.settled().await;
    for (_, member) in fleet.members() {
        assert!(holds(&member, &blob) && holds(&member, &kept), "acked slivers stay (R11)");
    }
    fleet.time_is(TIME + 100).await;
    fleet.nobody_has(&blob).await;
    for (_, member) in fleet.members() {
        assert!(holds(&member, &kept), "what never expires stays (R11)");
    }
}
