//! The additive Fourier transform: all expanded values of a systematic code at O(n log n) multiplications, where a matrix takes k · (n − k).
//!
//! A polynomial of degree below `2^m` has coefficients in the basis `X_i = Π ŝ_j` over the bits `j` of `i`, with the normalized vanishing polynomials `ŝ_j` of the
//! subspaces `{0 … 2^j − 1}` (Lin, Chung and Han, "Novel polynomial basis and its application to Reed–Solomon erasure codes", FOCS 2014). `ŝ_j` is linear, 0 on
//! that subspace and 1 at `2^j`. So with `f = f₀ + ŝ_{m−1} · f₁` and `λ = ŝ_{m−1}(γ)`, the values of `f` on `γ + {0 … 2^m − 1}` are those of `f₀ + λ f₁` on the first half and
//! those of `f₀ + λ f₁ + f₁` on the second: butterflies, layer by layer.
//!
//! `X_i` has degree `i`: of a polynomial of degree below `k`, the coefficients from `k` on are zero. That, and `k` values, determine the others, whatever `k`
//! is: the inverse transform is truncated as van der Hoeven's ("The truncated Fourier transform and applications", ISSAC 2004). So the values are the very ones that the matrix gives.
//!
//! Which steps that are depends on `k` and `n` alone: a [`Transform`] is the list of them, for columns of one vector a point.

#![forbid(unsafe_code)]

use std::ops::Range;
use std::sync::LazyLock;

use crate::field::{add, div, mul};

/// `ŝ_j(x)` for `j < 8`.
static VANISHING: LazyLock<[[u8; 256]; 8]> = LazyLock::new(|| {
    let mut table = [[0; 256]; 8];
    for (j, values) in table.iter_mut().enumerate() {
        let product = |x: u8| (0..1u16 << j).fold(1, |product, v| mul(product, add(x, v as u8)));
        let norm = product(1 << j);
        for (x, value) in values.iter_mut().enumerate() {
            *value = div(product(x as u8), norm);
        }
    }
    table
});

/// What a [`Step`] does with registers `low` and `high`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `high ← low`.
    Copy,
    /// `high ← high + low`.
    Add,
    /// `low ← low + λ · high`.
    AddMultiple,
    /// `high ← low + λ · high`.
    Replace,
    /// `low ← low + λ · high`, then `high ← high + low`.
    Forward,
    /// `high ← high + low`, then `low ← low + λ · high`.
    Inverse,
    /// [`Kind::Forward`] at twice the distance, by the third factor, then at the distance, by the first and the second one.
    ForwardTwo,
    /// [`Kind::Inverse`] at the distance, by the first and the second factor, then at twice the distance, by the third one.
    InverseTwo,
}

/// One operation on `count` neighbouring registers and those at a distance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) kind: Kind,
    pub(super) low: usize,
    pub(super) distance: usize,
    pub(super) count: usize,
    pub(super) factors: [u8; 3],
}

impl Step {
    /// One beyond the last register.
    const fn end(&self) -> usize {
        let reach = match self.kind {
            Kind::ForwardTwo | Kind::InverseTwo => 3,
            _ => 1,
        };
        self.low + reach * self.distance + self.count
    }

    /// How many multiplications, about: what else there is takes half as long.
    const fn cost(&self) -> usize {
        self.count
            * match self.kind {
                Kind::Copy | Kind::Add => 1,
                Kind::AddMultiple | Kind::Replace | Kind::Forward | Kind::Inverse => 2,
                Kind::ForwardTwo | Kind::InverseTwo => 8,
            }
    }
}

/// Values that are done: those of registers from `register` on are those of the outputs in the range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Done {
    pub(super) register: usize,
    pub(super) outputs: Range<usize>,
}

/// The steps from values at `0..k`, in registers of these numbers, to those at `k..n`.
#[derive(Debug)]
pub(super) struct Transform {
    sources: usize,
    /// Each with the steps up to it.
    parts: Vec<(Vec<Step>, Done)>,
}

impl Transform {
    /// The most registers that there are.
    pub(super) const REGISTERS: usize = 512;

    /// For `1 ≤ k < n ≤ 256`.
    pub(super) fn new(k: usize, n: usize) -> Self {
        let size = k.next_power_of_two();
        let mut program = Program { steps: Vec::new(), zero: (0..2 * size).map(|register| register >= k).collect() };
        program.truncated_inverse(0, 0, size, k);
        let cosets = k / size..n.div_ceil(size);
        let mut parts = Vec::new();
        for coset in cosets.clone() {
            let start = coset * size;
            let points = k.max(start)..n.min(start + size);
            // The last coset takes the coefficients' own place.
            let base = if coset + 1 == cosets.end { 0 } else { size };
            if base > 0 {
                program.copy(0, size, size);
            }
            program.forward(base, start, size, points.start - start..points.end - start);
            let done = Done { register: base + points.start - start, outputs: points.start - k..points.end - k };
            parts.push((std::mem::take(&mut program.steps), done));
        }
        let transform = Self { sources: k, parts };
        transform.check(n - k);
        transform
    }

