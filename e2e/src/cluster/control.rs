//! The control plane: etcd, API server, controller manager and scheduler, in the network namespace of their machine.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use super::cgroup::Cgroups;
use super::daemon::Daemon;
use super::layout::{CONTROL, Layout};
use super::{ClusterError, Options};
use crate::audit;
use crate::kubeconfig::kubeconfig;
use crate::kubectl::Kubectl;
use crate::parts::Parts;
use crate::pki::Authority;

/// Generous: the processors may be busy with a build.
const START: Duration = Duration::from_secs(180);

/// Who has a kubeconfig here: the file's name, the user, its group.
const USERS: [(&str, &str, Option<&str>); 3] = [
    ("controller-manager", "system:kube-controller-manager", None),
    ("scheduler", "system:kube-scheduler", None),
    ("proxy", "system:kube-proxy", None),
];

/// Makes all keys, certificates and kubeconfigs of a cluster.
pub(crate) fn create_identities(layout: &Layout) -> Result<(), ClusterError> {
    let pki = layout.pki();
    fs::create_dir_all(&pki).map_err(|source| ClusterError::File { path: pki.clone(), source })?;
    let authority = Authority::create(&pki)?;
    let (address, service) = (layout.address(CONTROL).to_string(), layout.api_service().to_string());
    let names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"];
    let addresses = [address.as_str(), service.as_str(), "localhost", "127.0.0.1"];
    authority.server("apiserver", &[names, addresses].concat())?;
    authority.client_files("apiserver-kubelet", "kube-apiserver", "system:masters")?;

    let write = |path: std::path::PathBuf, user: &str, group: Option<&str>| {
        let text =
            kubeconfig(&format!("weft-{}", layout.name), &layout.server(), &authority, &authority.client(user, group)?);
        fs::write(&path, text).map_err(|source| ClusterError::File { path, source })
    };
    write(layout.kubeconfig(), "admin", Some("system:masters"))?;
    for (file, user, group) in USERS {
        write(pki.join(format!("{file}.kubeconfig")), user, group)?;
    }
    for machine in layout.machines() {
        let name = Layout::machine(machine);
        write(pki.join(format!("{name}.kubeconfig")), &format!("system:node:{name}"), Some("system:nodes"))?;
    }
    Ok(())
}

/// Starts the control plane and waits until the API is ready.
pub(crate) fn start(
    layout: &Layout,
    cgroups: &Cgroups,
    parts: &Parts,
    options: &Options,
    kubectl: &Kubectl,
) -> Result<(), ClusterError> {
    let daemon = |name: &'static str, arguments: Vec<String>| {
        let mut command = vec![parts.path(name)?.display().to_string()];
        command.extend(arguments);
        Daemon::start(layout, cgroups, CONTROL, name, &command)
    };
    let policy = layout.audit_policy();
    fs::write(&policy, audit::policy(audited())).map_err(|source| ClusterError::File { path: policy, source })?;
    daemon("etcd", etcd(layout))?;
    daemon("kube-apiserver", api_server(layout))?
        .wait(START, || kubectl.run(&["get", "--raw", "/readyz"]).map(drop).map_err(|error| error.to_string()))?;
    daemon("kube-controller-manager", controller_manager(layout, options))?;
    daemon("kube-scheduler", scheduler(layout))?;
    Ok(())
}

fn flags(flags: &[(&str, String)]) -> Vec<String> {
    flags.iter().map(|(name, value)| format!("--{name}={value}")).collect()
}

fn file(layout: &Layout, name: &str) -> String {
    layout.pki().join(name).display().to_string()
}

fn etcd(layout: &Layout) -> Vec<String> {
    flags(&[
        ("data-dir", layout.machine_folder(CONTROL).join("etcd").display().to_string()),
        ("listen-client-urls", "http://127.0.0.1:2379".to_owned()),
        ("advertise-client-urls", "http://127.0.0.1:2379".to_owned()),
        ("listen-peer-urls", "http://127.0.0.1:2380".to_owned()),
        // The control plane is never cut from power, and a cluster doesn't outlive its machine.
        ("unsafe-no-fsync", "true".to_owned()),
        ("log-level", "warn".to_owned()),
    ])
}

fn api_server(layout: &Layout) -> Vec<String> {
    let address = layout.address(CONTROL).to_string();
    let mut arguments = flags(&[
        ("etcd-servers", "http://127.0.0.1:2379".to_owned()),
        ("bind-address", "0.0.0.0".to_owned()),
        ("advertise-address", address),
        ("secure-port", "6443".to_owned()),
        ("tls-cert-file", file(layout, "apiserver.crt")),
        ("tls-private-key-file", file(layout, "apiserver.key")),
        ("client-ca-file", file(layout, "ca.crt")),
        ("kubelet-client-certificate", file(layout, "apiserver-kubelet.crt")),
        ("kubelet-client-key", file(layout, "apiserver-kubelet.key")),
        // Node names are in nobody's DNS.
        ("kubelet-preferred-address-types", "InternalIP".to_owned()),
        ("service-account-issuer", "https://kubernetes.default.svc.cluster.local".to_owned()),
        ("service-account-key-file", file(layout, "sa.pub")),
        ("service-account-signing-key-file", file(layout, "sa.key")),
        ("service-cluster-ip-range", layout.services()),
        ("authorization-mode", "Node,RBAC".to_owned()),
        ("enable-admission-plugins", "NodeRestriction".to_owned()),
        ("allow-privileged", "true".to_owned()),
    ]);
    arguments.extend(audit::arguments(&layout.audit_policy(), &layout.audit_log()));
    arguments
}

/// Whose calls are written down: the operator's writes.
fn audited() -> Value {
    let verbs = ["create", "update", "patch", "delete", "deletecollection"];
    json!({"userGroups": ["system:serviceaccounts:weft-system"], "verbs": verbs})
}

fn controller_manager(layout: &Layout, options: &Options) -> Vec<String> {
    let kubeconfig = file(layout, "controller-manager.kubeconfig");
    flags(&[
        ("kubeconfig", kubeconfig.clone()),
        ("authentication-kubeconfig", kubeconfig.clone()),
        ("authorization-kubeconfig", kubeconfig),
        ("bind-address", "127.0.0.1".to_owned()),
        ("service-account-private-key-file", file(layout, "sa.key")),
        ("root-ca-file", file(layout, "ca.crt")),
        ("cluster-signing-cert-file", file(layout, "ca.crt")),
        ("cluster-signing-key-file", file(layout, "ca.key")),
        ("use-service-account-credentials", "true".to_owned()),
        // The machines' ranges follow from their numbers.
        ("allocate-node-cidrs", "false".to_owned()),
        ("leader-elect", "false".to_owned()),
        ("node-monitor-period", "2s".to_owned()),
        ("node-monitor-grace-period", format!("{}s", options.node_monitor_grace)),
        // What it may ask is made for large clusters with many controllers; here it would only slow down tests.
        ("kube-api-qps", "300".to_owned()),
        ("kube-api-burst", "500".to_owned()),
    ])
}

fn scheduler(layout: &Layout) -> Vec<String> {
    let kubeconfig = file(layout, "scheduler.kubeconfig");
    flags(&[
        ("kubeconfig", kubeconfig.clone()),
        ("authentication-kubeconfig", kubeconfig.clone()),
        ("authorization-kubeconfig", kubeconfig),
        ("bind-address", "127.0.0.1".to_owned()),
        ("leader-elect", "false".to_owned()),
        ("kube-api-qps", "300".to_owned()),
        ("kube-api-burst", "500".to_owned()),
    ])
}
