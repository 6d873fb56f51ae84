//! Scheduler and provisioner in small: binds members' claims to volumes and their pods to Nodes, and knows which pod each
//! member has. Where a member goes is told by its number alone, so that its pods find its volume again.

use std::{
    collections::{HashMap, HashSet},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Binding, PersistentVolume, PersistentVolumeClaim, Pod, Secret};
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams, PostParams},
    runtime::{WatchStreamExt, watcher},
};
use serde_json::{Value, json};
use tokio::{
    sync::{Semaphore, oneshot},
    task::JoinSet,
};
use weft_operator::names;

use crate::{Failure, fleet::Fleet};

/// What KWOK's stages find a pod's address by.
const ADDRESS: &str = "bench.weft.dev/address";
/// Pods that are bound at a time.
const TOGETHER: usize = 16;
/// Tries for one pod, and the pause between them.
const TRIES: usize = 20;
const PAUSE: Duration = Duration::from_millis(500);

/// A member of a committee.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Seat {
    pub(crate) namespace: String,
    pub(crate) committee: String,
    pub(crate) member: u8,
}

impl Seat {
    fn of(pod: &Pod) -> Option<Self> {
        let label = |label| pod.labels().get(label);
        let member = label(names::MEMBER)?.parse().ok()?;
        Some(Self { namespace: pod.namespace()?, committee: label(names::COMMITTEE)?.clone(), member })
    }

    fn node<'n>(&self, nodes: &'n [String]) -> &'n str {
        let committee = self.namespace.bytes().chain(self.committee.bytes()).map(usize::from);
        let begins = committee.fold(0, |sum: usize, byte| sum.wrapping_mul(31).wrapping_add(byte));
        &nodes[begins.wrapping_add(usize::from(self.member)) % nodes.len()]
    }
}

/// Binds until it is dropped.
pub(crate) struct Binder {
    known: Arc<Known>,
    _watching: JoinSet<()>,
}

struct Known {
    client: Client,
    nodes: Vec<String>,
    fleet: Arc<Fleet>,
    slots: Semaphore,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The UIDs of pods that were seen.
    seen: HashSet<String>,
    /// The names of members' newest pods that are bound.
    pods: HashMap<Seat, String>,
    /// Who waits for a member's next pod to be made.
    awaited: HashMap<Seat, oneshot::Sender<Instant>>,
}

impl Binder {
    pub(crate) fn start(client: &Client, nodes: &[String], fleet: Arc<Fleet>) -> Self {
        let (slots, state) = (Semaphore::new(TOGETHER), Mutex::default());
        let known = Arc::new(Known { client: client.clone(), nodes: nodes.to_vec(), fleet, slots, state });
        let mut watching = JoinSet::new();
        watching.spawn(watch(Arc::clone(&known)));
        Self { known, _watching: watching }
    }

    /// The name of a member's pod, and when its next one was seen to be made; `None` while it has none, or is waited for.
    pub(crate) fn next_pod(&self, seat: &Seat) -> Option<(String, oneshot::Receiver<Instant>)> {
        let mut state = self.known.state();
        if state.awaited.contains_key(seat) {
            return None;
        }
        let name = state.pods.get(seat)?.clone();
        let (sender, made) = oneshot::channel();
        state.awaited.insert(seat.clone(), sender);
        Some((name, made))
    }

    /// How many pods were bound that are still there.
    pub(crate) fn bound(&self) -> usize {
        self.known.state().pods.len()
    }
}

async fn watch(known: Arc<Known>) {
    let members = format!("{}={}", names::COMPONENT, names::MEMBER_COMPONENT);
    let pods = Api::<Pod>::all(known.client.clone());
    let mut events = pin!(watcher(pods, watcher::Config::default().labels(&members)).default_backoff());
    let mut binding = JoinSet::new();
    while let Some(event) = events.next().await {
        while binding.try_join_next().is_some() {}
        match event {
            Ok(watcher::Event::Apply(pod) | watcher::Event::InitApply(pod)) => {
                if let Some(seat) = known.is_new(&pod) {
                    let known = Arc::clone(&known);
                    binding.spawn(async move { known.settle(&seat, &pod).await });
                }
            }
            Ok(watcher::Event::Delete(pod)) => known.forget(&pod),
            Ok(watcher::Event::Init | watcher::Event::InitDone) => {}
            Err(error) => eprintln!("the watch of pods failed, and goes on: {error}"),
        }
    }
}