    /// Executing relies on it.
    fn check(&self, outputs: usize) {
        assert!(self.sources <= Self::REGISTERS, "a register a source");
        for (steps, done) in &self.parts {
            assert!(steps.iter().all(|step| step.end() <= Self::REGISTERS), "steps within the registers");
            assert!(
                done.register + done.outputs.len() <= Self::REGISTERS && done.outputs.end <= outputs,
                "all are there"
            );
        }
    }

    pub(super) const fn sources(&self) -> usize {
        self.sources
    }

    pub(super) fn parts(&self) -> &[(Vec<Step>, Done)] {
        &self.parts
    }

    /// About how many multiplications of a matrix take as long.
    pub(super) fn cost(&self) -> usize {
        let steps: usize = self.parts.iter().flat_map(|(steps, _)| steps).map(Step::cost).sum();
        steps + self.sources
    }
}

/// Steps, as they are written down.
struct Program {
    steps: Vec<Step>,
    /// Registers that are zero, and haven't been written.
    zero: Vec<bool>,
}

impl Program {
    fn push(&mut self, kind: Kind, low: usize, distance: usize, count: usize, factors: [u8; 3]) {
        if count > 0 {
            self.steps.push(Step { kind, low, distance, count, factors });
        }
    }

    /// `ŝ_j` at `point`, for the layer whose butterflies have the distance `2^j`.
    fn factor(distance: usize, point: usize) -> u8 {
        VANISHING[distance.ilog2() as usize][point]
    }

    /// Copies `count` registers to those at the distance.
    fn copy(&mut self, low: usize, distance: usize, count: usize) {
        self.each(
            low,
            count,
            |zero, at| zero[at],
            |program, low, count, zero| {
                if !zero {
                    program.push(Kind::Copy, low, distance, count, [0; 3]);
                }
                program.zero[low + distance..][..count].fill(zero);
            },
        );
    }

    /// `high ← high + low`, for `count` registers.
    fn add(&mut self, low: usize, distance: usize, count: usize) {
        self.each(
            low,
            count,
            |zero, at| zero[at + distance],
            |program, low, count, zero| {
                let kind = if zero { Kind::Copy } else { Kind::Add };
                program.push(kind, low, distance, count, [0; 3]);
                program.zero[low + distance..][..count].fill(false);
            },
        );
    }

    /// `low ← low + λ · high`, for `count` registers.
    fn add_multiple(&mut self, low: usize, distance: usize, count: usize, factor: u8) {
        if factor == 0 {
            return;
        }
        self.each(
            low,
            count,
            |zero, at| zero[at + distance],
            |program, low, count, zero| {
                if !zero {
                    program.push(Kind::AddMultiple, low, distance, count, [factor, 0, 0]);
                    program.zero[low..][..count].fill(false);
                }
            },
        );
    }

    /// Calls `act` with the runs of registers that are alike.
    fn each(
        &mut self,
        low: usize,
        count: usize,
        is: impl Fn(&[bool], usize) -> bool,
        act: impl Fn(&mut Self, usize, usize, bool),
    ) {
        let mut start = low;
        while start < low + count {
            let alike = is(&self.zero, start);
            let end = (start..low + count).find(|&at| is(&self.zero, at) != alike).unwrap_or(low + count);
            act(self, start, end - start, alike);
            start = end;
        }
    }

    /// From values at `point..point + size` in the registers from `base` on, to coefficients.
    fn inverse(&mut self, base: usize, point: usize, size: usize) {
        let mut distance = 1;
        if !size.ilog2().is_multiple_of(2) {
            for at in (0..size).step_by(2) {
                self.inverse_layer(base + at, point + at, 1);
            }
            distance = 2;
        }
        while distance < size {
            for at in (0..size).step_by(4 * distance) {
                let point = point + at;
                let factors = [(distance, point), (distance, point + 2 * distance), (2 * distance, point)];
                let factors = factors.map(|(distance, point)| Self::factor(distance, point));
                self.push(Kind::InverseTwo, base + at, distance, distance, factors);
            }
            distance *= 4;
        }
    }

    /// One block of one layer.
    fn inverse_layer(&mut self, base: usize, point: usize, half: usize) {
        match Self::factor(half, point) {
            0 => self.add(base, half, half),
            factor => self.push(Kind::Inverse, base, half, half, [factor, 0, 0]),
        }
    }

    /// As [`Program::inverse`] where the first `known` registers have values, and the others already coefficients.
    fn truncated_inverse(&mut self, base: usize, point: usize, size: usize, known: usize) {
        if known == size {
            return self.inverse(base, point, size);
        }
        if known == 0 {
            return;
        }
        let half = size / 2;
        let factor = Self::factor(half, point);
        if let Some(above) = known.checked_sub(half) {
            self.inverse(base, point, half);
            // What the upper half's polynomial has for coefficients there.
            self.add(base + above, half, half - above);
            self.truncated_inverse(base + half, point + half, half, above);
            self.inverse_layer(base, point, half);
        } else {
            self.add_multiple(base + known, half, half - known, factor);
            self.truncated_inverse(base, point, half, known);
            self.add_multiple(base, half, half, factor);
        }
    }

