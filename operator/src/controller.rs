//! Watches: what wakes a reconciliation, and what is kept of Nodes and volumes.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{Stream, StreamExt, stream};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod, Secret, Service},
    networking::v1::NetworkPolicy,
    policy::v1::PodDisruptionBudget,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    core::{DeserializeGuard, DynamicObject, NamespaceResourceScope},
    runtime::{
        WatchStreamExt,
        controller::{self, Action, Config, Controller},
        reflector::{self, ObjectRef, Store},
        watcher,
    },
};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use weft_crds::{Epoch, StorageCommittee};

use crate::{
    context::Context,
    lean::{Lean, lean},
    names,
    observe::{Facts, News, Stores},
    quiet,
    reconcile::{self, Next, ReconcileError},
    telemetry::Outcome,
};

/// One malformed object among many must be seen, and must not stop the watch.
type Guarded = Lean<DeserializeGuard<StorageCommittee>>;

/// Several events of one moment make one reconciliation.
const DEBOUNCE: Duration = Duration::from_millis(100);
const AFTER_CONFLICT: Duration = Duration::from_millis(300);
/// Longer each time from the third on, so that what nobody mends costs ever less.
const AFTER_ERROR: Duration = Duration::from_secs(3);
/// What a person must mend, or another leader does; and the longest pause.
const AFTER_REFUSAL: Duration = Duration::from_secs(30);
const CONCURRENCY: u16 = 16;
/// Changes of Nodes and volumes wake every committee, and no sooner again than this.
const MOMENT: Duration = Duration::from_secs(1);
/// Watches are asked for anew so often, in seconds: one whose connection is dead without a word is deaf no longer than that.
const WATCH: u32 = 60;

/// Keeps Nodes and volumes by watches, for as long as the process runs. The receiver changes whenever something does that a
/// plan may be made by.
pub fn stores(client: &Client) -> (Stores, watch::Receiver<()>) {
    let (changed, changes) = watch::channel(());
    let (changed, news) = (Arc::new(changed), News::default());
    let stores = Stores {
        nodes: keep::<Node>(client, Arc::clone(&changed), news.clone()),
        volumes: keep::<PersistentVolume>(client, changed, news.clone()),
        news,
    };
    (stores, changes)
}

fn keep<K>(client: &Client, changed: Arc<watch::Sender<()>>, news: News) -> Store<K>
where
    K: Facts + Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + Sync + 'static,
{
    let (reader, writer) = reflector::store();
    let events = watcher(Api::<K>::all(client.clone()), watching().any_semantic()).modify(lean);
    let kept = reflector::reflector(writer, events).default_backoff();
    let mut known = Known(HashMap::new());
    tokio::spawn(kept.for_each(move |event| {
        match event {
            Ok(event) if known.is_news(&event) => {
                news.add();
                changed.send_replace(());
            }
            Ok(_) => {}
            Err(error) => {
                let (kind, error) = (K::kind(&()), &error as &dyn std::error::Error);
                tracing::warn!(%kind, error, "a watch failed; it is tried again");
            }
        }
        futures::future::ready(())
    }));
    reader
}

/// What was told last of each object, by its name.
struct Known<F>(HashMap<String, F>);

impl<F: PartialEq> Known<F> {
    /// Whether an event changes what a plan may be made by: a Node's heartbeat would wake every committee.
    fn is_news<K: Facts<Facts = F> + ResourceExt>(&mut self, event: &watcher::Event<K>) -> bool {
        match event {
            watcher::Event::Apply(object) | watcher::Event::InitApply(object) => {
                let facts = object.facts();
                self.0.get(&object.name_any()) != Some(&facts) && {
                    self.0.insert(object.name_any(), facts);
                    true
                }
            }
            watcher::Event::Delete(object) => {
                self.0.remove(&object.name_any());
                true
            }
            // Whatever isn't listed any more was deleted meanwhile.
            watcher::Event::Init => false,
            watcher::Event::InitDone => true,
        }
    }
}

