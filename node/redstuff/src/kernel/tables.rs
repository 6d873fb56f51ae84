//! Multiplication by each of the 256 constants of GF(2⁸), in the forms that instructions take.

#![forbid(unsafe_code)]

/// The field's polynomial, x⁸ + x⁴ + x³ + x² + 1, without its highest term: that of `reed_solomon_erasure::galois_8`.
pub(super) const POLYNOMIAL: u8 = 0x1d;

/// `a · b`.
const fn multiply(a: u8, b: u8) -> u8 {
    let (mut sum, mut power, mut bit) = (0, a, 0);
    while bit < 8 {
        if b >> bit & 1 == 1 {
            sum ^= power;
        }
        power = (power << 1) ^ (if power >> 7 == 1 { POLYNOMIAL } else { 0 });
        bit += 1;
    }
    sum
}

/// Products with the 16 low, then with the 16 high half bytes: two shuffles and their sum are a product.
pub(super) static HALVES: [[u8; 32]; 256] = {
    let mut halves = [[0; 32]; 256];
    let mut c = 0;
    while c < 256 {
        let mut half = 0;
        while half < 16 {
            halves[c][half] = multiply(c as u8, half as u8);
            halves[c][16 + half] = multiply(c as u8, (half as u8) << 4);
            half += 1;
        }
        c += 1;
    }
    halves
};

/// Multiplication is linear over the bits: as 8 × 8 matrices, a row a byte, the highest bit's row first (GF2P8AFFINEQB, Intel SDM volume 2).
#[cfg(target_arch = "x86_64")]
pub(super) static AFFINE: [u64; 256] = {
    let mut matrices = [0; 256];
    let mut c = 0;
    while c < 256 {
        let mut bit = 0;
        while bit < 8 {
            // What bit `bit` of the factor gives: it belongs to column `bit` of every row.
            let product = multiply(c as u8, 1 << bit);
            let mut row = 0;
            while row < 8 {
                if product >> row & 1 == 1 {
                    matrices[c] |= 1u64 << (8 * (7 - row) + bit);
                }
                row += 1;
            }
            bit += 1;
        }
        c += 1;
    }
    matrices
};