    /// From coefficients to those of the values at `point..point + size` that are wanted.
    fn forward(&mut self, base: usize, point: usize, size: usize, wanted: Range<usize>) {
        if wanted.is_empty() || size == 1 {
            return;
        }
        if wanted.len() == size && self.zero[base..][..size].iter().all(|zero| !zero) {
            return self.forward_all(base, point, size);
        }
        let half = size / 2;
        let factor = Self::factor(half, point);
        let lower = wanted.start.min(half)..wanted.end.min(half);
        let upper = wanted.start.max(half) - half..wanted.end.max(half) - half;
        if upper.is_empty() {
            self.add_multiple(base, half, half, factor);
        } else {
            self.forward_layer(base, half, factor, !lower.is_empty());
        }
        self.forward(base, point, half, lower);
        self.forward(base + half, point + half, half, upper);
    }

    /// One block of one layer, of which the upper half is wanted, and perhaps the lower one.
    fn forward_layer(&mut self, base: usize, half: usize, factor: u8, lower: bool) {
        self.each(
            base,
            half,
            |zero, at| zero[at + half],
            |program, low, count, zero| {
                if zero {
                    return program.copy(low, half, count);
                }
                match (lower, factor) {
                    (_, 0) => program.push(Kind::Add, low, half, count, [0; 3]),
                    (true, _) => program.push(Kind::Forward, low, half, count, [factor, 0, 0]),
                    (false, _) => program.push(Kind::Replace, low, half, count, [add(factor, 1), 0, 0]),
                }
            },
        );
    }

    /// From coefficients to the values at `point..point + size`.
    fn forward_all(&mut self, base: usize, point: usize, size: usize) {
        let mut distance = size / 4;
        while distance > 0 {
            for at in (0..size).step_by(4 * distance) {
                let point = point + at;
                let factors = [(distance, point), (distance, point + 2 * distance), (2 * distance, point)];
                let factors = factors.map(|(distance, point)| Self::factor(distance, point));
                self.push(Kind::ForwardTwo, base + at, distance, distance, factors);
            }
            distance /= 4;
        }
        if !size.ilog2().is_multiple_of(2) {
            for at in (0..size).step_by(2) {
                self.forward_layer(base + at, 1, Self::factor(1, point + at), true);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::Basis;

    /// Executes a transform on single bytes.
    fn execute(transform: &Transform, values: &[u8], outputs: usize) -> Vec<u8> {
        // What isn't written mustn't matter.
        let mut x = vec![0xa5; Transform::REGISTERS];
        x[..values.len()].copy_from_slice(values);
        let mut out = vec![0; outputs];
        for (steps, done) in transform.parts() {
            for step in steps {
                let Step { kind, low, distance, count, factors: [one, two, three] } = *step;
                for low in low..low + count {
                    let high = low + distance;
                    let mut butterfly = |kind, low: usize, high: usize, factor| match kind {
                        Kind::Copy => x[high] = x[low],
                        Kind::Add => x[high] ^= x[low],
                        Kind::AddMultiple => x[low] ^= mul(factor, x[high]),
                        Kind::Replace => x[high] = x[low] ^ mul(factor, x[high]),
                        Kind::Forward | Kind::ForwardTwo => {
                            x[low] ^= mul(factor, x[high]);
                            x[high] ^= x[low];
                        }
                        Kind::Inverse | Kind::InverseTwo => {
                            x[high] ^= x[low];
                            x[low] ^= mul(factor, x[high]);
                        }
                    };
                    let [second, third, fourth] = [high, high + distance, high + 2 * distance];
                    match kind {
                        Kind::ForwardTwo => {
                            butterfly(kind, low, third, three);
                            butterfly(kind, second, fourth, three);
                            butterfly(kind, low, second, one);
                            butterfly(kind, third, fourth, two);
                        }
                        Kind::InverseTwo => {
                            butterfly(kind, low, second, one);
                            butterfly(kind, third, fourth, two);
                            butterfly(kind, low, third, three);
                            butterfly(kind, second, fourth, three);
                        }
                        _ => butterfly(kind, low, high, one),
                    }
                }
            }
            out[done.outputs.clone()].copy_from_slice(&x[done.register..][..done.outputs.len()]);
        }
        out
    }

    #[test]
    fn every_transform_gives_what_the_matrix_gives() {
        for n in 2..=256usize {
            for k in (1..n).filter(|k| n < 40 || (k * 7 + n) % 19 == 0) {
                let values: Vec<u8> = (0..k).map(|i| (i * i * 31 + 17 * i + n) as u8).collect();
                let basis = Basis::new((0..k).map(|point| point as u8).collect());
                let expected: Vec<u8> = (k..n)
                    .map(|x| basis.row(x as u8).iter().zip(&values).fold(0, |sum, (&c, &v)| add(sum, mul(c, v))))
                    .collect();
                assert_eq!(execute(&Transform::new(k, n), &values, n - k), expected, "k = {k}, n = {n}");
            }
        }
    }
}
