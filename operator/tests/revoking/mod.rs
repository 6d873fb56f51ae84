//! R24: a new leader revokes what its predecessor was about to delete, wherever the predecessor stopped.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt;
use weft_crds::{Destruction, StorageCommittee};
use weft_operator::{
    act::{ActError, Means, destroy::DestroyError, members::Which, secrets},
    context::Context,
    observe,
    reconcile::reconcile,
    refusals::Refusals,
    subject::Subject,
};
use weft_planner::{Act, Step};
use weft_protocol::{FleetId, MemberId};

use crate::{Bench, Outcome, settle};

const WHICH: Which = Which { member: 3, incarnation: 1 };

/// The committee as the leader of term 1 has it after it has recorded that the claim goes.
async fn intends(bench: &Bench, claim: &PersistentVolumeClaim) -> Result<Subject, Box<dyn std::error::Error>> {
    let before = bench.committee("demo").await?;
    let intent = Destruction {
        kind: "PersistentVolumeClaim".to_owned(),
        name: claim.name_any(),
        uid: claim.uid().ok_or("no UID")?,
        term: 1,
        reason: "DestroyClaim".to_owned(),
        since: claim.creation_timestamp().ok_or("no time")?,
    };
    let subject = Subject::new(bench.client.clone(), before, "")?;
    let change = serde_json::json!({"status": {"destroying": [intent]}});
    let written: StorageCommittee = subject.namespace.merge_status("demo", &change).await?;
    Ok(Subject::new(bench.client.clone(), written, "")?)
}

/// What the leader of term 1 does after it has recorded its intent.
async fn destroys(operator: &Context, subject: &Subject, uid: String) -> Outcome {
    carry_out(
        operator,
        subject,
        Act::DestroyClaim { member: MemberId(WHICH.member), incarnation: WHICH.incarnation, uid },
    )
    .await
}

/// One step of the leader of term 1.
pub(crate) async fn carry_out(operator: &Context, subject: &Subject, act: Act) -> Outcome {
    let fleet: FleetId = subject.status.fleet_id.as_deref().ok_or("no fleet")?.parse()?;
    let mut refusals = Refusals::default();
    let keys = secrets::ensure(subject, fleet, &[], &[WHICH], operator.env.as_ref(), &mut refusals).await?;
    let now = operator.env.now();
    let objects = observe::objects(subject, &operator.stores, &mut refusals, now).await?;
    let means = Means { subject, fleet, keys: &keys, term: 1, now, objects: &objects, members: &[] };
    let step = Step { act, target: "a claim".to_owned(), reason: "it is spare".to_owned() };
    Ok(weft_operator::act::carry_out(&step, &means).await?)
}

async fn is_going(bench: &Bench) -> Result<bool, Box<dyn std::error::Error>> {
    let claim = bench.api::<PersistentVolumeClaim>().get("demo-3-1").await?;
    Ok(claim.metadata.deletion_timestamp.is_some())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_leader_deletes_nothing_that_its_successor_has_revoked() -> Outcome {
    let bench = Bench::shared("a-stale-leader-deletes-nothing-that-its").await?;
    let old = bench.operator();
    bench.apply("demo", "").await?;
    settle(&old, &bench, "demo").await?;
    let read = bench.api::<PersistentVolumeClaim>().get("demo-3-1").await?;
    let uid = read.uid().ok_or("no UID")?;
    let stale = intends(&bench, &read).await?;

    reconcile(&bench.operator(), &bench.namespace, "demo").await?;
    let status = bench.committee("demo").await?.status.ok_or("no status")?;
    assert_eq!((status.term, status.destroying.len()), (Some(2), 0), "the intent is revoked");

    // It had read the claim before the other one touched it: the version that it names is gone.
    let refused = stale.namespace.delete_as_read(&read).await.expect_err("an old read");
    assert!(refused.is_conflict(), "{refused}");
    // It reads the claim only now: the mark is there.
    let refused = destroys(&old, &stale, uid.clone()).await.expect_err("a revoked intent");
    let refused = refused.downcast::<ActError>()?;
    assert!(
        matches!(&*refused, ActError::Destroy(DestroyError::Revoked { ours: 1, theirs: 2, .. })),
        "refused, but because of {refused:?}"
    );
    assert!(!is_going(&bench).await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_intended_is_deleted_and_a_namesake_or_an_unrecorded_one_is_spared() -> Outcome {
    let bench = Bench::shared("what-is-intended-is-deleted-and-a").await?;
    let operator = bench.operator();
    bench.apply("demo", "").await?;
    settle(&operator, &bench, "demo").await?;
    let claim = bench.api::<PersistentVolumeClaim>().get("demo-3-1").await?;
    let uid = claim.uid().ok_or("no UID")?;

    let unrecorded = Subject::new(bench.client.clone(), bench.committee("demo").await?, "")?;
    let refused = destroys(&operator, &unrecorded, uid.clone()).await.expect_err("no intent");
    let refused = refused.downcast::<ActError>()?;
    assert!(matches!(&*refused, ActError::Destroy(DestroyError::NoIntent { .. })), "{refused:?}");
    let mut namesake = claim.clone();
    namesake.metadata.uid = Some("another".to_owned());
    let subject = intends(&bench, &namesake).await?;
    destroys(&operator, &subject, "another".to_owned()).await?;
    assert!(!is_going(&bench).await?, "a namesake");

    let subject = intends(&bench, &claim).await?;
    destroys(&operator, &subject, uid).await?;
    assert!(is_going(&bench).await?);
    Ok(())
}
