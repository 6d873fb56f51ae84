//! What a plan is tried on: a Kubernetes in miniature, and carrying plans out on it. For tests and the simulation.

mod cluster;
mod committee;
mod office;

pub use cluster::Cluster;
pub use committee::committee;
pub use office::{carry_out, record};
