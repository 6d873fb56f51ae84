//! Signing keys: Ed25519 (RFC 8032), verified strictly, over 32-byte digests with a domain of their own.

use std::{
    collections::HashMap,
    fmt,
    str::FromStr,
    sync::{LazyLock, PoisonError, RwLock},
};

use ed25519_dalek::{Signer, VerifyingKey};
use thiserror::Error;
use weft_redstuff::Hash;

use crate::codec::DecodeError;

/// Keys that were read before. Reading one takes a square root, a fifth of the time of checking a signature, and a fleet has few.
static READ: LazyLock<RwLock<HashMap<PublicKey, VerifyingKey>>> = LazyLock::new(RwLock::default);

/// More are forgotten, all at once.
const MOST_READ: usize = 1024;

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyError {
    #[error("{0} is not a valid Ed25519 public key")]
    Malformed(PublicKey),
    #[error("the signature is not one of key {0}")]
    WrongSignature(PublicKey),
}

/// The public half of a member's, an operator's or a gateway's key (32 bytes).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; 32]);

/// An Ed25519 signature (64 bytes).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub [u8; 64]);

/// The secret half of a key; its 32-byte seed is what is kept.
#[derive(Clone)]
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// `seed` must come from a source of secret randomness.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(&seed))
    }

    pub fn seed(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs a digest that already binds its domain.
    pub fn sign(&self, digest: &Hash) -> Signature {
        Signature(self.0.sign(digest.as_bytes()).to_bytes())
    }
}

impl PublicKey {
    pub fn verify(&self, digest: &Hash, signature: &Signature) -> Result<(), KeyError> {
        self.read()?
            .verify_strict(digest.as_bytes(), &ed25519_dalek::Signature::from_bytes(&signature.0))
            .map_err(|_| KeyError::WrongSignature(*self))
    }

    /// The point of the curve that the bytes stand for.
    fn read(&self) -> Result<VerifyingKey, KeyError> {
        let known = READ.read().unwrap_or_else(PoisonError::into_inner).get(self).copied();
        if let Some(key) = known {
            return Ok(key);
        }
        let key = VerifyingKey::from_bytes(&self.0).map_err(|_| KeyError::Malformed(*self))?;
        let mut read = READ.write().unwrap_or_else(PoisonError::into_inner);
        if read.len() >= MOST_READ {
            read.clear();
        }
        read.insert(*self, key);
        Ok(key)
    }
}

impl FromStr for PublicKey {
    type Err = DecodeError;

    fn from_str(text: &str) -> Result<Self, DecodeError> {
        let mut key = [0; 32];
        hex::decode_to_slice(text, &mut key).map_err(|error| DecodeError::Invalid {
            what: "public key",
            reason: format!("{text:?} is not 64 hexadecimal digits: {error}"),
        })?;
        Ok(Self(key))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({}…)", hex::encode(&self.0[..4]))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey(of {})", self.public())
    }
}

/// BLAKE3 in derive-key mode: a digest for one purpose is never one for another.
pub(crate) fn digest(context: &'static str, bytes: &[u8]) -> Hash {
    Hash(blake3::derive_key(context, bytes))
}
