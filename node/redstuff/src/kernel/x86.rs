//! Vectors of x86-64.

#![expect(clippy::inline_always, reason = "vectors stay in registers only within one function")]

use std::arch::x86_64::{
    __m256i, __m512i, _MM_HINT_T0, _MM_HINT_T1, _mm_loadu_si128, _mm_prefetch, _mm_sfence, _mm256_and_si256,
    _mm256_broadcastsi128_si256, _mm256_gf2p8affine_epi64_epi8, _mm256_loadu_si256, _mm256_set1_epi8,
    _mm256_set1_epi64x, _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_srli_epi16, _mm256_storeu_si256,
    _mm256_stream_si256, _mm256_xor_si256, _mm512_gf2p8affine_epi64_epi8, _mm512_loadu_si512, _mm512_set1_epi64,
    _mm512_setzero_si512, _mm512_storeu_si512, _mm512_stream_si512, _mm512_xor_si512,
};
use std::ops::Range;

use super::execute::transform;
use super::tables::{AFFINE, HALVES};
use super::transform::Transform;
use super::vector::{Vector, multiply};
use super::{Arithmetic, Engine, LINE, Matrix, Store};

/// What vectors of one length have in common.
macro_rules! register {
    ($bytes:literal, $zero:ident, $load:ident, $store:ident, $stream:ident, $xor:ident) => {
        const BYTES: usize = $bytes;

        #[inline(always)]
        unsafe fn zero() -> Self {
            // SAFETY: the caller has the instructions.
            unsafe { Self($zero()) }
        }

        #[inline(always)]
        unsafe fn load(from: *const u8) -> Self {
            // SAFETY: the caller has the instructions and the bytes.
            unsafe { Self($load(from.cast())) }
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut u8) {
            // SAFETY: the caller has the instructions and the bytes.
            unsafe { $store(to.cast(), self.0) }
        }

        #[inline(always)]
        unsafe fn stream(self, to: *mut u8) {
            // SAFETY: the caller has the instructions and the bytes, which are aligned.
            unsafe { $stream(to.cast(), self.0) }
        }

        #[inline(always)]
        unsafe fn prefetch(from: *const u8) {
            // SAFETY: a hint, of any address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
        }

        #[inline(always)]
        unsafe fn prefetch_l2(from: *const u8) {
            // SAFETY: a hint, of any address.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(from.cast()) }
        }

        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            // SAFETY: the caller has the instructions.
            unsafe { Self($xor(self.0, other.0)) }
        }
    };
}

/// Multiplication by the matrix of a constant.
macro_rules! affine {
    ($register:ty, $broadcast:ident, $affine:ident) => {
        type Factor = $register;
        type Operand = $register;

        #[inline(always)]
        unsafe fn factor(constant: u8) -> $register {
            // SAFETY: the caller has the instructions.
            unsafe { $broadcast(AFFINE[constant as usize].cast_signed()) }
        }

        #[inline(always)]
        unsafe fn operand(self) -> $register {
            self.0
        }

        #[inline(always)]
        unsafe fn multiply(operand: $register, factor: $register) -> Self {
            // SAFETY: the caller has the instructions.
            unsafe { Self($affine::<0>(operand, factor)) }
        }
    };
}

/// 64 bytes, multiplied by GFNI.
#[derive(Clone, Copy)]
struct Gfni512(__m512i);

// SAFETY: AVX-512F loads, stores and adds 64 bytes; GFNI multiplies each by the matrix of the constant.
unsafe impl Vector for Gfni512 {
    register!(64, _mm512_setzero_si512, _mm512_loadu_si512, _mm512_storeu_si512, _mm512_stream_si512, _mm512_xor_si512);
    affine!(__m512i, _mm512_set1_epi64, _mm512_gf2p8affine_epi64_epi8);
}

/// 32 bytes, multiplied by GFNI.
#[derive(Clone, Copy)]
struct Gfni256(__m256i);

