//! Network policies, enforced: nothing else in the local cluster does it. A follower watches policies, pods and namespaces,
//! translates them, and writes the rules into the machines' firewalls: it is small, and knows all that a policy can say.
//!
//! A pod's packets pass the firewall of the machine that it is on (its network is routed, not bridged), after a Service's
//! address has become a pod's: both directions are judged there by the addresses of pods. So a pod is guarded a moment after
//! its address is known, and what it says before passes, as with other engines that don't hold pods back.

mod blocks;
mod firewall;
mod rules;
mod select;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::join3;
use futures::stream::{BoxStream, select_all};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::layout::Layout;
use super::{Cluster, ClusterError};
use crate::wait::Timeout;

use firewall::Firewall;
use rules::{Objects, Rules};

/// A machine that was restarted has a new firewall, which no watch tells.
const LOOK: Duration = Duration::from_secs(1);
/// What happens at once is translated at once.
const TOGETHER: usize = 1024;

/// Enforces the network policies of a local cluster until it is dropped. The rules that it wrote last stay.
#[derive(Debug)]
pub struct Enforcer {
    cluster: Arc<Cluster>,
    state: watch::Receiver<State>,
    task: JoinHandle<()>,
}

/// What the firewalls know.
#[derive(Clone, Debug, Default)]
struct State {
    guarded: BTreeSet<Ipv4Addr>,
    failed: Option<String>,
}

/// What was written last: into which firewall, and what.
#[derive(Debug, PartialEq, Eq)]
struct Written {
    firewall: u64,
    rules: Rules,
}

impl Enforcer {
    /// Begins to follow the cluster's objects, on the runtime of the caller.
    pub fn begin(client: &Client, cluster: Arc<Cluster>) -> Self {
        let (sender, state) = watch::channel(State::default());
        let task = tokio::spawn(follow(client.clone(), Arc::clone(&cluster), sender));
        Self { cluster, state, task }
    }

    /// Waits until `condition` holds of the addresses of all guarded pods: those of whom a policy says something, in
    /// either direction, and whose machine's firewall knows.
    pub async fn until(
        &self,
        what: &str,
        limit: Duration,
        mut condition: impl FnMut(&BTreeSet<Ipv4Addr>) -> bool,
    ) -> Result<(), ClusterError> {
        let mut state = self.state.clone();
        let holds = tokio::time::timeout(limit, state.wait_for(|state| condition(&state.guarded)));
        let holds = holds.await.is_ok_and(|held| held.is_ok());
        let last = self.state.borrow().failed.clone();
        if holds { Ok(()) } else { Err(Timeout { what: what.to_owned(), limit, last }.into()) }
    }

    /// How many packets a worker's firewall has denied by policies since it started; each that is denied would have begun
    /// something.
    pub fn denied(&self, worker: usize) -> Result<u64, ClusterError> {
        Firewall::of(&self.cluster.layout, worker).denied()
    }
}

impl Drop for Enforcer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Touched = BoxStream<'static, ()>;

fn kept<K>(client: &Client) -> (Store<K>, Touched)
where
    K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + Send + Sync + 'static,
    K: serde::de::DeserializeOwned,
{
    let (store, writer) = reflector::store::<K>();
    let events = watcher(Api::<K>::all(client.clone()), watcher::Config::default());
    let touched = reflector::reflector(writer, events).default_backoff().touched_objects().map(drop).boxed();
    (store, touched)
}

async fn follow(client: Client, cluster: Arc<Cluster>, sender: watch::Sender<State>) {
    let (policies, first) = kept::<NetworkPolicy>(&client);
    let (pods, second) = kept::<Pod>(&client);
    let (namespaces, third) = kept::<Namespace>(&client);
    let mut touched = select_all([first, second, third]).ready_chunks(TOGETHER);
    // A policy without the pods that it lets in would keep them out.
    let listed = join3(policies.wait_until_ready(), pods.wait_until_ready(), namespaces.wait_until_ready());
    let mut listed = std::pin::pin!(listed);
    loop {
        tokio::select! {
            _ = &mut listed => break,
            _ = touched.next() => {}
        }
    }
    let mut looks = tokio::time::interval(LOOK);
    let mut written = BTreeMap::new();
    loop {
        let objects = Objects { policies: policies.state(), pods: pods.state(), namespaces: namespaces.state() };
        let (cluster, before) = (Arc::clone(&cluster), written);
        let work = move || write(&cluster, &rules::translate(&objects), before);
        let Ok((after, failed)) = tokio::task::spawn_blocking(work).await else { return };
        written = after;
        let guarded = written.values().flat_map(|written| written.rules.guarded.iter().copied()).collect();
        if sender.send(State { guarded, failed }).is_err() {
            return;
        }
        tokio::select! {
            _ = looks.tick() => {}
            more = touched.next() => if more.is_none() { return },
        }
    }
}

/// Writes what isn't written yet. Gives what is, and the last failure; a machine that has no network now is looked at again.
fn write(
    cluster: &Cluster,
    wanted: &BTreeMap<String, Rules>,
    mut before: BTreeMap<usize, Written>,
) -> (BTreeMap<usize, Written>, Option<String>) {
    let (mut after, mut failed) = (BTreeMap::new(), None);
    for machine in cluster.layout.machines() {
        let firewall = Firewall::of(&cluster.layout, machine);
        let rules = wanted.get(&Layout::machine(machine)).cloned().unwrap_or_default();
        let Some(number) = firewall.number() else { continue };
        let before = before.remove(&machine).filter(|before| before.firewall == number);
        if before.as_ref().is_some_and(|before| before.rules == rules) {
            after.extend(before.map(|before| (machine, before)));
            continue;
        }
        match firewall.write(before.is_none(), &rules.lines) {
            Ok(()) => drop(after.insert(machine, Written { firewall: number, rules })),
            Err(error) => failed = Some(error.to_string()),
        }
    }
    (after, failed)
}
