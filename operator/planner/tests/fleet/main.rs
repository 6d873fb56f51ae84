//! The planner against a fleet in miniature: members that obey the protocol's own fence, nodes that die, objects that
//! vanish. What is planned is carried out, and the fleet must come to rest, whole.

mod accusations;
mod beyond;
mod budgets;
mod checks;
mod epochs;
mod kills;
mod maintenance;
mod model;
mod process;
mod random;
mod returns;
mod rewinds;
mod rollouts;
mod scenarios;
mod unrecoverable;
