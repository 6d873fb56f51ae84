//! The grid's sizes, and a blob cut into stripes.

/// A code of `n` places with the greatest fault tolerance, `f = ⌊(n−1)/3⌋`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    pub n: usize,
    pub f: usize,
}

impl Shape {
    /// `4 ≤ n ≤ 255`.
    pub const fn new(n: usize) -> Self {
        assert!(n >= 4 && n <= 255, "a code has 4 to 255 shards");
        Self { n, f: (n - 1) / 3 }
    }

    /// `k1 = n − 2f`.
    pub const fn rows(self) -> usize {
        self.n - 2 * self.f
    }

    /// `k2 = n − f`.
    pub const fn columns(self) -> usize {
        self.n - self.f
    }

    /// `k1 · k2`.
    pub const fn source_symbols(self) -> usize {
        self.rows() * self.columns()
    }
}

/// A stripe to encode: `k1 · k2` symbols of source, rows `k1..n` one after the other, and all `n` columns one after the other.
#[derive(Debug)]
pub struct Stripe<'a> {
    /// Bytes of a symbol.
    pub symbol: usize,
    pub source: &'a [u8],
    pub parity: &'a mut [u8],
    pub columns: &'a mut [u8],
}

/// An encoded [`Stripe`].
#[derive(Debug, Clone, Copy)]
pub struct Encoded<'a> {
    pub symbol: usize,
    pub source: &'a [u8],
    pub parity: &'a [u8],
    pub columns: &'a [u8],
}

impl<'a> Encoded<'a> {
    /// Row `index` of `n`: `k2` symbols.
    pub fn row(&self, shape: Shape, index: usize) -> &'a [u8] {
        let length = shape.columns() * self.symbol;
        match index.checked_sub(shape.rows()) {
            None => &self.source[index * length..][..length],
            Some(index) => &self.parity[index * length..][..length],
        }
    }

    /// Column `index` of `n`: `k1` symbols.
    pub fn column(&self, shape: Shape, index: usize) -> &'a [u8] {
        let length = shape.rows() * self.symbol;
        &self.columns[index * length..][..length]
    }
}

/// A blob cut into stripes: the bytes of a symbol of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    shape: Shape,
    symbols: Vec<usize>,
}

impl Cut {
    /// Stripes of symbols of `full` bytes, and one of smaller symbols for what is left.
    pub fn new(shape: Shape, blob: usize, full: usize) -> Self {
        let rest = blob % (shape.source_symbols() * full);
        Self::with_tail(shape, blob, full, rest.div_ceil(shape.source_symbols()).next_multiple_of(64))
    }

    /// The same with a given symbol for what is left.
    pub fn with_tail(shape: Shape, blob: usize, full: usize, tail: usize) -> Self {
        let capacity = shape.source_symbols() * full;
        let mut symbols = vec![full; blob / capacity];
        if !blob.is_multiple_of(capacity) {
            symbols.push(tail);
        }
        Self { shape, symbols }
    }

    /// Bytes of the padded source, of the parity rows and of the columns.
    pub fn lengths(&self) -> [usize; 3] {
        let symbols: usize = self.symbols.iter().sum();
        let Shape { n, f } = self.shape;
        let (rows, columns) = (self.shape.rows(), self.shape.columns());
        [rows * columns * symbols, 2 * f * columns * symbols, n * rows * symbols]
    }

    /// Disjoint stripes of buffers that are at least as long as [`Cut::lengths`].
    pub fn stripes<'a>(
        &self,
        mut source: &'a [u8],
        mut parity: &'a mut [u8],
        mut columns: &'a mut [u8],
    ) -> Vec<Stripe<'a>> {
        let mut stripes = Vec::with_capacity(self.symbols.len());
        for &symbol in &self.symbols {
            let lengths = Self { shape: self.shape, symbols: vec![symbol] }.lengths();
            let stripe = Stripe {
                symbol,
                source: source.split_off(..lengths[0]).expect("a source as long as the cut"),
                parity: parity.split_off_mut(..lengths[1]).expect("room for the parity"),
                columns: columns.split_off_mut(..lengths[2]).expect("room for the columns"),
            };
            stripes.push(stripe);
        }
        stripes
    }

    /// The same for reading.
    pub fn encoded<'a>(&self, mut source: &'a [u8], mut parity: &'a [u8], mut columns: &'a [u8]) -> Vec<Encoded<'a>> {
        let mut stripes = Vec::with_capacity(self.symbols.len());
        for &symbol in &self.symbols {
            let lengths = Self { shape: self.shape, symbols: vec![symbol] }.lengths();
            let stripe = Encoded {
                symbol,
                source: source.split_off(..lengths[0]).expect("a source as long as the cut"),
                parity: parity.split_off(..lengths[1]).expect("all of the parity"),
                columns: columns.split_off(..lengths[2]).expect("all columns"),
            };
            stripes.push(stripe);
        }
        stripes
    }

    /// The symbols' sizes, of each stripe.
    pub fn symbols(&self) -> &[usize] {
        &self.symbols
    }
}
