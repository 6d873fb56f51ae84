//! What the API server tells of a committee, kept up to date by watches.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::events::v1::Event;
use kube::runtime::{WatchStreamExt as _, reflector, watcher};
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use weft_crds::names::{COMMITTEE, COMPONENT};
use weft_crds::{Epoch, MemberStatus, StorageCommittee, StorageCommitteeStatus, View};

use super::DemoError;
use super::story::Story;

/// A committee, its Epochs and its pods at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The committee; `None` before it is applied.
    pub committee: Option<Arc<StorageCommittee>>,
    /// Its Epochs, by number.
    pub epochs: Vec<Arc<Epoch>>,
    /// Its pods, by name.
    pub pods: Vec<Arc<Pod>>,
}

impl Snapshot {
    /// What the operator reports.
    pub fn status(&self) -> Option<&StorageCommitteeStatus> {
        self.committee.as_ref()?.status.as_ref()
    }

    /// Whether a condition of the committee is True at its generation.
    pub fn is(&self, condition: &str) -> bool {
        let generation = self.committee.as_ref().and_then(|committee| committee.metadata.generation);
        self.status().is_some_and(|status| {
            status.conditions.iter().any(|found| {
                found.type_ == condition && found.status == "True" && found.observed_generation == generation
            })
        })
    }

    /// Bytes of slivers that were copied and rebuilt for the Epochs.
    pub fn moved(&self) -> (u64, u64) {
        let moves = self.epochs.iter().filter_map(|epoch| epoch.status.as_ref()?.moves);
        moves.fold((0, 0), |(copied, rebuilt), moves| (copied + moves.copied, rebuilt + moves.rebuilt))
    }

    /// The newest view in effect: while one is being sealed, that is the one before it.
    pub fn view(&self) -> Option<&View> {
        let status = self.status()?;
        match &status.sealing {
            Some(sealing) => Some(&sealing.view),
            None => status.view.as_ref(),
        }
    }

    /// All members.
    pub fn members(&self) -> &[MemberStatus] {
        self.status().map_or(&[], |status| &status.members)
    }

    /// The pods of a component (`member` or `gateway`) that aren't going away.
    pub fn component<'a>(&'a self, component: &'a str) -> impl Iterator<Item = &'a Pod> {
        self.pods.iter().map(AsRef::as_ref).filter(move |pod| {
            pod.labels().get(COMPONENT).is_some_and(|found| found == component)
                && pod.metadata.deletion_timestamp.is_none()
        })
    }

    /// The names and addresses of the gateways that take requests.
    pub fn gateways(&self) -> Vec<(String, String)> {
        let ready = self.component("gateway").filter(|pod| is_ready(pod));
        ready.filter_map(|pod| Some((pod.name_any(), pod.status.as_ref()?.pod_ip.clone()?))).collect()
    }
}

/// The Node that a pod is bound to.
pub(crate) fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

/// Whether a pod says that it is ready.
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Watches one committee until it is dropped.
#[derive(Debug)]
pub struct Observer {
    snapshots: watch::Receiver<Snapshot>,
    tasks: [JoinHandle<()>; 2],
}

impl Observer {
    /// Begins to watch. What the operator and Kubernetes say of the committee in Events is told as it comes.
    pub fn begin(client: &Client, namespace: &str, committee: &str, story: &Story) -> Self {
        let (sender, snapshots) = watch::channel(Snapshot::default());
        let objects = tokio::spawn(objects(client.clone(), namespace.to_owned(), committee.to_owned(), sender));
        let events = tokio::spawn(events(client.clone(), namespace.to_owned(), story.clone()));
        Self { snapshots, tasks: [objects, events] }
    }

    /// The newest.
    pub fn now(&self) -> Snapshot {
        self.snapshots.borrow().clone()
    }

    /// A receiver of its own, for a task.
    pub fn subscribe(&self) -> watch::Receiver<Snapshot> {
        self.snapshots.clone()
    }

    /// Waits until `condition` holds.
    pub async fn wait(
        &self,
        what: &str,
        limit: Duration,
        mut condition: impl FnMut(&Snapshot) -> bool,
    ) -> Result<Snapshot, DemoError> {
        let mut snapshots = self.snapshots.clone();
        let waited = tokio::time::timeout(limit, snapshots.wait_for(|snapshot| condition(snapshot))).await;
        match waited {
            Ok(Ok(snapshot)) => Ok(snapshot.clone()),
            Ok(Err(_)) | Err(_) => Err(DemoError::Timeout { what: what.to_owned(), limit }),
        }
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn objects(client: Client, namespace: String, committee: String, sender: watch::Sender<Snapshot>) {
    let (committees, writer) = reflector::store::<StorageCommittee>();
    let api = Api::<StorageCommittee>::namespaced(client.clone(), &namespace);
    let config = watcher::Config::default().fields(&format!("metadata.name={committee}"));
    let first = reflector(writer, watcher(api, config)).default_backoff().touched_objects().map(drop).boxed();

    let (epochs, writer) = reflector::store::<Epoch>();
    let api = Api::<Epoch>::namespaced(client.clone(), &namespace);
    let config = watcher::Config::default().fields(&format!("spec.committee={committee}"));
    let second = reflector(writer, watcher(api, config)).default_backoff().touched_objects().map(drop).boxed();

    let (pods, writer) = reflector::store::<Pod>();
    let api = Api::<Pod>::namespaced(client, &namespace);
    let config = watcher::Config::default().labels(&format!("{COMMITTEE}={committee}"));
    let third = reflector(writer, watcher(api, config)).default_backoff().touched_objects().map(drop).boxed();

    let mut touched = futures::stream::select_all([first, second, third]);
    while touched.next().await.is_some() {
        let mut epochs = epochs.state();
        epochs.sort_by_key(|epoch| epoch.spec.number);
        let mut pods = pods.state();
        pods.sort_by_key(|pod| pod.name_any());
        let snapshot = Snapshot { committee: committees.state().into_iter().next(), epochs, pods };
        if sender.send(snapshot).is_err() {
            return;
        }
    }
}

/// Tells Events about committees and Epochs. Pods have too many to be a story.
async fn events(client: Client, namespace: String, story: Story) {
    let api = Api::<Event>::namespaced(client, &namespace);
    let mut events = watcher(api, watcher::Config::default()).default_backoff().applied_objects().boxed();
    // A repeated Event is the same object counted again, with the words of its first time.
    let mut told = HashSet::new();
    while let Some(event) = events.next().await {
        let Ok(event) = event else { continue };
        if !told.insert(event.uid()) {
            continue;
        }
        let about = event.regarding.as_ref().and_then(|regarding| regarding.kind.as_deref());
        if matches!(about, Some("StorageCommittee" | "Epoch")) {
            let reason = event.reason.unwrap_or_default();
            story.say(format!("  event {reason}: {}", event.note.unwrap_or_default()));
        }
    }
}
