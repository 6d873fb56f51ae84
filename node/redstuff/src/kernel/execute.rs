//! The execution of a [`Transform`] by vector instructions.

#![expect(clippy::inline_always, reason = "vectors stay in registers only within one function")]
#![expect(clippy::needless_range_loop, reason = "loops over arrays of vectors are unrolled, and closures are not")]

use std::ops::Range;

use super::steps::{Kind, Step};
use super::transform::Transform;
use super::vector::{Vector, is_aligned, put};
use super::{AHEAD, Store};

/// Sets bytes `range`, a multiple of a vector, of the outputs to the values that the transform gives: `W` vectors of each at a time, and single ones at
/// the end.
///
/// # Safety
/// As [`Vector`] says.
#[inline(always)]
pub(super) unsafe fn transform<V: Vector, const W: usize>(
    transform: &Transform,
    sources: &[&[u8]],
    outputs: &mut [&mut [u8]],
    range: Range<usize>,
    store: Store,
) {
    assert!(range.len().is_multiple_of(V::BYTES), "whole vectors");
    assert!(
        sources.len() == transform.sources() && sources.iter().all(|source| source.len() >= range.end),
        "whole sources"
    );
    assert!(
        outputs.len() == transform.outputs() && outputs.iter().all(|output| output.len() >= range.end),
        "whole outputs"
    );
    let streamed =
        store == Store::Streamed && outputs.iter().all(|output| is_aligned::<V>(output[range.start..].as_ptr()));
    // SAFETY: the caller vouches for the instructions.
    let mut registers = [[unsafe { V::zero() }; W]; Transform::REGISTERS];
    let registers = registers.as_mut_ptr().cast();
    let mut columns = Columns { registers, sources, outputs, offset: range.start, streamed };
    // SAFETY: the caller vouches for the instructions; as many vectors at the offset are within each source and output, and aligned if they are streamed,
    // and there is memory for as many of each register; the transform has checked that its steps stay within the registers, the sources and the outputs.
    unsafe {
        while range.end - columns.offset >= W * V::BYTES {
            for step in transform.steps() {
                execute::<V, W>(step, &mut columns);
            }
            columns.offset += W * V::BYTES;
        }
        while columns.offset < range.end {
            for step in transform.steps() {
                execute::<V, 1>(step, &mut columns);
            }
            columns.offset += V::BYTES;
        }
    }
}

/// The registers, each of as many vectors as are executed at a time, and those vectors of each source and output that are at the offset.
struct Columns<'a, 's, 'o, V> {
    registers: *mut V,
    sources: &'a [&'s [u8]],
    outputs: &'a mut [&'o mut [u8]],
    offset: usize,
    streamed: bool,
}

impl<V: Vector> Columns<'_, '_, '_, V> {
    /// Vector `w` of source `index`.
    #[inline(always)]
    unsafe fn load(&self, index: usize, w: usize) -> V {
        // SAFETY: the caller vouches for the instructions, and for the source.
        unsafe {
            let from = self.sources.get_unchecked(index).as_ptr().add(self.offset + w * V::BYTES);
            // Of a hundred sources so far ahead, the first-level cache would hold little else: it is for the registers.
            V::prefetch_l2(from.wrapping_add(AHEAD));
            V::load(from)
        }
    }

    /// Sets vector `w` of output `index`.
    #[inline(always)]
    unsafe fn put(&mut self, index: usize, w: usize, vector: V) {
        // SAFETY: the caller vouches for the instructions, and for the output.
        unsafe {
            let to = self.outputs.get_unchecked_mut(index).as_mut_ptr().add(self.offset + w * V::BYTES);
            put(vector, to, self.streamed);
        }
    }
}

