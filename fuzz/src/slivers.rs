//! Encoding, decoding and mending of any slivers, beside the reference crate.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use bytes::Bytes;
use reed_solomon_erasure::galois_8::ReedSolomon;
use weft_redstuff::{
    Axis, Code, EncodeError, SliverError, decode_from_primaries, decode_from_secondaries, encode_stripe,
    rebuild_sliver, rebuild_source_rows, symbol,
};

use crate::Target;
use crate::input::{Input, noise};

pub(crate) const ENCODE: Target = Target { name: "encode", run: encode, seeds, catches: false };
pub(crate) const DECODE: Target = Target { name: "decode", run: decode, seeds, catches: false };
pub(crate) const REBUILD: Target = Target { name: "rebuild", run: rebuild, seeds, catches: false };
pub(crate) const SYMBOL: Target = Target { name: "symbol", run: cross, seeds, catches: false };

/// No stripe here has more bytes of source.
const MOST: u32 = 1 << 14;

/// The reference's code of `k` values that are expanded to `n`. Making one inverts a matrix.
fn reference(k: u16, n: u16) -> Rc<ReedSolomon> {
    thread_local! {
        static MADE: RefCell<HashMap<(u16, u16), Rc<ReedSolomon>>> = RefCell::default();
    }
    let make = || Rc::new(ReedSolomon::new(k.into(), (n - k).into()).expect("a code"));
    MADE.with_borrow_mut(|made| made.entry((k, n)).or_insert_with(make).clone())
}

/// All `n` values, by the reference, from the first `k`.
fn expand(k: u16, n: u16, source: &[&[u8]]) -> Vec<Vec<u8>> {
    let length = source.first().map_or(0, |bytes| bytes.len());
    let mut shards: Vec<Vec<u8>> = source.iter().map(|bytes| bytes.to_vec()).collect();
    shards.resize(n.into(), vec![0; length]);
    reference(k, n).encode(&mut shards).expect("k values");
    shards
}

/// All `n` values, by the reference, from `k` of them.
fn complete(k: u16, n: u16, known: &[(u16, &[u8])]) -> Vec<Vec<u8>> {
    let mut shards: Vec<Option<Vec<u8>>> = vec![None; n.into()];
    for (index, bytes) in known {
        shards[usize::from(*index)] = Some(bytes.to_vec());
    }
    reference(k, n).reconstruct(&mut shards).expect("k different values");
    shards.into_iter().flatten().collect()
}

/// A code and a symbol's bytes. Few codes are large: the reference takes the cube of k steps for each.
fn sizes(input: &mut Input<'_>) -> (Code, u32) {
    let (kind, choice) = (input.byte(), input.byte());
    let shards = match kind % 64 {
        0 => [64, 100, 129, 255][usize::from(choice % 4)],
        _ => 4 + u16::from(choice % 29),
    };
    let most = (shards - 1) / 3;
    let faults = if kind < 64 { most } else { 1 + u16::from(kind / 64) * 7 % most };
    let code = Code::new(shards, faults).expect("within the bounds");
    let most = (MOST / code.source_symbols()).clamp(2, 1100);
    (code, u32::from(input.u16()) % (most + 1))
}

/// Bytes that follow from a few.
fn content(input: &mut Input<'_>, length: usize) -> Vec<u8> {
    let seed = input.array::<4>();
    if seed[0].is_multiple_of(4) { vec![seed[1]; length] } else { noise(length, &seed) }
}

/// Values with their indexes: mostly as many different ones of the right length as are needed, and sometimes not.
fn given(input: &mut Input<'_>, code: Code, need: u16, length: usize) -> Vec<(u16, Vec<u8>)> {
    let n = code.shards();
    let odd = input.byte().is_multiple_of(8);
    let count = if odd { u16::from(input.byte()) } else { need + u16::from(input.byte()) % (n - need + 1) };
    let mut next = 0;
    let mut given = Vec::new();
    for _ in 0..count {
        let byte = input.byte();
        let index = if odd && byte.is_multiple_of(16) { input.u16() } else { next };
        next = (next + 1 + u16::from(byte % 4)) % n;
        let taken = |index: &u16| given.iter().any(|(other, _)| other == index);
        let index = if odd { index } else { (index..n).chain(0..n).find(|index| !taken(index)).expect("fewer than n") };
        let length = if odd && byte.is_multiple_of(13) { usize::from(input.u16()) } else { length };
        given.push((index, content(input, length)));
    }
    given
}

