//! What the codec's benchmark asks of a library, how the library's work is checked, and how it is timed.
//!
//! A [`Library`] makes [`Engine`]s for a [`Shape`] and an [`Arrangement`]. One-dimensional codes become two-dimensional by [`Tiled`]; matrix codes
//! need no more than [`Matrices`]. A [`Runner`] picks the library's best arrangement for a [`Task`], checks its results, and times rounds of it.
//!
//! No library that is measured is linked here, so that those that can't live in one process share all of this.

mod arena;
mod check;
mod engine;
mod field;
mod grid;
mod matrix;
mod runner;
mod task;
mod tiled;
mod tune;
mod worker;

pub use arena::Arena;
pub use check::{check, check_encoded};
pub use engine::{Arrangement, Cutting, Engine, Field, Library};
pub use field::Matrix;
pub use grid::{Cut, Encoded, Shape, Stripe};
pub use matrix::{Combine, Matrices, MatrixLibrary};
pub use runner::Runner;
pub use task::{Task, WeftSizes};
pub use tiled::{Line, Lines, Tiled};
pub use tune::candidates;
pub use worker::serve;
