//! Values of polynomials at some points from their values at others: what encoding, decoding and repair all are.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use crate::field::Basis;
use crate::kernel::{Matrix, Store, combine};

/// All matrices are forgotten when there would be more than this: a process works with few codes, and mends few patterns of loss at a time. Each has at most 64 KiB
/// of coefficients.
const MOST_MATRICES: usize = 64;

/// The points at which values are known, and those at which they are wanted.
type Points = (Vec<u8>, Vec<u8>);

/// The matrix that takes the values at the points `known`, at least one, to those at `wanted`.
pub(crate) fn matrix(known: &[u8], wanted: &[u8]) -> Arc<Matrix> {
    static MATRICES: LazyLock<Mutex<BTreeMap<Points, Arc<Matrix>>>> = LazyLock::new(Mutex::default);
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
    let (known, values): (Vec<u16>, Vec<&[u8]>) = given.iter().copied().unzip();
    let (wanted, outputs): (Vec<u16>, Vec<&mut [u8]>) = outputs.into_iter().unzip();
    Interpolation::new(k, &known, &wanted).apply(&values, outputs);
}

/// What [`interpolate`] does, for many values at the same points.
pub(crate) struct Interpolation {
    /// Places, among those given, of the values that decide.
    chosen: Vec<usize>,
    outputs: Vec<Output>,
    /// Makes what isn't copied, if anything is.
    matrix: Option<Arc<Matrix>>,
}

/// Where an output comes from.
enum Output {
    /// The place of the value given at its point.
    Copied(usize),
    Made,
}

impl Interpolation {
    /// From values at the distinct points `known`, at least `k`, to those at `wanted`.
    pub(crate) fn new(k: u16, known: &[u16], wanted: &[u16]) -> Self {
        let mut chosen: Vec<usize> = (0..known.len()).collect();
        chosen.sort_unstable_by_key(|&place| known[place]);
        chosen.truncate(k as usize);
        let output = |point: &u16| match chosen.binary_search_by_key(point, |&place| known[place]) {
            Ok(at) => Output::Copied(chosen[at]),
            Err(_) => Output::Made,
        };
        let outputs: Vec<Output> = wanted.iter().map(output).collect();
        let made = wanted.iter().zip(&outputs).filter(|(_, output)| matches!(output, Output::Made));
        let made: Vec<u8> = made.map(|(point, _)| *point as u8).collect();
        let points: Vec<u8> = chosen.iter().map(|&place| known[place] as u8).collect();
        let matrix = (!made.is_empty()).then(|| matrix(&points, &made));
        Self { chosen, outputs, matrix }
    }

    /// Sets the outputs, in the order of the wanted points, from values in that of the known ones.
    ///
    /// # Panics
    /// When these aren't as many as the points, or lengths differ.
    pub(crate) fn apply(&self, values: &[&[u8]], outputs: Vec<&mut [u8]>) {
        assert_eq!(outputs.len(), self.outputs.len(), "an output for each point");
        let mut made = Vec::new();
        for (output, from) in outputs.into_iter().zip(&self.outputs) {
            match *from {
                Output::Copied(place) => output.copy_from_slice(values[place]),
                Output::Made => made.push(output),
            }
        }
        if let Some(matrix) = &self.matrix {
            let sources: Vec<&[u8]> = self.chosen.iter().map(|&place| values[place]).collect();
            combine(matrix, &sources, &mut made, Store::Cached);
        }
    }
}
