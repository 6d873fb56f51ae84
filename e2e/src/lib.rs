//! A Kubernetes of the project's own, for tests and demonstrations.
//!
//! [`ApiServer`] is etcd and kube-apiserver alone: it needs no root and starts in seconds. [`Cluster`] is a whole cluster whose
//! workers can be cut from power or network and emptied; it needs root. Both are made of the [`Parts`] that
//! `kubernetes/build.sh` builds, and neither leaves anything behind.

mod api_server;
mod audit;
mod cluster;
#[cfg(feature = "demo")]
pub mod demo;
mod images;
mod kubeconfig;
mod kubectl;
mod parts;
mod pki;
mod port;
mod process;
mod scenario;
mod wait;

pub use api_server::{ApiServer, ApiServerError, Beside, Snapshot};
pub use audit::{AuditError, AuditLog, Calls};
#[cfg(feature = "demo")]
pub use cluster::Enforcer;
pub use cluster::{Cluster, ClusterError, Disks, InterfaceCounters, Isolation, Leftover, Options, RunId, connect_from};
pub use images::{Image, ImageError};
pub use kubectl::{Kubectl, KubectlError};
pub use parts::{Parts, PartsError};
pub use port::Port;
pub use scenario::Scenario;
pub use wait::{Timeout, wait_until};
