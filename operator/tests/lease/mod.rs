//! R4 on a real API server, with the operator's own processes: the Lease elects and fences nothing. Whoever leads
//! after it was deleted takes a new term, and who led before has ended.

use std::{process::Stdio, time::Duration};

use k8s_openapi::api::{coordination::v1::Lease, core::v1::Service};
use kube::{api::DeleteParams, runtime::wait::await_condition};
use tokio::process::{Child, Command};
use weft_crds::StorageCommittee;
use weft_e2e::{Port, Scenario};

use crate::{Bench, NAMESPACE, Outcome};

const LEASE: &str = "weft-operator";
/// A Lease runs for 15 s; the rest is for a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// The operator's program, standing by, which goes with this value.
async fn operator(bench: &Bench, name: &str) -> Result<Child, Box<dyn std::error::Error>> {
    let port = Port::hold()?;
    let admin = port.address();
    let program = env!("CARGO_BIN_EXE_weft-operator");
    let child = Command::new(program)
        .args(["run", "--node-image", "example.com/weft:1", "--namespace", NAMESPACE, "--name", name])
        .args(["--lease", LEASE, "--admin", &admin.to_string()])
        .env("KUBECONFIG", bench.server.kubeconfig())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let ready = async {
        let url = format!("http://{admin}/readyz");
        while !Command::new(program).args(["probe", &url]).stderr(Stdio::null()).status().await?.success() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Outcome::Ok(())
    };
    tokio::time::timeout(PATIENCE, ready).await??;
    Ok(child)
}

/// Takes the leader's Lease away: it must end, and not as one that was told to.
async fn depose(bench: &Bench, mut leader: Child) -> Outcome {
    bench.api::<Lease>().delete(LEASE, &DeleteParams::default()).await?;
    let ended = tokio::time::timeout(PATIENCE, leader.wait()).await??;
    assert!(!ended.success(), "{ended}");
    Ok(())
}

/// Waits until the Lease is held by one of that name.
async fn held_by(bench: &Bench, name: &str) -> Outcome {
    let is = |lease: Option<&Lease>| {
        let holder = lease.and_then(|lease| lease.spec.as_ref()?.holder_identity.clone());
        holder.as_deref() == Some(name)
    };
    tokio::time::timeout(PATIENCE, await_condition(bench.api::<Lease>(), LEASE, is)).await??;
    Ok(())
}

async fn term(bench: &Bench, term: u64) -> Outcome {
    let is = |committee: Option<&StorageCommittee>| {
        committee.and_then(|committee| committee.status.as_ref()?.term).is_some_and(|now| now >= term)
    };
    tokio::time::timeout(PATIENCE, await_condition(bench.api::<StorageCommittee>(), "demo", is)).await??;
    let status = bench.committee("demo").await?.status.ok_or("no status")?;
    assert_eq!(status.term, Some(term));
    Ok(())
}

async fn has_service(bench: &Bench) -> Outcome {
    let made = await_condition(bench.api::<Service>(), "demo-members", |service: Option<&Service>| service.is_some());
    tokio::time::timeout(PATIENCE, made).await??;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn r4_a_leader_whose_lease_is_deleted_ends_and_the_next_takes_a_new_term() -> Outcome {
    let scenario = Scenario::begins("r4_a_leader_whose_lease_is_deleted_ends_and_the_next_takes_a_new_term", &[25]);
    let bench = Bench::start().await?;
    bench.apply("demo", "").await?;
    let first = operator(&bench, "first").await?;
    held_by(&bench, "first").await?;
    term(&bench, 1).await?;

    // Who stands by makes the Lease anew.
    let second = operator(&bench, "second").await?;
    depose(&bench, first).await?;
    held_by(&bench, "second").await?;
    term(&bench, 2).await?;
    has_service(&bench).await?;

    // Nobody stands by: what the leader has left undone waits for the next one, under its own term.
    depose(&bench, second).await?;
    bench.api::<Service>().delete("demo-members", &DeleteParams::default()).await?;
    let status = bench.committee("demo").await?.status.ok_or("no status")?;
    assert_eq!(status.term, Some(2));
    let _third = operator(&bench, "third").await?;
    held_by(&bench, "third").await?;
    term(&bench, 3).await?;
    has_service(&bench).await?;
    scenario.ends();
    Ok(())
}
