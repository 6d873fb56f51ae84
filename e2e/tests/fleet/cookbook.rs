//! The chaos cookbook, section by section: its commands as they stand on the page, and what must come of them.

use std::collections::BTreeSet;

use weft_crds::{EpochPhase, MemberState, committee_condition};
use weft_e2e::demo::{Counts, Loss, MOST_MOVED, Run, Scale, Snapshot};

use crate::load::under_load;
use crate::page::{blocks, find};
use crate::rollout::{self, restarted};
use crate::settle::{incarnations, is_balanced, member, only_members_claims, settled};
use crate::shell::Shell;
use crate::theatre::{Outcome, Theatre};
use crate::{adoption, degradation};

/// What must be true afterwards, besides a Ready committee with all its bytes, of what was before and what is.
type Came = fn(&Snapshot, &Snapshot) -> bool;
/// A section's title, the members that have a new incarnation afterwards, and what else must be true.
type Section = (&'static str, &'static [u32], Came);

/// Nothing is lost by these, so next to nothing is rebuilt.
const BLINKS: [Section; 4] = [
    ("A member's pod is deleted", &[], |before, after| attempt(after, 3) > attempt(before, 3)),
    ("A gateway's pod is deleted", &[], |before, after| !pods(after).is_superset(&pods(before))),
    ("The operator's pod is deleted", &[], |before, after| term(after) > term(before)),
    ("The Lease is deleted", &[], |before, after| term(after) > term(before)),
];
const LOSSES: [Section; 2] = [("A claim is deleted", &[3], |_, _| true), ("A volume is deleted", &[5], |_, _| true)];
/// Nobody is lost by these, and nothing is missing while they go on.
const CHANGES: [Section; 5] = [
    ("An epoch begins by hand", &[], |before, after| epoch(after) == epoch(before) + 1),
    ("The fleet grows", &[7], |_, after| after.members().len() == 8 && owners(after).eq(0..8)),
    ("The fleet shrinks", &[], |_, after| owners(after).eq(0..7)),
    ("A member is drained", &[], |_, after| {
        owners(after).eq([0, 1, 3, 4, 5, 6])
            && member(after, 2).is_some_and(|two| two.current.state == MemberState::Leaving)
    }),
    ("A member is replaced", &[2, 4], |_, after| owners(after).eq(0..7)),
];
const DRAINS: [Section; 3] = [
    ("A Node is cordoned", &[], |_, _| true),
    ("A Node is drained for a short time", &[], |before, after| attempt(after, 3) > attempt(before, 3)),
    // More would be away than the code bears, and writes would fail.
    ("Two Nodes are drained at the same time", &[], |before, after| (1..=2).contains(&restarted(before, after).len())),
];
const MACHINES: [&str; 2] =
    ["A machine is off, and its Node said to be out of service", "A machine is off, and its Node deleted"];

/// One pod, claim or volume after another; then up, down, drained, replaced.
pub(crate) fn losses_and_changes(theatre: &Theatre) -> Outcome {
    nothing_is_left_out();
    theatre.wait(async {
        let mut run = theatre.run("cookbook", Scale::SMALL).await?;
        let shell = Shell::of(&run)?;
        serves(&run.fleet.observer().now());
        shell.play(&find("", "look")).await?;
        under_load(&run, async { play(&run, &shell, &BLINKS).await }).await?;
        run.meter.update(&run.fleet).await?;
        let a_member = run.meter.level("weft_store_sliver_bytes") / 7;
        assert!(Counts::of(&run.meter).rebuilt < a_member / 2, "{:?}", Counts::of(&run.meter));

        under_load(&run, async { play(&run, &shell, &LOSSES).await }).await?;
        run.meter.update(&run.fleet).await?;
        let counts = Counts::of(&run.meter);
        let ratio = counts.ratio().expect("something was rebuilt");
        println!("moved / rebuilt {ratio:.3}: {counts:?}");
        assert!(ratio <= MOST_MOVED, "{ratio:.3}: {counts:?}");

        under_load(&run, async {
            change(&run, &shell).await?;
            assert!(is_balanced(&run.fleet.observer().now()));
            only_members_claims(&run).await
        })
        .await?;
        run.fleet.delete().await?;
        Ok(())
    })
}

/// Nodes are cordoned, drained, deleted and said to be out of service.
pub(crate) fn machines(theatre: &Theatre) -> Outcome {
    theatre.wait(async {
        let run = theatre.run("machines", Scale::SMALL).await?;
        let shell = Shell::of(&run)?;
        under_load(&run, async {
            play(&run, &shell, &DRAINS).await?;
            for title in MACHINES {
                lose_machine(&run, &shell, title).await?;
            }
            Ok(())
        })
        .await?;
        run.fleet.delete().await?;
        Ok(())
    })
}

