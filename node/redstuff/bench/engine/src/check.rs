//! Whether an engine does its work: a benchmark of wrong results is none.

use crate::arena::Arena;
use crate::engine::{Engine, Field};
use crate::field::Matrix;
use crate::grid::{Cut, Encoded, Shape};

/// Each stripe's bytes that are compared with the slow reference, in each row and column.
const SAMPLES: usize = 7;

/// Encodes one stripe, and checks all that the engine can do on it.
pub fn check(engine: &mut dyn Engine, field: Field, shape: Shape, symbol: usize) -> Result<(), String> {
    if field == Field::None {
        return Ok(());
    }
    let cut = Cut::new(shape, shape.source_symbols() * symbol, symbol);
    let mut arena = Arena::default();
    arena.reserve(cut.lengths(), cut.lengths()[0]);
    let [source, ..] = cut.lengths();
    for stripe in cut.stripes(&arena.source[..source], &mut arena.parity, &mut arena.columns) {
        engine.encode(stripe);
    }
    for stripe in cut.encoded(&arena.source[..source], &arena.parity, &arena.columns) {
        check_encoded(engine, field, shape, stripe)?;
    }
    Ok(())
}

/// Checks an encoded stripe: the source's columns are copies, rows and columns agree where they cross, it decodes, slivers are rebuilt, and where the
/// code is Weft's, so are the bytes.
pub fn check_encoded(engine: &mut dyn Engine, field: Field, shape: Shape, stripe: Encoded<'_>) -> Result<(), String> {
    check_copies(shape, &stripe)?;
    check_crossings(engine, shape, &stripe)?;
    check_rebuilding(engine, shape, &stripe)?;
    check_decoding(engine, shape, &stripe)?;
    if field == Field::Same { check_bytes(shape, &stripe) } else { Ok(()) }
}

fn symbols<'a>(sliver: &'a [u8], stripe: &Encoded<'_>) -> impl Iterator<Item = &'a [u8]> {
    sliver.chunks_exact(stripe.symbol)
}

fn check_copies(shape: Shape, stripe: &Encoded<'_>) -> Result<(), String> {
    for index in 0..shape.columns() {
        for (row, symbol) in symbols(stripe.column(shape, index), stripe).enumerate() {
            if symbols(stripe.row(shape, row), stripe).nth(index) != Some(symbol) {
                return Err(format!("column {index} isn't the source's in row {row}"));
            }
        }
    }
    Ok(())
}

/// A parity row's symbol is what the column gives for it: all rows with one column, all columns with one row.
fn check_crossings(engine: &mut dyn Engine, shape: Shape, stripe: &Encoded<'_>) -> Result<(), String> {
    let mut out = vec![0; stripe.symbol];
    let first = shape.rows();
    for row in first..shape.n {
        for column in if row == first { 0..shape.columns() } else { 1..2 } {
            engine.symbol(stripe.column(shape, column), row, &mut out);
            if symbols(stripe.row(shape, row), stripe).nth(column) != Some(&out) {
                return Err(format!("row {row} and column {column} don't agree where they cross"));
            }
        }
    }
    Ok(())
}

/// The columns' symbols of a row give the row: all that the parity columns store, and what they give for two parity rows.
fn check_rebuilding(engine: &mut dyn Engine, shape: Shape, stripe: &Encoded<'_>) -> Result<(), String> {
    for row in (0..=shape.rows()).chain([shape.n - 1]) {
        let crossing = |column: usize| {
            let sliver = stripe.column(shape, column);
            let mut out = vec![0; stripe.symbol];
            match symbols(sliver, stripe).nth(row) {
                Some(symbol) => out.copy_from_slice(symbol),
                None => engine.symbol(sliver, row, &mut out),
            }
            out
        };
        let given: Vec<Vec<u8>> = (shape.f..shape.n).map(crossing).collect();
        let given: Vec<&[u8]> = given.iter().map(Vec::as_slice).collect();
        let mut rebuilt = vec![0; shape.columns() * stripe.symbol];
        engine.rebuild(&given, &mut rebuilt);
        if rebuilt != stripe.row(shape, row) {
            return Err(format!("row {row} isn't what is rebuilt of it"));
        }
    }
    Ok(())
}

fn check_decoding(engine: &mut dyn Engine, shape: Shape, stripe: &Encoded<'_>) -> Result<(), String> {
    let mut out = vec![0; stripe.source.len()];
    for lost in [0, shape.f] {
        let rows: Vec<&[u8]> = (lost..lost + shape.rows()).map(|index| stripe.row(shape, index)).collect();
        out.fill(0);
        engine.decode(stripe.symbol, lost, &rows, &mut out);
        if out != stripe.source {
            return Err(format!("the source isn't what is decoded with {lost} rows lost"));
        }
    }
    Ok(())
}

fn check_bytes(shape: Shape, stripe: &Encoded<'_>) -> Result<(), String> {
    let down = Matrix::interpolation(0..shape.rows(), shape.rows()..shape.n);
    for index in shape.rows()..shape.n {
        let row = stripe.row(shape, index);
        for at in samples(row.len(), index) {
            let sources = (0..shape.rows()).map(|source| stripe.row(shape, source)[at]);
            if row[at] != down.byte(index - shape.rows(), sources) {
                return Err(format!("byte {at} of row {index} is wrong"));
            }
        }
    }
    let along = Matrix::interpolation(0..shape.columns(), shape.columns()..shape.n);
    for index in shape.columns()..shape.n {
        let column = stripe.column(shape, index);
        for at in samples(column.len(), index) {
            let row = stripe.row(shape, at / stripe.symbol);
            let sources = symbols(row, stripe).map(|symbol| symbol[at % stripe.symbol]);
            if column[at] != along.byte(index - shape.columns(), sources) {
                return Err(format!("byte {at} of column {index} is wrong"));
            }
        }
    }
    Ok(())
}

/// Both ends, and places in between.
fn samples(length: usize, seed: usize) -> impl Iterator<Item = usize> {
    (0..SAMPLES).map(move |at| (at * 1_000_003 + seed * 7_919) % length).chain([0, length - 1])
}
