//! The code against the reference crate and against itself, for any parameters.

use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::{Index, subsequence};
use reed_solomon_erasure::galois_8::ReedSolomon;
use weft_redstuff::{
    Axis, Code, EncodeError, EncodedStripe, Layout, SliverError, decode_from_primaries, decode_from_secondaries,
    encode_stripe, rebuild_sliver, rebuild_source_rows, symbol,
};

fn codes(most: u16) -> impl Strategy<Value = Code> {
    (4..=most)
        .prop_flat_map(|shards| (Just(shards), 1..=(shards - 1) / 3))
        .prop_map(|(shards, fault_tolerance)| Code::new(shards, fault_tolerance).unwrap())
}

fn content(length: usize, seed: u64) -> Bytes {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes.into()
}

/// `E = G1 · M · G2ᵀ`, cell by cell, by the reference crate: rows are expanded first, then columns.
fn reference_grid(code: Code, symbol_size: usize, data: &[u8]) -> Vec<Vec<Vec<u8>>> {
    let (n, k1, k2) = (code.shards() as usize, code.source_rows() as usize, code.source_columns() as usize);
    let mut grid = vec![vec![vec![0; symbol_size]; n]; n];
    let mut bytes = data.iter();
    for row in grid.iter_mut().take(k1) {
        for cell in row.iter_mut().take(k2).flatten() {
            *cell = bytes.next().copied().unwrap_or(0);
        }
        ReedSolomon::new(k2, n - k2).unwrap().encode(row).unwrap();
    }
    for at in 0..n {
        let mut column: Vec<Vec<u8>> = grid.iter().map(|row| row[at].clone()).collect();
        ReedSolomon::new(k1, n - k1).unwrap().encode(&mut column).unwrap();
        for (row, cell) in grid.iter_mut().zip(column) {
            row[at] = cell;
        }
    }
    grid
}

fn slivers(stripe: &EncodedStripe, axis: Axis) -> Vec<Bytes> {
    (0..stripe.code().shards()).map(|index| stripe.sliver(axis, index)).collect()
}

fn pick<'a>(all: &'a [Bytes], indexes: &[u16]) -> Vec<(u16, &'a [u8])> {
    indexes.iter().map(|&index| (index, &all[index as usize][..])).collect()
}

/// Some `count` of the code's indexes, in some order.
fn indexes(code: Code, count: u16) -> impl Strategy<Value = Vec<u16>> {
    subsequence((0..code.shards()).collect::<Vec<_>>(), count as usize).prop_shuffle()
}

#[derive(Debug)]
struct Case {
    code: Code,
    symbol_size: u32,
    data: Bytes,
    /// `k1` primaries that are left.
    primaries: Vec<u16>,
    /// `k2` secondaries that are left.
    secondaries: Vec<u16>,
}

