//! Names, addresses and folders of a cluster: everything follows from its name and its number.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use super::ClusterError;

/// The machine that runs the control plane, DNS and the volume provisioner.
pub(crate) const CONTROL: usize = 0;

/// Network devices, namespaces and cgroups begin with this, so that they can be told from everybody else's.
pub(crate) const PREFIX: &str = "weft";

/// Two octets of a private network follow from it, and devices of 15 characters carry it.
pub(crate) const MOST_CLUSTERS: u8 = 32;

/// Workers have addresses 11 … of a /24 that the host and the control plane share.
pub(crate) const MOST_WORKERS: usize = 99;

/// One cluster's names, addresses and folders.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) name: String,
    pub(crate) number: u8,
    pub(crate) workers: usize,
    pub(crate) folder: PathBuf,
}

impl Layout {
    /// Names end up in cgroups, namespaces and Node names.
    pub(crate) fn check_name(name: &str) -> Result<(), ClusterError> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let good = !name.is_empty() && name.len() <= 20 && name.chars().all(allowed);
        if good { Ok(()) } else { Err(ClusterError::Name { name: name.to_owned() }) }
    }

    /// All machines: the control plane's, then the workers from 1.
    pub(crate) fn machines(&self) -> impl Iterator<Item = usize> + use<> {
        CONTROL..=self.workers
    }

    /// The machine's name, which is also its Node's.
    pub(crate) fn machine(machine: usize) -> String {
        if machine == CONTROL { "control".to_owned() } else { format!("worker-{machine}") }
    }

    /// Where all of a machine lies: `disk` (its `/var/lib`), `log` (its `/var/log`), `config`.
    pub(crate) fn machine_folder(&self, machine: usize) -> PathBuf {
        self.folder.join(Self::machine(machine))
    }

    /// The kubeconfig of an administrator.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    /// What the API server notes of calls.
    pub(crate) fn audit_policy(&self) -> PathBuf {
        self.folder.join("audit-policy.json")
    }

    /// Where it notes them.
    pub(crate) fn audit_log(&self) -> PathBuf {
        self.machine_folder(CONTROL).join("log/audit.log")
    }

    /// Keys and certificates.
    pub(crate) fn pki(&self) -> PathBuf {
        self.folder.join("pki")
    }

    /// A machine's network namespace, by the name that `ip netns` knows.
    pub(crate) fn namespace(&self, machine: usize) -> String {
        format!("{}{}", namespace_prefix(&self.name), Self::machine(machine))
    }

    /// The path of a machine's network namespace.
    pub(crate) fn namespace_path(&self, machine: usize) -> PathBuf {
        Path::new("/run/netns").join(self.namespace(machine))
    }

    /// The cgroup of the whole cluster, relative to a hierarchy's root.
    pub(crate) fn cgroup(&self) -> String {
        cluster_cgroup(&self.name)
    }

    /// The cgroup of a machine, below the cluster's.
    pub(crate) fn machine_cgroup(&self, machine: usize) -> String {
        format!("{}/{}", self.cgroup(), Self::machine(machine))
    }

    /// The host's device on the cluster's network.
    pub(crate) fn host_link(&self) -> String {
        host_link(self.number)
    }

    /// The control plane's end of a worker's cable.
    pub(crate) fn cable(machine: usize) -> String {
        format!("cable{machine}")
    }

    /// The host's address. The networks are those set aside for benchmarks (RFC 2544): nobody else's routes lead there.
    pub(crate) fn host_address(&self) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, self.number, 254)
    }

    /// A machine's address.
    pub(crate) fn address(&self, machine: usize) -> Ipv4Addr {
        let last = if machine == CONTROL { 1 } else { 10 + machine as u8 };
        Ipv4Addr::new(198, 18, self.number, last)
    }

    /// The addresses of all pods.
    pub(crate) fn pods(&self) -> String {
        format!("10.{}.0.0/16", 128 + self.number)
    }

    /// The addresses of a machine's pods.
    pub(crate) fn machine_pods(&self, machine: usize) -> String {
        format!("10.{}.{machine}.0/24", 128 + self.number)
    }

    /// The addresses of Services.
    pub(crate) fn services(&self) -> String {
        format!("10.{}.0.0/16", 192 + self.number)
    }

    /// The Service `kubernetes`: always the first of the range.
    pub(crate) fn api_service(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 192 + self.number, 0, 1)
    }

    /// The Service of DNS.
    pub(crate) fn dns_service(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 192 + self.number, 0, 10)
    }

    /// The API's address for everyone outside of pods.
    pub(crate) fn server(&self) -> String {
        format!("https://{}:6443", self.address(CONTROL))
    }
}

/// The host's device on the network of the cluster with that number.
pub(crate) fn host_link(number: u8) -> String {
    format!("{PREFIX}{number}")
}

/// What the network namespaces of a cluster begin with.
pub(crate) fn namespace_prefix(cluster: &str) -> String {
    format!("{PREFIX}-{cluster}-")
}

/// The cgroup of a cluster, relative to a hierarchy's root.
pub(crate) fn cluster_cgroup(cluster: &str) -> String {
    format!("{PREFIX}-{cluster}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_stay_within_their_octets() {
        let last =
            Layout { name: "x".to_owned(), number: MOST_CLUSTERS - 1, workers: MOST_WORKERS, folder: PathBuf::new() };
        assert_eq!(last.address(MOST_WORKERS), Ipv4Addr::new(198, 18, 31, 109));
        assert_eq!(last.pods(), "10.159.0.0/16");
        assert_eq!(last.services(), "10.223.0.0/16");
    }

    #[test]
    fn names_are_short_and_plain() {
        assert!(Layout::check_name("demo2").is_ok());
        for bad in ["", "UP", "a-b", "a/b", "a-name-that-is-far-too-long"] {
            assert!(Layout::check_name(bad).is_err(), "{bad}");
        }
    }
}
