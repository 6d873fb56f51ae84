//! Hashes and blob IDs: 32 bytes, written as 64 lower-case hexadecimal digits.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A text isn't 64 lower-case hexadecimal digits.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[error("expected 64 lower-case hexadecimal digits")]
pub struct HashParseError;

macro_rules! hex_newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 32]);

        impl $name {
            pub const LENGTH: usize = 32;

            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// `None` unless there are exactly 32 bytes.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = HashParseError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let mut bytes = [0; 32];
                // One spelling only: an ID is also a path segment and a key.
                if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
                    return Err(HashParseError);
                }
                hex::decode_to_slice(text, &mut bytes).map_err(|_| HashParseError)?;
                Ok(Self(bytes))
            }
        }
    };
}

hex_newtype! {
    /// A BLAKE3 hash.
    Hash
}

hex_newtype! {
    /// A blob's ID: the hash of its encoded metadata, so that an ID proves its bytes.
    BlobId
}

impl Hash {
    /// The plain BLAKE3 hash, as of a sliver or of a blob's content (what `b3sum` prints).
    pub fn of(bytes: &[u8]) -> Self {
        blake3::hash(bytes).into()
    }

    /// The hash of the concatenated parts in a domain of its own (BLAKE3's `derive_key` mode).
    pub(crate) fn derived(context: &str, parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(context);
        for part in parts {
            hasher.update(part);
        }
        hasher.finalize().into()
    }
}

impl From<blake3::Hash> for Hash {
    fn from(hash: blake3::Hash) -> Self {
        Self(hash.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_written_and_read_as_lower_case_hex() {
        let hash = Hash::of(b"weft");
        let text = hash.to_string();
        assert_eq!((text.len(), text.parse()), (64, Ok(hash)));
        assert_eq!(text.to_uppercase().parse::<Hash>(), Err(HashParseError));
        assert_eq!(text[1..].parse::<BlobId>(), Err(HashParseError));
        assert_eq!(format!("{text}00").parse::<BlobId>(), Err(HashParseError));
    }

    #[test]
    fn domains_separate() {
        assert_ne!(Hash::derived("weft v1 a", &[b"x"]), Hash::derived("weft v1 b", &[b"x"]));
        assert_ne!(Hash::derived("weft v1 a", &[b"x"]), Hash::of(b"x"));
    }
}
