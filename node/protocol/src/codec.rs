//! The canonical encoding: what is hashed and signed has exactly one byte string.
//!
//! Integers are big-endian and fixed in width; byte strings carry a `u32` length. A decoder accepts only what the
//! encoder can produce, which each type checks by its own invariants (sorted, without duplicates, nothing left over).

use thiserror::Error;

/// Why bytes are not the canonical encoding of a value.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecodeError {
    #[error("decode {what}: the bytes end early")]
    Truncated { what: &'static str },
    #[error("decode {what}: {left} bytes are left over")]
    Trailing { what: &'static str, left: usize },
    #[error("decode {what}: {reason}")]
    Invalid { what: &'static str, reason: String },
}

/// Appends canonical bytes to a buffer.
#[derive(Debug, Default)]
pub struct Encoder(Vec<u8>);

impl Encoder {
    pub fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    #[must_use]
    pub fn u32(mut self, value: u32) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    #[must_use]
    pub fn u64(mut self, value: u64) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// Bytes whose length both sides know.
    #[must_use]
    pub fn fixed(mut self, value: &[u8]) -> Self {
        self.0.extend_from_slice(value);
        self
    }

    /// Bytes of any length, after their length.
    #[must_use]
    pub fn bytes(self, value: &[u8]) -> Self {
        self.u32(value.len() as u32).fixed(value)
    }

    /// A list: its length, then each element as `each` writes it.
    #[must_use]
    pub fn list<T>(self, items: &[T], each: impl Fn(Self, &T) -> Self) -> Self {
        items.iter().fold(self.u32(items.len() as u32), each)
    }

    /// 0 for nothing, or 1 and the value.
    #[must_use]
    pub fn option<T>(self, item: Option<&T>, each: impl FnOnce(Self, &T) -> Self) -> Self {
        match item {
            None => self.u8(0),
            Some(item) => each(self.u8(1), item),
        }
    }

    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Takes canonical bytes from the front of a slice.
#[derive(Debug)]
pub struct Decoder<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    /// `what` names the value in errors.
    pub fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { what, rest: bytes }
    }

    pub fn fixed<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(DecodeError::Truncated { what: self.what })?;
        self.rest = rest;
        Ok(*head)
    }

    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.fixed::<1>()?[0])
    }

    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        self.fixed().map(u32::from_be_bytes)
    }

    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        self.fixed().map(u64::from_be_bytes)
    }

    pub fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.u32()? as usize;
        let (head, rest) = self.rest.split_at_checked(length).ok_or(DecodeError::Truncated { what: self.what })?;
        self.rest = rest;
        Ok(head)
    }

    pub fn list<T>(
        &mut self,
        mut each: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let count = self.u32()? as usize;
        // A forged count must not reserve memory: every element takes at least one byte.
        if count > self.rest.len() {
            return Err(DecodeError::Truncated { what: self.what });
        }
        (0..count).map(|_| each(self)).collect()
    }

    pub fn option<T>(
        &mut self,
        each: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        match self.u8()? {
            0 => Ok(None),
            1 => each(self).map(Some),
            other => Err(self.invalid(format!("{other} is no option tag"))),
        }
    }

    pub fn invalid(&self, reason: impl Into<String>) -> DecodeError {
        DecodeError::Invalid { what: self.what, reason: reason.into() }
    }

    /// Ends the decoding: nothing may be left.
    pub fn finish(self) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(DecodeError::Trailing { what: self.what, left }),
        }
    }
}
