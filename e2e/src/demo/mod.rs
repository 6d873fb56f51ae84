//! The demonstration, step by step: a fleet on a real cluster, real files, a loss under load, and what it came to. The fleet's
//! tests are made of the same steps.

mod corpus;
mod diagnose;
mod error;
mod fleet;
mod gateway;
mod load;
mod loss;
mod meter;
mod milestones;
mod narrate;
mod observe;
mod report;
mod run;
mod stage;
mod store;
mod story;
mod tunnel;

pub use corpus::{Scale, Source, choose};
pub use error::DemoError;
pub use fleet::{Fleet, delete_namespace};
pub use gateway::{Gateway, Stored};
pub use load::{Load, Tally};
pub use loss::{Loss, delete_claim, delete_pod};
pub use meter::{Meter, Traffic};
pub use milestones::{Milestones, Who};
pub use observe::{Observer, Snapshot, is_ready};
pub use report::{Counts, LEAST_RATE, MOST_MOVED, Report};
pub use run::Run;
pub use stage::{Place, Stage};
pub use store::{Weft, compare};
pub use story::{Bar, Story};
