//! Deletes (R13): the signed request is the tombstone; who has it obeys and passes it on.

use weft_redstuff::BlobId;

use crate::{
    codec::{DecodeError, Decoder, Encoder},
    identity::FleetId,
    keys::{KeyError, PublicKey, Signature, SigningKey, digest},
};

const CONTEXT: &str = "weft v1 tombstone";

/// A request to delete a blob, for good: an ID never comes back, since a put's nonce makes each put another blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tombstone {
    pub fleet: FleetId,
    pub blob: BlobId,
    pub key: PublicKey,
    signature: Signature,
}

impl Tombstone {
    pub fn sign(fleet: FleetId, blob: BlobId, key: &SigningKey) -> Self {
        let digest = Self::digest(fleet, blob);
        Self { fleet, blob, key: key.public(), signature: key.sign(&digest) }
    }

    /// Checks the signature. Whether `key` may delete is for the views to say (`Authority::deletes`).
    pub fn verify(&self) -> Result<(), KeyError> {
        self.key.verify(&Self::digest(self.fleet, self.blob), &self.signature)
    }

    pub fn encode(&self) -> Vec<u8> {
        let to = Encoder::new().fixed(&self.fleet.0).fixed(self.blob.as_bytes());
        to.fixed(&self.key.0).fixed(&self.signature.0).finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Decoder::new("tombstone", bytes);
        let tombstone = Self {
            fleet: FleetId(from.fixed()?),
            blob: BlobId(from.fixed()?),
            key: PublicKey(from.fixed()?),
            signature: Signature(from.fixed()?),
        };
        from.finish()?;
        Ok(tombstone)
    }

    fn digest(fleet: FleetId, blob: BlobId) -> weft_redstuff::Hash {
        digest(CONTEXT, &Encoder::new().fixed(&fleet.0).fixed(blob.as_bytes()).finish())
    }
}
