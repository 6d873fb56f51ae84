//! Vectors of `AArch64`.

#![expect(clippy::inline_always, reason = "vectors stay in registers only within one function")]

use std::arch::aarch64::{uint8x16_t, vandq_u8, vdupq_n_u8, veorq_u8, vld1q_u8, vqtbl1q_u8, vshrq_n_u8, vst1q_u8};
use std::arch::{asm, is_aarch64_feature_detected};
use std::ops::Range;

use super::execute::transform;
use super::tables::HALVES;
use super::transform::Transform;
use super::vector::{Vector, multiply};
use super::{Arithmetic, Engine, LINE, Matrix, Store};

/// 16 bytes, multiplied by look-ups of half bytes.
#[derive(Clone, Copy)]
struct Neon(uint8x16_t);

// SAFETY: NEON loads, stores, adds and looks up 16 bytes.
unsafe impl Vector for Neon {
    /// The products with low and with high half bytes.
    type Factor = [uint8x16_t; 2];
    /// The low and the high half bytes.
    type Operand = [uint8x16_t; 2];

    const BYTES: usize = 16;

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the caller has the instructions.
        unsafe { Self(vdupq_n_u8(0)) }
    }

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: the caller has the instructions and the bytes.
        unsafe { Self(vld1q_u8(from)) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        // SAFETY: the caller has the instructions and the bytes.
        unsafe { vst1q_u8(to, self.0) }
    }

    /// Stores past the caches aren't to be had one by one.
    #[inline(always)]
    unsafe fn stream(self, to: *mut u8) {
        // SAFETY: as the caller says.
        unsafe { self.store(to) }
    }

    #[inline(always)]
    unsafe fn prefetch(from: *const u8) {
        // SAFETY: a hint, of any address.
        unsafe { asm!("prfm pldl1keep, [{}]", in(reg) from, options(nostack, preserves_flags, readonly)) }
    }

    #[inline(always)]
    unsafe fn prefetch_l2(from: *const u8) {
        // SAFETY: a hint, of any address.
        unsafe { asm!("prfm pldl2keep, [{}]", in(reg) from, options(nostack, preserves_flags, readonly)) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the caller has the instructions.
        unsafe { Self(veorq_u8(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn factor(constant: u8) -> Self::Factor {
        let halves = HALVES[constant as usize].as_ptr();
        // SAFETY: the caller has the instructions, and the constant has twice 16 products.
        unsafe { [vld1q_u8(halves), vld1q_u8(halves.add(16))] }
    }

    #[inline(always)]
    unsafe fn operand(self) -> Self::Operand {
        // SAFETY: the caller has the instructions.
        unsafe { [vandq_u8(self.0, vdupq_n_u8(0x0f)), vshrq_n_u8::<4>(self.0)] }
    }

    #[inline(always)]
    unsafe fn multiply(operand: Self::Operand, factor: Self::Factor) -> Self {
        // SAFETY: the caller has the instructions.
        unsafe { Self(veorq_u8(vqtbl1q_u8(factor[0], operand[0]), vqtbl1q_u8(factor[1], operand[1]))) }
    }
}

#[target_feature(enable = "neon")]
fn multiplied(matrix: &Matrix, sources: &[&[u8]], outputs: &mut [&mut [u8]], range: Range<usize>, store: Store) {
    // SAFETY: this function is compiled for the vector's instructions.
    unsafe { multiply::<Neon, 4, 4>(matrix, sources, outputs, range, store) }
}

#[target_feature(enable = "neon")]
fn transformed(by: &Transform, sources: &[&[u8]], outputs: &mut [&mut [u8]], range: Range<usize>, store: Store) {
    // SAFETY: this function is compiled for the vector's instructions.
    unsafe { transform::<Neon, { LINE / Neon::BYTES }>(by, sources, outputs, range, store) }
}

pub(super) static ENGINES: [Engine; 1] = [Engine {
    name: "NEON",
    detect: || is_aarch64_feature_detected!("neon"),
    granule: Neon::BYTES,
    block: 4 * Neon::BYTES,
    arithmetic: Arithmetic::Vectors { multiply: multiplied, transform: transformed, fence: || () },
}];
