//! R7 on a real API server: more than f shards are lost, and a person says which volumes are destroyed.

mod sealing;

use weft_operator::reconcile::reconcile;

use weft_e2e::Scenario;

use crate::{
    Bench, Outcome,
    stage::{begun, round, said, take_away, until},
};

fn declare(bench: &Bench, lost: &str) -> Outcome {
    let word = format!("weft.dev/declare-lost={lost}");
    bench.server.kubectl().run(&[
        "annotate",
        "--overwrite",
        "--namespace",
        &bench.namespace,
        "storagecommittee",
        "demo",
        &word,
    ])?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn r7_beyond_f_nothing_is_sealed_until_a_person_declares_what_is_destroyed() -> Outcome {
    let scenario = Scenario::begins("r7_beyond_f_nothing_is_sealed_until_a_person_declares_what_is_destroyed", &[12]);
    let bench = Bench::shared("r7-beyond-f-nothing-is-sealed-until").await?;
    let (_, operator) = begun(&bench, "").await?;
    // Twelve shards of 28, more than f = 9.
    for member in [2, 3, 4] {
        take_away(&bench, member).await?;
    }
    let status = until(&operator, &bench, "a stall", |status| {
        said(status, "Stalled").is_some_and(|(status, reason, _)| (status, reason) == ("True", "BeyondFaultTolerance"))
    })
    .await?;
    let (_, _, message) = said(&status, "Stalled").ok_or("not told")?;
    let (_, command) = message.split_once("weft recover --declare-lost ").ok_or("no command")?;
    assert_eq!(command, "2-1,3-1,4-1");
    let first = status.view.as_ref().map(|view| view.hash.clone()).ok_or("no view")?;
    let stands = async |what: &str| -> Outcome {
        for _ in 0..3 {
            let view = round(&operator, &bench).await?.view.ok_or("no view")?;
            assert_eq!((&view.hash, view.in_effect), (&first, true), "{what}");
        }
        Ok(())
    };
    stands("undeclared").await?;

    // Two of three aren't enough: what isn't declared may come back.
    declare(&bench, "2-1,3-1")?;
    stands("partly declared").await?;
    // A word that can't be understood is told, and nothing is done on it.
    declare(&bench, "2-1,three")?;
    reconcile(&operator, &bench.namespace, "demo").await.expect_err("no incarnation");
    let status = bench.committee("demo").await?.status.ok_or("no status")?;
    let (stalled, reason, message) = said(&status, "Stalled").ok_or("not told")?;
    assert_eq!((stalled, reason), ("True", "BadSpec"));
    assert!(message.contains("\"three\""), "{message}");

    // Who answers isn't destroyed, whatever a person says.
    declare(&bench, &format!("{command},0-1"))?;
    let status = until(&operator, &bench, "an objection", |status| {
        said(status, "Stalled").is_some_and(|(status, reason, _)| (status, reason) == ("True", "DeclaredLives"))
    })
    .await?;
    assert!(said(&status, "Stalled").is_some_and(|(_, _, message)| message.contains("0-1")), "{status:?}");

    declare(&bench, command)?;
    let status = until(&operator, &bench, "a view of the survivors", |status| {
        status.view.as_ref().is_some_and(|view| view.hash != first && view.in_effect)
    })
    .await?;
    let view = status.view.ok_or("no view")?;
    assert!(view.members.iter().all(|member| ![2, 3, 4].contains(&member.id) || member.incarnation > 1));
    scenario.ends();
    Ok(())
}
