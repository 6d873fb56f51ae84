//! A whole cluster on one host: a machine for the control plane and as many workers as asked for.

mod addons;
mod cgroup;
mod control;
mod daemon;
mod disks;
mod error;
mod growth;
mod layout;
mod leftovers;
mod loops;
mod machine;
mod network;
mod pods;
#[cfg(feature = "demo")]
mod policies;
mod run;
mod shell;
mod state;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use addons::Images;
use cgroup::Cgroups;
pub use disks::Disks;
pub use error::ClusterError;
use layout::{CONTROL, Layout, MOST_WORKERS};
pub use leftovers::Leftover;
use machine::Machine;
pub use network::Isolation;
pub use pods::{InterfaceCounters, connect_from};
#[cfg(feature = "demo")]
pub use policies::Enforcer;
pub use run::RunId;

use crate::audit::AuditLog;
use crate::kubectl::Kubectl;
use crate::parts::Parts;

/// What a cluster is to be like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// Lower-case letters and digits. Clusters of different names run side by side.
    pub name: String,
    /// How many workers; each is a zone of its own, `zone-1` and so on.
    pub workers: usize,
    /// Seconds of silence after which a Node is not Ready. Kubernetes' own default is 50.
    pub node_monitor_grace: u32,
    /// Where the machines' disks are.
    #[serde(default)]
    pub disks: Disks,
}

impl Default for Options {
    fn default() -> Self {
        Self { name: "local".to_owned(), workers: 4, node_monitor_grace: 50, disks: Disks::OfHost }
    }
}

/// A cluster that is up. Dropping this leaves it up: [`Cluster::down`] ends it, from any process.
#[derive(Debug)]
pub struct Cluster {
    options: Options,
    layout: Layout,
    cgroups: Cgroups,
    parts: Parts,
    kubectl: Kubectl,
}

impl Cluster {
    /// Starts a cluster and waits until all its Nodes are Ready, and DNS and the provisioner available. What a cluster of that
    /// name had before is ended first. Needs root. A failure leaves nothing behind.
    pub fn up(options: &Options) -> Result<Self, ClusterError> {
        Layout::check_name(&options.name)?;
        if !(1..=MOST_WORKERS).contains(&options.workers) {
            return Err(ClusterError::Workers { workers: options.workers, most: MOST_WORKERS });
        }
        if !rustix::process::geteuid().is_root() {
            return Err(ClusterError::Unsupported {
                what: "it takes root, for namespaces and control groups".to_owned(),
            });
        }
        Self::down(&options.name)?;
        let cluster = Self::create(options).and_then(|cluster| cluster.start().map(|()| cluster));
        if cluster.is_err() {
            Self::down(&options.name)?;
        }
        cluster
    }

    /// The cluster of that name, which another process may have started.
    pub fn find(name: &str) -> Result<Self, ClusterError> {
        Layout::check_name(name)?;
        let state = state::read(name)?.ok_or_else(|| ClusterError::NotUp { name: name.to_owned() })?;
        let layout = state::layout(&state, state::clusters()?.join(name));
        Self::new(state.options, layout)
    }

    /// Ends the cluster of that name, whatever is left of it: processes, namespaces, devices, mounts, control groups, disks.
    pub fn down(name: &str) -> Result<(), ClusterError> {
        Layout::check_name(name)?;
        let cgroups = Cgroups::detect()?;
        let group = layout::cluster_cgroup(name);
        cgroups.kill(&group)?;
        network::remove(name)?;
        cgroups.remove(&group)?;
        let folder = state::clusters()?.join(name);
        loops::detach(&folder)?;
        disks::take_out(&folder)?;
        machine::empty(&folder)
    }

    /// What is on this host of one cluster, or of all: nothing, once they are down.
    pub fn leftovers(name: Option<&str>) -> Result<Vec<Leftover>, ClusterError> {
        leftovers::find(name)
    }

    /// The names of the clusters that were started and not ended.
    pub fn names() -> Result<Vec<String>, ClusterError> {
        state::names()
    }

