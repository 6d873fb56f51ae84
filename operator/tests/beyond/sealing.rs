//! What goes while a view is being sealed is declared beside the successor, which stays (R7).

use std::{error::Error, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use weft_crds::StorageCommitteeStatus;
use weft_operator::context::Context;
use weft_protocol::Declaration;

use super::declare;
use crate::{
    Bench, Outcome, members,
    stage::{begun, round, said, take_away, until},
};

/// A view that is being sealed without member 2, which is lost: holders of 16 of its 28 shards refuse it, and those of 3
/// and 4 have yet to.
async fn sealing(bench: &Bench) -> Result<(Arc<members::Fleet>, Context, StorageCommitteeStatus), Box<dyn Error>> {
    let (fleet, operator) = begun(bench, "").await?;
    for member in [3, 4] {
        fleet.hesitate((member, 1));
    }
    take_away(bench, 2).await?;
    let status = until(&operator, bench, "a seal that waits for members 3 and 4", |status| {
        status.sealing.as_ref().is_some_and(|sealing| sealing.refused_shards == 16)
    })
    .await?;
    Ok((fleet, operator, status))
}

/// Hash of the view that is to follow, while it isn't in effect.
fn successor(status: &StorageCommitteeStatus) -> Option<&str> {
    status.view.as_ref().filter(|view| !view.in_effect).map(|view| view.hash.as_str())
}

/// The recorded declaration: its term, and how many incarnations it names.
fn declared(status: &StorageCommitteeStatus) -> Result<Option<(u64, usize)>, Box<dyn Error>> {
    let Some(recorded) = status.sealing.as_ref().and_then(|sealing| sealing.declaration.as_ref()) else {
        return Ok(None);
    };
    let declaration = Declaration::decode(&BASE64_STANDARD.decode(recorded)?)?;
    Ok(Some((declaration.term, declaration.declared.len())))
}

/// Waits until the very successor is in effect, and then until nobody lost is seated any more.
async fn mended(operator: &Context, bench: &Bench, pending: &str) -> Outcome {
    let status = until(operator, bench, "the same successor in effect", |status| {
        status.view.as_ref().is_some_and(|view| view.in_effect)
    })
    .await?;
    assert_eq!(status.view.as_ref().map(|view| view.hash.as_str()), Some(pending));
    assert_eq!(status.sealing, None);
    until(operator, bench, "a view of the survivors", |status| {
        let lost = |member: &weft_crds::ViewMember| [2, 3, 4].contains(&member.id) && member.incarnation == 1;
        status.view.as_ref().is_some_and(|view| view.in_effect && !view.members.iter().any(lost))
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn r7_what_goes_while_a_view_is_sealed_is_declared_beside_its_successor_by_a_higher_term() -> Outcome {
    let bench = Bench::shared("r7-what-goes-while-a-view-is").await?;
    let (_fleet, operator, status) = sealing(&bench).await?;
    let (pending, term) = (successor(&status).ok_or("it is in effect")?.to_owned(), status.term);
    for member in [3, 4] {
        take_away(&bench, member).await?;
    }
    let status = until(&operator, &bench, "a stall", |status| {
        said(status, "Stalled").is_some_and(|(status, reason, _)| (status, reason) == ("True", "BeyondFaultTolerance"))
    })
    .await?;
    let (_, _, message) = said(&status, "Stalled").ok_or("not told")?;
    let (_, command) = message.split_once("weft recover --declare-lost ").ok_or("no command")?;
    assert_eq!(command, "2-1,3-1,4-1");

    // Two of three aren't enough; nor is anything declared that isn't needed.
    declare(&bench, "2-1,3-1")?;
    for _ in 0..3 {
        let status = round(&operator, &bench).await?;
        assert_eq!((successor(&status), status.term, declared(&status)?), (Some(&*pending), term, None));
    }
    declare(&bench, command)?;
    let status = until(&operator, &bench, "a declaration", |status| {
        status.sealing.as_ref().is_some_and(|sealing| !sealing.declared.is_empty())
    })
    .await?;
    let raised = term.map(|term| term + 1);
    assert_eq!((successor(&status), status.term), (Some(&*pending), raised));
    assert_eq!(status.sealing.as_ref().map(|sealing| sealing.declared.join(",")).as_deref(), Some(command));
    assert_eq!(declared(&status)?.map(|(term, lost)| (Some(term), lost)), Some((raised, 3)));
    mended(&operator, &bench, &pending).await
}

#[tokio::test(flavor = "multi_thread")]
async fn r7_another_leader_declares_anew_by_a_term_of_its_own() -> Outcome {
    let bench = Bench::shared("r7-another-leader-declares-anew-by-a").await?;
    let (fleet, first, status) = sealing(&bench).await?;
    let pending = successor(&status).ok_or("it is in effect")?.to_owned();
    for member in [3, 4] {
        take_away(&bench, member).await?;
    }
    // Those who are left have refused for the leader before, and don't for the declaration yet.
    for member in [0, 1, 5, 6] {
        fleet.hesitate((member, 1));
    }
    declare(&bench, "2-1,3-1,4-1")?;
    let status =
        until(&first, &bench, "a declaration", |status| declared(status).is_ok_and(|said| said.is_some())).await?;
    let told = declared(&status)?;
    // Refusals of another term don't count with it.
    until(&first, &bench, "none to count", |status| {
        status.sealing.as_ref().is_some_and(|sealing| sealing.refused_shards == 0)
    })
    .await?;
    let status = round(&first, &bench).await?;
    assert_eq!((successor(&status), declared(&status)?), (Some(&*pending), told));
    drop(first);
    let second = bench.operator_with(fleet.clone());
    let status = until(&second, &bench, "another declaration", |status| {
        declared(status).is_ok_and(|said| said.is_some_and(|(term, _)| told.is_some_and(|(before, _)| term > before)))
    })
    .await?;
    assert_eq!(declared(&status)?.map(|(term, _)| term), status.term);
    assert_eq!(successor(&status), Some(&*pending));
    for member in [0, 1, 5, 6] {
        fleet.resolve((member, 1));
    }
    mended(&second, &bench, &pending).await
}
