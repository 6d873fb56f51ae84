//! The storage node of Weft: one process a member, on one volume; or, as `gateway`, the HTTP service in front of them.

mod admin;
mod answer;
pub mod args;
mod challenge;
pub mod env;
mod exchange;
pub mod gateway;
pub mod member;
pub mod metrics;
pub mod migrate;
pub mod repair;
pub mod run;
mod scrub;
pub mod serve;
pub mod service;
pub mod telemetry;
pub mod tls;
mod verdicts;
