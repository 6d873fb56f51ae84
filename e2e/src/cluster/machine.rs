//! A machine of the cluster: containerd, kubelet and kube-proxy in namespaces of their own.
//!
//! Each machine sees its own `/var/lib` (its disk), `/var/log` and `/run` (its memory): the mount namespace of its containerd.
//! Nothing that is mounted on a machine is mounted on the host, and all of it goes with the machine's last process.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use super::cgroup::Cgroups;
use super::daemon::{self, Daemon};
use super::layout::{CONTROL, Layout};
use super::shell::run;
use super::{ClusterError, Options};
use crate::images::PAUSE;
use crate::parts::{Parts, cache};

/// Generous: the processors may be busy with a build.
const START: Duration = Duration::from_secs(120);

/// Where a machine's volumes lie, as the machine sees it.
pub(crate) const VOLUMES: &str = "/var/lib/weft-volumes";

/// Where the volumes are on a machine's disk, as the host sees it.
pub(crate) fn volumes(disk: &Path) -> PathBuf {
    disk.join(Path::new(VOLUMES).strip_prefix("/var/lib").unwrap_or(Path::new(VOLUMES)))
}

/// Where a machine sees the binaries and its configuration.
const BINARIES: &str = "/run/weft/kubernetes";
const CONFIG: &str = "/run/weft/config";
const SOCKET: &str = "/run/containerd/containerd.sock";

/// Lays out the machine's file system, then becomes the rest of the arguments. The sources are bound before what they might
/// lie under is covered.
const LAY_OUT: &str = r#"set -e
binaries=$1 config=$2 log=$3 disk=$4
shift 4
mount --make-rshared /
mount -t tmpfs -o mode=0755 tmpfs /run
mkdir -p /run/weft/kubernetes /run/weft/config /run/containerd /run/netns /run/lock
mount --bind "$binaries" /run/weft/kubernetes
mount --bind "$config" /run/weft/config
mount --bind "$log" /var/log
mount --bind "$disk" /var/lib
exec "$@""#;

/// A machine and what is needed to start it.
#[derive(Debug)]
pub(crate) struct Machine<'a> {
    pub(crate) layout: &'a Layout,
    pub(crate) cgroups: &'a Cgroups,
    pub(crate) parts: &'a Parts,
    pub(crate) number: usize,
}

