//! The kernel for vector instructions, written once over what they have in common.

#![expect(clippy::inline_always, reason = "vectors stay in registers only within one function")]
#![expect(clippy::needless_range_loop, reason = "loops over arrays of vectors are unrolled, and closures are not")]

use std::ops::Range;

use super::{AHEAD, Matrix, Store};

/// A vector register of bytes, and the arithmetic of GF(2⁸) on it.
///
/// # Safety
/// An implementation's methods do what they say for all [`Vector::BYTES`] bytes and touch no others. They may be called only where the processor has the
/// type's instructions, and within a function that is compiled for them: all are inlined, so that no vector is passed between functions.
pub(super) unsafe trait Vector: Copy {
    /// A multiplication by a constant, ready to be done.
    type Factor: Copy;
    /// A vector as multiplications take it.
    type Operand: Copy;

    const BYTES: usize;

    unsafe fn zero() -> Self;
    /// `from` is valid for reads of [`Vector::BYTES`].
    unsafe fn load(from: *const u8) -> Self;
    /// `to` is valid for writes of [`Vector::BYTES`].
    unsafe fn store(self, to: *mut u8);
    /// As [`Vector::store`], past the caches; `to` is a multiple of [`Vector::BYTES`].
    unsafe fn stream(self, to: *mut u8);
    /// Asks for the bytes at `from`, which may be anywhere, to be read soon.
    unsafe fn prefetch(from: *const u8);
    /// As [`Vector::prefetch`], to the second-level cache only.
    unsafe fn prefetch_l2(from: *const u8);
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn factor(constant: u8) -> Self::Factor;
    unsafe fn operand(self) -> Self::Operand;
    unsafe fn multiply(operand: Self::Operand, factor: Self::Factor) -> Self;
}

/// Sources of a single output that are read side by side: with as many as a cache has ways, symbols of a power of two would drive each other out.
const SIDE_BY_SIDE: usize = 6;

/// Sets bytes `range`, a multiple of a vector, of the outputs to their combinations: of four outputs at a time, and of `W` vectors, or of `S` for a
/// single one.
///
/// # Safety
/// As [`Vector`] says.
#[inline(always)]
pub(super) unsafe fn multiply<V: Vector, const W: usize, const S: usize>(
    matrix: &Matrix,
    sources: &[&[u8]],
    outputs: &mut [&mut [u8]],
    range: Range<usize>,
    store: Store,
) {
    if let [output] = outputs {
        // SAFETY: the caller vouches for the instructions.
        return unsafe { multiply_one::<V, S>(matrix.row(0), sources, output, range, store) };
    }
    for (group, outputs) in outputs.chunks_mut(4).enumerate() {
        let (first, range) = (4 * group, range.clone());
        // SAFETY: the caller vouches for the instructions.
        unsafe {
            match outputs {
                [a, b, c, d] => multiply_rows::<V, 4, W>(matrix, first, sources, [a, b, c, d], range, store),
                [a, b, c] => multiply_rows::<V, 3, W>(matrix, first, sources, [a, b, c], range, store),
                [a, b] => multiply_rows::<V, 2, W>(matrix, first, sources, [a, b], range, store),
                [a] => multiply_rows::<V, 1, W>(matrix, first, sources, [a], range, store),
                _ => unreachable!("chunks of one to four"),
            }
        }
    }
}

/// As [`multiply`], for one output: of a few sources after the other, because memory gives few long runs faster than many short ones. The sum so far
/// stays in the second-level cache.
#[inline(always)]
unsafe fn multiply_one<V: Vector, const W: usize>(
    row: &[u8],
    sources: &[&[u8]],
    output: &mut [u8],
    range: Range<usize>,
    store: Store,
) {
    assert!(range.len().is_multiple_of(V::BYTES), "whole vectors");
    assert!(sources.len() == row.len() && sources.iter().all(|source| source.len() >= range.end), "whole sources");
    let (length, output) = (range.len(), output[range.clone()].as_mut_ptr());
    let streamed = store == Store::Streamed && sources.len() <= SIDE_BY_SIDE && is_aligned::<V>(output);
    for (group, sources) in sources.chunks(SIDE_BY_SIDE).enumerate() {
        let rows = [&row[group * SIDE_BY_SIDE..][..sources.len()]];
        let mut done = 0;
        // SAFETY: the caller vouches for the instructions; the vectors read and written are within the range, which no source falls short of, nor the output.
        unsafe {
            while length - done >= W * V::BYTES {
                let so_far = if group == 0 { [[V::zero(); W]; 1] } else { load(output.add(done)) };
                write(&sums(so_far, rows, sources, range.start + done, false), [output], done, streamed);
                done += W * V::BYTES;
            }
            while done < length {
                let so_far = if group == 0 { [[V::zero(); 1]; 1] } else { load(output.add(done)) };
                write(&sums(so_far, rows, sources, range.start + done, false), [output], done, streamed);
                done += V::BYTES;
            }
        }
    }
}