/// Reconciles the committees of one namespace, or of all, until the process ends.
pub async fn run(context: Arc<Context>, watches: Client, namespace: Option<&str>, nodes: watch::Receiver<()>) {
    let labelled = watching().labels(names::COMMITTEE).any_semantic();
    let committees = api::<Guarded>(&watches, namespace);
    let told = Arc::clone(&context);
    let controller = Controller::new(committees, watching().any_semantic())
        .with_config(Config::default().debounce(DEBOUNCE).concurrency(CONCURRENCY))
        .watches(api::<Pod>(&watches, namespace), labelled.clone(), telling(&context, of_label))
        .watches(api::<PersistentVolumeClaim>(&watches, namespace), labelled.clone(), telling(&context, of_label))
        .watches(api::<Secret>(&watches, namespace), labelled.clone(), telling(&context, of_label))
        .watches(api::<Service>(&watches, namespace), labelled.clone(), telling(&context, of_label))
        .watches(api::<Deployment>(&watches, namespace), labelled.clone(), telling(&context, of_label))
        .watches(api::<PodDisruptionBudget>(&watches, namespace), labelled.clone(), telling(&context, of_label))
        .watches(api::<DeserializeGuard<Epoch>>(&watches, namespace), watching(), telling(&context, of_epoch))
        .reconcile_all_on(ticks(nodes));
    // Where there shall be none, it may not have the right to watch them.
    let controller = match context.operators {
        Some(_) => controller.watches(api::<NetworkPolicy>(&watches, namespace), labelled, telling(&context, of_label)),
        None => controller,
    };
    controller
        .run(one, after_error, context)
        .for_each(|result| {
            if let Err(error) = result {
                match &error {
                    // What it hasn't told by now it may never tell: of deletes, for one.
                    controller::Error::QueueError(_) => told.stir_all(),
                    controller::Error::ObjectNotFound(gone) => {
                        let (told, gone) = (Arc::clone(&told), gone.clone());
                        tokio::spawn(async move { forget(&told, &gone).await });
                    }
                    _ => {}
                }
                let error = &error as &dyn std::error::Error;
                tracing::debug!(error, "a reconciliation or a watch failed");
            }
            futures::future::ready(())
        })
        .await;
}

fn watching() -> watcher::Config {
    watcher::Config::default().timeout(WATCH)
}

fn api<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

fn ticks(changes: watch::Receiver<()>) -> impl Stream<Item = ()> {
    let began = (changes, false);
    stream::unfold(began, |(mut changes, woke)| async move {
        if woke {
            tokio::time::sleep(MOMENT).await;
        }
        changes.changed().await.ok().map(|()| ((), (changes, true)))
    })
}

/// Forgets a committee that a watch doesn't know, if it is gone: what watches begin with may be out of date.
async fn forget(context: &Context, gone: &ObjectRef<DynamicObject>) {
    let (namespace, name) = (gone.namespace.as_deref().unwrap_or_default(), gone.name.as_str());
    if context.stirs(namespace, name).is_none() {
        return;
    }
    if let Err(error) = reconcile::reconcile(context, namespace, name).await {
        let cause = reconcile::chain(&error);
        tracing::debug!(committee = name, cause, "a committee that a watch doesn't know");
    }
}

/// Whose an event's object is, which is stirred by it.
fn telling<K>(
    context: &Arc<Context>,
    whose: impl Fn(K) -> Option<ObjectRef<Guarded>> + Send + Sync + 'static,
) -> impl Fn(K) -> Option<ObjectRef<Guarded>> + Send + Sync + 'static {
    let context = Arc::clone(context);
    move |object| {
        let found = whose(object)?;
        context.stir(found.namespace.as_deref().unwrap_or_default(), &found.name);
        Some(found)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "watches hand it over")]
fn of_label<K: ResourceExt>(object: K) -> Option<ObjectRef<Guarded>> {
    let committee = object.labels().get(names::COMMITTEE)?;
    Some(ObjectRef::new(committee).within(&object.namespace()?))
}

/// Nobody can tell whose a malformed Epoch is; rounds tell of it.
fn of_epoch(epoch: DeserializeGuard<Epoch>) -> Option<ObjectRef<Guarded>> {
    let namespace = epoch.namespace()?;
    Some(ObjectRef::new(&epoch.0.ok()?.spec.committee).within(&namespace))
}

