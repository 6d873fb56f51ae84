//! Members go away one after another, with their volumes intact, and come back; then more go than the code bears, for good.

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use weft_crds::{MemberStatus, committee_condition};
use weft_e2e::demo::{Run, Scale, Snapshot, Stored, compare};

use crate::cookbook::follow;
use crate::load::under_load;
use crate::page::find;
use crate::scenarios::or_dump;
use crate::settle::{LIMIT, is_balanced, margin, margins, patch, settled};
use crate::shell::Shell;
use crate::theatre::{Outcome, Theatre};

/// The sections of the page that are played here.
pub(crate) const AWAY: &str = "Members go one after another, and come back";
pub(crate) const GONE: &str = "More members are gone for good than the code bears";

/// Shards of each member of seven.
const SHARDS: i32 = 4;
/// A blob of at most 64 n bytes lies in its registry entry, which every member has.
const INLINE: u64 = 64 * 28;
const READERS: usize = 8;

/// Within f everything goes on; beyond it reads do, as far as the code reaches; beyond that nothing is answered wrong. Nobody
/// is given up for it, and what comes back is taken as it is. What is gone for good takes a person's word.
pub(crate) fn member_after_member(theatre: &Theatre) -> Outcome {
    theatre.wait(async {
        let run = theatre.run("degradation", Scale::SMALL).await?;
        let shell = Shell::of(&run)?;
        or_dump(&run, Box::pin(degrade(&run, &shell))).await?;
        or_dump(&run, Box::pin(give_up(&run, &shell))).await?;
        run.fleet.delete().await?;
        Ok(())
    })
}