impl Machine<'_> {
    /// Starts containerd, loads `images` where its disk doesn't have them, and starts kubelet and kube-proxy.
    pub(crate) fn start(&self, options: &Options, images: &[PathBuf]) -> Result<(), ClusterError> {
        self.write_configuration(options)?;
        self.cgroups.create(&self.layout.machine_cgroup(self.number))?;
        let containerd = self.start_containerd()?;
        containerd.wait(START, || self.ctr(&["version"]).map(drop).map_err(|error| error.to_string()))?;
        for image in images {
            self.load(image)?;
        }
        self.start_inside(containerd.pid, "kubelet", &self.kubelet_arguments())?;
        self.start_inside(containerd.pid, "kube-proxy", &self.proxy_arguments())
    }

    /// Ends everything on the machine at once, without a word to anyone.
    pub(crate) fn kill(&self) -> Result<(), ClusterError> {
        self.cgroups.kill(&self.layout.machine_cgroup(self.number))
    }

    /// Loads an image from a tar.
    pub(crate) fn load(&self, image: &Path) -> Result<(), ClusterError> {
        self.ctr(&["--namespace", "k8s.io", "images", "import", "--local", &image.display().to_string()]).map(drop)
    }

    /// `ctr`, connected to the machine's containerd.
    pub(crate) fn ctr(&self, arguments: &[&str]) -> Result<String, ClusterError> {
        let socket = format!("/proc/{}/root{SOCKET}", self.containerd()?);
        let mut all = vec!["--address", socket.as_str()];
        all.extend(arguments);
        run(&self.parts.path("ctr")?.display().to_string(), &all)
    }

    /// Starts one more daemon on a machine that has power.
    pub(crate) fn start_beside(&self, name: &'static str, arguments: &[String]) -> Result<(), ClusterError> {
        self.start_inside(self.containerd()?, name, arguments)
    }

    /// The folder on the host that is the machine's disk.
    pub(crate) fn disk(&self) -> PathBuf {
        self.folder("disk")
    }

    /// Its process, which is there as long as the machine has power.
    fn containerd(&self) -> Result<u32, ClusterError> {
        daemon::find(self.cgroups, self.layout, self.number, &self.parts.path("containerd")?)
            .ok_or_else(|| ClusterError::MachineDown { machine: Layout::machine(self.number) })
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.layout.machine_folder(self.number).join(name)
    }

    /// Where the machine sees the binary `name`.
    fn binary(&self, name: &str) -> String {
        format!("{BINARIES}/{}/bin/{name}", self.parts.version())
    }

    fn search_path(&self) -> String {
        format!("PATH={}:/usr/sbin:/usr/bin:/sbin:/bin", self.binary("").trim_end_matches('/'))
    }

    fn start_containerd(&self) -> Result<Daemon, ClusterError> {
        let text = |path: PathBuf| path.display().to_string();
        let mut command: Vec<String> =
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", LAY_OUT, "machine"]
                .map(str::to_owned)
                .into();
        command.push(text(cache()?.join("kubernetes")));
        command.extend(["config", "log", "disk"].map(|name| text(self.folder(name))));
        command.extend(["env".to_owned(), self.search_path(), self.binary("containerd")]);
        command.extend(["--config".to_owned(), format!("{CONFIG}/containerd.toml")]);
        Daemon::start(self.layout, self.cgroups, self.number, "containerd", &command)
    }

    /// Starts a daemon in the mount namespace of the machine's containerd.
    fn start_inside(&self, containerd: u32, name: &'static str, arguments: &[String]) -> Result<(), ClusterError> {
        let mut command = vec![format!("--mount=/proc/{containerd}/ns/mnt"), "env".to_owned(), self.search_path()];
        command.push(self.binary(name));
        command.extend_from_slice(arguments);
        Daemon::start(self.layout, self.cgroups, self.number, name, &command).map(drop)
    }

    fn kubelet_arguments(&self) -> Vec<String> {
        let name = Layout::machine(self.number);
        let mut arguments = vec![
            format!("--config={CONFIG}/kubelet.json"),
            format!("--kubeconfig={CONFIG}/kubelet.kubeconfig"),
            format!("--hostname-override={name}"),
            format!("--node-ip={}", self.layout.address(self.number)),
        ];
        if self.number == CONTROL {
            arguments.push("--register-with-taints=node-role.kubernetes.io/control-plane=:NoSchedule".to_owned());
        } else {
            arguments.push(format!("--node-labels=topology.kubernetes.io/zone=zone-{}", self.number));
        }
        arguments
    }

    fn proxy_arguments(&self) -> Vec<String> {
        vec![
            format!("--kubeconfig={CONFIG}/proxy.kubeconfig"),
            format!("--hostname-override={}", Layout::machine(self.number)),
            format!("--cluster-cidr={}", self.layout.pods()),
            "--proxy-mode=iptables".to_owned(),
            // The host's own limits are not to be touched from a namespace.
            "--conntrack-max-per-core=0".to_owned(),
        ]
    }

    fn write_configuration(&self, options: &Options) -> Result<(), ClusterError> {
        for name in ["disk", "log", "config"] {
            let path = self.folder(name);
            fs::create_dir_all(&path).map_err(|source| ClusterError::File { path, source })?;
        }
        let config = self.folder("config");
        let pki = self.layout.pki();
        let kubelet = format!("{:#}", self.kubelet_configuration(options));
        write(&config.join("kubelet.json"), kubelet.as_bytes())?;
        write(&config.join("containerd.toml"), self.containerd_configuration().as_bytes())?;
        write(&config.join("cni").join("10-pods.conflist"), format!("{:#}", self.pod_network()).as_bytes())?;
        let name = format!("{}.kubeconfig", Layout::machine(self.number));
        for (from, to) in
            [(name.as_str(), "kubelet.kubeconfig"), ("proxy.kubeconfig", "proxy.kubeconfig"), ("ca.crt", "ca.crt")]
        {
            let path = pki.join(from);
            let text = fs::read(&path).map_err(|source| ClusterError::File { path, source })?;
            write(&config.join(to), &text)?;
        }
        Ok(())
    }

    /// `KubeletConfiguration`, kubelet.config.k8s.io/v1beta1.
    fn kubelet_configuration(&self, options: &Options) -> serde_json::Value {
        json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": self.layout.address(self.number).to_string(),
            "authentication": {
                "anonymous": {"enabled": false},
                "webhook": {"enabled": true},
                "x509": {"clientCAFile": format!("{CONFIG}/ca.crt")},
            },
            "authorization": {"mode": "Webhook"},
            "containerRuntimeEndpoint": format!("unix://{SOCKET}"),
            "cgroupDriver": "cgroupfs",
            // Several kubelets share one machine.
            "cgroupRoot": format!("/{}", self.layout.machine_cgroup(self.number)),
            "enforceNodeAllocatable": [],
            "failCgroupV1": false,
            "failSwapOn": false,
            "clusterDNS": [self.layout.dns_service().to_string()],
            "clusterDomain": "cluster.local",
            "resolvConf": "",
            // A quarter of it is the heartbeat's period: several fit into the controller's patience.
            "nodeLeaseDurationSeconds": options.node_monitor_grace.clamp(8, 40),
            // Container disks can't be measured where the root is no ordinary block device.
            "localStorageCapacityIsolation": false,
            // No registry has these images: they must never be collected.
            "imageGCHighThresholdPercent": 100,
            "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        })
    }

    fn containerd_configuration(&self) -> String {
        let bin = self.binary("");
        let bin = bin.trim_end_matches('/');
        format!(
            r#"version = 3
disabled_plugins = ["io.containerd.nri.v1.nri"]

[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{PAUSE}"

[plugins."io.containerd.cri.v1.runtime"]
# Where the machine has no CAP_SYS_RESOURCE, a score below its own can't be given.
restrict_oom_score_adj = true

[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["{bin}"]
conf_dir = "{CONFIG}/cni"
"#
        )
    }

    /// Every pod has a cable of its own to its machine (`ptp`, not a bridge): then all its packets pass the machine's firewall,
    /// which Services need, whatever modules the kernel has.
    fn pod_network(&self) -> serde_json::Value {
        json!({
            "cniVersion": "1.0.0",
            "name": "pods",
            "plugins": [
                {"type": "ptp", "ipMasq": false, "ipam": {
                    "type": "host-local",
                    // In memory: a restart gives back the addresses of pods that can't give them back themselves.
                    "dataDir": "/run/cni",
                    "ranges": [[{"subnet": self.layout.machine_pods(self.number)}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                }},
                {"type": "portmap", "capabilities": {"portMappings": true}},
            ],
        })
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), ClusterError> {
    let folder = path.parent().map_or(Ok(()), fs::create_dir_all);
    folder.and_then(|()| fs::write(path, bytes)).map_err(|source| ClusterError::File { path: path.to_owned(), source })
}

/// Empties a folder that may be missing.
pub(crate) fn empty(folder: &Path) -> Result<(), ClusterError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(ClusterError::File { path: folder.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}
