//! What the API server refuses is told in its own words, and nothing is called progress that is refused whole.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, ResourceQuota};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;
use weft_crds::StorageCommitteeStatus;

use crate::{
    Bench, Outcome,
    stage::said,
    story::{LIMIT, Story, serves},
};

/// For the API server to hear of a quota.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_that_may_make_no_pod_makes_no_progress_and_says_why() -> Outcome {
    let bench = Bench::shared("a-fleet-that-may-make-no-pod").await?;
    let mut story = Story::begin(&bench, "may-make-no-pod", None).await?;
    story.is_born().await?;
    let quotas = story.bench.api::<ResourceQuota>();
    let quota: ResourceQuota =
        serde_json::from_value(json!({"metadata": {"name": "nothing-new"}, "spec": {"hard": {"pods": "0"}}}))?;
    quotas.create(&PostParams::default(), &quota).await?;
    // What the quota's controller would do.
    let hard = json!({"status": {"hard": {"pods": "0"}, "used": {"pods": "0"}}});
    quotas.patch_status("nothing-new", &PatchParams::default(), &Patch::Merge(hard)).await?;
    tokio::time::timeout(PATIENCE, counts(&story.bench)).await??;
    story.bench.api::<Pod>().delete("demo-3-1-1", &DeleteParams::default()).await?;

    let mut told = StorageCommitteeStatus::default();
    for _ in 0..LIMIT {
        told = story.round().await?;
        if said(&told, "Stalled").is_some_and(|(status, ..)| status == "True") {
            break;
        }
    }
    let (stalled, progressing) = (said(&told, "Stalled"), said(&told, "Progressing"));
    let words = "exceeded quota: nothing-new";
    assert!(stalled.is_some_and(|(_, reason, message)| reason == "Refused" && message.contains(words)), "{told:?}");
    assert!(progressing.is_some_and(|(status, reason, _)| (status, reason) == ("False", "Refused")), "{told:?}");

    quotas.delete("nothing-new", &DeleteParams::default()).await?;
    story.rests("whole again", |status| serves(status, 7)).await?;
    Ok(())
}

/// Waits until the quota counts: until a pod would be refused.
async fn counts(bench: &Bench) -> Result<(), kube::Error> {
    let spec = json!({"containers": [{"name": "any", "image": "example.com/any"}]});
    let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "any"}, "spec": spec})).expect("a pod");
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    loop {
        match bench.api::<Pod>().create(&dry, &pod).await {
            Err(kube::Error::Api(refused)) if refused.code == 403 => return Ok(()),
            Err(error) => return Err(error),
            Ok(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