async fn play(run: &Run, shell: &Shell, sections: &[Section]) -> Outcome {
    for (title, fresh, came) in sections {
        let before = run.fleet.observer().now();
        shell.play(&find(title, "")).await?;
        follow(run, title, &before, fresh, |now| came(&before, now)).await?;
    }
    Ok(())
}

/// Plays the changes, and watches that those who hold shards hold them until others do.
async fn change(run: &Run, shell: &Shell) -> Outcome {
    let (mut snapshots, mut shortest) = (run.fleet.observer().subscribe(), i32::MAX);
    let watch = async {
        while snapshots.changed().await.is_ok() {
            let now = snapshots.borrow_and_update().clone();
            let read = now.status().and_then(|status| status.margin).map_or(i32::MAX, |margin| margin.read);
            shortest = shortest.min(read);
            let lost =
                now.members().iter().find(|one| matches!(one.current.state, MemberState::Lost | MemberState::Faulty));
            assert_eq!(lost, None, "nobody was lost");
        }
        Err("the committee isn't watched any more".into())
    };
    tokio::select! {
        played = play(run, shell, &CHANGES) => played?,
        broken = watch => return broken,
    }
    println!("the read margin was never below {shortest}");
    Ok(())
}

/// Cuts a worker's power, does what the section says, and gives the worker back when the fleet is whole without it.
async fn lose_machine(run: &Run, shell: &Shell, title: &str) -> Outcome {
    let loss = Loss::choose(&run.fleet).await?;
    let (worker, node) = loss.worker.clone().ok_or("a worker to lose")?;
    let shell = shell.with_node(&node);
    let before = run.fleet.observer().now();
    loss.strike(&run.fleet).await?;
    shell.play(&find(title, "off")).await?;
    let fresh: Vec<u32> = loss.members.iter().map(|member| member.id).collect();
    follow(run, title, &before, &fresh, |_| true).await?;
    if let Some(block) = blocks().iter().find(|block| block.title == title && block.kind == "after") {
        shell.play(block).await?;
    }
    run.fleet.stage().with_cluster(move |cluster| cluster.restore(worker)).await?;
    settled(run, "the worker back", |_| true).await?;
    Ok(())
}

/// Waits until the committee is Ready with exactly these members' incarnations new.
pub(crate) async fn follow(
    run: &Run,
    title: &str,
    before: &Snapshot,
    fresh: &[u32],
    came: impl Fn(&Snapshot) -> bool,
) -> Outcome {
    let (known, fresh) = (incarnations(before), fresh.iter().copied().collect::<BTreeSet<_>>());
    let new = |now: &Snapshot| incarnations(now).difference(&known).map(|(id, _)| *id).collect::<BTreeSet<_>>();
    settled(run, title, |now| new(now) == fresh && came(now)).await?;
    println!("played: {title}");
    Ok(())
}

/// Each section of the page is played by one of the tables above, by the story of a fleet that degrades, by that of one
/// that restarts, or by that of one whose namespace goes.
fn nothing_is_left_out() {
    let tables = BLINKS.iter().chain(&LOSSES).chain(&CHANGES).chain(&DRAINS);
    let titles = tables.map(|(title, ..)| *title).chain(MACHINES);
    let played: BTreeSet<&str> = titles
        .chain([degradation::AWAY, degradation::GONE, rollout::RESOURCES, rollout::IMAGE, adoption::GOES, ""])
        .collect();
    let blocks = blocks();
    let written: BTreeSet<&str> = blocks.iter().map(|block| block.title.as_str()).collect();
    assert_eq!(written, played);
}

/// A committee as its spec wants it.
fn serves(snapshot: &Snapshot) {
    assert!(snapshot.is(committee_condition::AVAILABLE));
    assert_eq!(snapshot.members().len(), 7);
    assert!(snapshot.members().iter().all(|member| member.current.state == MemberState::Serving));
}

/// The number of a member's newest pod.
pub(crate) fn attempt(snapshot: &Snapshot, id: u32) -> Option<u32> {
    member(snapshot, id).map(|member| member.current.attempt)
}

fn pods(snapshot: &Snapshot) -> BTreeSet<String> {
    snapshot.component("gateway").filter_map(|pod| pod.metadata.name.clone()).collect()
}

pub(crate) fn term(snapshot: &Snapshot) -> Option<u64> {
    snapshot.status().and_then(|status| status.term)
}

/// The newest epoch that is in effect.
fn epoch(snapshot: &Snapshot) -> u64 {
    let open = |phase| matches!(phase, EpochPhase::Committed | EpochPhase::Retired);
    let numbers = snapshot.epochs.iter().filter(|epoch| epoch.status.as_ref().and_then(|s| s.phase).is_some_and(open));
    numbers.map(|epoch| epoch.spec.number).max().unwrap_or_default()
}

fn owners(snapshot: &Snapshot) -> impl Iterator<Item = u32> {
    snapshot.members().iter().filter(|member| !member.shards.is_empty()).map(|member| member.id)
}
