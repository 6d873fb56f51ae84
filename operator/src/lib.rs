//! Weft's operator: it watches `StorageCommittee` and `Epoch` objects and runs the fleets that they ask for.
//!
//! A reconciliation observes, plans, acts and reports, in that order and in those words. Decisions are the planner's
//! (`weft-planner`, pure); everything here reads, asks, applies and tells.

pub mod act;
pub mod api;
mod args;
pub mod certs;
mod connected;
pub mod context;
pub mod controller;
pub mod env;
mod leader;
pub mod lean;
pub mod names;
pub mod observe;
mod probe;
pub mod quiet;
pub mod reconcile;
pub mod refusals;
pub mod report;
mod run;
pub mod session;
pub mod subject;
pub mod telemetry;
pub mod traffic;

pub use args::{Args, Command, LogFormat, RunArgs};
pub use run::{RunError, run};