// SAFETY: AVX2 loads, stores and adds 32 bytes; GFNI multiplies each by the matrix of the constant.
unsafe impl Vector for Gfni256 {
    register!(32, _mm256_setzero_si256, _mm256_loadu_si256, _mm256_storeu_si256, _mm256_stream_si256, _mm256_xor_si256);
    affine!(__m256i, _mm256_set1_epi64x, _mm256_gf2p8affine_epi64_epi8);
}

/// 32 bytes, multiplied by shuffles of half bytes.
#[derive(Clone, Copy)]
struct Avx2(__m256i);

// SAFETY: AVX2 loads, stores, adds and shuffles 32 bytes.
unsafe impl Vector for Avx2 {
    register!(32, _mm256_setzero_si256, _mm256_loadu_si256, _mm256_storeu_si256, _mm256_stream_si256, _mm256_xor_si256);

    /// The products with low and with high half bytes.
    type Factor = (__m256i, __m256i);
    /// The low and the high half bytes.
    type Operand = (__m256i, __m256i);

    #[inline(always)]
    unsafe fn factor(constant: u8) -> Self::Factor {
        let halves = HALVES[constant as usize].as_ptr();
        // SAFETY: the caller has the instructions, and the constant has twice 16 products.
        unsafe {
            (
                _mm256_broadcastsi128_si256(_mm_loadu_si128(halves.cast())),
                _mm256_broadcastsi128_si256(_mm_loadu_si128(halves.add(16).cast())),
            )
        }
    }

    #[inline(always)]
    unsafe fn operand(self) -> Self::Operand {
        // SAFETY: the caller has the instructions.
        unsafe {
            let mask = _mm256_set1_epi8(0x0f);
            (_mm256_and_si256(self.0, mask), _mm256_and_si256(_mm256_srli_epi16::<4>(self.0), mask))
        }
    }

    #[inline(always)]
    unsafe fn multiply(operand: Self::Operand, factor: Self::Factor) -> Self {
        // SAFETY: the caller has the instructions.
        unsafe {
            let low = _mm256_shuffle_epi8(factor.0, operand.0);
            Self(_mm256_xor_si256(low, _mm256_shuffle_epi8(factor.1, operand.1)))
        }
    }
}

/// An [`Engine`] over a [`Vector`], with the functions that are compiled for its instructions.
macro_rules! engine {
    ($name:literal, $vector:ty, $width:literal, $single:literal, $features:literal, $detected:expr) => {{
        #[target_feature(enable = $features)]
        fn multiplied(
            matrix: &Matrix,
            sources: &[&[u8]],
            outputs: &mut [&mut [u8]],
            range: Range<usize>,
            store: Store,
        ) {
            // SAFETY: this function is compiled for the vector's instructions.
            unsafe { multiply::<$vector, $width, $single>(matrix, sources, outputs, range, store) }
        }
        #[target_feature(enable = $features)]
        fn transformed(
            by: &Transform,
            sources: &[&[u8]],
            outputs: &mut [&mut [u8]],
            range: Range<usize>,
            store: Store,
        ) {
            // SAFETY: this function is compiled for the vector's instructions.
            unsafe { transform::<$vector, { LINE / <$vector>::BYTES }>(by, sources, outputs, range, store) }
        }
        #[target_feature(enable = "sse")]
        fn fence() {
            _mm_sfence();
        }
        Engine {
            name: $name,
            detect: || $detected,
            granule: <$vector>::BYTES,
            block: $width * <$vector>::BYTES,
            arithmetic: Arithmetic::Vectors { multiply: multiplied, transform: transformed, fence },
        }
    }};
}

/// The best first.
pub(super) static ENGINES: [Engine; 3] = [
    engine!(
        "GFNI and AVX-512",
        Gfni512,
        4,
        8,
        "avx512f,gfni",
        is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("gfni")
    ),
    engine!(
        "GFNI and AVX2",
        Gfni256,
        2,
        8,
        "avx2,gfni",
        is_x86_feature_detected!("avx2") && is_x86_feature_detected!("gfni")
    ),
    engine!("AVX2", Avx2, 2, 4, "avx2", is_x86_feature_detected!("avx2")),
];