fn cases(most: u16, max_symbol: u32) -> impl Strategy<Value = Case> {
    // Long symbols are worked on row by row, short ones column by column.
    let symbols = prop_oneof![3 => 1..=max_symbol, 1 => Just(255), 1 => 256..=257u32, 1 => Just(1025)];
    (codes(most), symbols, any::<Index>(), any::<u64>()).prop_flat_map(|(code, symbol_size, cut, seed)| {
        let length = cut.index(code.stripe_capacity(symbol_size) as usize + 1);
        (indexes(code, code.source_rows()), indexes(code, code.source_columns())).prop_map(
            move |(primaries, secondaries)| Case {
                code,
                symbol_size,
                data: content(length, seed),
                primaries,
                secondaries,
            },
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_cell_is_the_reference_crates(case in cases(40, 9)) {
        let Case { code, symbol_size, data, .. } = case;
        let stripe = encode_stripe(code, symbol_size, data.clone()).unwrap();
        let grid = reference_grid(code, symbol_size as usize, &data);
        let (k1, k2) = (code.source_rows() as usize, code.source_columns() as usize);
        for (i, row) in grid.iter().enumerate() {
            let primary = stripe.sliver(Axis::Primary, i as u16);
            prop_assert_eq!(&primary, &row[..k2].concat());
            let secondary = stripe.sliver(Axis::Secondary, i as u16);
            let column: Vec<u8> = grid[..k1].iter().flat_map(|row| row[i].clone()).collect();
            prop_assert_eq!(&secondary, &column);
            for (j, crossing) in grid.iter().enumerate() {
                let along = symbol(code, Axis::Primary, &primary, symbol_size, j as u16).unwrap();
                prop_assert_eq!(&along, &row[j], "E[{}, {}] from the primary", i, j);
                let down = symbol(code, Axis::Secondary, &secondary, symbol_size, j as u16).unwrap();
                prop_assert_eq!(&down, &crossing[i], "E[{}, {}] from the secondary", j, i);
            }
        }
    }

    #[test]
    fn any_k1_primaries_decode_as_the_reference_crate_does(case in cases(60, 40)) {
        let Case { code, symbol_size, data, primaries, .. } = case;
        let stripe = encode_stripe(code, symbol_size, data.clone()).unwrap();
        let all = slivers(&stripe, Axis::Primary);
        let source = decode_from_primaries(code, symbol_size, &pick(&all, &primaries)).unwrap();
        prop_assert_eq!(&source[..data.len()], &data[..]);
        prop_assert!(source[data.len()..].iter().all(|&byte| byte == 0));

        let (n, k1) = (code.shards() as usize, code.source_rows() as usize);
        let mut shards: Vec<Option<Vec<u8>>> =
            (0..code.shards()).map(|index| primaries.contains(&index).then(|| all[index as usize].to_vec())).collect();
        ReedSolomon::new(k1, n - k1).unwrap().reconstruct_data(&mut shards).unwrap();
        let reference: Vec<u8> = shards.into_iter().take(k1).flat_map(Option::unwrap).collect();
        prop_assert_eq!(source, reference);
    }

    #[test]
    fn any_k2_secondaries_decode(case in cases(60, 40)) {
        let Case { code, symbol_size, data, secondaries, .. } = case;
        let stripe = encode_stripe(code, symbol_size, data.clone()).unwrap();
        let all = slivers(&stripe, Axis::Secondary);
        let source = decode_from_secondaries(code, symbol_size, &pick(&all, &secondaries)).unwrap();
        prop_assert_eq!(&source[..data.len()], &data[..]);
        prop_assert!(source[data.len()..].iter().all(|&byte| byte == 0));
    }

    #[test]
    fn every_sliver_is_rebuilt_from_any_helpers(case in cases(40, 40)) {
        let Case { code, symbol_size, data, primaries, secondaries } = case;
        let stripe = encode_stripe(code, symbol_size, data).unwrap();
        for (axis, helpers) in [(Axis::Primary, &secondaries), (Axis::Secondary, &primaries)] {
            let crossing = slivers(&stripe, axis.crossing());
            for target in 0..code.shards() {
                let symbols: Vec<Vec<u8>> = helpers
                    .iter()
                    .map(|&helper| symbol(code, axis.crossing(), &crossing[helper as usize], symbol_size, target).unwrap())
                    .collect();
                let given: Vec<(u16, &[u8])> = helpers.iter().copied().zip(symbols.iter().map(Vec::as_slice)).collect();
                let rebuilt = rebuild_sliver(code, axis, symbol_size, &given).unwrap();
                prop_assert_eq!(&stripe.sliver(axis, target), &rebuilt);
                prop_assert_eq!(symbols.iter().map(Vec::len).sum::<usize>(), rebuilt.len());
            }
        }
    }

    #[test]
    fn a_range_of_a_row_comes_from_that_range_of_others(case in cases(40, 40), from: Index, wanted: Index) {
        let Case { code, symbol_size, data, primaries, .. } = case;
        let stripe = encode_stripe(code, symbol_size, data).unwrap();
        let from = from.index(code.sliver_length(Axis::Primary, symbol_size));
        let wanted = wanted.index(code.source_rows() as usize) as u16;
        let all: Vec<Bytes> = slivers(&stripe, Axis::Primary).iter().map(|sliver| sliver.slice(from..)).collect();
        let rows = rebuild_source_rows(code, &pick(&all, &primaries), &[wanted]).unwrap();
        prop_assert_eq!(rows, [all[wanted as usize].to_vec()]);
    }
}

/// Of every code there is: the last slivers alone decode, and rebuild the first ones.
#[test]
fn every_code_survives_its_worst_loss() {
    let codes = (4..=255u16).flat_map(|n| (1..=(n - 1) / 3).map(move |f| Code::new(n, f).unwrap()));
    for (at, code) in codes.enumerate() {
        let symbol_size = 1 + at as u32 % 3;
        let data = content(code.stripe_capacity(symbol_size) as usize - at % 2, at as u64);
        let stripe = encode_stripe(code, symbol_size, data.clone()).unwrap();
        let last = |axis| (code.shards() - code.slivers_to_decode(axis)..code.shards()).collect::<Vec<_>>();
        for axis in Axis::BOTH {
            let crossing = slivers(&stripe, axis.crossing());
            let left = pick(&crossing, &last(axis.crossing()));
            let source = match axis.crossing() {
                Axis::Primary => decode_from_primaries(code, symbol_size, &left),
                Axis::Secondary => decode_from_secondaries(code, symbol_size, &left),
            };
            assert!(source.unwrap()[..data.len()] == data, "{code:?} from {} slivers", axis.crossing().name());
            let symbols: Vec<(u16, Vec<u8>)> = left
                .iter()
                .map(|(index, sliver)| (*index, symbol(code, axis.crossing(), sliver, symbol_size, 0).unwrap()))
                .collect();
            let given: Vec<(u16, &[u8])> = symbols.iter().map(|(index, symbol)| (*index, &symbol[..])).collect();
            let rebuilt = rebuild_sliver(code, axis, symbol_size, &given).unwrap();
            assert!(rebuilt == stripe.sliver(axis, 0), "{code:?}, {} sliver 0", axis.name());
        }
    }
}

#[test]
fn blobs_of_lengths_around_every_boundary_come_back() {
    let (code, symbol_size) = (Code::new(8, 2).unwrap(), 70);
    let (symbol, capacity) = (u64::from(symbol_size), code.stripe_capacity(symbol_size));
    let row = symbol * u64::from(code.source_columns());
    let boundaries = [0, 64, symbol, row, 2 * row, capacity, capacity + symbol, 2 * capacity, 3 * capacity];
    for length in boundaries.into_iter().flat_map(|at: u64| at.saturating_sub(1)..=at + 1) {
        let data = content(length as usize, length);
        for layout in [Layout::sliced(code, length), Layout::with_symbol_size(code, length, symbol_size)] {
            let (mut rows, mut columns) = (Vec::new(), Vec::new());
            for stripe in layout.unwrap().iter() {
                let piece = data.slice(stripe.offset as usize..(stripe.offset + stripe.length) as usize);
                let encoded = encode_stripe(code, stripe.symbol_size, piece).unwrap();
                let decode = |axis, last: std::ops::Range<u16>| {
                    let all = slivers(&encoded, axis);
                    let left = pick(&all, &last.collect::<Vec<_>>());
                    match axis {
                        Axis::Primary => decode_from_primaries(code, stripe.symbol_size, &left).unwrap(),
                        Axis::Secondary => decode_from_secondaries(code, stripe.symbol_size, &left).unwrap(),
                    }
                };
                rows.extend_from_slice(&decode(Axis::Primary, 3..7)[..stripe.length as usize]);
                columns.extend_from_slice(&decode(Axis::Secondary, 1..7)[..stripe.length as usize]);
            }
            assert!(rows == data && columns == data, "{length} bytes");
        }
    }
}

/// Two stripes that differ in one symbol, the last, are alike in k1 − 1 primaries and k2 − 1 secondaries together.
#[test]
fn less_than_enough_of_both_axes_tells_stripes_not_apart() {
    for code in [Code::new(4, 1).unwrap(), Code::new(28, 9).unwrap(), Code::new(31, 4).unwrap()] {
        let (k1, k2) = (code.source_rows(), code.source_columns());
        let one = content(code.stripe_capacity(1) as usize, 3);
        let mut other = one.to_vec();
        *other.last_mut().unwrap() ^= 1;
        let [one, other] = [one, other.into()].map(|data| encode_stripe(code, 1, data).unwrap());
        let alike =
            |axis| slivers(&one, axis).into_iter().zip(slivers(&other, axis)).filter(|(one, other)| one == other);
        let (primaries, secondaries) = (alike(Axis::Primary).count() as u16, alike(Axis::Secondary).count() as u16);
        assert_eq!((primaries, secondaries), (k1 - 1, k2 - 1));
        assert!(!code.is_decodable(primaries, secondaries));
        assert!(code.is_decodable(k1, 0) && code.is_decodable(0, k2));
    }
}

#[test]
fn a_whole_stripe_is_not_copied() {
    let code = Code::with_shards(4).unwrap();
    let data = content(6 * 64, 0);
    let stripe = encode_stripe(code, 64, data.clone()).unwrap();
    assert_eq!(stripe.sliver(Axis::Primary, 0).as_ptr(), data.as_ptr());
}

#[test]
fn more_slivers_than_needed_are_welcome() {
    let code = Code::with_shards(10).unwrap();
    let data = content(code.stripe_capacity(5) as usize, 1);
    let stripe = encode_stripe(code, 5, data.clone()).unwrap();
    let most: Vec<u16> = (1..10).rev().collect();
    assert_eq!(decode_from_primaries(code, 5, &pick(&slivers(&stripe, Axis::Primary), &most)).unwrap(), data);
    assert_eq!(decode_from_secondaries(code, 5, &pick(&slivers(&stripe, Axis::Secondary), &most)).unwrap(), data);
}

#[test]
fn bad_slivers_are_refused_by_name() {
    let code = Code::with_shards(4).unwrap();
    let sliver = |index: u16| (index, &[0; 3][..]);
    let (axis, primaries) =
        (Axis::Primary, |given: &[(u16, &[u8])]| decode_from_primaries(code, 1, given).unwrap_err());
    assert_eq!(primaries(&[sliver(1)]), SliverError::TooFew { axis, have: 1, need: 2 });
    assert_eq!(primaries(&[sliver(1), sliver(1)]), SliverError::Twice { axis, index: 1 });
    assert_eq!(primaries(&[sliver(1), sliver(4)]), SliverError::Index { axis, index: 4 });
    assert_eq!(primaries(&[sliver(1), (2, &[0; 2])]), SliverError::Length { axis, index: 2, expected: 3, actual: 2 });
    assert_eq!(decode_from_secondaries(code, 0, &[]), Err(SliverError::SymbolSize));
    // Nothing is made room for before that.
    let huge = u32::MAX;
    assert!(matches!(rebuild_sliver(code, axis, huge, &[]), Err(SliverError::TooFew { .. })));
    assert!(matches!(decode_from_primaries(code, huge, &[]), Err(SliverError::TooFew { .. })));
    assert!(matches!(symbol(code, axis, &[], huge, 0), Err(SliverError::HelperLength { .. })));
    let helper = symbol(code, Axis::Secondary, &[0; 3], 1, 0);
    assert_eq!(helper, Err(SliverError::HelperLength { axis: Axis::Secondary, expected: 2, actual: 3 }));
    assert_eq!(symbol(code, Axis::Primary, &[0; 3], 1, 4), Err(SliverError::Index { axis: Axis::Secondary, index: 4 }));
    let rebuilt = rebuild_sliver(code, Axis::Secondary, 1, &[(0, &[1])]);
    assert_eq!(rebuilt, Err(SliverError::TooFew { axis, have: 1, need: 2 }));
    assert_eq!(encode_stripe(code, 0, Bytes::new()).unwrap_err(), EncodeError::SymbolSize);
    let long = encode_stripe(code, 1, Bytes::from_static(&[0; 7]));
    assert_eq!(long.unwrap_err(), EncodeError::TooLong { length: 7, capacity: 6 });
}
