//! GF(2⁸) modulo `x⁸ + x⁴ + x³ + x² + 1`, slowly: matrices for the libraries that take one, and bytes to compare with.

const POLYNOMIAL: u16 = 0x11d;

const fn tables() -> ([u8; 512], [u8; 256]) {
    let (mut exp, mut log) = ([0; 512], [0; 256]);
    let (mut value, mut power) = (1u16, 0);
    while power < 255 {
        exp[power] = value as u8;
        exp[power + 255] = value as u8;
        log[value as usize] = power as u8;
        value <<= 1;
        if value > 255 {
            value ^= POLYNOMIAL;
        }
        power += 1;
    }
    (exp, log)
}

static TABLES: ([u8; 512], [u8; 256]) = tables();

pub(crate) fn mul(a: u8, b: u8) -> u8 {
    let (exp, log) = &TABLES;
    if a == 0 || b == 0 { 0 } else { exp[usize::from(log[usize::from(a)]) + usize::from(log[usize::from(b)])] }
}

fn inverse(a: u8) -> u8 {
    let (exp, log) = &TABLES;
    exp[255 - usize::from(log[usize::from(a)])]
}

/// Coefficients, one row an output, one column a source.
#[derive(Debug, Clone)]
pub struct Matrix {
    pub sources: usize,
    pub rows: Vec<Vec<u8>>,
}

impl Matrix {
    /// What gives a polynomial's values at `wanted` from those at as many points as it has coefficients. The points `0..k` and `k..n` are the
    /// systematic Vandermonde code of the crate `reed-solomon-erasure`.
    pub fn interpolation(points: std::ops::Range<usize>, wanted: std::ops::Range<usize>) -> Self {
        let points: Vec<u8> = points.map(|point| point as u8).collect();
        let rows = wanted.map(|x| points.iter().map(|&point| coefficient(&points, point, x as u8)).collect()).collect();
        Self { sources: points.len(), rows }
    }

    /// One byte of an output.
    pub(crate) fn byte(&self, row: usize, sources: impl Iterator<Item = u8>) -> u8 {
        self.rows[row].iter().zip(sources).fold(0, |sum, (&c, byte)| sum ^ mul(c, byte))
    }
}

/// `Π (x − q) / (point − q)` over the other points `q`.
fn coefficient(points: &[u8], point: u8, x: u8) -> u8 {
    let others = points.iter().filter(|&&q| q != point);
    others.fold(1, |product, &q| mul(product, mul(x ^ q, inverse(point ^ q))))
}
