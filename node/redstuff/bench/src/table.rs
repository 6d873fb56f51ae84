//! Markdown tables.

use std::fmt::Write;

use crate::marks::Mark;
use crate::measure::{Cell, Measured};

/// What Weft is compared with in brackets.
const WEFT: &str = "Weft";

/// How many times as fast Weft is, in brackets.
fn ratio(cell: &Cell, measured: &Measured) -> String {
    let ratio = cell.ratio(WEFT, &measured.name).filter(|_| measured.name != WEFT);
    ratio.map(|ratio| format!(" ({ratio:.2} ×)")).unwrap_or_default()
}

/// One row a contestant, one column a cell.
fn table(cells: &[Cell], figure: impl Fn(&Cell, &Measured) -> String) -> String {
    let Some(first) = cells.first() else { return String::new() };
    let mut text = String::from("| |");
    for cell in cells {
        write!(text, " n = {} |", cell.task.shape().n).expect("strings take everything");
    }
    text += "\n| --- |";
    text += &" ---: |".repeat(cells.len());
    for name in first.measured.iter().map(|measured| &measured.name) {
        write!(text, "\n| {name} |").expect("strings take everything");
        for cell in cells {
            let Some(measured) = cell.of(name) else { continue };
            write!(text, " {} |", figure(cell, measured)).expect("strings take everything");
        }
    }
    text + "\n"
}

/// In GB/s of content.
pub fn rates(cells: &[Cell]) -> String {
    table(cells, |cell, measured| format!("{:.2}{}", cell.rate(measured), ratio(cell, measured)))
}

/// In microseconds an operation.
pub fn times(cells: &[Cell]) -> String {
    table(cells, |cell, measured| format!("{:.1}{}", measured.time.as_secs_f64() * 1e6, ratio(cell, measured)))
}

/// Which arrangement each library was measured in.
pub fn arrangements(cells: &[Cell]) -> String {
    table(cells, |_, measured| measured.arrangement.clone())
}

/// The figures to be reached.
pub fn marks(marks: &[Mark]) -> String {
    let mut text = String::from("| | figure | to reach | |\n| --- | ---: | ---: | --- |\n");
    for mark in marks {
        let what = mark.what.trim_end_matches(',');
        let reached = if mark.is_reached() { "reached" } else { "**missed**" };
        writeln!(text, "| {what} | {:.2} {} | {} | {reached} |", mark.figure, mark.unit, mark.to_reach())
            .expect("strings take everything");
    }
    text
}