/// Executes one step on `W` vectors of each register.
#[inline(always)]
unsafe fn execute<V: Vector, const W: usize>(step: &Step, columns: &mut Columns<'_, '_, '_, V>) {
    let Step { kind, count, ref factors, .. } = *step;
    // SAFETY: the caller vouches for the instructions, and for registers, sources and outputs that the step reaches.
    unsafe {
        let register = |index: usize| columns.registers.wrapping_add(index * W);
        let (low, high, to) = (register(step.low), register(step.high), register(step.to));
        match kind {
            Kind::Load => {
                for at in 0..count {
                    for w in 0..W {
                        to.add(at * W + w).write(columns.load(step.low + at, w));
                    }
                }
            }
            Kind::Put => {
                for at in 0..count {
                    for w in 0..W {
                        columns.put(step.to + at, w, low.add(at * W + w).read());
                    }
                }
            }
            Kind::Copy => {
                for at in 0..count * W {
                    to.add(at).write(low.add(at).read());
                }
            }
            Kind::Add => {
                for at in 0..count * W {
                    to.add(at).write(low.add(at).read().add(high.add(at).read()));
                }
            }
            Kind::AddMultiple => {
                let factor = V::factor(factors[0]);
                for at in 0..count * W {
                    to.add(at).write(add_multiple(low.add(at).read(), high.add(at).read(), factor));
                }
            }
            Kind::Forward => butterflies::<V, W, 2, 1>(step, columns.registers, forward),
            Kind::Inverse => butterflies::<V, W, 2, 1>(step, columns.registers, inverse),
            Kind::ForwardTwo => butterflies::<V, W, 4, 3>(step, columns.registers, forward_two),
            Kind::InverseTwo => butterflies::<V, W, 4, 3>(step, columns.registers, inverse_two),
            Kind::ForwardThree => butterflies::<V, W, 8, 7>(step, columns.registers, forward_three),
            Kind::InverseThree => butterflies::<V, W, 8, 7>(step, columns.registers, inverse_three),
            Kind::ForwardPut => {
                let factors = ready::<V, 7>(factors);
                for w in 0..W {
                    let values = forward_three(read(low.add(w), W), factors);
                    for at in 0..8 {
                        columns.put(step.to + at, w, values[at]);
                    }
                }
            }
            Kind::InverseLoaded => {
                let factors = ready::<V, 7>(factors);
                for w in 0..W {
                    let mut values = [V::zero(); 8];
                    for at in 0..8 {
                        values[at] = columns.load(step.low + at, w);
                    }
                    write(to.add(w), W, inverse_three(values, factors));
                }
            }
        }
    }
}

/// Executes a step of butterflies of `R` registers each.
#[inline(always)]
unsafe fn butterflies<V: Vector, const W: usize, const R: usize, const F: usize>(
    step: &Step,
    registers: *mut V,
    butterfly: unsafe fn([V; R], [V::Factor; F]) -> [V; R],
) {
    // SAFETY: the caller vouches for the instructions, and for the registers.
    unsafe {
        let (low, to, distance) = (registers.add(step.low * W), registers.add(step.to * W), (step.high - step.low) * W);
        let factors = ready::<V, F>(&step.factors);
        for at in 0..step.count * W {
            write(to.add(at), distance, butterfly(read(low.add(at), distance), factors));
        }
    }
}

/// The first factors.
#[inline(always)]
unsafe fn ready<V: Vector, const F: usize>(constants: &[u8; 7]) -> [V::Factor; F] {
    // SAFETY: the caller vouches for the instructions.
    unsafe {
        let mut factors = [V::factor(0); F];
        for at in 0..F {
            factors[at] = V::factor(constants[at]);
        }
        factors
    }
}

/// Vectors at a distance from each other.
#[inline(always)]
unsafe fn read<V: Vector, const R: usize>(from: *const V, distance: usize) -> [V; R] {
    // SAFETY: the caller vouches for the instructions, and for the vectors.
    unsafe {
        let mut values = [V::zero(); R];
        for at in 0..R {
            values[at] = from.add(at * distance).read();
        }
        values
    }
}

