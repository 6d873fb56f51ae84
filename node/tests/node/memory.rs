//! What peers remember of a member's sequence counts only as signed by that member's volume (R1).

use bytes::Bytes;
use tonic::Code;
use weft_node::member::Condition;
use weft_proto::v1::{ExchangeRequest, Identity};
use weft_protocol::{Encoder, MemberId, SigningKey, Statement, ViewId};

use super::fleet::{
    FLEET, Fleet, content, eventually,
    liar::{Liar, sequence},
    put,
    requests::peers,
};

/// Restarts member 0 beside a peer that says it remembers this of it, and gives what comes of it.
async fn restarted_beside(mut fleet: Fleet, remembered: Vec<u8>) -> Condition {
    fleet.kill(6).await;
    let liar = Liar::start(&fleet, 6, remembered).await;
    fleet.restart(0).await;
    let member = fleet.member(0);
    eventually("the member is judged", || async { member.condition() != Condition::WaitingForPeers }).await;
    eventually("the peer has told", || async { liar.asked() > 0 }).await;
    member.condition()
}

#[tokio::test(flavor = "multi_thread")]
async fn r1_a_memory_that_another_signed_is_ignored() {
    let fleet = Fleet::start(7).await;
    put(&fleet.client(), 1, &content(1, 200)).await;
    let victim = fleet.newest().seats[0].incarnation;
    let forged = sequence(FLEET, MemberId(0), victim, u64::MAX, &SigningKey::from_seed([66; 32]));
    assert_eq!(restarted_beside(fleet, forged).await, Condition::Healthy);
}

#[tokio::test(flavor = "multi_thread")]
async fn r1_a_memory_of_another_incarnation_is_ignored() {
    let fleet = Fleet::start(7).await;
    let seat = fleet.newest().seats[6].clone();
    let foreign = sequence(FLEET, MemberId(6), seat.incarnation, u64::MAX, &SigningKey::from_seed([66; 32]));
    assert_eq!(restarted_beside(fleet, foreign).await, Condition::Healthy);
}

#[tokio::test(flavor = "multi_thread")]
async fn r1_nobody_remembers_what_the_member_did_not_sign() {
    let mut fleet = Fleet::start(7).await;
    put(&fleet.client(), 1, &content(1, 200)).await;
    let victim = fleet.newest().seats[0].incarnation;
    let forged = sequence(FLEET, MemberId(0), victim, u64::MAX, &SigningKey::from_seed([66; 32]));
    let liar = fleet.newest().seats[6].incarnation;
    for id in 1..6 {
        let request = ExchangeRequest {
            from: Some(Identity {
                fleet: FLEET.0.to_vec().into(),
                member: 6,
                incarnation: liar.number,
                volume: liar.volume.0.to_vec().into(),
            }),
            sequence: forged.clone().into(),
            ..ExchangeRequest::default()
        };
        let status = peers(&fleet, id, "member/6/1").exchange(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    }
    fleet.restart(0).await;
    let member = fleet.member(0);
    eventually("the member is judged", || async { member.condition() != Condition::WaitingForPeers }).await;
    assert_eq!(member.condition(), Condition::Healthy);
}

#[tokio::test(flavor = "multi_thread")]
async fn r1_acks_in_certificates_are_remembered_before_any_exchange() {
    let mut fleet = Fleet::start(7).await;
    // So few are left that a certificate takes everybody's ack.
    for id in [0, 5, 6] {
        fleet.kill(id).await;
    }
    let snapshot = fleet.places[&0].disk.contents();
    fleet.run(0).await;
    fleet.settled().await;
    // The member dies as soon as its put is answered: what it acked is in the certificate that its peers keep.
    put(&fleet.client(), 1, &content(1, 200)).await;
    fleet.kill(0).await;
    fleet.places[&0].disk.restore(snapshot);
    fleet.run(0).await;
    let member = fleet.member(0);
    eventually("the volume is found rewound", || async { matches!(member.condition(), Condition::Rewound { .. }) })
        .await;
}

/// What a member says of itself for a view, to member 5.
async fn standing(fleet: &Fleet, id: u32, view: ViewId) -> Bytes {
    let incarnation = fleet.newest().seats[5].incarnation;
    let identity = Identity {
        fleet: FLEET.0.to_vec().into(),
        member: 5,
        incarnation: incarnation.number,
        volume: incarnation.volume.0.to_vec().into(),
    };
    let request = ExchangeRequest {
        from: Some(identity),
        standing_for: view.encode(Encoder::new()).finish().into(),
        sequence: fleet.member(5).sign_now(Statement::Sequence).encode().into(),
        ..ExchangeRequest::default()
    };
    peers(fleet, id, "member/5/1").exchange(request).await.unwrap().into_inner().standing
}

#[tokio::test(flavor = "multi_thread")]
async fn r1_nothing_is_signed_for_others_to_remember_before_the_member_is_judged() {
    let mut fleet = Fleet::start(7).await;
    let sealed = fleet.newest().id();
    let next = fleet.without(&[6]);
    fleet.change_view(&next).await;
    fleet.whole().await;
    assert!(!standing(&fleet, 0, sealed).await.is_empty());
    // Member 5 alone is no quorum: member 0 stays unjudged, while what it commits goes on.
    for id in [0, 1, 2, 3, 4, 6] {
        fleet.kill(id).await;
    }
    fleet.run(0).await;
    let member = fleet.member(0);
    for _ in 0..3 {
        assert_eq!(member.condition(), Condition::WaitingForPeers);
        assert!(standing(&fleet, 0, sealed).await.is_empty());
    }
    for id in 1..5 {
        fleet.run(id).await;
    }
    eventually("the member is judged", || async { member.condition() != Condition::WaitingForPeers }).await;
    assert_eq!(member.condition(), Condition::Healthy);
    assert!(!standing(&fleet, 0, sealed).await.is_empty());
}
