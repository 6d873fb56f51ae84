//! Values of polynomials at some points from their values at others: what encoding, decoding and repair all are.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use crate::field::Basis;
use crate::kernel::{Matrix, Store, combine};

/// Matrices are forgotten when there are more than this: a process works with few codes, and mends few patterns of loss at a time. Each has at most 64 KiB
/// of coefficients.
const MOST_MATRICES: usize = 64;

/// The points at which values are known, and those at which they are wanted.
type Points = (Vec<u8>, Vec<u8>);

/// The matrix that takes the values at the points `known`, at least one, to those at `wanted`.
pub(crate) fn matrix(known: &[u8], wanted: &[u8]) -> Arc<Matrix> {
    static MATRICES: LazyLock<Mutex<HashMap<Points, Arc<Matrix>>>> = LazyLock::new(Mutex::default);
    let points = (known.to_vec(), wanted.to_vec());
    if let Some(matrix) = MATRICES.lock().unwrap_or_else(PoisonError::into_inner).get(&points) {
        return Arc::clone(matrix);
    }
    let basis = Basis::new(known.to_vec());
    let rows = wanted.iter().map(|&x| basis.row(x));
    let (k, n) = (known.len() as u16, (known.len() + wanted.len()) as u16);
    let is_generator = known.iter().chain(wanted).copied().eq((0..n).map(|point| point as u8));
    let matrix = Arc::new(if is_generator { Matrix::generator(k, n, rows) } else { Matrix::new(k, rows) });
    let mut matrices = MATRICES.lock().unwrap_or_else(PoisonError::into_inner);
    if matrices.len() >= MOST_MATRICES {
        matrices.clear();
    }
    matrices.insert(points, Arc::clone(&matrix));
    matrix
}

/// Rows `k..n` of a systematic generator: the values at `0..k` to those at `k..n`.
pub(crate) fn generator(k: u16, n: u16) -> Arc<Matrix> {
    let points: Vec<u8> = (0..n).map(|point| point as u8).collect();
    let (known, wanted) = points.split_at(k as usize);
    matrix(known, wanted)
}

/// Sets `outputs`, each with the point at which it is wanted, from at least `k` values of a polynomial of degree below `k`, given with their distinct
/// points. The `k` lowest points decide: their values are copied, and all others are made of them.
///
/// # Panics
/// When fewer are given, or lengths differ.
pub(crate) fn interpolate(k: u16, given: &[(u16, &[u8])], outputs: Vec<(u16, &mut [u8])>) {
    let mut chosen = given.to_vec();
    chosen.sort_unstable_by_key(|(point, _)| *point);
    chosen.truncate(k as usize);
    let (mut wanted, mut missing) = (Vec::new(), Vec::new());
    for (point, output) in outputs {
        if let Ok(at) = chosen.binary_search_by_key(&point, |(point, _)| *point) {
            output.copy_from_slice(chosen[at].1);
        } else {
            wanted.push(point as u8);
            missing.push(output);
        }
    }
    if missing.is_empty() {
        return;
    }
    let known: Vec<u8> = chosen.iter().map(|(point, _)| *point as u8).collect();
    let sources: Vec<&[u8]> = chosen.iter().map(|(_, bytes)| *bytes).collect();
    combine(&matrix(&known, &wanted), &sources, &mut missing, Store::Cached);
}
