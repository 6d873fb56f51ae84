//! Members and gateways, against each other in one process. One test program: each costs as much to link as a node.

mod challenges;
mod collecting;
mod declared;
mod expiring;
mod fleet;
mod gateway;
mod invalid;
mod lists;
mod memory;
mod mending;
mod mirror;
mod orphans;
mod returns;
mod roles;
mod room;
mod rules;
mod scrub;
mod spans;
mod unrecoverable;
mod versions;