fn borrow(given: &[(u16, Vec<u8>)]) -> Vec<(u16, &[u8])> {
    given.iter().map(|(index, bytes)| (*index, &bytes[..])).collect()
}

/// What is to be said of what is given: the slivers are good, or an error that names what isn't.
fn check<T>(
    outcome: Result<T, SliverError>,
    code: Code,
    given: &[(u16, Vec<u8>)],
    need: u16,
    length: usize,
) -> Option<T> {
    let twice = |at: usize| given[..at].iter().any(|(index, _)| *index == given[at].0);
    let fault = || {
        let good = |(at, (index, bytes)): (usize, &(u16, Vec<u8>))| {
            *index < code.shards() && !twice(at) && bytes.len() == length
        };
        length == 0 || given.len() < need.into() || !given.iter().enumerate().all(good)
    };
    match outcome {
        Ok(value) => {
            assert!(!fault(), "it took what isn't good");
            return Some(value);
        }
        Err(SliverError::SymbolSize) => assert_eq!(length, 0),
        Err(SliverError::TooFew { have, need: told, .. }) => {
            assert_eq!((have, told), (given.len(), need.into()));
            assert!(have < told);
        }
        Err(SliverError::Index { index, .. }) => assert!(index >= code.shards()),
        Err(SliverError::Twice { index, .. }) => {
            assert!(given.iter().filter(|(other, _)| *other == index).count() > 1);
        }
        Err(SliverError::Length { index, expected, actual, .. }) => {
            assert_eq!(expected, length);
            assert!(actual != length && given.iter().any(|(other, bytes)| (*other, bytes.len()) == (index, actual)));
        }
        Err(error) => panic!("of what is given, not {error}"),
    }
    None
}

/// Those with the lowest indexes: with more than enough, they are what counts.
fn lowest(given: &[(u16, Vec<u8>)], k: u16) -> Vec<(u16, &[u8])> {
    let mut lowest = borrow(given);
    lowest.sort_unstable_by_key(|(index, _)| *index);
    lowest.truncate(k.into());
    lowest
}

fn encode(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (code, size) = sizes(&mut input);
    let capacity = code.stripe_capacity(size);
    let length = if input.byte().is_multiple_of(8) { input.below(capacity + 3) } else { capacity };
    let data = content(&mut input, length as usize);
    let stripe = match encode_stripe(code, size, Bytes::from(data.clone())) {
        Ok(stripe) => stripe,
        Err(EncodeError::SymbolSize) => return assert_eq!(size, 0),
        Err(EncodeError::TooLong { length, capacity }) => return assert!(length > capacity),
        Err(error @ EncodeError::Length { .. }) => panic!("it makes its own room: {error}"),
    };
    assert!(size > 0 && length <= capacity);
    let (n, k1, k2) = (code.shards(), code.source_rows(), code.source_columns());
    let mut padded = data;
    padded.resize(capacity as usize, 0);
    let rows: Vec<&[u8]> = padded.chunks_exact(code.sliver_length(Axis::Primary, size)).collect();
    for (index, row) in (0..).zip(expand(k1, n, &rows)) {
        assert!(stripe.sliver(Axis::Primary, index) == row, "primary {index} of {code:?}, {size}");
    }
    let symbol = size as usize;
    let column = |at: usize| rows.iter().map(|row| &row[at * symbol..][..symbol]).collect::<Vec<_>>().concat();
    let columns: Vec<Vec<u8>> = (0..usize::from(k2)).map(column).collect();
    let columns: Vec<&[u8]> = columns.iter().map(|column| &column[..]).collect();
    for (index, column) in (0..).zip(expand(k2, n, &columns)) {
        assert!(stripe.sliver(Axis::Secondary, index) == column, "secondary {index} of {code:?}, {size}");
    }
    assert!(stripe.hashes().matches(Axis::Secondary, n - 1, &stripe.sliver(Axis::Secondary, n - 1)));
}

