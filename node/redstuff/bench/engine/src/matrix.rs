//! Libraries that multiply a given matrix by sources, byte by byte: they all get Weft's matrices, and must make Weft's bytes.

use crate::engine::{Arrangement, Engine, Field, Library};
use crate::field::Matrix;
use crate::grid::Shape;
use crate::task::Task;
use crate::tiled::{Line, Lines, Tiled};
use crate::tune::candidates;

/// A prepared matrix.
pub trait Combine: Send {
    /// Sets every output to its combination of the sources.
    fn combine(&self, sources: &[&[u8]], outputs: &mut [&mut [u8]]);
}

/// A library of prepared matrices.
pub trait Matrices: Send + Sync {
    fn name(&self) -> &str;

    fn prepare(&self, matrix: &Matrix) -> Box<dyn Combine>;
}

/// A [`Library`] from one's matrices.
#[derive(Debug)]
pub struct MatrixLibrary<M>(pub M);

impl<M: Matrices + Clone + 'static> Library for MatrixLibrary<M> {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn field(&self) -> Field {
        Field::Same
    }

    fn arrangements(&self, task: &Task) -> Vec<Arrangement> {
        candidates(task)
    }

    fn engine(&self, shape: Shape, arrangement: Arrangement) -> Box<dyn Engine> {
        Box::new(Tiled::new(self, shape, arrangement))
    }
}

impl<M: Matrices + Clone + 'static> Lines for MatrixLibrary<M> {
    fn line(&self, k: usize, n: usize, f: usize, _tile: usize) -> Box<dyn Line> {
        let expand = self.0.prepare(&Matrix::interpolation(0..k, k..n));
        let restore = self.0.prepare(&Matrix::interpolation(f..f + k, 0..f));
        Box::new(MatrixLine { matrices: self.0.clone(), k, expand, restore, single: Vec::new() })
    }
}

struct MatrixLine<M> {
    matrices: M,
    k: usize,
    expand: Box<dyn Combine>,
    restore: Box<dyn Combine>,
    /// A repair asks for one target again and again.
    single: Vec<Option<Box<dyn Combine>>>,
}

impl<M: Matrices> Line for MatrixLine<M> {
    fn expand(&mut self, data: &[&[u8]], parity: &mut [&mut [u8]]) {
        self.expand.combine(data, parity);
    }

    fn expand_one(&mut self, data: &[&[u8]], target: usize, out: &mut [u8]) {
        let Self { matrices, k, single, .. } = self;
        if single.len() <= target {
            single.resize_with(target + 1, || None);
        }
        let prepare = || matrices.prepare(&Matrix::interpolation(0..*k, target..target + 1));
        single[target].get_or_insert_with(prepare).combine(data, &mut [out]);
    }

    fn restore(&mut self, given: &[&[u8]], out: &mut [&mut [u8]]) {
        self.restore.combine(given, out);
    }
}
