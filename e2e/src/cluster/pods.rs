//! Pods as the host sees them: their processes, and what their network interfaces have carried.

use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::ClusterError;
use super::machine::Machine;

/// Bytes that passed a pod's `eth0` since the pod began, as the pod sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InterfaceCounters {
    /// Bytes that came in.
    pub received: u64,
    /// Bytes that went out.
    pub sent: u64,
}

/// Opens a TCP connection from where a process is, so out of its pod, and closes it.
pub fn connect_from(process: u32, to: SocketAddr, limit: Duration) -> io::Result<()> {
    let network = File::open(format!("/proc/{process}/ns/net"))?;
    // In a thread of its own, which ends in the network that it has moved into.
    let connect = move || {
        move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
        TcpStream::connect_timeout(&to, limit).map(drop)
    };
    thread::spawn(connect).join().unwrap_or_else(|panic| resume_unwind(panic))
}

/// Reads the counters of a pod on `machine`; `None` if it doesn't run there.
pub(crate) fn counters(
    machine: &Machine<'_>,
    namespace: &str,
    pod: &str,
) -> Result<Option<InterfaceCounters>, ClusterError> {
    // A restarted sandbox leaves its predecessor's container behind for a while, but not its task.
    let Some(&pid) = tasks(machine, namespace, pod, "sandbox")?.first() else { return Ok(None) };
    let path = PathBuf::from(format!("/proc/{pid}/net/dev"));
    let text = fs::read_to_string(&path).map_err(|source| ClusterError::File { path, source })?;
    Ok(eth0(&text))
}

/// The first process of each of a pod's running containers of a kind: `container`, or the `sandbox` that they are in.
pub(crate) fn tasks(machine: &Machine<'_>, namespace: &str, pod: &str, kind: &str) -> Result<Vec<u32>, ClusterError> {
    let filter = format!(
        r#"labels."io.kubernetes.pod.namespace"=={namespace},labels."io.kubernetes.pod.name"=={pod},labels."io.cri-containerd.kind"=={kind}"#
    );
    let containers = machine.ctr(&["--namespace", "k8s.io", "containers", "list", "--quiet", &filter])?;
    let tasks = machine.ctr(&["--namespace", "k8s.io", "tasks", "list"])?;
    Ok(containers.lines().filter_map(|container| running(&tasks, container.trim())).collect())
}

/// The process of a running task, from the table of `ctr tasks list` (task, process, status).
fn running(tasks: &str, id: &str) -> Option<u32> {
    tasks.lines().find_map(|line| {
        let mut fields = line.split_whitespace();
        (fields.next()? == id).then_some(())?;
        let pid = fields.next()?.parse().ok()?;
        (fields.next()? == "RUNNING").then_some(pid)
    })
}

/// `proc_pid_net(5)`: after the name, eight numbers of what came in and eight of what went out, bytes first.
fn eth0(devices: &str) -> Option<InterfaceCounters> {
    let numbers = devices.lines().find_map(|line| line.trim().strip_prefix("eth0:"))?;
    let numbers: Vec<u64> = numbers.split_whitespace().map_while(|number| number.parse().ok()).collect();
    Some(InterfaceCounters { received: *numbers.first()?, sent: *numbers.get(8)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_the_first_and_the_ninth_number() {
        let text = "Inter-|   Receive  |  Transmit\n face |bytes packets\n    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n  \
                    eth0: 70 2 0 0 0 0 0 0 90 3 0 0 0 0 0 0\n";
        assert_eq!(eth0(text), Some(InterfaceCounters { received: 70, sent: 90 }));
    }

    #[test]
    fn only_a_running_task_counts() {
        let tasks = "TASK  PID  STATUS\nabc   7    RUNNING\ndef   8    STOPPED\n";
        assert_eq!(running(tasks, "abc"), Some(7));
        assert_eq!(running(tasks, "def"), None);
        assert_eq!(running(tasks, "ab"), None);
    }
}
