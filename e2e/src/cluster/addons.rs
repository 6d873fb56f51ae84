//! DNS and volumes, and the images that they and every pod need.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::ClusterError;
use super::layout::Layout;
use super::machine::VOLUMES;
use crate::images::{BUSYBOX, Image};
use crate::kubectl::{Kubectl, KubectlError};
use crate::parts::{self, Parts};
use crate::wait::wait_until;

const MANIFESTS: &str = include_str!("../../kubernetes/addons.yaml");

/// Generous: the processors may be busy with a build.
const LIMIT: Duration = Duration::from_secs(240);

/// The tars of the images, for every machine and for the control plane's machine alone.
#[derive(Debug)]
pub(crate) struct Images {
    pub(crate) everywhere: Vec<PathBuf>,
    pub(crate) control: Vec<PathBuf>,
}

impl Images {
    /// Makes those that aren't there yet in the cluster's folder.
    pub(crate) fn create(layout: &Layout, parts: &Parts) -> Result<Self, ClusterError> {
        let folder = layout.folder.join("images");
        fs::create_dir_all(&folder).map_err(|source| ClusterError::File { path: folder.clone(), source })?;
        let path = |name: &str| folder.join(format!("{name}.tar"));
        let images = Self {
            everywhere: vec![path("busybox"), path("pause")],
            control: vec![path("coredns"), path("local-path-provisioner")],
        };
        if images.everywhere.iter().chain(&images.control).all(|image| image.is_file()) {
            return Ok(images);
        }
        let [helper, pause] = Image::helpers(&busybox()?)?;
        helper.write(&images.everywhere[0])?;
        pause.write(&images.everywhere[1])?;
        for (image, version) in [("coredns", "COREDNS_VERSION"), ("local-path-provisioner", "LOCAL_PATH_VERSION")] {
            let program = parts.path(image)?;
            Image::new(&format!("localhost/{image}:{}", parts::version(version)?))
                .program(&program, &format!("bin/{image}"))?
                .entrypoint(&[&format!("/bin/{image}")])
                .write(&path(image))?;
        }
        Ok(images)
    }
}

/// Applies DNS and the provisioner, and waits until they and all machines are ready.
pub(crate) fn install(layout: &Layout, kubectl: &Kubectl) -> Result<(), ClusterError> {
    let manifests = MANIFESTS
        .replace("{{DNS_ADDRESS}}", &layout.dns_service().to_string())
        .replace("{{VOLUMES}}", VOLUMES)
        .replace("{{BUSYBOX}}", BUSYBOX)
        .replace("{{COREDNS_VERSION}}", &parts::version("COREDNS_VERSION")?)
        .replace("{{LOCAL_PATH_VERSION}}", &parts::version("LOCAL_PATH_VERSION")?);
    kubectl.apply(&manifests)?;
    for machine in layout.machines() {
        wait_ready(kubectl, machine, None)?;
    }
    for (namespace, name) in [("kube-system", "coredns"), ("local-path-storage", "local-path-provisioner")] {
        let limit = format!("--timeout={}s", LIMIT.as_secs());
        kubectl.run(&["--namespace", namespace, "rollout", "status", "deployment", name, &limit])?;
    }
    Ok(())
}

/// Waits until a machine's Node is there and Ready, by a heartbeat that isn't the one of `before`.
pub(crate) fn wait_ready(kubectl: &Kubectl, machine: usize, before: Option<&str>) -> Result<(), ClusterError> {
    wait_until(&format!("{} to be Ready", Layout::machine(machine)), LIMIT, || match heartbeat(kubectl, machine) {
        Ok(told) if told.starts_with("True") && Some(told.as_str()) != before => Ok(Some(())),
        Ok(told) => Err(format!("Ready is {told:?}")),
        Err(error) => Err(error.to_string()),
    })?;
    Ok(())
}

/// What a machine's Node last said of being Ready, and when.
pub(crate) fn heartbeat(kubectl: &Kubectl, machine: usize) -> Result<String, KubectlError> {
    let ready = "jsonpath={range .status.conditions[?(@.type=='Ready')]}{.status} {.lastHeartbeatTime}{end}";
    kubectl.run(&["get", "node", &Layout::machine(machine), "-o", ready])
}

/// The statically linked busybox that `prepare.sh` installs.
fn busybox() -> Result<PathBuf, ClusterError> {
    ["/usr/bin/busybox", "/bin/busybox"]
        .iter()
        .map(Path::new)
        .find(|path| path.is_file())
        .map(Path::to_owned)
        .ok_or_else(|| ClusterError::Unsupported { what: "busybox-static is missing: run e2e/prepare.sh".to_owned() })
}
