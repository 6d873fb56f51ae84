//! Volumes that grow while they are used: the driver of `kubernetes/csi-loop` beside each worker's kubelet, its controller and
//! external-resizer with the control plane. `kubernetes/build.sh growth` builds them.

use std::env;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::daemon::{self, Daemon};
use super::layout::{CONTROL, Layout};
use super::machine::{Machine, VOLUMES};
use super::{Cluster, ClusterError};
use crate::process::is_running;
use crate::wait::wait_until;

const MANIFESTS: &str = include_str!("../../kubernetes/growth.yaml");

/// As the driver calls itself, and its class.
const DRIVER: &str = "loop.weft.dev";
const PROGRAM: &str = "csi-loop";
const RESIZER: &str = "csi-resizer";

/// Generous: the processors may be busy with a build.
const START: Duration = Duration::from_secs(120);
const END: Duration = Duration::from_secs(30);

impl Cluster {
    /// Offers the storage class `growing` on every worker that has power, and waits until their kubelets know its driver. A
    /// cluster that does so already goes on as it is.
    pub fn offer_growth(&self) -> Result<(), ClusterError> {
        if self.offers_growth() {
            return Ok(());
        }
        self.kubectl.apply(MANIFESTS)?;
        let mut workers = Vec::new();
        for worker in self.layout.machines().skip(1) {
            match self.machine(worker).start_driver() {
                Err(ClusterError::MachineDown { .. }) => {}
                started => {
                    started?;
                    workers.push(worker);
                }
            }
        }
        self.start_controller()?;
        self.start_resizer()?;
        workers.into_iter().try_for_each(|worker| self.wait_for_driver(worker))
    }

    /// Starts external-resizer: claims that ask for more than they have grow.
    pub fn start_resizer(&self) -> Result<(), ClusterError> {
        let mut command = vec![self.parts.path(RESIZER)?.display().to_string()];
        command.push(format!("--csi-address={}", self.socket().display()));
        command.push(format!("--kubeconfig={}", self.kubeconfig().display()));
        // Tests wait for what failed once.
        command.push("--retry-interval-max=5s".to_owned());
        // Its word for "not while it is used", which this driver never gives.
        command.push("--handle-volume-inuse-error=false".to_owned());
        Daemon::start(&self.layout, &self.cgroups, CONTROL, RESIZER, &command).map(drop)
    }

    /// Ends external-resizer, at once: claims that ask for more wait until it is there again.
    pub fn stop_resizer(&self) -> Result<(), ClusterError> {
        wait_until("the end of external-resizer", END, || {
            let Some(pid) = self.find_control(RESIZER) else { return Ok(Some(())) };
            if let Some(pid) = Pid::from_raw(pid as i32) {
                // It fails where the process ended meanwhile.
                let _ = kill_process(pid, Signal::KILL);
            }
            Ok((!is_running(pid)).then_some(()))
        })?;
        Ok(())
    }

    /// Whether workers that start are to start the driver.
    pub(crate) fn offers_growth(&self) -> bool {
        self.find_control(PROGRAM).is_some()
    }

    fn find_control(&self, program: &str) -> Option<u32> {
        daemon::find(&self.cgroups, &self.layout, CONTROL, Path::new(program))
    }

    fn socket(&self) -> PathBuf {
        self.layout.machine_folder(CONTROL).join("csi.sock")
    }

    fn start_controller(&self) -> Result<(), ClusterError> {
        let (program, socket) = (self.parts.path(PROGRAM)?, self.socket());
        // The tools of file systems are for administrators.
        let mut command =
            vec!["env".to_owned(), format!("PATH={}:/usr/sbin:/sbin", env::var("PATH").unwrap_or_default())];
        command.extend([program.display().to_string(), "controller".to_owned()]);
        command.push(format!("--socket={}", socket.display()));
        command.push(format!("--kubeconfig={}", self.kubeconfig().display()));
        for worker in self.layout.machines().skip(1) {
            command.push(format!("--disk={}={}", Layout::machine(worker), self.volumes(worker)?.display()));
        }
        Daemon::start(&self.layout, &self.cgroups, CONTROL, PROGRAM, &command)?
            .wait(START, || UnixStream::connect(&socket).map(drop).map_err(|error| error.to_string()))
    }

    fn wait_for_driver(&self, worker: usize) -> Result<(), ClusterError> {
        let name = Layout::machine(worker);
        let drivers = ["get", "csinode", &name, "-o", "jsonpath={.spec.drivers[*].name}"];
        wait_until(&format!("{name} to know the driver {DRIVER}"), START, || {
            let told = self.kubectl.run(&drivers).map_err(|error| error.to_string())?;
            Ok(told.split_whitespace().any(|driver| driver == DRIVER).then_some(()))
        })?;
        Ok(())
    }
}

impl Machine<'_> {
    /// Starts the driver on a worker that has power.
    pub(crate) fn start_driver(&self) -> Result<(), ClusterError> {
        let name = format!("--name={}", Layout::machine(self.number));
        self.start_beside(PROGRAM, &["node".to_owned(), name, format!("--disk={VOLUMES}")])
    }
}
