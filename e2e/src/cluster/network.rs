//! The cluster's network: a switch in the control plane's namespace, a cable to each worker, one to the host.
//!
//! The switch lies in a namespace of its own, so the host's firewall has no say in what the machines tell each other, and the
//! host keeps nothing but one device.

use std::fs;
use std::path::Path;

use super::ClusterError;
use super::layout::{CONTROL, Layout, namespace_prefix};
use super::shell::{ip, run};

const SWITCH: &str = "switch";

/// What a worker is cut off from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// From everything: its cable is pulled.
    Everything,
    /// From the API server (and the host), while it still reaches the other workers.
    ApiServer,
    /// From the other workers, while it still reaches the API server.
    Workers,
}

/// Makes the switch, its namespace and the host's cable.
pub(crate) fn create_switch(layout: &Layout) -> Result<(), ClusterError> {
    let namespace = layout.namespace(CONTROL);
    let (link, host) = (layout.host_link(), layout.host_address());
    add_namespace(layout, CONTROL)?;
    ip(&format!("-n {namespace} link add {SWITCH} type bridge"))?;
    ip(&format!("-n {namespace} addr add {}/24 dev {SWITCH}", layout.address(CONTROL)))?;
    ip(&format!("-n {namespace} link set {SWITCH} up"))?;
    ip(&format!("link add {link} type veth peer name host netns {namespace}"))?;
    ip(&format!("-n {namespace} link set host master {SWITCH} up"))?;
    ip(&format!("link set {link} alias {}{}", namespace_prefix(&layout.name), layout.number))?;
    ip(&format!("addr add {host}/24 dev {link}"))?;
    ip(&format!("link set {link} up"))?;
    for machine in layout.machines() {
        ip(&format!("route replace {} via {}", layout.machine_pods(machine), layout.address(machine)))?;
    }
    ip(&format!("route replace {} via {}", layout.services(), layout.address(CONTROL)))?;
    ip(&format!("-n {namespace} route replace default via {host}"))?;
    connect(layout, CONTROL)
}

/// Makes a worker's namespace and plugs it in. What it had is thrown away: a restart forgets addresses and firewall rules.
pub(crate) fn create_worker(layout: &Layout, worker: usize) -> Result<(), ClusterError> {
    remove_namespace(layout, worker)?;
    add_namespace(layout, worker)?;
    let (namespace, control, cable) = (layout.namespace(worker), layout.namespace(CONTROL), Layout::cable(worker));
    // The namespace that goes takes its end of the cable along, but not at once.
    if cable_exists(layout, worker) {
        ip(&format!("-n {control} link del {cable}"))?;
    }
    ip(&format!("-n {control} link add {cable} type veth peer name eth0 netns {namespace}"))?;
    ip(&format!("-n {control} link set {cable} master {SWITCH} up"))?;
    ip(&format!("-n {namespace} addr add {}/24 dev eth0", layout.address(worker)))?;
    ip(&format!("-n {namespace} link set eth0 up"))?;
    ip(&format!("-n {namespace} route replace default via {}", layout.address(CONTROL)))?;
    connect(layout, worker)
}

/// Pulls a worker's cable, so that nothing leaves it any more, not even the last words of what is being killed.
pub(crate) fn unplug(layout: &Layout, worker: usize) -> Result<(), ClusterError> {
    ip(&format!("-n {} link set {} down", layout.namespace(CONTROL), Layout::cable(worker))).map(drop)
}

/// Cuts a worker off.
pub(crate) fn isolate(layout: &Layout, worker: usize, from: Isolation) -> Result<(), ClusterError> {
    match from {
        Isolation::Everything => unplug(layout, worker),
        // What leaves is lost on the way; so nothing that comes in is ever answered.
        Isolation::ApiServer => lose(layout, worker, &format!("{}/32", layout.address(CONTROL))),
        Isolation::Workers => {
            layout.machines().filter(|&other| other != CONTROL && other != worker).try_for_each(|other| {
                lose(layout, worker, &format!("{}/32", layout.address(other)))?;
                lose(layout, worker, &layout.machine_pods(other))
            })
        }
    }
}

/// Undoes [`isolate`], whatever it was.
pub(crate) fn reconnect(layout: &Layout, worker: usize) -> Result<(), ClusterError> {
    let namespace = layout.namespace(worker);
    ip(&format!("-n {namespace} route flush type blackhole"))?;
    ip(&format!("-n {} link set {} up", layout.namespace(CONTROL), Layout::cable(worker)))?;
    connect(layout, worker)
}

/// Removes a cluster's namespaces and devices, by their names.
pub(crate) fn remove(cluster: &str) -> Result<(), ClusterError> {
    for link in links_of(cluster)? {
        ip(&format!("link del {link}"))?;
    }
    for namespace in namespaces_of(cluster) {
        ip(&format!("netns del {namespace}"))?;
    }
    Ok(())
}

/// The names of a cluster's network namespaces.
pub(crate) fn namespaces_of(cluster: &str) -> Vec<String> {
    let prefix = namespace_prefix(cluster);
    let mut names: Vec<String> = fs::read_dir("/run/netns")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with(&prefix))
        .collect();
    names.sort();
    names
}

/// The names of a cluster's devices on the host: they carry its name as an alias.
pub(crate) fn links_of(cluster: &str) -> Result<Vec<String>, ClusterError> {
    let prefix = namespace_prefix(cluster);
    let path = Path::new("/sys/class/net");
    let entries = fs::read_dir(path).map_err(|source| ClusterError::File { path: path.to_owned(), source })?;
    Ok(entries
        .flatten()
        .filter(|entry| fs::read_to_string(entry.path().join("ifalias")).is_ok_and(|alias| alias.starts_with(&prefix)))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect())
}

fn add_namespace(layout: &Layout, machine: usize) -> Result<(), ClusterError> {
    let namespace = layout.namespace(machine);
    ip(&format!("netns add {namespace}"))?;
    ip(&format!("-n {namespace} link set lo up"))?;
    let path = format!("--net={}", layout.namespace_path(machine).display());
    run("nsenter", &[path.as_str(), "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"]).map(drop)
}

fn remove_namespace(layout: &Layout, machine: usize) -> Result<(), ClusterError> {
    if layout.namespace_path(machine).exists() {
        ip(&format!("netns del {}", layout.namespace(machine)))?;
    }
    Ok(())
}

fn cable_exists(layout: &Layout, worker: usize) -> bool {
    ip(&format!("-n {} link show {}", layout.namespace(CONTROL), Layout::cable(worker))).is_ok()
}

/// The routes to the pods of all other machines.
fn connect(layout: &Layout, machine: usize) -> Result<(), ClusterError> {
    let namespace = layout.namespace(machine);
    for other in layout.machines().filter(|&other| other != machine) {
        ip(&format!("-n {namespace} route replace {} via {}", layout.machine_pods(other), layout.address(other)))?;
    }
    Ok(())
}

fn lose(layout: &Layout, worker: usize, destination: &str) -> Result<(), ClusterError> {
    ip(&format!("-n {} route replace blackhole {destination}", layout.namespace(worker))).map(drop)
}
