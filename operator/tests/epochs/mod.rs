//! Epochs on a real API server: those that users ask for, those that come by time, and what they tell of their moves.

use std::{error::Error, time::Duration};

use serde_json::json;
use weft_crds::{Epoch, EpochPhase, StorageCommitteeStatus};
use weft_operator::context::Context;

use crate::{
    Bench, Outcome, members,
    stage::{begun, round, take_away, until},
};

fn ask(bench: &Bench, number: u64, owners: &[u32]) -> Outcome {
    let epoch = json!({"apiVersion": "weft.dev/v1alpha1", "kind": "Epoch",
        "metadata": {"name": format!("demo-{number}"), "namespace": bench.namespace},
        "spec": {"committee": "demo", "number": number, "owners": owners, "reason": "a user's"}});
    Ok(bench.server.kubectl().apply(&epoch.to_string())?)
}

/// The owner of each shard, by the view.
fn holders(status: &StorageCommitteeStatus) -> Result<Vec<u32>, Box<dyn Error>> {
    let view = status.view.as_ref().ok_or("no view")?;
    let holder = |shard: u8| view.members.iter().find(|member| member.shards.contains(&shard)).map(|member| member.id);
    Ok((0..28).map(holder).collect::<Option<_>>().ok_or("a vacant shard")?)
}

/// Reconciles until an Epoch is as wanted.
async fn epoch_until(
    operator: &Context,
    bench: &Bench,
    number: u64,
    wanted: impl Fn(&Epoch) -> bool,
) -> Result<Epoch, Box<dyn Error>> {
    let name = format!("demo-{number}");
    let waited = tokio::time::timeout(Duration::from_secs(120), async {
        loop {
            round(operator, bench).await?;
            if let Some(epoch) = bench.api::<Epoch>().get_opt(&name).await?.filter(&wanted) {
                return Ok(epoch);
            }
        }
    });
    if let Ok(result) = waited.await {
        return result;
    }
    let epoch = bench.api::<Epoch>().get_opt(&name).await?;
    Err(format!("never as wanted: {}", serde_yaml::to_string(&epoch)?).into())
}

fn is_retired(epoch: &Epoch) -> bool {
    epoch.status.as_ref().and_then(|status| status.phase) == Some(EpochPhase::Retired)
}

