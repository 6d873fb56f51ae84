//! A fleet at rest: its operator writes nothing but its Lease, by the API server's own notes; and it doesn't notice when its
//! operator is uninstalled and installed again.

use std::{
    fs,
    time::{Duration, Instant},
};

use serde::Deserialize;
use weft_e2e::{
    Cluster,
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

/// A write, as the API server notes it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Write {
    verb: String,
    object_ref: Object,
}

#[derive(Debug, Deserialize)]
struct Object {
    resource: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    name: String,
}

impl Write {
    fn told(&self) -> String {
        let Self { verb, object_ref: Object { resource, namespace, name } } = self;
        format!("{verb} {resource} {namespace}/{name}")
    }
}

/// All that the operator has written: of its Lease, and of everything else.
fn written(cluster: &Cluster) -> Result<(usize, Vec<String>), Box<dyn std::error::Error>> {
    let notes = fs::read_to_string(cluster.audit_log())?;
    // The last line may be half written.
    let lines = notes.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let writes = lines.map(serde_json::from_str::<Write>).collect::<Result<Vec<_>, _>>()?;
    let (leases, others): (Vec<_>, Vec<_>) = writes.iter().partition(|write| write.object_ref.resource == "leases");
    Ok((leases.len(), others.into_iter().map(Write::told).collect()))
}

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
    let cluster = run.fleet.stage().cluster().ok_or("a cluster of this machine's own")?;
    let (limit, mut before) = (Instant::now() + LIMIT, written(cluster)?);
    assert!(!before.1.is_empty(), "what made the fleet was noted");
    let mut since = Instant::now();
    while since.elapsed() < DONE {
        assert!(Instant::now() < limit, "the operator goes on writing: {:?}", before.1.last());
        tokio::time::sleep(LOOK).await;
        let now = written(cluster)?;
        if now.1 != before.1 {
            since = Instant::now();
        }
        before = now;
    }
    let until = Instant::now() + WATCHED;
    while Instant::now() < until {
        tokio::time::sleep(LOOK).await;
        assert_eq!(written(cluster)?.1[before.1.len()..], [] as [String; 0], "a fleet at rest is written of");
    }
    let renewed = written(cluster)?.0 - before.0;
    println!("in {} s the Lease was renewed {renewed} times, and nothing else written", WATCHED.as_secs());
    assert!(renewed > 0, "the operator was there");
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
