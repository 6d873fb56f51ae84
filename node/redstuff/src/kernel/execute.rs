//! The execution of a [`Transform`] by vector instructions.

#![expect(clippy::inline_always, reason = "vectors stay in registers only within one function")]
#![expect(clippy::needless_range_loop, reason = "loops over arrays of vectors are unrolled, and closures are not")]

use std::ops::Range;

use super::steps::{Kind, Step};
use super::transform::Transform;
use super::vector::{Vector, is_aligned, put};
use super::{AHEAD, Store};

/// Sets bytes `range`, a multiple of a vector, of the outputs to the values that the transform gives, a vector of each at a time.
///
/// # Safety
/// As [`Vector`] says.
#[inline(always)]
pub(super) unsafe fn transform<V: Vector>(
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
    let mut registers = [unsafe { V::zero() }; Transform::REGISTERS];
    let registers = registers.as_mut_ptr();
    let mut columns = Columns { registers, sources, outputs, offset: 0, streamed };
    for offset in range.step_by(V::BYTES) {
        columns.offset = offset;
        for step in transform.steps() {
            // SAFETY: the caller vouches for the instructions; a vector at the offset is within each source and output, and aligned if it is streamed; the
            // transform has checked that its steps stay within the registers, the sources and the outputs.
            unsafe { execute(step, &mut columns) }
        }
    }
}

/// A vector of each register, source and output.
struct Columns<'a, 's, 'o, V> {
    registers: *mut V,
    sources: &'a [&'s [u8]],
    outputs: &'a mut [&'o mut [u8]],
    offset: usize,
    streamed: bool,
}

impl<V: Vector> Columns<'_, '_, '_, V> {
    /// Source `index`.
    #[inline(always)]
    unsafe fn load(&self, index: usize) -> V {
        // SAFETY: the caller vouches for the instructions, and for the source.
        unsafe {
            let from = self.sources.get_unchecked(index).as_ptr().add(self.offset);
            V::prefetch(from.wrapping_add(AHEAD));
            V::load(from)
        }
    }

    /// Sets output `index`.
    #[inline(always)]
    unsafe fn put(&mut self, index: usize, vector: V) {
        // SAFETY: the caller vouches for the instructions, and for the output.
        unsafe { put(vector, self.outputs.get_unchecked_mut(index).as_mut_ptr().add(self.offset), self.streamed) }
    }
}

/// Executes one step.
#[inline(always)]
unsafe fn execute<V: Vector>(step: &Step, columns: &mut Columns<'_, '_, '_, V>) {
    let Step { kind, low, high, to, count, ref factors } = *step;
    let registers = columns.registers;
    // SAFETY: the caller vouches for the instructions, and for registers, sources and outputs that the step reaches.
    unsafe {
        match kind {
            Kind::Load => {
                for at in 0..count {
                    registers.add(to + at).write(columns.load(low + at));
                }
            }
            Kind::Put => {
                for at in 0..count {
                    columns.put(to + at, registers.add(low + at).read());
                }
            }
            Kind::Copy => {
                for at in 0..count {
                    registers.add(to + at).write(registers.add(low + at).read());
                }
            }
            Kind::Add => {
                for at in 0..count {
                    registers.add(to + at).write(registers.add(low + at).read().add(registers.add(high + at).read()));
                }
            }
            Kind::AddMultiple => {
                let factor = V::factor(factors[0]);
                for at in 0..count {
                    let (low, high) = (registers.add(low + at).read(), registers.add(high + at).read());
                    registers.add(to + at).write(add_multiple(low, high, factor));
                }
            }
            Kind::Forward => butterflies::<V, 2, 1>(step, registers, forward),
            Kind::Inverse => butterflies::<V, 2, 1>(step, registers, inverse),
            Kind::ForwardTwo => butterflies::<V, 4, 3>(step, registers, forward_two),
            Kind::InverseTwo => butterflies::<V, 4, 3>(step, registers, inverse_two),
            Kind::ForwardThree => butterflies::<V, 8, 7>(step, registers, forward_three),
            Kind::InverseThree => butterflies::<V, 8, 7>(step, registers, inverse_three),
            Kind::ForwardPut => {
                let values = forward_three(read(registers.add(low), 1), ready::<V, 7>(factors));
                for at in 0..8 {
                    columns.put(to + at, values[at]);
                }
            }
            Kind::InverseLoaded => {
                let mut values = [V::zero(); 8];
                for at in 0..8 {
                    values[at] = columns.load(low + at);
                }
                write(registers.add(to), 1, inverse_three(values, ready::<V, 7>(factors)));
            }
        }
    }
}

/// Executes a step of butterflies of `R` registers each.
#[inline(always)]
unsafe fn butterflies<V: Vector, const R: usize, const F: usize>(
    step: &Step,
    registers: *mut V,
    butterfly: unsafe fn([V; R], [V::Factor; F]) -> [V; R],
) {
    // SAFETY: the caller vouches for the instructions, and for the registers.
    unsafe {
        let (low, to, distance) = (registers.add(step.low), registers.add(step.to), step.high - step.low);
        let factors = ready::<V, F>(&step.factors);
        for at in 0..step.count {
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

/// Registers at a distance from each other.
#[inline(always)]
unsafe fn read<V: Vector, const R: usize>(from: *const V, distance: usize) -> [V; R] {
    // SAFETY: the caller vouches for the instructions, and for the registers.
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
        // SAFETY: the caller vouches for the registers.
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
