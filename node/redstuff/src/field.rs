//! Polynomials over GF(2⁸), by their values.
//!
//! A generator of the code maps the values of a polynomial of degree below `k` at the points `0..k` to its values at `0..n`. Every matrix of the code,
//! for encoding, decoding and repair, is made of rows of Lagrange coefficients: the value at `x` is the sum over the known points `p` of
//! `value(p) · w(p) · Π (x − q) / (x − p)`, with `q` over all known points and `w(p) = 1 / Π (p − q)` over the others. Nothing is inverted.

use std::sync::OnceLock;

pub(crate) use reed_solomon_erasure::galois_8::{add, div, mul};

/// Distinct points at which a polynomial's values are known, with their barycentric weights.
#[derive(Debug, Clone)]
pub(crate) struct Basis {
    points: Vec<u8>,
    weights: Vec<u8>,
}

impl Basis {
    /// The points must be distinct. Takes `k²` multiplications.
    pub(crate) fn new(points: Vec<u8>) -> Self {
        let weight = |&p: &u8| {
            let others = points.iter().filter(|&&q| q != p);
            div(1, others.fold(1, |product, &q| mul(product, add(p, q))))
        };
        let weights = points.iter().map(weight).collect();
        Self { points, weights }
    }

    /// The points `0..k` of a systematic code; `1 ≤ k ≤ 255`.
    pub(crate) fn systematic(k: u16) -> &'static Self {
        static BASES: [OnceLock<Basis>; 256] = [const { OnceLock::new() }; 256];
        BASES[k as usize].get_or_init(|| Self::new((0..k).map(|p| p as u8).collect()))
    }

    /// The coefficients, one a point, by which the known values give the value at `x`.
    pub(crate) fn row(&self, x: u8) -> Vec<u8> {
        if self.points.contains(&x) {
            return self.points.iter().map(|&p| u8::from(p == x)).collect();
        }
        let product = self.points.iter().fold(1, |product, &q| mul(product, add(x, q)));
        self.points.iter().zip(&self.weights).map(|(&p, &w)| mul(w, div(product, add(x, p)))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `Σ coefficients[i] · xⁱ`.
    fn evaluate(coefficients: &[u8], x: u8) -> u8 {
        coefficients.iter().rev().fold(0, |sum, &c| add(mul(sum, x), c))
    }

    #[test]
    fn rows_interpolate_polynomials_from_any_points() {
        let polynomial = [7, 0, 254, 19, 3, 1, 91];
        for points in [vec![0, 1, 2, 3, 4, 5, 6], vec![200, 3, 17, 254, 0, 99, 42]] {
            let basis = Basis::new(points.clone());
            for x in 0..=255 {
                let sum = basis
                    .row(x)
                    .iter()
                    .zip(&points)
                    .fold(0, |sum, (&c, &p)| add(sum, mul(c, evaluate(&polynomial, p))));
                assert_eq!(sum, evaluate(&polynomial, x), "at {x} from {points:?}");
            }
        }
    }
}
