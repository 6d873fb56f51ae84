//! What a cluster has on the host: while it is up, what it consists of; after it went down, what it left behind.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;

use super::ClusterError;
use super::cgroup::Cgroups;
use super::layout::{PREFIX, cluster_cgroup};
use super::{loops, network, state};
use crate::parts::cache;

/// Something on the host that belongs to a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    kind: &'static str,
    what: String,
}

impl fmt::Display for Leftover {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.kind, self.what)
    }
}

/// Everything of one cluster, or of all where none is named.
pub(crate) fn find(cluster: Option<&str>) -> Result<Vec<Leftover>, ClusterError> {
    let cgroups = Cgroups::detect()?;
    let mut found = Vec::new();
    for name in cluster.map_or_else(|| known(&cgroups), |name| Ok(BTreeSet::from([name.to_owned()])))? {
        let mut add = |kind, what: String| found.push(Leftover { kind, what });
        for pid in cgroups.processes(&cluster_cgroup(&name)) {
            add("process", format!("{pid} {}", command_line(pid)));
        }
        for folder in cgroups.folders(&cluster_cgroup(&name)) {
            add("cgroup", folder.display().to_string());
        }
        for namespace in network::namespaces_of(&name) {
            add("network namespace", namespace);
        }
        for link in network::links_of(&name)? {
            add("link", link);
        }
        let folder = state::clusters()?.join(&name);
        let prefix = format!("{}/", folder.display());
        for device in loops::of(&folder)? {
            add("loop device", device);
        }
        for mount in mounts().into_iter().filter(|mount| mount.contains(&prefix)) {
            add("mount", mount);
        }
        if folder.exists() {
            add("folder", folder.display().to_string());
        }
    }
    if cluster.is_none() {
        if found.is_empty() {
            // Of no cluster that is known, so that nobody's end would detach them.
            let devices = loops::of_anybody()?.into_iter();
            found.extend(devices.map(|what| Leftover { kind: "stray loop device", what }));
        }
        found.extend(strays(&cgroups)?);
    }
    Ok(found)
}

/// All clusters that have left a trace of any kind.
pub(crate) fn known(cgroups: &Cgroups) -> Result<BTreeSet<String>, ClusterError> {
    let mut names: BTreeSet<String> = state::names()?.into_iter().collect();
    let prefix = format!("{PREFIX}-");
    names.extend(cgroups.groups(&prefix).iter().filter_map(|group| group.strip_prefix(&prefix)).map(str::to_owned));
    for namespace in fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let name = namespace.file_name().into_string().unwrap_or_default();
        names.extend(name.strip_prefix(&prefix).and_then(|rest| rest.split('-').next()).map(str::to_owned));
    }
    Ok(names)
}

/// Daemons of the local Kubernetes that are in no cluster's group: they would be nobody's to end. An API server alone, and
/// what tools a user runs by hand, are not meant.
fn strays(cgroups: &Cgroups) -> Result<Vec<Leftover>, ClusterError> {
    const DAEMONS: [&str; 4] = ["containerd", "containerd-shim-runc-v2", "kubelet", "kube-proxy"];
    let binaries = cache()?.join("kubernetes");
    let prefix = format!("{PREFIX}-");
    let owned: BTreeSet<i32> = cgroups.groups(&prefix).iter().flat_map(|group| cgroups.processes(group)).collect();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let Ok(exe) = fs::read_link(entry.path().join("exe")) else { continue };
        // Seen from a machine, the binaries lie elsewhere.
        let ours = exe.starts_with(&binaries) || exe.starts_with("/run/weft/kubernetes");
        let daemon = exe.file_name().and_then(|name| name.to_str()).is_some_and(|name| DAEMONS.contains(&name));
        if ours && daemon && !owned.contains(&pid) {
            found.push(Leftover { kind: "stray process", what: format!("{pid} {}", command_line(pid)) });
        }
    }
    Ok(found)
}

/// The lines of `mountinfo`, proc(5).
pub(crate) fn mounts() -> Vec<String> {
    fs::read_to_string("/proc/self/mountinfo").unwrap_or_default().lines().map(str::to_owned).collect()
}

fn command_line(pid: i32) -> String {
    let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&words).replace('\0', " ").trim().to_owned()
}
