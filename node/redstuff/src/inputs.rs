//! Checks of the slivers and symbols that callers give: they may come from anywhere.

use thiserror::Error;

use crate::code::{Axis, Code};

/// Why slivers or symbols can't be worked with. They are told by the sliver's axis and index.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum SliverError {
    #[error("{have} different {} slivers are too few: it takes {need}", axis.name())]
    TooFew { axis: Axis, have: usize, need: usize },
    #[error("there is no {} sliver {index}", axis.name())]
    Index { axis: Axis, index: u16 },
    #[error("{} sliver {index} is given twice", axis.name())]
    Twice { axis: Axis, index: u16 },
    #[error("the bytes of {} sliver {index} are {actual} instead of {expected}", axis.name())]
    Length { axis: Axis, index: u16, expected: usize, actual: usize },
    #[error("a helper's {} sliver has {actual} bytes instead of {expected}", axis.name())]
    HelperLength { axis: Axis, expected: usize, actual: usize },
    #[error("symbols have at least one byte")]
    SymbolSize,
    #[error("there is room for {actual} bytes instead of {expected}")]
    Output { expected: usize, actual: usize },
}

/// Checks indexes, lengths and number.
pub(crate) fn check(
    code: Code,
    axis: Axis,
    expected: usize,
    given: &[(u16, &[u8])],
    need: u16,
) -> Result<(), SliverError> {
    if expected == 0 {
        return Err(SliverError::SymbolSize);
    }
    let mut seen = [false; 256];
    for &(index, bytes) in given {
        check_index(code, axis, index)?;
        if std::mem::replace(&mut seen[index as usize], true) {
            return Err(SliverError::Twice { axis, index });
        }
        if bytes.len() != expected {
            return Err(SliverError::Length { axis, index, expected, actual: bytes.len() });
        }
    }
    if given.len() < need as usize {
        return Err(SliverError::TooFew { axis, have: given.len(), need: need as usize });
    }
    Ok(())
}

pub(crate) fn check_index(code: Code, axis: Axis, index: u16) -> Result<(), SliverError> {
    if index < code.shards() { Ok(()) } else { Err(SliverError::Index { axis, index }) }
}

pub(crate) fn check_output(output: &[u8], expected: usize) -> Result<(), SliverError> {
    if output.len() == expected { Ok(()) } else { Err(SliverError::Output { expected, actual: output.len() }) }
}