#[inline(always)]
unsafe fn write<V: Vector, const R: usize>(to: *mut V, distance: usize, values: [V; R]) {
    for at in 0..R {
        // SAFETY: the caller vouches for the vectors.
        unsafe { to.add(at * distance).write(values[at]) }
    }
}

#[inline(always)]
unsafe fn add_multiple<V: Vector>(low: V, high: V, factor: V::Factor) -> V {
    // SAFETY: the caller vouches for the instructions.
    unsafe { low.add(V::multiply(high.operand(), factor)) }
}

#[inline(always)]
unsafe fn forward<V: Vector>([low, high]: [V; 2], [factor]: [V::Factor; 1]) -> [V; 2] {
    // SAFETY: the caller vouches for the instructions.
    unsafe {
        let sum = add_multiple(low, high, factor);
        [sum, high.add(sum)]
    }
}

#[inline(always)]
unsafe fn inverse<V: Vector>([low, high]: [V; 2], [factor]: [V::Factor; 1]) -> [V; 2] {
    // SAFETY: the caller vouches for the instructions.
    unsafe {
        let sum = high.add(low);
        [add_multiple(low, sum, factor), sum]
    }
}

/// Two layers of [`forward`].
#[inline(always)]
unsafe fn forward_two<V: Vector>([a, b, c, d]: [V; 4], [one, two, both]: [V::Factor; 3]) -> [V; 4] {
    // SAFETY: the caller vouches for the instructions.
    unsafe {
        let [[a, c], [b, d]] = [forward([a, c], [both]), forward([b, d], [both])];
        let [[a, b], [c, d]] = [forward([a, b], [one]), forward([c, d], [two])];
        [a, b, c, d]
    }
}

/// Two layers of [`inverse`].
#[inline(always)]
unsafe fn inverse_two<V: Vector>([a, b, c, d]: [V; 4], [one, two, both]: [V::Factor; 3]) -> [V; 4] {
    // SAFETY: the caller vouches for the instructions.
    unsafe {
        let [[a, b], [c, d]] = [inverse([a, b], [one]), inverse([c, d], [two])];
        let [[a, c], [b, d]] = [inverse([a, c], [both]), inverse([b, d], [both])];
        [a, b, c, d]
    }
}

/// Three layers of [`forward`].
#[inline(always)]
unsafe fn forward_three<V: Vector>(values: [V; 8], factors: [V::Factor; 7]) -> [V; 8] {
    let [x0, x1, x2, x3, x4, x5, x6, x7] = values;
    let [one, two, three, four, left, right, all] = factors;
    // SAFETY: the caller vouches for the instructions.
    unsafe {
        let [[x0, x4], [x1, x5]] = [forward([x0, x4], [all]), forward([x1, x5], [all])];
        let [[x2, x6], [x3, x7]] = [forward([x2, x6], [all]), forward([x3, x7], [all])];
        let [x0, x1, x2, x3] = forward_two([x0, x1, x2, x3], [one, two, left]);
        let [x4, x5, x6, x7] = forward_two([x4, x5, x6, x7], [three, four, right]);
        [x0, x1, x2, x3, x4, x5, x6, x7]
    }
}

/// Three layers of [`inverse`].
#[inline(always)]
unsafe fn inverse_three<V: Vector>(values: [V; 8], factors: [V::Factor; 7]) -> [V; 8] {
    let [x0, x1, x2, x3, x4, x5, x6, x7] = values;
    let [one, two, three, four, left, right, all] = factors;
    // SAFETY: the caller vouches for the instructions.
    unsafe {
        let [x0, x1, x2, x3] = inverse_two([x0, x1, x2, x3], [one, two, left]);
        let [x4, x5, x6, x7] = inverse_two([x4, x5, x6, x7], [three, four, right]);
        let [[x0, x4], [x1, x5]] = [inverse([x0, x4], [all]), inverse([x1, x5], [all])];
        let [[x2, x6], [x3, x7]] = [inverse([x2, x6], [all]), inverse([x3, x7], [all])];
        [x0, x1, x2, x3, x4, x5, x6, x7]
    }
}
