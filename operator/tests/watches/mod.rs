//! Missed events are harmless (RELIABILITY 12): with watches that are silent, out of date or torn, a fleet begins and mends a
//! loss, once, as with whole ones; only later: what no watch tells is read after ten minutes at the latest.

use std::{collections::BTreeSet, error::Error, sync::Arc, time::Duration};

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::{ResourceExt, client::ClientBuilder};
use tokio::task::JoinSet;
use weft_crds::StorageCommitteeStatus;
use weft_operator::controller;

use crate::{
    Bench, Outcome, config,
    stage::take_away,
    story::{COMMITTEE, SPEC, Story, has_mended_two, position, serves},
    wire::{Through, Watching, Wire},
};

/// For a status to come about: of what no watch tells, the operator hears when it looks again.
const PATIENCE: Duration = Duration::from_secs(240);

/// Between two turns of Kubernetes', and how much more than that passes for the operator.
const TURN: Duration = Duration::from_millis(200);
const SKIPPED: Duration = Duration::from_secs(1);

/// A whole operator, and Kubernetes in turns of its own.
pub(crate) struct Alive {
    pub(crate) story: Story,
    _operator: JoinSet<()>,
}

impl Alive {
    pub(crate) async fn begin(bench: &Bench, watching: Watching, namespace: &str) -> Result<Self, Box<dyn Error>> {
        let story = Story::begin(bench, namespace, None).await?;
        let namespace = namespace.to_owned();
        story.bench.apply(COMMITTEE, SPEC).await?;
        let through = Through { wire: Wire::watching(watching) };
        let client = ClientBuilder::try_from(config(&bench.server).await?)?.with_layer(&through).build();
        let context = Arc::new(crate::operator(client.clone(), story.fleet.clone()));
        let (_, nodes) = controller::stores(&client);
        let mut operator = JoinSet::new();
        operator.spawn(async move { controller::run(context, client, Some(&namespace), nodes).await });
        Ok(Self { story, _operator: operator })
    }

    pub(crate) async fn until(
        &self,
        what: &str,
        wanted: impl Fn(&StorageCommitteeStatus) -> bool,
    ) -> Result<StorageCommitteeStatus, Box<dyn Error>> {
        let mut told = StorageCommitteeStatus::default();
        let waited = tokio::time::timeout(PATIENCE, async {
            loop {
                self.story.fleet.advance(SKIPPED);
                told = self.story.kubernetes().await?;
                if wanted(&told) {
                    return Ok::<_, Box<dyn Error>>(());
                }
                tokio::time::sleep(TURN).await;
            }
        });
        match waited.await {
            Ok(result) => result.map(|()| told),
            Err(_) => Err(format!("never {what}: {}", serde_yaml::to_string(&told)?).into()),
        }
    }

    /// Waits until these claims are left, and the first pod of each. An operator that is quicker than the one who takes away a
    /// pod and then its claim has made the pod again, and finds out later that it has no use.
    async fn has(&self, claims: &BTreeSet<String>) -> Outcome {
        let bench = &self.story.bench;
        let pods: BTreeSet<String> = claims.iter().map(|claim| format!("{claim}-1")).collect();
        let mut seen = (BTreeSet::new(), BTreeSet::new());
        let waited = tokio::time::timeout(PATIENCE, async {
            while (&seen.0, &seen.1) != (claims, &pods) {
                self.story.fleet.advance(SKIPPED);
                self.story.kubernetes().await?;
                tokio::time::sleep(TURN).await;
                seen = (names(&bench.list::<PersistentVolumeClaim>().await?), names(&bench.list::<Pod>().await?));
            }
            Ok::<_, Box<dyn Error>>(())
        });
        match waited.await {
            Ok(result) => result,
            Err(_) => Err(format!("it never has {claims:?} and a pod of each alone: {seen:?}").into()),
        }
    }
}

fn names<K: ResourceExt>(objects: &[K]) -> BTreeSet<String> {
    objects.iter().map(K::name_any).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_that_lose_everything_cost_time_and_nothing_else() -> Outcome {
    let bench = Bench::shared("watches-that-lose-everything-cost-time-and").await?;
    let live = async |watching: Watching| -> Outcome {
        let wrong = |error: Box<dyn Error>| format!("with watches {watching:?}: {error}");
        let namespace = format!("{watching:?}").to_lowercase();
        let alive = Alive::begin(&bench, watching, &namespace).await.map_err(wrong)?;
        alive.until("begun", |status| serves(status, 7) && position(status) == Some((1, 0))).await.map_err(wrong)?;
        take_away(&alive.story.bench, 2).await.map_err(wrong)?;
        let mended = alive.until("mended", |status| has_mended_two(status) && status.destroying.is_empty());
        let status = mended.await.map_err(wrong)?;
        let claims: BTreeSet<String> =
            status.members.iter().map(|member| format!("demo-{}-{}", member.id, member.current.number)).collect();
        alive.has(&claims).await.map_err(wrong)?;
        Ok(())
    };
    let all = [Watching::Whole, Watching::Deaf, Watching::DeafToTheRest, Watching::Expired, Watching::Torn];
    stream::iter(all).map(live).buffer_unordered(all.len()).try_collect::<Vec<()>>().await?;
    Ok(())
}
