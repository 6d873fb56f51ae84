//! How a blob is cut into stripes of symbols.
//!
//! The symbol sizes are functions of the code and the blob's length alone, so that a retried put gives the same blob; and all stripes but the last are
//! alike whatever the length, so that a blob of unknown length can be encoded as it streams by.

use thiserror::Error;

use crate::code::{Axis, Code};

/// A full stripe's source stays at about this many bytes: what an encoder holds at a time.
const FULL_STRIPE: u32 = 8 << 20;
/// Kernels work on vectors: full symbols are whole multiples of one, short ones nearly so.
const ALIGNMENT: u32 = 64;
const MIN_FULL_SYMBOL: u32 = 1 << 10;
const MAX_FULL_SYMBOL: u32 = 64 << 10;
/// Rounding a last stripe's symbol up may cost one part in this many.
const MAX_ROUNDING: u32 = 20;
/// Up to this many bytes a shard, a blob is cheaper to keep in its registry entry than its hashes are.
const INLINE_BYTES_PER_SHARD: u64 = 64;

/// Why a blob can't be laid out like this.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum LayoutError {
    #[error("a symbol has 1 to {max} bytes with this code, not {symbol_size}", max = Layout::max_symbol_size(*.code))]
    SymbolSize { code: Code, symbol_size: u32 },
    #[error("{length} bytes are more than {} stripes of symbols of {symbol_size} bytes", u32::MAX)]
    TooLong { length: u64, symbol_size: u32 },
    #[error(
        "a last symbol of {tail_symbol_size} bytes doesn't fit a blob of {length} bytes in symbols of {symbol_size} bytes"
    )]
    Tail { length: u64, symbol_size: u32, tail_symbol_size: u32 },
    #[error("a blob of {length} bytes is too long to be inline")]
    Inline { length: u64 },
}

/// A blob's stripes. Inline blobs have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Layout {
    code: Code,
    length: u64,
    symbol_size: u32,
    tail_symbol_size: u32,
    stripes: u32,
}

/// One stripe of a [`Layout`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StripeLayout {
    pub index: u32,
    /// Where the stripe's content begins in the blob, in bytes.
    pub offset: u64,
    /// Bytes of content, without padding. Zero only for an empty blob's one stripe.
    pub length: u64,
    /// Bytes of each symbol.
    pub symbol_size: u32,
    code: Code,
}

impl StripeLayout {
    /// Bytes of a sliver of this stripe.
    pub const fn sliver_length(&self, axis: Axis) -> usize {
        self.code.sliver_length(axis, self.symbol_size)
    }
}

impl Layout {
    /// A stripe's source never has more bytes than this, whatever the symbol size.
    pub const MAX_STRIPE: u64 = 1 << 30;

    /// The layout of a blob of `length` bytes in a fleet: inline up to `64 n` bytes, else as [`Layout::sliced`].
    pub fn for_length(code: Code, length: u64) -> Result<Self, LayoutError> {
        if length <= Self::max_inline_length(code) { Self::inline(code, length) } else { Self::sliced(code, length) }
    }

    /// Stripes for any length: full ones have [`Layout::full_symbol_size`], the last (or only) one has the smallest symbols that hold the rest, rounded
    /// up to the largest power of two `a ≤ 64` for which `20 a` is at most their size. An empty blob has one stripe, of one-byte symbols.
    pub fn sliced(code: Code, length: u64) -> Result<Self, LayoutError> {
        let symbol_size = Self::full_symbol_size(code);
        let capacity = code.stripe_capacity(symbol_size);
        let rest = if length == 0 { 1 } else { (length - 1) % capacity + 1 };
        Self::from_sizes(code, length, symbol_size, tail_symbol_size(code, rest))
    }

    /// Stripes of symbols of `symbol_size` bytes, the last one too.
    pub fn with_symbol_size(code: Code, length: u64, symbol_size: u32) -> Result<Self, LayoutError> {
        Self::striped(code, length, symbol_size, symbol_size)
    }

    /// The layout that metadata tell. Both sizes are zero for an inline blob.
    pub fn from_sizes(code: Code, length: u64, symbol_size: u32, tail_symbol_size: u32) -> Result<Self, LayoutError> {
        if symbol_size == 0 && tail_symbol_size == 0 {
            return Self::inline(code, length);
        }
        Self::striped(code, length, symbol_size, tail_symbol_size)
    }

