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
//! Which steps that are depends on `k` and `n` alone: a [`Transform`] is the list of them, for columns of a few vectors a point.

#![forbid(unsafe_code)]

use std::ops::Range;
use std::sync::LazyLock;

use super::steps::{Kind, Step};
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

/// The steps from values at `0..k`, the sources, to those at `k..n`, the outputs.
#[derive(Debug)]
pub(super) struct Transform {
    sources: usize,
    outputs: usize,
    steps: Vec<Step>,
}

impl Transform {
    /// The most registers that there are.
    pub(super) const REGISTERS: usize = 512;

    /// For `1 ≤ k < n ≤ 256`.
    pub(super) fn new(k: usize, n: usize) -> Self {
        let size = k.next_power_of_two();
        let spare = if n > size { 2 * size } else { size };
        let mut program = Program { sources: k, steps: Vec::new(), zero: vec![false; Self::REGISTERS], spare };
        if k == size {
            program.inverse(0, 0, size);
        } else {
            program.first_coset(k, n, size);
        }
        for start in (size..n).step_by(size) {
            // The last coset takes the coefficients' own place.
            let to = if start + size < n { size } else { 0 };
            program.forward(0, to, start, size, 0..size.min(n - start));
        }
        let transform = Self { sources: k, outputs: n - k, steps: program.steps };
        assert!(transform.steps.iter().all(|step| step.is_within(k, n - k)), "steps within the registers");
        transform
    }

    pub(super) const fn sources(&self) -> usize {
        self.sources
    }

    pub(super) const fn outputs(&self) -> usize {
        self.outputs
    }

    /// Each reaches registers, sources and outputs that there are, and no others.
    pub(super) fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// About how many multiplications of a matrix take as long.
    pub(super) fn cost(&self) -> usize {
        self.steps.iter().map(Step::cost).sum()
    }
}

/// Steps, as they are written down.
struct Program {
    sources: usize,
    steps: Vec<Step>,
    /// Coefficients that are zero, and whose registers may hold anything: the last ones of their block.
    zero: Vec<bool>,
    /// The first register that nothing needs.
    spare: usize,
}

impl Program {
    fn push(&mut self, kind: Kind, low: usize, high: usize, to: usize, count: usize, factors: [u8; 7]) {
        if count > 0 {
            self.steps.push(Step { kind, low, high, to, count, factors });
        }
    }

    /// `ŝ_j` at `point`, for the layer whose butterflies have the distance `2^j`.
    fn factor(distance: usize, point: usize) -> u8 {
        VANISHING[distance.ilog2() as usize][point]
    }

    /// Those of as many layers for one block: of the layer with the smallest distance first.
    fn factors(distance: usize, point: usize, levels: u32) -> [u8; 7] {
        let mut factors = [0; 7];
        let blocks = (0..levels).flat_map(|level| (0..1 << (levels - 1 - level)).map(move |block| (level, block)));
        for (factor, (level, block)) in factors.iter_mut().zip(blocks) {
            let distance = distance << level;
            *factor = Self::factor(distance, point + 2 * distance * block);
        }
        factors
    }

    /// `to ← low`.
    fn copy(&mut self, to: usize, low: usize, count: usize) {
        if to != low {
            self.zero.copy_within(low..low + count, to);
            self.push(Kind::Copy, low, low, to, self.nonzero(low, count), [0; 7]);
        }
    }

    /// `to ← low + factor · high`.
    fn sum(&mut self, to: usize, low: usize, high: usize, count: usize, factor: u8) {
        let both = if factor == 0 { 0 } else { self.nonzero(high, count) };
        let kind = if factor == 1 { Kind::Add } else { Kind::AddMultiple };
        self.push(kind, low, high, to, both, [factor, 0, 0, 0, 0, 0, 0]);
        self.zero[to..][..both].fill(false);
        self.copy(to + both, low + both, count - both);
    }

    /// How many of the registers, which are the first ones, aren't zero.
    fn nonzero(&self, register: usize, count: usize) -> usize {
        self.zero[register..][..count].iter().position(|&zero| zero).unwrap_or(count)
    }

    /// Butterflies of as many layers, the smallest distance given, on all blocks.
    fn layers(
        &mut self,
        kinds: [Kind; 3],
        [low, to]: [usize; 2],
        point: usize,
        size: usize,
        distance: usize,
        levels: u32,
    ) {
        for at in (0..size).step_by(distance << levels) {
            let factors = Self::factors(distance, point + at, levels);
            let low = low + at;
            self.push(kinds[levels as usize - 1], low, low + distance, to + at, distance, factors);
        }
    }