    /// The names of the clusters that a run started: those whose record says so, and those that carry its name, whatever is
    /// left of them.
    pub fn names_of(run: &RunId) -> Result<Vec<String>, ClusterError> {
        let mut names = Vec::new();
        for name in leftovers::known(&Cgroups::detect()?)? {
            if run.names(&name) || state::read(&name)?.is_some_and(|state| state.run.as_ref() == Some(run)) {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Whether its API answers.
    pub fn is_ready(&self) -> bool {
        self.kubectl.run(&["--request-timeout=5s", "get", "--raw", "/readyz"]).is_ok()
    }

    /// The path of an administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.layout.kubeconfig()
    }

    /// The API server's notes of what Weft's operator has written.
    pub fn audit_log(&self) -> AuditLog {
        AuditLog::new(self.layout.audit_log())
    }

    /// kubectl for an administrator.
    pub fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    /// How it was made.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The name of a worker's Node; workers count from 1.
    pub fn node(&self, worker: usize) -> Result<String, ClusterError> {
        self.worker(worker).map(|machine| Layout::machine(machine.number))
    }

    /// The number of the worker whose Node has that name.
    pub fn worker_of_node(&self, node: &str) -> Option<usize> {
        self.layout.machines().skip(1).find(|&worker| Layout::machine(worker) == node)
    }

    /// The folder that holds a worker's volumes: one folder each, or one file of those that grow.
    pub fn volumes(&self, worker: usize) -> Result<PathBuf, ClusterError> {
        Ok(machine::volumes(&self.worker(worker)?.disk()))
    }

    /// The network namespace of a worker.
    pub fn network_namespace(&self, worker: usize) -> Result<PathBuf, ClusterError> {
        self.worker(worker).map(|machine| self.layout.namespace_path(machine.number))
    }

    /// Takes a worker's power away: its cable goes dead first, then all its processes end at once, unable to tell anyone. Its
    /// Node object stays, and so does its disk.
    pub fn cut_power(&self, worker: usize) -> Result<(), ClusterError> {
        let machine = self.worker(worker)?;
        network::unplug(&self.layout, worker)?;
        machine.kill()
    }

    /// Gives a worker its power back: it starts with its disk as it is, and nothing else of what it was. Waits until its Node
    /// is Ready.
    pub fn restore(&self, worker: usize) -> Result<(), ClusterError> {
        let machine = self.worker(worker)?;
        machine.kill()?;
        self.cgroups.remove(&self.layout.machine_cgroup(worker))?;
        network::create_worker(&self.layout, worker)?;
        // There may be no Node any more.
        let before = addons::heartbeat(&self.kubectl, worker).ok();
        machine.start(&self.options, &Images::create(&self.layout, &self.parts)?.everywhere)?;
        if self.offers_growth() {
            machine.start_driver()?;
        }
        addons::wait_ready(&self.kubectl, worker, before.as_deref())
    }

    /// Cuts a worker off while it keeps running.
    pub fn isolate(&self, worker: usize, from: Isolation) -> Result<(), ClusterError> {
        self.worker(worker)?;
        network::isolate(&self.layout, worker, from)
    }

    /// Undoes [`Cluster::isolate`].
    pub fn reconnect(&self, worker: usize) -> Result<(), ClusterError> {
        self.worker(worker)?;
        network::reconnect(&self.layout, worker)
    }

    /// Deletes all volumes on a worker's disk for good. The objects that speak of them stay.
    pub fn delete_volumes(&self, worker: usize) -> Result<(), ClusterError> {
        machine::empty(&self.volumes(worker)?)
    }

    /// Loads an image from a tar into every machine that has power.
    pub fn load_image(&self, tar: &Path) -> Result<(), ClusterError> {
        for number in self.layout.machines() {
            match self.machine(number).load(tar) {
                Err(ClusterError::MachineDown { .. }) => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// The first processes of a pod's containers, as this host counts them; none if no such pod runs on that worker. Who ends
    /// them does it at once, and unheard by the pod.
    pub fn pod_processes(&self, worker: usize, namespace: &str, pod: &str) -> Result<Vec<u32>, ClusterError> {
        pods::tasks(&self.worker(worker)?, namespace, pod, "container")
    }

    /// What a pod's interface has carried; `None` if no such pod runs on that worker.
    pub fn pod_counters(
        &self,
        worker: usize,
        namespace: &str,
        pod: &str,
    ) -> Result<Option<InterfaceCounters>, ClusterError> {
        pods::counters(&self.worker(worker)?, namespace, pod)
    }

    fn new(options: Options, layout: Layout) -> Result<Self, ClusterError> {
        let parts = Parts::locate()?;
        let kubectl = Kubectl::new(&parts, &layout.kubeconfig())?;
        Ok(Self { options, layout, cgroups: Cgroups::detect()?, parts, kubectl })
    }

    fn create(options: &Options) -> Result<Self, ClusterError> {
        Self::new(options.clone(), state::create(options)?)
    }

    fn start(&self) -> Result<(), ClusterError> {
        disks::put_in(&self.layout, self.options.disks)?;
        control::create_identities(&self.layout)?;
        let images = Images::create(&self.layout, &self.parts)?;
        network::create_switch(&self.layout)?;
        self.cgroups.create(&self.layout.machine_cgroup(CONTROL))?;
        control::start(&self.layout, &self.cgroups, &self.parts, &self.options, &self.kubectl)?;
        self.machine(CONTROL).start(&self.options, &[images.everywhere.as_slice(), &images.control].concat())?;
        for worker in self.layout.machines().skip(1) {
            network::create_worker(&self.layout, worker)?;
            self.machine(worker).start(&self.options, &images.everywhere)?;
        }
        addons::install(&self.layout, &self.kubectl)
    }

    fn machine(&self, number: usize) -> Machine<'_> {
        Machine { layout: &self.layout, cgroups: &self.cgroups, parts: &self.parts, number }
    }

    fn worker(&self, worker: usize) -> Result<Machine<'_>, ClusterError> {
        if (1..=self.layout.workers).contains(&worker) {
            Ok(self.machine(worker))
        } else {
            Err(ClusterError::NoWorker { worker, workers: self.layout.workers })
        }
    }
}
