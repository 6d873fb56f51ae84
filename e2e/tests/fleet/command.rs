//! `kubectl weft` against a running fleet: what it says is what there is.

use serde_json::{Value, json};
use weft_crds::Margin;
use weft_e2e::demo::Run;

use crate::settle::{code, margin, margins, pause, resume, settled};
use crate::shell::Shell;
use crate::theatre::Outcome;

/// A fleet at rest, told by each of the commands.
pub(crate) async fn looks(run: &Run, shell: &Shell) -> Outcome {
    settled(run, "full margins", |snapshot| margins(snapshot) == Some(margin(snapshot, 0))).await?;
    status(run, shell).await?;
    plan(run, shell).await?;
    epochs(run, shell).await?;
    blob(run, shell).await
}

async fn status(run: &Run, shell: &Shell) -> Outcome {
    let snapshot = run.fleet.observer().now();
    let told = shell.run("kubectl weft status").await?;
    let members = snapshot.members();
    let all = members.len();
    assert!(told.starts_with(&format!("demo in {}: {all} of {all} members serve", run.fleet.namespace())), "{told}");
    assert!(told.contains("10 of 10 shards to read, 5 of 5 to write; survives 1 member"), "{told}");
    for member in members {
        let id = format!("{}-{}", member.id, member.current.number);
        let line = told.lines().find(|line| line.starts_with(&id)).ok_or("each member's line")?;
        let facts =
            [member.current.node.as_deref(), member.pod.as_deref(), member.current.zone.as_deref(), Some("Serving")];
        assert!(facts.into_iter().all(|fact| fact.is_some_and(|fact| line.contains(fact))), "{line}");
    }
    let json = shell.json("kubectl weft status demo -o json").await?;
    let Margin { read, write } = margin(&snapshot, 0);
    assert_eq!(json["margin"], json!({"read": read, "write": write}));
    assert_eq!(json["members"].as_array().map(Vec::len), Some(all));
    assert_eq!(json["fleetId"], json!(snapshot.status().and_then(|status| status.fleet_id.clone())));
    Ok(())
}

/// Paused, it says so; the operator then withholds everything, and says why.
async fn plan(run: &Run, shell: &Shell) -> Outcome {
    pause(run).await?;
    let told = shell.run("kubectl weft plan").await?;
    assert!(told.contains("paused") && told.contains("the operator only watches"), "{told}");
    let acts = shell.json("kubectl weft plan demo -o json").await?;
    assert_eq!((&acts[0]["act"], &acts[0]["withheldBy"]), (&json!("All"), &json!("spec.paused")));
    resume(run).await
}

/// A new epoch with the same owners costs one seal, and is committed when the command returns.
async fn epochs(run: &Run, shell: &Shell) -> Outcome {
    let made = shell.json("kubectl weft epoch advance --reason 'to see one' --wait -o json").await?;
    let number = made["spec"]["number"].as_u64().ok_or("a number")?;
    assert!(["Committed", "Retired"].map(Value::from).contains(&made["status"]["phase"]), "{made}");
    assert_eq!(made["status"]["moves"]["shards"], 0, "{made}");
    let (n, _) = code(&run.fleet.observer().now());
    let list = shell.json("kubectl weft epoch list -o json").await?;
    let numbers: Vec<Option<u64>> =
        list.as_array().ok_or("a list")?.iter().map(|e| e["spec"]["number"].as_u64()).collect();
    assert_eq!(numbers, (1..=number).map(Some).collect::<Vec<_>>());
    assert!(shell.run("kubectl weft epoch list").await?.contains("to see one"));
    let shown = shell.json(&format!("kubectl weft epoch show {number} -o json")).await?;
    assert_eq!(shown["status"]["owners"].as_array().map(Vec::len), Some(n as usize));
    let told = shell.run(&format!("kubectl weft epoch show {number}")).await?;
    assert!(told.contains("to see one") && told.contains("0 shards, 0 at least"), "{told}");
    settled(run, "the fleet at rest again", |_| true).await?;
    Ok(())
}

/// Each of its slivers is where the view says.
async fn blob(run: &Run, shell: &Shell) -> Outcome {
    let blob = run.stored.iter().max_by_key(|blob| blob.length).ok_or("something stored")?;
    let stat = shell.json(&format!("kubectl weft blob stat {} -o json", blob.id)).await?;
    let (n, f) = code(&run.fleet.observer().now());
    assert_eq!((&stat["length"], &stat["held"], &stat["margin"]), (&json!(blob.length), &json!(n), &json!(2 * f)));
    let snapshot = run.fleet.observer().now();
    for member in &snapshot.view().ok_or("a view")?.members {
        for shard in &member.shards {
            let told = &stat["shards"][usize::from(*shard)];
            let expected = json!({"shard": shard, "member": member.id, "incarnation": member.incarnation, "primary": true,
                "secondary": true, "error": null});
            assert_eq!(*told, expected);
        }
    }
    let told = shell.run(&format!("kubectl weft blob stat {}", blob.id)).await?;
    assert!(told.contains(&format!("{n} of {n} shards have all of it")), "{told}");
    Ok(())
}