    /// From the sources at `point..point + size`, to coefficients in the registers from `base` on.
    fn inverse(&mut self, base: usize, point: usize, size: usize) {
        let mut distance = size.min(8);
        if size < 8 {
            self.push(Kind::Load, point, point, base, size, [0; 7]);
            distance = 1;
        }
        for at in (0..size / 8 * 8).step_by(8) {
            let (from, factors) = (point + at, Self::factors(1, point + at, 3));
            self.push(Kind::InverseLoaded, from, from + 1, base + at, 1, factors);
        }
        while distance < size {
            let levels = levels_at_a_time(size / distance);
            let kinds = [Kind::Inverse, Kind::InverseTwo, Kind::InverseThree];
            self.layers(kinds, [base; 2], point, size, distance, levels);
            distance <<= levels;
        }
    }

    /// As [`Program::inverse`] where the first `known` values are sources, and the registers of the others already hold coefficients. These are kept, or
    /// aren't needed any more.
    fn truncated_inverse(&mut self, base: usize, point: usize, size: usize, known: usize, kept: bool) {
        if known == size {
            return self.inverse(base, point, size);
        }
        let half = size / 2;
        let factor = Self::factor(half, point);
        match known.checked_sub(half) {
            Some(0) => {
                self.inverse(base, point, half);
                self.sum(base, base, base + half, half, factor);
            }
            Some(above) => {
                self.inverse(base, point, half);
                // What the upper half's polynomial has for coefficients there.
                let high = base + half + above;
                self.sum(high, base + above, high, half - above, 1);
                self.truncated_inverse(base + half, point + half, half, above, true);
                self.layers([Kind::Inverse; 3], [base; 2], point, size, half, 1);
            }
            None => {
                let spare = self.spare;
                let lower = if kept { spare } else { base };
                self.spare += half;
                self.sum(lower + known, base + known, base + half + known, half - known, factor);
                self.truncated_inverse(lower, point, half, known, false);
                self.sum(base, lower, base + half, known, factor);
                self.spare = spare;
            }
        }
    }

    /// From the sources to those of the first `size` values that are outputs, and, if there are more, to the coefficients: `size / 2 < k < size`.
    fn first_coset(&mut self, k: usize, n: usize, size: usize) {
        let half = size / 2;
        let (above, end) = (k - half, n.min(size) - half);
        // The coefficients of the values' lower half.
        self.inverse(0, 0, half);
        let (to, saved) = (size, size + half);
        if n <= size {
            self.truncated_inverse(0, half, half, above, true);
            return self.forward(0, 0, half, half, above..end);
        }
        // Those of the upper half are the same ones from `above` on: their sums, which are the coefficients from `k` on, are zero.
        self.copy(saved, 0, above);
        self.truncated_inverse(0, half, half, above, true);
        self.forward(0, to, half, half, above..end);
        self.sum(half, 0, saved, above, 1);
        self.copy(0, saved, above);
        self.zero[k..size].fill(true);
    }

    /// From coefficients in the registers from `from` on, to those of the values at `point..point + size` that are wanted, by way of the registers from `to`
    /// on. Other registers stay.
    fn forward(&mut self, from: usize, to: usize, point: usize, size: usize, wanted: Range<usize>) {
        if wanted.is_empty() {
            return;
        }
        let half = size / 2;
        let nonzero = self.nonzero(from, size);
        if nonzero == size && wanted.len() > half {
            return self.forward_all(from, to, point, size, &wanted);
        }
        let lower = wanted.start.min(half)..wanted.end.min(half);
        let upper = wanted.start.max(half) - half..wanted.end.max(half) - half;
        let factor = Self::factor(half, point);
        if nonzero <= half {
            self.forward(from, to + half, point + half, half, upper);
            self.forward(from, to, point, half, lower);
        } else if upper.is_empty() {
            self.sum(to, from, from + half, half, factor);
            self.forward(to, to, point, half, lower);
        } else if lower.is_empty() {
            self.sum(to, from, from + half, half, add(factor, 1));
            self.forward(to, to, point + half, half, upper);
        } else {
            self.copy(to, from, size);
            let both = nonzero - half;
            self.push(Kind::Forward, to, to + half, to, both, [factor, 0, 0, 0, 0, 0, 0]);
            self.copy(to + nonzero, to + both, size - nonzero);
            self.forward(to, to, point, half, lower);
            self.forward(to + half, to + half, point + half, half, upper);
        }
    }