/// Slivers that no stripe may ever have had.
fn decode(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (code, size) = sizes(&mut input);
    let axis = input.axis();
    let (k, length) = (code.slivers_to_decode(axis), code.sliver_length(axis, size));
    let given = given(&mut input, code, k, length);
    let outcome = match axis {
        Axis::Primary => decode_from_primaries(code, size, &borrow(&given)),
        Axis::Secondary => decode_from_secondaries(code, size, &borrow(&given)),
    };
    if let Some(source) = check(outcome, code, &given, k, length) {
        let slivers = complete(k, code.shards(), &lowest(&given, k));
        let symbol = size as usize;
        let expected = match axis {
            Axis::Primary => slivers[..k.into()].concat(),
            Axis::Secondary => (0..usize::from(code.source_rows()))
                .flat_map(|row| slivers[..k.into()].iter().flat_map(move |column| &column[row * symbol..][..symbol]))
                .copied()
                .collect(),
        };
        assert!(source == expected, "{code:?}, {size} bytes, from the {}", axis.name());
    }
    // Rows may be any part of the primaries.
    let (need, length) = (code.source_rows(), given.first().map_or(0, |(_, bytes)| bytes.len()));
    let wanted: Vec<u16> = (0..input.byte() % 4).map(|_| u16::from(input.byte()) % code.shards()).collect();
    let rows = rebuild_source_rows(code, &borrow(&given), &wanted);
    if let Some(rows) = check(rows, code, &given, need, length) {
        let all = complete(need, code.shards(), &lowest(&given, need));
        assert!(wanted.iter().zip(&rows).all(|(index, row)| *row == all[usize::from(*index)]), "{code:?}, {wanted:?}");
        assert_eq!(rows.len(), wanted.len());
        let beyond = rebuild_source_rows(code, &borrow(&given), &[code.shards()]);
        assert_eq!(beyond, Err(SliverError::Index { axis: Axis::Primary, index: code.shards() }));
    }
}

/// Symbols that no sliver may ever have had.
fn rebuild(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (code, size) = sizes(&mut input);
    let axis = input.axis();
    let k = code.sliver_symbols(axis);
    let given = given(&mut input, code, k, size as usize);
    let outcome = rebuild_sliver(code, axis, size, &borrow(&given));
    if let Some(sliver) = check(outcome, code, &given, k, size as usize) {
        let symbols = complete(k, code.shards(), &borrow(&given)[..k.into()]);
        assert!(sliver == symbols[..k.into()].concat(), "{code:?}, {size} bytes, {}", axis.name());
    }
}

/// Where any sliver crosses another.
fn cross(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (code, size) = sizes(&mut input);
    let axis = input.axis();
    let target = u16::from(input.byte());
    let (k, expected) = (code.sliver_symbols(axis), code.sliver_length(axis, size));
    let odd = input.byte().is_multiple_of(8);
    let length = if odd { usize::from(input.u16()) } else { expected };
    let helper = content(&mut input, length);
    match symbol(code, axis, &helper, size, target) {
        Ok(symbol) => {
            assert!(target < code.shards() && length == expected && size > 0);
            let all = expand(k, code.shards(), &helper.chunks_exact(size as usize).collect::<Vec<_>>());
            assert!(symbol == all[usize::from(target)], "{code:?}, {size} bytes, {} for {target}", axis.name());
        }
        Err(SliverError::Index { index, .. }) => assert!(index == target && target >= code.shards()),
        Err(SliverError::SymbolSize) => assert_eq!(size, 0),
        Err(error) => {
            assert_eq!(error, SliverError::HelperLength { axis, expected, actual: length });
            assert_ne!(length, expected);
        }
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    // Which code, symbol sizes, and choices of which the first is the axis.
    for (kind, shards, size) in [(1, 0, 2), (1, 6, 33), (1, 24, 64), (65, 27, 255), (255, 28, 15), (0, 1, 3)] {
        for axis in 0..2 {
            seeds.push([&[kind, shards, size, 0, axis, 1][..], &noise(300, &[shards, axis])].concat());
        }
    }
    seeds
}
