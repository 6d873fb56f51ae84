//! The code of Weft beside every library that a user could pick instead.
//!
//! `codec-table` measures all of them side by side in one run; `cargo bench` watches one at a time. How a library is asked, checked and timed is in the
//! crate `codec-engine`, each library's ways are in [`libraries`].

pub mod contestant;
pub mod libraries;
pub mod machine;
pub mod marks;
pub mod measure;
pub mod plot;
pub mod storage;
pub mod table;