    fn striped(code: Code, length: u64, symbol_size: u32, tail_symbol_size: u32) -> Result<Self, LayoutError> {
        if symbol_size == 0 || symbol_size > Self::max_symbol_size(code) {
            return Err(LayoutError::SymbolSize { code, symbol_size });
        }
        let capacity = code.stripe_capacity(symbol_size);
        let stripes = u32::try_from(length.div_ceil(capacity).max(1))
            .map_err(|_| LayoutError::TooLong { length, symbol_size })?;
        let rest = length - u64::from(stripes - 1) * capacity;
        if tail_symbol_size == 0 || tail_symbol_size > symbol_size || code.stripe_capacity(tail_symbol_size) < rest {
            return Err(LayoutError::Tail { length, symbol_size, tail_symbol_size });
        }
        Ok(Self { code, length, symbol_size, tail_symbol_size, stripes })
    }

    fn inline(code: Code, length: u64) -> Result<Self, LayoutError> {
        if length > Self::max_inline_length(code) {
            return Err(LayoutError::Inline { length });
        }
        Ok(Self { code, length, symbol_size: 0, tail_symbol_size: 0, stripes: 0 })
    }

    /// The longest blob that a fleet keeps inline: `64 n` bytes.
    pub const fn max_inline_length(code: Code) -> u64 {
        INLINE_BYTES_PER_SHARD * code.shards() as u64
    }

    /// Bytes of a full stripe's symbols: about 8 MiB a stripe, from 1 KiB to 64 KiB a symbol, a multiple of 64.
    pub const fn full_symbol_size(code: Code) -> u32 {
        let size = FULL_STRIPE / code.source_symbols() / ALIGNMENT * ALIGNMENT;
        if size < MIN_FULL_SYMBOL {
            MIN_FULL_SYMBOL
        } else if size > MAX_FULL_SYMBOL {
            MAX_FULL_SYMBOL
        } else {
            size
        }
    }

    /// The largest symbols that a stripe may have, in bytes: those that keep it within [`Layout::MAX_STRIPE`].
    pub const fn max_symbol_size(code: Code) -> u32 {
        (Self::MAX_STRIPE / code.source_symbols() as u64) as u32
    }

    pub const fn code(&self) -> Code {
        self.code
    }

    /// The blob's length in bytes.
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// Whether the content is kept whole in the registry entry, without slivers.
    pub const fn is_inline(&self) -> bool {
        self.stripes == 0
    }

    /// Bytes of the symbols of all stripes but the last. Zero for an inline blob.
    pub const fn symbol_size(&self) -> u32 {
        self.symbol_size
    }

    /// Bytes of the symbols of the last (or only) stripe. Zero for an inline blob.
    pub const fn tail_symbol_size(&self) -> u32 {
        self.tail_symbol_size
    }

    /// How many stripes there are. Zero for an inline blob.
    pub const fn stripes(&self) -> u32 {
        self.stripes
    }

    /// Stripe `index`. `None` when there is no such stripe.
    pub fn stripe(&self, index: u32) -> Option<StripeLayout> {
        let last = self.stripes.checked_sub(1)?;
        if index > last {
            return None;
        }
        let capacity = self.code.stripe_capacity(self.symbol_size);
        let offset = u64::from(index) * capacity;
        let (length, symbol_size) =
            if index == last { (self.length - offset, self.tail_symbol_size) } else { (capacity, self.symbol_size) };
        Some(StripeLayout { index, offset, length, symbol_size, code: self.code })
    }

    /// All stripes, in order.
    pub fn iter(&self) -> impl Iterator<Item = StripeLayout> + use<> {
        let layout = *self;
        (0..self.stripes).filter_map(move |index| layout.stripe(index))
    }

    /// The stripe that holds the content's byte at `offset`. `None` beyond the end, or when the blob is inline.
    pub fn stripe_at(&self, offset: u64) -> Option<StripeLayout> {
        if offset >= self.length || self.is_inline() {
            return None;
        }
        self.stripe(u32::try_from(offset / self.code.stripe_capacity(self.symbol_size)).ok()?)
    }
}

