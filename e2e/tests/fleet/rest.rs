//! A fleet at rest: its operator writes nothing but its Lease, by the API server's own notes; and it doesn't notice when its
//! operator is uninstalled and installed again.

use std::time::{Duration, Instant};

use weft_e2e::{
    Calls,
    demo::{Run, Scale},
};

use crate::{
    cookbook::term,
    load::under_load,
    rollout::restarted,
    scenarios::or_dump,
    settle::{LIMIT, incarnations, margin, margins, settled},
    theatre::{IMAGE, INSTALL, Outcome, Theatre},
};

/// So long nothing is written. It is what is promised, and takes as long here.
const WATCHED: Duration = Duration::from_secs(600);
/// The operator is done when it has written nothing for so long: twice as long as it leaves its members unasked.
const DONE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_secs(1);

pub(crate) fn nothing_is_written(theatre: &Theatre) -> Outcome {
    theatre.wait(async {
        let run = theatre.run("rest", Scale::SMALL).await?;
        settled(&run, "full margins", |now| margins(now) == Some(margin(now, 0))).await?;
        or_dump(&run, looks_on(&run)).await?;
        under_load(&run, is_installed_again(&run)).await?;
        run.fleet.delete().await?;
        Ok(())
    })
}

async fn looks_on(run: &Run) -> Outcome {
    let mut log = run.fleet.stage().cluster().ok_or("a cluster of this machine's own")?.audit_log();
    let (limit, mut since, mut last) = (Instant::now() + LIMIT, Instant::now(), log.read()?);
    assert!(last.writes > 0, "what made the fleet was noted");
    while since.elapsed() < DONE {
        assert!(Instant::now() < limit, "the operator goes on writing: {:?}", last.written);
        tokio::time::sleep(LOOK).await;
        let now = log.read()?;
        if now.writes > 0 {
            (since, last) = (Instant::now(), now);
        }
    }
    let (until, mut calls) = (Instant::now() + WATCHED, Calls::default());
    while Instant::now() < until {
        tokio::time::sleep(LOOK).await;
        calls.add(log.read()?);
        assert_eq!(calls.writes, 0, "a fleet at rest is written of: {:?}", calls.written);
    }
    println!("in {} s the Lease was renewed {} times, and nothing else written", WATCHED.as_secs(), calls.leases);
    assert!(calls.leases > 0, "the operator was there");
    Ok(())
}

async fn is_installed_again(run: &Run) -> Outcome {
    let (stage, before) = (run.fleet.stage(), run.fleet.observer().now());
    stage.uninstall().await?;
    stage.install(IMAGE, INSTALL).await?;
    let now = settled(run, "another leader", |now| term(now) > term(&before)).await?;
    assert_eq!((incarnations(&now), restarted(&before, &now)), (incarnations(&before), Vec::new()));
    Ok(())
}