    /// As [`Program::forward`], where no coefficient is zero, and most values are wanted: up to the last layers all are computed.
    fn forward_all(&mut self, mut from: usize, to: usize, point: usize, size: usize, wanted: &Range<usize>) {
        let mut distance = size;
        while distance > 8 || 1 < distance && size < 8 {
            let levels = levels_at_a_time(if size < 8 { size } else { distance / 8 });
            distance >>= levels;
            let kinds = [Kind::Forward, Kind::ForwardTwo, Kind::ForwardThree];
            self.layers(kinds, [from, to], point, size, distance, levels);
            from = to;
        }
        if size < 8 {
            return self.put(from + wanted.start, point + wanted.start, wanted.len());
        }
        for at in (0..size).step_by(8) {
            let (low, end) = (from + at, at + 8);
            let factors = Self::factors(1, point + at, 3);
            let part = wanted.start.max(at)..wanted.end.min(end);
            if part == (at..end) {
                self.push(Kind::ForwardPut, low, low + 1, point + at - self.sources, 1, factors);
            } else if !part.is_empty() {
                self.push(Kind::ForwardThree, low, low + 1, to + at, 1, factors);
                self.put(to + part.start, point + part.start, part.len());
            }
        }
    }

    /// Gives the values at `point..point + count` out.
    fn put(&mut self, register: usize, point: usize, count: usize) {
        self.push(Kind::Put, register, register, point - self.sources, count, [0; 7]);
    }
}

/// How many layers are done in one step, where there are so many blocks.
const fn levels_at_a_time(blocks: usize) -> u32 {
    match blocks.ilog2() {
        levels @ (1 | 2) => levels,
        4 => 2,
        _ => 3,
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
        let mut out = vec![0; outputs];
        for step in transform.steps() {
            let Step { kind, low, high, to, count, factors } = *step;
            for at in 0..count {
                let (low, high, to) = (low + at, high + at, to + at);
                match kind {
                    Kind::Load => x[to] = values[low],
                    Kind::Put => out[to] = x[low],
                    Kind::Copy => x[to] = x[low],
                    Kind::Add => x[to] = x[low] ^ x[high],
                    Kind::AddMultiple => x[to] = x[low] ^ mul(factors[0], x[high]),
                    Kind::Forward => butterflies::<2>(true, &mut x, low, high, to, factors),
                    Kind::Inverse => butterflies::<2>(false, &mut x, low, high, to, factors),
                    Kind::ForwardTwo => butterflies::<4>(true, &mut x, low, high, to, factors),
                    Kind::InverseTwo => butterflies::<4>(false, &mut x, low, high, to, factors),
                    Kind::ForwardThree => butterflies::<8>(true, &mut x, low, high, to, factors),
                    Kind::InverseThree => butterflies::<8>(false, &mut x, low, high, to, factors),
                    Kind::ForwardPut => {
                        let values = std::array::from_fn(|place| x[low + place]);
                        out[to..][..8].copy_from_slice(&network::<8>(true, values, factors));
                    }
                    Kind::InverseLoaded => {
                        let values = std::array::from_fn(|place| values[low + place]);
                        x[to..][..8].copy_from_slice(&network::<8>(false, values, factors));
                    }
                }
            }
        }
        out
    }

    fn butterflies<const R: usize>(forward: bool, x: &mut [u8], low: usize, high: usize, to: usize, factors: [u8; 7]) {
        let values = network::<R>(forward, std::array::from_fn(|place| x[low + place * (high - low)]), factors);
        for (place, value) in values.into_iter().enumerate() {
            x[to + place * (high - low)] = value;
        }
    }

    /// All layers of butterflies of `R` values.
    fn network<const R: usize>(forward: bool, mut x: [u8; R], factors: [u8; 7]) -> [u8; R] {
        let mut layers = Vec::new();
        let (mut distance, mut first) = (1, 0);
        while distance < R {
            layers.push((distance, first));
            first += R / (2 * distance);
            distance *= 2;
        }
        if forward {
            layers.reverse();
        }
        for (distance, first) in layers {
            for low in (0..R).filter(|low| low & distance == 0) {
                let (high, factor) = (low + distance, factors[first + low / (2 * distance)]);
                if forward {
                    x[low] ^= mul(factor, x[high]);
                    x[high] ^= x[low];
                } else {
                    x[high] ^= x[low];
                    x[low] ^= mul(factor, x[high]);
                }
            }
        }
        x
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