/// Bytes of a last stripe's symbols, for `rest ≥ 1` bytes of content.
fn tail_symbol_size(code: Code, rest: u64) -> u32 {
    let least = rest.div_ceil(u64::from(code.source_symbols())) as u32;
    let affordable = (least / MAX_ROUNDING).clamp(1, ALIGNMENT);
    let alignment = 1 << affordable.ilog2();
    least.next_multiple_of(alignment)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn codes() -> impl Strategy<Value = Code> {
        (4u16..=255)
            .prop_flat_map(|shards| (Just(shards), 1..=(shards - 1) / 3))
            .prop_map(|(shards, fault_tolerance)| Code::new(shards, fault_tolerance).unwrap())
    }

    #[test]
    fn the_rule_gives_the_frozen_sizes() {
        let sizes = [(4, 65536), (10, 65536), (28, 44096), (31, 36288), (100, 3648), (255, 1024)];
        for (shards, size) in sizes {
            assert_eq!(Layout::full_symbol_size(Code::with_shards(shards).unwrap()), size, "n = {shards}");
        }
        let code = Code::with_shards(28).unwrap();
        let tails = [
            (1, 1),
            (190, 1),
            (191, 2),
            (190 * 41, 42),
            (190 * 1281, 1344),
            (190 * 44096, 44096),
            (190 * 44096 + 1, 1),
        ];
        for (length, size) in tails {
            assert_eq!(Layout::sliced(code, length).unwrap().tail_symbol_size(), size, "{length} bytes");
        }
    }

    #[test]
    fn an_empty_blob_has_one_stripe_when_it_must_have_slivers() {
        let layout = Layout::sliced(Code::with_shards(10).unwrap(), 0).unwrap();
        assert_eq!((layout.stripes(), layout.tail_symbol_size()), (1, 1));
        let stripe = layout.stripe(0).unwrap();
        assert_eq!((stripe.offset, stripe.length), (0, 0));
        assert_eq!(layout.stripe_at(0), None);
    }

    #[test]
    fn blobs_of_up_to_64_bytes_a_shard_are_inline() {
        let code = Code::with_shards(10).unwrap();
        let longest = Layout::for_length(code, 640).unwrap();
        assert!(longest.is_inline() && longest.iter().next().is_none());
        assert!(!Layout::for_length(code, 641).unwrap().is_inline());
        assert_eq!(Layout::from_sizes(code, 641, 0, 0), Err(LayoutError::Inline { length: 641 }));
    }

    #[test]
    fn impossible_sizes_are_refused() {
        let code = Code::with_shards(4).unwrap();
        let max = Layout::max_symbol_size(code);
        assert!(matches!(Layout::with_symbol_size(code, 1, max + 1), Err(LayoutError::SymbolSize { .. })));
        assert!(matches!(Layout::with_symbol_size(code, 1, 0), Err(LayoutError::SymbolSize { .. })));
        assert!(matches!(Layout::from_sizes(code, 1, 0, 1), Err(LayoutError::SymbolSize { .. })));
        assert!(matches!(Layout::with_symbol_size(code, u64::MAX, 1), Err(LayoutError::TooLong { .. })));
        for tail_symbol_size in [0, 1, 9] {
            let tail = Layout::from_sizes(code, 13, 8, tail_symbol_size);
            assert_eq!(tail, Err(LayoutError::Tail { length: 13, symbol_size: 8, tail_symbol_size }));
        }
    }

    proptest! {
        #[test]
        fn padding_stays_within_five_per_cent(code in codes(), exponent in 0u32..28, fraction in any::<u32>()) {
            let length = (1u64 << exponent) + u64::from(fraction) % (1 << exponent);
            let layout = Layout::sliced(code, length).unwrap();
            let stored: u64 = layout.iter().map(|stripe| code.stripe_capacity(stripe.symbol_size)).sum();
            prop_assert!(stored >= length);
            if length >= (64 << 10).max(20 * u64::from(code.source_symbols())) {
                prop_assert!((stored - length) * 20 <= length, "{stored} for {length}");
            }
            prop_assert_eq!(layout.symbol_size() % 64, 0);
            prop_assert!(layout.tail_symbol_size() <= layout.symbol_size());
        }

        #[test]
        fn stripes_are_the_whole_content_in_order(code in codes(), length in 0u64..100_000, symbol_size in 1u32..200) {
            let layout = Layout::with_symbol_size(code, length, symbol_size).unwrap();
            let mut end = 0;
            for (index, stripe) in layout.iter().enumerate() {
                prop_assert_eq!((stripe.index as usize, stripe.offset), (index, end));
                prop_assert!(stripe.length <= code.stripe_capacity(stripe.symbol_size));
                prop_assert_eq!(layout.stripe_at(stripe.offset), (stripe.length > 0).then_some(stripe));
                end += stripe.length;
            }
            prop_assert_eq!(end, length);
            prop_assert_eq!(layout.stripe(layout.stripes()), None);
            prop_assert_eq!(Layout::from_sizes(code, length, symbol_size, symbol_size), Ok(layout));
        }

        #[test]
        fn any_sizes_are_laid_out_or_refused(code in codes(), length: u64, symbol_size: u32, tail: u32) {
            if let Ok(layout) = Layout::from_sizes(code, length, symbol_size, tail)
                && let Some(last) = layout.stripes().checked_sub(1)
            {
                let stripe = layout.stripe(last).unwrap();
                prop_assert_eq!(stripe.offset + stripe.length, length);
            }
        }
    }
}
