//! What is measured.

use std::fmt;
use std::str::FromStr;

use crate::engine::{Arrangement, Cutting};
use crate::grid::{Cut, Shape};

/// Bytes of the symbols of Weft's full stripes, and of its last one's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WeftSizes {
    pub full: usize,
    pub tail: usize,
}

/// One cell of a table. Its text form is what a [`crate::serve`]d process is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// All slivers of a blob.
    Encode { shape: Shape, blob: usize, threads: usize, weft: WeftSizes },
    /// One symbol of row `n − 1` from a column. Cold: each time from another one, which no cache holds.
    Symbol { shape: Shape, symbol: usize, cold: bool },
    /// A row from symbols, the first `f` columns being lost.
    Rebuild { shape: Shape, symbol: usize },
    /// A blob from its rows, the first `lost` of them being lost.
    Decode { shape: Shape, blob: usize, lost: usize, weft: WeftSizes },
}

impl Task {
    pub const fn shape(&self) -> Shape {
        match *self {
            Self::Encode { shape, .. }
            | Self::Symbol { shape, .. }
            | Self::Rebuild { shape, .. }
            | Self::Decode { shape, .. } => shape,
        }
    }

    pub const fn threads(&self) -> usize {
        match *self {
            Self::Encode { threads, .. } => threads,
            Self::Symbol { .. } | Self::Rebuild { .. } | Self::Decode { .. } => 1,
        }
    }

    /// Bytes of content that an operation makes or takes: a blob, a symbol, a row.
    pub const fn bytes(&self) -> usize {
        match *self {
            Self::Encode { blob, .. } | Self::Decode { blob, .. } => blob,
            Self::Symbol { symbol, .. } => symbol,
            Self::Rebuild { shape, symbol } => shape.columns() * symbol,
        }
    }

    /// The same with a blob of at most so many bytes.
    #[must_use]
    pub(crate) fn shortened(mut self, most: usize) -> Self {
        match &mut self {
            Self::Encode { blob, .. } | Self::Decode { blob, .. } => *blob = most.min(*blob),
            Self::Symbol { .. } | Self::Rebuild { .. } => (),
        }
        self
    }

    /// The stripes that the task is done in.
    pub(crate) fn cut(&self, arrangement: Arrangement) -> Cut {
        let shape = self.shape();
        match (*self, arrangement.cutting) {
            (Self::Encode { blob, weft, .. } | Self::Decode { blob, weft, .. }, Cutting::Weft) => {
                let capacity = shape.source_symbols() * weft.full;
                // A shortened blob ends in another tail.
                let rest = blob % capacity;
                if shape.source_symbols() * weft.tail >= rest {
                    Cut::with_tail(shape, blob, weft.full, weft.tail)
                } else {
                    Cut::new(shape, blob, weft.full)
                }
            }
            (Self::Encode { blob, .. } | Self::Decode { blob, .. }, Cutting::Symbols(bytes)) => {
                Cut::new(shape, blob, bytes)
            }
            (Self::Symbol { symbol, .. } | Self::Rebuild { symbol, .. }, _) => {
                Cut::new(shape, shape.source_symbols() * symbol, symbol)
            }
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Encode { shape, blob, threads, weft: WeftSizes { full, tail } } => {
                write!(f, "encode {} {blob} {threads} {full} {tail}", shape.n)
            }
            Self::Symbol { shape, symbol, cold } => write!(f, "symbol {} {symbol} {}", shape.n, u8::from(cold)),
            Self::Rebuild { shape, symbol } => write!(f, "rebuild {} {symbol}", shape.n),
            Self::Decode { shape, blob, lost, weft: WeftSizes { full, tail } } => {
                write!(f, "decode {} {blob} {lost} {full} {tail}", shape.n)
            }
        }
    }
}

impl FromStr for Task {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("not a task: {text}");
        let mut words = text.split_whitespace();
        let kind = words.next().ok_or_else(wrong)?;
        let numbers: Vec<usize> = words.map(str::parse).collect::<Result<_, _>>().map_err(|_| wrong())?;
        Ok(match (kind, &numbers[..]) {
            ("encode", &[n, blob, threads, full, tail]) => {
                Self::Encode { shape: Shape::new(n), blob, threads, weft: WeftSizes { full, tail } }
            }
            ("symbol", &[n, symbol, cold]) => Self::Symbol { shape: Shape::new(n), symbol, cold: cold == 1 },
            ("rebuild", &[n, symbol]) => Self::Rebuild { shape: Shape::new(n), symbol },
            ("decode", &[n, blob, lost, full, tail]) => {
                Self::Decode { shape: Shape::new(n), blob, lost, weft: WeftSizes { full, tail } }
            }
            _ => return Err(wrong()),
        })
    }
}
