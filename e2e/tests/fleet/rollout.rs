//! Members restart with another spec, under load; a bad one stops at the first of them, and is put right there.

use weft_crds::{MemberState, PlannedAct};
use weft_e2e::demo::{Run, Scale, Snapshot};

use crate::{
    cookbook::{attempt, follow},
    load::under_load,
    page::find,
    settle::LIMIT,
    shell::Shell,
    theatre::{Outcome, Theatre},
};

pub(crate) const RESOURCES: &str = "Members get other resources";
pub(crate) const IMAGE: &str = "An image can't be pulled";

pub(crate) fn one_after_another(theatre: &Theatre) -> Outcome {
    theatre.wait(async {
        let run = theatre.run("rollout", Scale::SMALL).await?;
        let shell = Shell::of(&run)?;
        under_load(&run, async {
            all_restart(&run, &shell).await?;
            stops_at_the_first(&run, &shell).await
        })
        .await?;
        run.fleet.delete().await?;
        Ok(())
    })
}

async fn all_restart(run: &Run, shell: &Shell) -> Outcome {
    let before = run.fleet.observer().now();
    shell.play(&find(RESOURCES, "")).await?;
    follow(run, RESOURCES, &before, &[], |now| restarted(&before, now).len() == 7).await
}

/// For longer than it takes to give a silent member up.
async fn stops_at_the_first(run: &Run, shell: &Shell) -> Outcome {
    let before = run.fleet.observer().now();
    shell.play(&find(IMAGE, "")).await?;
    let excused = |act: &PlannedAct| {
        act.act == "DeclareLost" && act.withheld_by.as_deref().is_some_and(|by| by.starts_with("rollout: "))
    };
    let stands = |now: &Snapshot| now.status().is_some_and(|status| status.plan.iter().any(excused));
    // Where names of hosts can't be looked up, it takes its time until it is known that there is no such image.
    let is_told = |now: &Snapshot| {
        let mut reasons = now.members().iter().filter_map(|member| member.current.reason.as_deref());
        stands(now) && reasons.any(|reason| reason.contains("Image"))
    };
    let now = run.fleet.observer().wait("a member that is silent for the spec's sake", LIMIT, is_told).await?;
    let away: Vec<u32> = restarted(&before, &now);
    assert_eq!(away.len(), 1, "only the first one has restarted");
    let others = now.members().iter().filter(|one| one.id != away[0]);
    assert!(others.clone().all(|one| one.current.state == MemberState::Serving), "{:?}", now.members());

    shell.play(&find(IMAGE, "right")).await?;
    follow(run, IMAGE, &before, &[], |now| restarted(&before, now) == away).await
}

/// Members that have a new pod.
pub(crate) fn restarted(before: &Snapshot, after: &Snapshot) -> Vec<u32> {
    let all = after.members().iter().map(|member| member.id);
    all.filter(|id| attempt(before, *id) != attempt(after, *id)).collect()
}
