//! The storage node of Weft: one process a member, on one volume; or, as `gateway`, the HTTP service in front of them.

pub mod env;
mod exchange;
pub mod member;
pub mod metrics;
pub mod migrate;
pub mod repair;
pub mod service;
