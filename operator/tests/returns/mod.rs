//! R25 on a real API server: a lost member comes back before its replacement has run, and its claim changes hands.

use std::time::Duration;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::{ResourceExt, api::DeleteParams};
use weft_crds::{MemberState, StorageCommitteeStatus, Successor};
use weft_operator::subject::Subject;
use weft_planner::Act;
use weft_protocol::MemberId;

use crate::{
    Bench, Outcome, revoking, settle,
    stage::{begun, until},
};

fn successor(status: &StorageCommitteeStatus) -> Option<&Successor> {
    status.members.iter().find(|member| member.id == 2)?.successor.as_ref()
}

#[tokio::test(flavor = "multi_thread")]
async fn r25_a_returned_members_claim_is_its_successors_and_its_volume_is_admitted_again() -> Outcome {
    let bench = Bench { held_back: Some((2, 2)), ..Bench::shared("r25-a-returned-members-claim-is-its").await? };
    let spec = ", epochs: {settle: 10s, retainFor: 0s}, repair: {unreachableAfter: 30s}";
    let (fleet, operator) = begun(&bench, spec).await?;
    let claims = bench.api::<PersistentVolumeClaim>();
    let uid = claims.get("demo-2-1").await?.uid();

    fleet.silence((2, 1));
    until(&operator, &bench, "silence", |status| {
        status.members.iter().any(|member| (member.id, member.current.state) == (2, MemberState::Unreachable))
    })
    .await?;
    fleet.advance(Duration::from_secs(31));
    until(&operator, &bench, "a successor on a new volume", |status| {
        successor(status).is_some_and(|heir| (heir.next.number, heir.inherits) == (2, None))
            && status.view.as_ref().is_some_and(|view| view.revision == 1 && view.in_effect)
    })
    .await?;

    // It comes back before the successor has run.
    fleet.wake((2, 1));
    until(&operator, &bench, "a successor that inherits", |status| {
        successor(status).is_some_and(|heir| (heir.next.number, heir.inherits) == (3, Some(1)))
    })
    .await?;
    // The record comes first: no pod of another incarnation is there before the claim is its own.
    let taken = until(&operator, &bench, "the heir's process", |status| {
        successor(status).is_some_and(|heir| heir.next.public_key.is_some())
    })
    .await?;
    let claim = claims.get("demo-2-1").await?;
    assert_eq!(claim.uid(), uid, "the same claim");
    assert_eq!(claim.labels().get("weft.dev/incarnation").map(String::as_str), Some("3"));
    let pods = bench.api::<Pod>();
    assert!(pods.get_opt("demo-2-1-1").await?.is_none(), "two processes on one volume");
    let spec = pods.get("demo-2-3-1").await?.spec.ok_or("no spec")?;
    let env = spec.containers.iter().flat_map(|container| container.env.iter().flatten());
    let told: Vec<_> = env.filter(|env| env.name == "WEFT_READMIT").map(|env| env.value.as_deref()).collect();
    assert_eq!(told, [Some("1")]);
    let volumes = spec.volumes.iter().flatten().filter_map(|volume| volume.persistent_volume_claim.as_ref());
    assert_eq!(volumes.map(|claim| claim.claim_name.as_str()).collect::<Vec<_>>(), ["demo-2-1"]);
    let heir = successor(&taken).ok_or("no successor")?;
    assert_eq!(heir.next.claim_uid, uid);

    // It gets shards at the next boundary, like any newcomer.
    until(&operator, &bench, "an epoch that seats it", |status| {
        let seats = |view: &weft_crds::View| view.members.iter().any(|seat| (seat.id, seat.incarnation) == (2, 3));
        status.view.as_ref().is_some_and(|view| view.epoch == 2 && view.in_effect && seats(view))
    })
    .await?;
    assert_eq!(claims.get("demo-2-1").await?.uid(), uid);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namesake_of_the_claim_or_one_that_goes_changes_no_hands() -> Outcome {
    let bench = Bench::shared("a-namesake-of-the-claim-or-one").await?;
    let operator = bench.operator();
    bench.apply("demo", "").await?;
    settle(&operator, &bench, "demo").await?;
    let claims = bench.api::<PersistentVolumeClaim>();
    let subject = Subject::new(bench.client.clone(), bench.committee("demo").await?, "")?;
    let inherit = async |member: u32, uid: &str| {
        let act = Act::InheritClaim { member: MemberId(member), from: 1, incarnation: 2, uid: uid.to_owned() };
        revoking::carry_out(&operator, &subject, act).await
    };
    let owner = async || -> Result<Option<String>, kube::Error> {
        Ok(claims.get("demo-3-1").await?.labels().get("weft.dev/incarnation").cloned())
    };
    inherit(3, "another").await?;
    assert_eq!(owner().await?.as_deref(), Some("1"), "a namesake");

    let uid = claims.get("demo-3-1").await?.uid().ok_or("no UID")?;
    inherit(3, &uid).await?;
    assert_eq!(owner().await?.as_deref(), Some("2"));

    // Protected, so it is there until the kubelet lets it go.
    let uid = claims.get("demo-4-1").await?.uid().ok_or("no UID")?;
    claims.delete("demo-4-1", &DeleteParams::default()).await?;
    inherit(4, &uid).await?;
    let claim = claims.get("demo-4-1").await?;
    assert!(claim.metadata.deletion_timestamp.is_some());
    assert_eq!(claim.labels().get("weft.dev/incarnation").map(String::as_str), Some("1"));
    Ok(())
}