async fn degrade(run: &Run, shell: &Shell) -> Outcome {
    patch(run, r#"{"spec": {"repair": {"unreachableAfter": "60s"}}}"#).await?;
    let before = settled(run, "all is well", |snapshot| margins(snapshot) == Some(margin(snapshot, 0))).await?;

    // Two members of seven are within f.
    under_load(run, async {
        shell.play(&find(AWAY, "")).await?;
        truth(run, shell, 2 * SHARDS).await
    })
    .await?;
    // Four are beyond it, and what is left has the data still.
    shell.play(&find(AWAY, "beyond")).await?;
    truth(run, shell, 4 * SHARDS).await?;
    let unknown = run.gateway.get(&"0".repeat(64)).await.expect_err("no such blob");
    assert!(unknown.starts_with("503"), "R10: {unknown}");
    let status = shell.run("kubectl weft status demo --now").await?;
    assert!(status.contains("2 of 18 shards to read, -7 of 9 to write"), "{status}");

    // So many silent at once aren't taken for lost, and the status says why.
    let waits = run.fleet.observer().wait("guesses that wait", LIMIT, |now| waiting(now).len() == 4).await?;
    assert!(!waits.is(committee_condition::AVAILABLE), "writes are refused");
    let plan = shell.run("kubectl weft plan demo").await?;
    for (target, by) in waiting(&waits) {
        assert!(by.contains("silent"), "{by}");
        assert!(plan.contains("DeclareLost") && plan.contains(&target), "{plan}");
    }

    // With less than k1 shards nothing can be rebuilt: errors, and no byte that is wrong.
    shell.play(&find(AWAY, "below")).await?;
    truth(run, shell, 5 * SHARDS).await?;

    shell.play(&find(AWAY, "back")).await?;
    let back = settled(run, "everybody back", |snapshot| margins(snapshot) == Some(margin(snapshot, 0))).await?;
    assert_eq!(who(&back), who(&before), "nobody was replaced");
    truth(run, shell, 0).await
}

/// Three of seven lose their volumes: that is more than f, and enough is left to read everything.
async fn give_up(run: &Run, shell: &Shell) -> Outcome {
    let before = run.fleet.observer().now();
    shell.play(&find(GONE, "")).await?;
    let stalled =
        run.fleet.observer().wait("a person's word being asked for", LIMIT, |now| stall(now).is_some()).await?;
    let message = stall(&stalled).unwrap_or_default();
    assert!(message.contains("weft recover --declare-lost 4-1,5-1,6-1"), "{message}");
    truth(run, shell, 3 * SHARDS).await?;

    shell.play(&find(GONE, "recover")).await?;
    // One epoch moves f shards at the most, and here that isn't enough.
    let whole = |now: &Snapshot| stall(now).is_none() && margins(now) == Some(margin(now, 0)) && is_balanced(now);
    follow(run, GONE, &before, &[4, 5, 6], whole).await?;
    truth(run, shell, 0).await
}

/// Waits until the status says that so many shards are away, and no other number; then what it says must be what there is:
/// `blob stat` counts the same, everything can be read if the read margin isn't negative, and a put is answered if the write
/// margin isn't. No byte is wrong in any case.
async fn truth(run: &Run, shell: &Shell, away: i32) -> Outcome {
    let observer = run.fleet.observer();
    let told = |snapshot: &Snapshot| margins(snapshot) == Some(margin(snapshot, away));
    let snapshot = observer.wait(&format!("margins without {away} shards"), LIMIT, told).await?;
    let margin = margin(&snapshot, away);
    let version = snapshot.committee.as_ref().and_then(|committee| committee.metadata.resource_version.as_deref());
    let put = run.gateway.put(format!("a put at {version:?}"), Bytes::from_static(b"a put")).await;
    match put {
        Ok(_) => assert!(margin.write >= 0, "a put is answered, and {margin:?}"),
        Err(kind) => {
            assert!(margin.write < 0, "{kind}, and {margin:?}");
            assert!(kind.starts_with("503") || margin.read < 0, "a clear error: {kind}");
        }
    }
    if margin.read >= 0 {
        assert_eq!(compare(&run.fleet, &run.gateway, &run.stored).await, Vec::<String>::new());
        let longest = run.stored.iter().max_by_key(|blob| blob.length).ok_or("something stored")?;
        let stat = shell.json(&format!("kubectl weft blob stat {} --committee demo -o json", longest.id)).await?;
        assert_eq!(stat["margin"], margin.read, "{stat}");
        return Ok(());
    }
    let reads = stream::iter(&run.stored).map(|blob| refused_or_right(run, blob)).buffer_unordered(READERS);
    let refused = reads.filter(|refused| std::future::ready(*refused)).count().await;
    assert!(refused > 0, "nothing could be read that isn't inline");
    Ok(())
}

/// Whether a read is refused, as it must be where the blob isn't in its registry entry.
async fn refused_or_right(run: &Run, blob: &Stored) -> bool {
    match run.gateway.get(&blob.id).await {
        Ok(bytes) => {
            assert!(blob.length <= INLINE && blake3::hash(&bytes) == blob.hash, "{blob:?}: {} bytes", bytes.len());
            false
        }
        Err(_) => true,
    }
}

/// Whom the operator would call lost, and what holds it back.
fn waiting(snapshot: &Snapshot) -> Vec<(String, String)> {
    let plan = snapshot.status().map_or(&[][..], |status| &status.plan);
    let guesses = plan.iter().filter(|planned| planned.act == "DeclareLost");
    guesses.filter_map(|planned| Some((planned.target.clone(), planned.withheld_by.clone()?))).collect()
}

/// What the condition says that asks for a person.
fn stall(snapshot: &Snapshot) -> Option<String> {
    let conditions = &snapshot.status()?.conditions;
    let stalled = conditions.iter().find(|found| found.type_ == committee_condition::STALLED)?;
    (stalled.status == "True" && stalled.reason == "BeyondFaultTolerance").then(|| stalled.message.clone())
}

fn who(snapshot: &Snapshot) -> Vec<(u32, u32, Option<String>)> {
    let of = |member: &MemberStatus| (member.id, member.current.number, member.current.volume_uid.clone());
    snapshot.members().iter().map(of).collect()
}
