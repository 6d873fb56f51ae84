//! A member whose slivers were deleted behind its back is found by its peers' challenges, and replaced (R28, R29).

use std::env;
use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::Api;
use weft_crds::{Accusation, MemberState, MemberStatus};
use weft_e2e::demo::{DemoError, Run, Snapshot, compare, delete_pod};

use crate::cookbook::follow;
use crate::settle::{LIMIT, is_balanced, kubectl, member, only_members_claims, patch, pause, resume, settled};
use crate::theatre::Outcome;

const CHEATER: u32 = 3;
/// Silence shall have nothing to do with it: the member is soon back.
const CHALLENGED: &str = r#"{"spec": {"challenges": {"interval": "10s"}, "repair": {"unreachableAfter": "10m"}}}"#;

/// It answers, and serves by its own word; nobody but its challengers can know better.
pub(crate) async fn found(run: &Run) -> Outcome {
    patch(run, CHALLENGED).await?;
    let before = settled(run, "a fleet at rest", |_| true).await?;
    let cheater = member(&before, CHEATER).ok_or("the member")?.clone();
    forget(run, &cheater).await?;

    let observer = run.fleet.observer();
    let faulty = observer.wait("a member found Faulty", LIMIT, |now| {
        let state = member(now, CHEATER).map(|member| (member.current.number, member.current.state));
        state == Some((cheater.current.number, MemberState::Faulty)) && !evidence(now).is_empty()
    });
    let faulty = faulty.await?;
    for accusation in evidence(&faulty) {
        assert_eq!(accusation.member, CHEATER, "nobody else is accused");
        assert!(!accusation.blob.is_empty() && !accusation.evidence.is_empty(), "{accusation:?}");
    }
    let custody = observer.wait("custody of its shards", LIMIT, |now| {
        let seated = |view: &weft_crds::View| {
            view.members.iter().any(|one| (one.id, one.incarnation) == (CHEATER, cheater.current.number))
        };
        now.view().is_some_and(|view| !seated(view))
    });
    custody.await?;
    let fresh = |now: &Snapshot| {
        member(now, CHEATER).is_some_and(|member| member.current.volume_uid != cheater.current.volume_uid)
    };
    follow(run, "a cheater is replaced", &before, &[CHEATER], fresh).await?;
    assert!(is_balanced(&observer.now()));
    assert_eq!(compare(&run.fleet, &run.gateway, &run.stored).await, Vec::<String>::new());
    only_members_claims(run).await
}

/// Takes the slivers off the member's volume while nothing has it open, and the operator only watches.
async fn forget(run: &Run, cheater: &MemberStatus) -> Outcome {
    pause(run).await?;
    delete_pod(&run.fleet, cheater).await?;
    let pod = format!("pod/{}", cheater.pod.as_deref().ok_or("a pod")?);
    kubectl(run, &["wait", "--for=delete", &pod, &format!("--timeout={}s", LIMIT.as_secs())]).await?;

    let (program, volume) = (example("forget")?, volume(run, cheater).await?);
    let output = tokio::task::spawn_blocking(move || Command::new(program).arg(volume).output()).await??;
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    println!("behind member {CHEATER}'s back: {}", told.trim());
    assert!(!told.starts_with("0 "), "{told}");
    resume(run).await
}

/// An example of this workspace, which `cargo test --workspace` builds beside the tests; `cargo build --workspace --examples`
/// does it alone.
fn example(name: &str) -> Result<PathBuf, Box<dyn Error>> {
    let tests = env::current_exe()?;
    let built = tests.ancestors().nth(2).ok_or("the folder of the tests")?.join("examples").join(name);
    if built.is_file() { Ok(built) } else { Err(format!("{} isn't built", built.display()).into()) }
}

/// The folder on this machine that a member's volume is.
async fn volume(run: &Run, member: &MemberStatus) -> Result<PathBuf, Box<dyn Error>> {
    let claims = Api::<PersistentVolumeClaim>::namespaced(run.fleet.stage().client().clone(), run.fleet.namespace());
    let claim = claims.get(member.claim.as_deref().ok_or("a claim")?).await?;
    let volume = claim.spec.and_then(|spec| spec.volume_name).ok_or("a volume")?;
    let node = member.current.node.clone().ok_or("a Node")?;
    let volumes = run
        .fleet
        .stage()
        .with_cluster(move |cluster| cluster.worker_of_node(&node).map(|worker| cluster.volumes(worker)).transpose());
    let volumes = volumes.await?.ok_or_else(|| DemoError::Unfit("the member is on none of the workers".to_owned()))?;
    let folders = fs::read_dir(volumes)?.collect::<Result<Vec<_>, _>>()?;
    let named = folders.iter().find(|folder| folder.file_name().to_string_lossy().starts_with(&volume));
    Ok(named.ok_or("the volume's folder")?.path())
}

fn evidence(snapshot: &Snapshot) -> &[Accusation] {
    snapshot.status().map_or(&[], |status| &status.accusations)
}