async fn one(object: Arc<Guarded>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let began = Instant::now();
    let result = match &object.0.0 {
        Ok(committee) => quiet::look_after(&context, committee).await,
        Err(malformed) => Err(ReconcileError::Malformed(malformed.error.clone())),
    };
    let outcome = Outcome { outcome: if result.is_ok() { "ok" } else { "error" } };
    context.telemetry.reconciles.get_or_create(&outcome).inc();
    context.telemetry.reconcile_seconds.observe(began.elapsed().as_secs_f64());
    let next = result?;
    context.succeeded(object.namespace().as_deref().unwrap_or_default(), &object.name_any());
    Ok(match next {
        Next::After(time) => Action::requeue(time),
        Next::Change => Action::await_change(),
    })
}

#[expect(clippy::needless_pass_by_value, reason = "the controller hands it over")]
fn after_error(object: Arc<Guarded>, error: &ReconcileError, context: Arc<Context>) -> Action {
    let (name, cause) = (object.name_any(), reconcile::chain(error));
    let pause = match error {
        _ if error.is_conflict() => AFTER_CONFLICT,
        _ if error.is_namespace_ending() => AFTER_REFUSAL,
        ReconcileError::Term(_) | ReconcileError::Malformed(_) => AFTER_REFUSAL,
        _ => after_failures(context.failed(object.namespace().as_deref().unwrap_or_default(), &name)),
    };
    if error.is_conflict() || error.is_namespace_ending() {
        tracing::debug!(committee = name, cause, "there is nothing to do right now");
    } else {
        tracing::warn!(committee = name, cause, "a reconciliation failed; it is tried again");
    }
    Action::requeue(pause)
}

/// The pause after so many failures in a row.
fn after_failures(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(2).min(16);
    AFTER_ERROR.saturating_mul(1 << doublings).min(AFTER_REFUSAL)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use watcher::Event;

    use super::*;

    fn node(ready: &str, heartbeat: &str, more: &Value) -> Node {
        serde_json::from_value(json!({
            "metadata": {"name": "a", "labels": more["labels"], "resourceVersion": heartbeat},
            "spec": {"unschedulable": more["unschedulable"], "taints": more["taints"]},
            "status": {"conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T00:00:00Z",
                "lastHeartbeatTime": format!("2026-01-01T00:00:{heartbeat}Z")}]},
        }))
        .expect("a Node")
    }

    #[test]
    fn a_heartbeat_wakes_nobody_and_what_a_plan_is_made_by_does() {
        let mut known = Known(HashMap::new());
        assert!(known.is_news(&Event::Apply(node("True", "01", &json!({})))));
        assert!(!known.is_news(&Event::Apply(node("True", "02", &json!({})))));
        let changes = [
            node("Unknown", "02", &json!({})),
            node("True", "03", &json!({"unschedulable": true})),
            node("True", "04", &json!({"labels": {"topology.kubernetes.io/zone": "z"}})),
            node(
                "True",
                "05",
                &json!({"taints": [{"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}]}),
            ),
        ];
        for (at, changed) in changes.into_iter().enumerate() {
            assert!(known.is_news(&Event::Apply(changed.clone())), "change {at}");
            assert!(!known.is_news(&Event::Apply(changed)), "change {at}, told again");
        }
    }

    #[test]
    fn what_fails_again_and_again_is_tried_ever_less_often() {
        let pauses = [1, 2, 3, 4, 5, 6, u32::MAX].map(|failures| after_failures(failures).as_secs());
        assert_eq!(pauses, [3, 3, 6, 12, 24, 30, 30]);
    }

    /// Also one that is as it was told last.
    #[test]
    fn what_is_deleted_is_told() {
        let mut known = Known(HashMap::new());
        let node = node("True", "01", &json!({}));
        known.is_news(&Event::Apply(node.clone()));
        assert!(known.is_news(&Event::Delete(node.clone())));
        assert!(known.is_news(&Event::Apply(node.clone())));
        // A watch that begins anew lists all; what it doesn't list is gone.
        let anew = [Event::Init, Event::InitApply(node), Event::InitDone];
        assert_eq!(anew.map(|event| known.is_news(&event)), [false, false, true]);
    }
}
