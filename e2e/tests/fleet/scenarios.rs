//! What happens to fleets, and what must come of it.

use std::time::Duration;

use weft_crds::{MemberState, MemberStatus, committee_condition};
use weft_e2e::demo::{Counts, DemoError, Loss, MOST_MOVED, Run, compare, delete_pod};

use crate::theatre::{Outcome, Theatre};

const LIMIT: Duration = Duration::from_secs(300);

/// Created, Ready, and what is put comes back.
pub(crate) fn ready(theatre: &Theatre) -> Outcome {
    theatre.wait(async {
        let run = theatre.run("ready").await?;
        let snapshot = run.fleet.observer().now();
        assert!(snapshot.is(committee_condition::AVAILABLE));
        assert_eq!(snapshot.members().len(), 7);
        assert!(snapshot.members().iter().all(|member| member.current.state == MemberState::Serving));
        run.fleet.delete().await?;
        Ok(())
    })
}

/// A pod is nothing: the next one has the same volume, and nobody rebuilds anything.
pub(crate) fn pod_deleted(theatre: &Theatre) -> Outcome {
    theatre.wait(async {
        let mut run = theatre.run("pod-deleted").await?;
        let before = run.fleet.observer().now().members()[0].clone();
        delete_pod(&run.fleet, &before).await?;
        let again = |member: &&MemberStatus| {
            let newer = member.id == before.id && member.current.attempt > before.current.attempt;
            newer && member.current.state == MemberState::Serving
        };
        let observer = run.fleet.observer();
        let waited = observer.wait("another pod, and Ready", LIMIT, |snapshot| {
            snapshot.members().iter().any(|member| again(&member)) && snapshot.is(committee_condition::READY)
        });
        let snapshot = or_dump(&run, waited.await).await?;
        let after = snapshot.members().iter().find(again).ok_or("the member is gone")?;
        let volume = |member: &MemberStatus| (member.current.number, member.current.volume_uid.clone());
        assert_eq!(volume(after), volume(&before));
        verify(&mut run).await?;
        assert_eq!(Counts::of(&run.meter).rebuilt, 0);
        run.fleet.delete().await?;
        Ok(())
    })
}

/// With its claim goes the volume: a new incarnation has a new one, and gets what the old one had.
pub(crate) fn volume_deleted(theatre: &Theatre) -> Outcome {
    theatre.wait(async {
        let mut run = theatre.run("volume-deleted").await?;
        let loss = Loss::member(&run.fleet.observer().now())?;
        let followed = lose(&run, &loss).await;
        or_dump(&run, followed).await?;
        replaced(&run, &loss);
        verify(&mut run).await?;
        mended(&run);
        run.fleet.delete().await?;
        Ok(())
    })
}

/// Silence past the deadline is a loss, and the worker comes back to a fleet that doesn't need it.
pub(crate) fn worker_dead(theatre: &Theatre) -> Outcome {
    theatre.wait(async {
        let mut run = theatre.run("worker-dead").await?;
        let loss = Loss::choose(&run.fleet).await?;
        let followed = lose(&run, &loss).await;
        or_dump(&run, followed).await?;
        assert!(run.milestones().noticed.is_some_and(|noticed| noticed < Duration::from_secs(60)));
        // Silence counts from the first call that failed, so never from before the cut.
        assert!(run.milestones().lost.is_some_and(|lost| lost >= Duration::from_secs(30)));
        replaced(&run, &loss);
        verify(&mut run).await?;
        mended(&run);
        restore(&run, &loss).await?;
        run.fleet.delete().await?;
        Ok(())
    })
}

/// `make demo`, in small.
pub(crate) fn demonstration(theatre: &Theatre) -> Outcome {
    theatre.wait(async {
        let run = theatre.run("demonstration").await?;
        let (run, report) = run.lose().await?;
        println!("{report}");
        assert_eq!(report.broken(), Vec::<String>::new());
        run.fleet.delete().await?;
        Ok(())
    })
}

/// Takes something away and waits until the fleet is whole again, with other members.
async fn lose(run: &Run, loss: &Loss) -> Result<(), DemoError> {
    run.expect(loss);
    loss.strike(&run.fleet).await?;
    run.reach("custody", |milestones| milestones.custody).await?;
    run.reach("full redundancy", |milestones| milestones.whole).await?;
    run.reach("a new epoch", |milestones| milestones.committed).await?;
    run.reach("Ready", |milestones| milestones.ready).await?;
    Ok(())
}

/// Every victim has another incarnation on another volume.
fn replaced(run: &Run, loss: &Loss) {
    let snapshot = run.fleet.observer().now();
    for victim in &loss.members {
        let member = snapshot.members().iter().find(|member| member.id == victim.id).expect("the member");
        assert!(member.current.number > victim.current.number, "{member:?}");
        assert_ne!(member.current.volume_uid, victim.current.volume_uid);
    }
}

/// What was rebuilt took no more than what was lost.
fn mended(run: &Run) {
    let counts = Counts::of(&run.meter);
    let ratio = counts.ratio().expect("something was rebuilt");
    assert!(ratio <= MOST_MOVED, "{ratio}: {counts:?}");
}

/// All bytes come back.
async fn verify(run: &mut Run) -> Outcome {
    let wrong = compare(&run.fleet, &run.gateway, &run.stored).await;
    assert_eq!(wrong, Vec::<String>::new());
    run.meter.update(&run.fleet).await?;
    Ok(())
}

/// Gives the next scenario its worker back.
async fn restore(run: &Run, loss: &Loss) -> Result<(), DemoError> {
    let Some((worker, _)) = loss.worker else { return Ok(()) };
    run.fleet.stage().with_cluster(move |cluster| cluster.restore(worker)).await
}

async fn or_dump<T>(run: &Run, outcome: Result<T, DemoError>) -> Result<T, DemoError> {
    if outcome.is_err() {
        run.fleet.dump().await;
    }
    outcome
}