impl Known {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose pod it is, the first time that it is seen.
    fn is_new(&self, pod: &Pod) -> Option<Seat> {
        let (at, seat) = (Instant::now(), Seat::of(pod)?);
        let mut state = self.state();
        if !state.seen.insert(pod.uid()?) {
            return None;
        }
        if let Some(awaited) = state.awaited.remove(&seat) {
            // Who waited may have given up.
            let _ = awaited.send(at);
        }
        pod.spec.as_ref()?.node_name.is_none().then_some(seat)
    }

    fn forget(&self, pod: &Pod) {
        if let Some(address) = pod.status.as_ref().and_then(|status| status.pod_ip.as_ref()?.parse().ok()) {
            self.fleet.end(address);
        }
        let mut state = self.state();
        if let Some(seat) = Seat::of(pod)
            && state.pods.get(&seat) == Some(&pod.name_any())
        {
            state.pods.remove(&seat);
        }
    }

    /// Binds a pod and its claim, and lets its member answer.
    async fn settle(&self, seat: &Seat, pod: &Pod) {
        let Ok(_slot) = self.slots.acquire().await else { return };
        let mut last = None;
        for _ in 0..TRIES {
            match self.bind(seat, pod).await {
                Ok(()) => return,
                Err(error) => last = Some(error),
            }
            tokio::time::sleep(PAUSE).await;
        }
        eprintln!("{} isn't bound: {}", pod.name_any(), last.map(|error| error.to_string()).unwrap_or_default());
    }

    async fn bind(&self, seat: &Seat, pod: &Pod) -> Result<(), Failure> {
        let (name, node) = (pod.name_any(), seat.node(&self.nodes));
        let volumes = || pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
        let claim =
            volumes().find_map(|volume| volume.persistent_volume_claim.as_ref()).ok_or("a pod without claim")?;
        self.provision(seat, &claim.claim_name, node).await?;
        let secret = volumes().find_map(|volume| volume.secret.as_ref()?.secret_name.clone()).ok_or("no Secret")?;
        let secret = self.api::<Secret>(seat).get(&secret).await?;
        let address = self.fleet.begin(seat, pod, &secret)?;
        self.state().pods.insert(seat.clone(), name.clone());
        let binding: Binding = serde_json::from_value(json!({
            "metadata": {"name": name, "uid": pod.uid(), "annotations": {ADDRESS: address}},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }))?;
        let _: Value =
            self.api::<Pod>(seat).create_subresource("binding", &name, &PostParams::default(), &binding).await?;
        Ok(())
    }

    /// Makes a volume on a Node for a claim that has none, and binds it, as a provisioner and Kubernetes do.
    async fn provision(&self, seat: &Seat, name: &str, node: &str) -> Result<(), Failure> {
        let claims = self.api::<PersistentVolumeClaim>(seat);
        let claim = claims.get(name).await?;
        if claim.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Bound")) {
            return Ok(());
        }
        let spec = claim.spec.as_ref().ok_or("a claim that asks for nothing")?;
        let asked = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref()?.get("storage"));
        let (uid, asked) = (claim.uid().ok_or("no UID")?, json!(asked.ok_or("a claim of no size")?));
        let volume_name = format!("pvc-{uid}");
        let here =
            json!([{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}]);
        let volume: PersistentVolume = serde_json::from_value(json!({
            "metadata": {"name": volume_name},
            "spec": {
                "capacity": {"storage": asked}, "accessModes": ["ReadWriteOnce"], "local": {"path": "/nowhere"},
                "nodeAffinity": {"required": {"nodeSelectorTerms": here}},
                "persistentVolumeReclaimPolicy": "Delete",
                "claimRef": {"kind": "PersistentVolumeClaim", "apiVersion": "v1", "namespace": seat.namespace,
                    "name": name, "uid": uid},
            },
        }))?;
        match Api::all(self.client.clone()).create(&PostParams::default(), &volume).await {
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            other => drop(other?),
        }
        let is_of = Patch::Merge(json!({"spec": {"volumeName": volume_name}}));
        claims.patch(name, &PatchParams::default(), &is_of).await?;
        let bound =
            json!({"status": {"phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": asked}}});
        claims.patch_status(name, &PatchParams::default(), &Patch::Merge(bound)).await?;
        Ok(())
    }

    fn api<K>(&self, seat: &Seat) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &seat.namespace)
    }
}