#[inline(always)]
unsafe fn load<V: Vector, const W: usize>(from: *const u8) -> [[V; W]; 1] {
    // SAFETY: the caller vouches for the instructions, and for W vectors.
    unsafe {
        let mut vectors = [[V::zero(); W]; 1];
        for w in 0..W {
            vectors[0][w] = V::load(from.add(w * V::BYTES));
        }
        vectors
    }
}

/// As [`multiply`], for the `R` outputs of the matrix's rows from `first` on.
#[inline(always)]
unsafe fn multiply_rows<V: Vector, const R: usize, const W: usize>(
    matrix: &Matrix,
    first: usize,
    sources: &[&[u8]],
    outputs: [&mut [u8]; R],
    range: Range<usize>,
    store: Store,
) {
    let rows = matrix.rows::<R>(first);
    assert!(range.len().is_multiple_of(V::BYTES), "whole vectors");
    assert!(
        sources.len() == matrix.sources() && sources.iter().all(|source| source.len() >= range.end),
        "whole sources"
    );
    let outputs = outputs.map(|output| &mut output[range.clone()]);
    let streamed = store == Store::Streamed && outputs.iter().all(|output| is_aligned::<V>(output.as_ptr()));
    let outputs = outputs.map(<[u8]>::as_mut_ptr);
    // The other rows find the sources in the cache.
    let is_first = streamed && first == 0;
    let (mut done, length) = (0, range.len());
    // SAFETY: the caller vouches for the instructions; the vectors read and written are within the range, which no source and no output falls short of.
    unsafe {
        while length - done >= W * V::BYTES {
            write(&sums([[V::zero(); W]; R], rows, sources, range.start + done, is_first), outputs, done, streamed);
            done += W * V::BYTES;
        }
        while done < length {
            write(&sums([[V::zero(); 1]; R], rows, sources, range.start + done, is_first), outputs, done, streamed);
            done += V::BYTES;
        }
    }
}

/// The sums so far, and the combinations by `R` rows of coefficients, one a source, of `W` vectors of each source at the offset.
#[inline(always)]
unsafe fn sums<V: Vector, const R: usize, const W: usize>(
    mut sums: [[V; W]; R],
    rows: [&[u8]; R],
    sources: &[&[u8]],
    offset: usize,
    prefetches: bool,
) -> [[V; W]; R] {
    // SAFETY: the caller vouches for the instructions, for rows as long as there are sources, and for W vectors of each at the offset.
    unsafe {
        let mut pairs = sources.chunks_exact(2);
        let mut source = 0;
        // Two at a time: AVX-512 adds both products in one instruction.
        for pair in &mut pairs {
            // No closures here, nor below: what they take and give isn't always kept in registers.
            let mut factors = [[V::factor(0); 2]; R];
            for r in 0..R {
                factors[r] = [V::factor(*rows[r].get_unchecked(source)), V::factor(*rows[r].get_unchecked(source + 1))];
            }
            let (one, other) = (pair[0].as_ptr().add(offset), pair[1].as_ptr().add(offset));
            if prefetches {
                prefetch::<V, W>(one.wrapping_add(AHEAD));
                prefetch::<V, W>(other.wrapping_add(AHEAD));
            }
            for w in 0..W {
                let first = V::load(one.add(w * V::BYTES)).operand();
                let second = V::load(other.add(w * V::BYTES)).operand();
                for r in 0..R {
                    let products = V::multiply(first, factors[r][0]).add(V::multiply(second, factors[r][1]));
                    sums[r][w] = sums[r][w].add(products);
                }
            }
            source += 2;
        }
        if let [last] = pairs.remainder() {
            if prefetches {
                prefetch::<V, W>(last.as_ptr().wrapping_add(offset + AHEAD));
            }
            for w in 0..W {
                let operand = V::load(last.as_ptr().add(offset + w * V::BYTES)).operand();
                for r in 0..R {
                    sums[r][w] = sums[r][w].add(V::multiply(operand, V::factor(*rows[r].get_unchecked(source))));
                }
            }
        }
        sums
    }
}

/// Asks for `W` vectors, which may be anywhere.
#[inline(always)]
unsafe fn prefetch<V: Vector, const W: usize>(from: *const u8) {
    for w in 0..W {
        // SAFETY: the caller vouches for the instructions.
        unsafe { V::prefetch(from.wrapping_add(w * V::BYTES)) }
    }
}

#[inline(always)]
unsafe fn write<V: Vector, const R: usize, const W: usize>(
    sums: &[[V; W]; R],
    outputs: [*mut u8; R],
    offset: usize,
    streamed: bool,
) {
    for r in 0..R {
        for w in 0..W {
            // SAFETY: the caller vouches for the instructions, for W vectors at each output's offset, and for their alignment if they are streamed.
            unsafe { put(sums[r][w], outputs[r].add(offset + w * V::BYTES), streamed) }
        }
    }
}

#[inline(always)]
pub(super) unsafe fn put<V: Vector>(vector: V, to: *mut u8, streamed: bool) {
    // SAFETY: as the caller vouches.
    unsafe { if streamed { vector.stream(to) } else { vector.store(to) } }
}

pub(super) fn is_aligned<V: Vector>(pointer: *const u8) -> bool {
    pointer.addr().is_multiple_of(V::BYTES)
}