/// Status and reason of Accepted.
fn accepted(epoch: &Epoch) -> Option<(&str, &str)> {
    let said = epoch.status.as_ref()?.conditions.iter().find(|condition| condition.type_ == "Accepted")?;
    Some((&said.status, &said.reason))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_users_epoch_is_refused_with_the_reason_or_taken_up_as_it_is() -> Outcome {
    let bench = Bench::shared("a-users-epoch-is-refused-with-the").await?;
    let (_, operator) = begun(&bench, ", epochs: {settle: 10s, retainFor: 0s}").await?;
    let before = holders(&round(&operator, &bench).await?)?;
    // R2: more than f = 9 for one; R6: more than f at once.
    let crowded = [vec![0; 10], before[10..].to_vec()].concat();
    let turned: Vec<u32> = before.iter().map(|owner| (owner + 1) % 7).collect();
    let stranger = [vec![77], before[1..].to_vec()].concat();
    for (number, owners, reason) in [
        (5, before.clone(), "NotNext"),
        (2, before[..5].to_vec(), "WrongLength"),
        (2, stranger, "UnknownMember"),
        (2, crowded, "TooManyShards"),
        (2, turned, "TooManyMoves"),
    ] {
        ask(&bench, number, &owners)?;
        let refused = epoch_until(&operator, &bench, number, |epoch| accepted(epoch).is_some()).await?;
        assert_eq!(accepted(&refused), Some(("False", reason)));
        // It holds nothing up, and nothing happens by it.
        let status = round(&operator, &bench).await?;
        assert_eq!((holders(&status)?, status.view.map(|view| view.epoch)), (before.clone(), Some(1)));
        bench.server.kubectl().run(&["delete", "--namespace", &bench.namespace, "epoch", &format!("demo-{number}")])?;
    }

    let mut wished = before.clone();
    let (first, others) = (before[0], before.iter().position(|owner| *owner != before[0]).ok_or("one owner")?);
    wished.swap(0, others);
    ask(&bench, 2, &wished)?;
    let epoch = epoch_until(&operator, &bench, 2, is_retired).await?;
    assert_eq!(accepted(&epoch), Some(("True", "Chosen")));
    let status = round(&operator, &bench).await?;
    assert_eq!(holders(&status)?, wished, "{first} and {} have changed places", before[others]);

    // It goes with its committee, like those that the operator makes.
    let committee = bench.committee("demo").await?;
    let owners = epoch.metadata.owner_references.clone().unwrap_or_default();
    assert_eq!(owners.iter().map(|owner| &owner.uid).collect::<Vec<_>>(), [&committee.metadata.uid.ok_or("no UID")?]);
    let labels = epoch.metadata.labels.clone().unwrap_or_default();
    assert_eq!(labels.get("weft.dev/committee").map(String::as_str), Some("demo"));
    assert_eq!(epoch.spec.reason.as_deref(), Some("a user's"));

    // Two owners gained a shard each, and told what came.
    let moves = epoch.status.and_then(|status| status.moves).ok_or("no moves")?;
    assert_eq!((moves.shards, moves.copied, moves.rebuilt), (2, 2 * members::COPIED, 2 * members::REBUILT));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_epoch_has_moved_stands_under_another_leader_and_while_members_are_silent() -> Outcome {
    let bench = Bench::shared("what-an-epoch-has-moved-stands-under").await?;
    let (fleet, first) = begun(&bench, ", epochs: {settle: 10s, retainFor: 1h}").await?;
    take_away(&bench, 2).await?;
    // The replacement gets the lost member's four shards back.
    let told = |epoch: &Epoch| {
        let moves = epoch.status.as_ref().and_then(|status| status.moves).unwrap_or_default();
        (moves.copied, moves.rebuilt)
    };
    let all = (4 * members::COPIED, 4 * members::REBUILT);
    let epoch = epoch_until(&first, &bench, 2, |epoch| {
        let phase = epoch.status.as_ref().and_then(|status| status.phase);
        phase == Some(EpochPhase::Committed) && told(epoch).0 > 0
    })
    .await?;
    assert_eq!(told(&epoch), all);

    drop(first);
    fleet.silence((2, 2));
    let second = bench.operator_with(fleet.clone());
    for _ in 0..3 {
        round(&second, &bench).await?;
        assert_eq!(told(&bench.api::<Epoch>().get("demo-2").await?), all);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_begins_when_the_interval_has_passed_and_moves_nothing() -> Outcome {
    // A week together.
    const ALMOST: Duration = Duration::from_secs(7 * 24 * 60 * 60 - 600);
    const REST: Duration = Duration::from_secs(600);
    let bench = Bench::shared("an-epoch-begins-when-the-interval-has").await?;
    let (fleet, operator) = begun(&bench, ", epochs: {interval: 168h, settle: 10s, retainFor: 0s}").await?;
    epoch_until(&operator, &bench, 1, is_retired).await?;
    let before = until(&operator, &bench, "its epoch", |status| {
        status.epoch.is_some_and(|epoch| (epoch.current, epoch.target) == (1, 1))
    })
    .await?;
    fleet.advance(ALMOST);
    round(&operator, &bench).await?;
    assert!(bench.api::<Epoch>().get_opt("demo-2").await?.is_none(), "ten minutes early");

    fleet.advance(REST);
    let epoch = epoch_until(&operator, &bench, 2, is_retired).await?;
    assert_eq!(epoch.spec.reason.as_deref(), Some("epochs.interval has passed"));
    assert_eq!(epoch.status.and_then(|status| status.moves).map(|moves| moves.shards), Some(0));
    let status = until(&operator, &bench, "the view of epoch 2", |status| {
        status.view.as_ref().is_some_and(|view| (view.epoch, view.in_effect) == (2, true))
    })
    .await?;
    assert_eq!(holders(&status)?, holders(&before)?);
    round(&operator, &bench).await?;
    assert!(bench.api::<Epoch>().get_opt("demo-3").await?.is_none(), "the next one is a week away");
    Ok(())
}
