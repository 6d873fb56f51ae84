//! What a library is asked for.

use std::fmt;

use crate::grid::{Shape, Stripe};
use crate::task::Task;

/// One thread's way to do the two-dimensional code's work. Buffers belong to the caller and were touched before.
pub trait Engine: Send {
    /// Sets rows `k1..n` and all columns, those of the source too.
    fn encode(&mut self, stripe: Stripe<'_>);

    /// The symbol of row `target` from a column, which has `k1` symbols.
    fn symbol(&mut self, sliver: &[u8], target: usize, out: &mut [u8]);

    /// A row of `k2` symbols from those that it has of the columns `f..n`, in this order: the first `f` are lost.
    fn rebuild(&mut self, symbols: &[&[u8]], out: &mut [u8]);

    /// The source from the rows `lost..lost + k1`, in this order; `lost` is 0 or `f`.
    fn decode(&mut self, symbol: usize, lost: usize, rows: &[&[u8]], out: &mut [u8]);
}

/// How much of a library's result can be checked, and against what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// The same code as Weft's: the same bytes.
    Same,
    /// Another code: rows and columns must agree where they cross, and decode.
    Other,
    /// No code: reading and copying, to compare with.
    None,
}

/// How a blob is cut into stripes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cutting {
    /// As Weft cuts it; a single symbol or sliver isn't cut.
    Weft,
    /// In stripes of symbols of so many bytes.
    Symbols(usize),
}

/// What a library may choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrangement {
    pub cutting: Cutting,
    /// Bytes of each shard that the library gets in a call; `usize::MAX` for all of it.
    pub tile: usize,
    /// Whether rows and columns are made of the same tiles before the next ones, instead of all rows before all columns.
    pub fused: bool,
}

impl fmt::Display for Arrangement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cutting {
            Cutting::Weft => f.write_str("as given")?,
            Cutting::Symbols(bytes) => write!(f, "symbols of {bytes}")?,
        }
        if self.tile != usize::MAX {
            write!(f, ", tiles of {}", self.tile)?;
        }
        if self.fused { f.write_str(", rows with columns") } else { Ok(()) }
    }
}

/// A library, or one way of using it.
pub trait Library: Send + Sync {
    fn name(&self) -> &str;

    fn field(&self) -> Field;

    /// What to choose the best of, for this task.
    fn arrangements(&self, task: &Task) -> Vec<Arrangement>;

    /// All that can be prepared is prepared here, untimed: matrices, tables, workspaces.
    fn engine(&self, shape: Shape, arrangement: Arrangement) -> Box<dyn Engine>;
}
