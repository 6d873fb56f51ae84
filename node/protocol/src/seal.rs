//! Sealing (R5): what the operator orders, and the proof that a successor is in effect.

use thiserror::Error;
use weft_redstuff::Hash;

use crate::{
    ShardSet,
    codec::{DecodeError, Decoder, Encoder},
    identity::FleetId,
    keys::{KeyError, PublicKey, Signature, SigningKey, digest},
    statement::{Signed, Statement},
    tally::{Tally, TallyError},
    view::{SignedView, ViewError},
};

const CLAIM: &str = "weft v1 term claim";
const ORDER: &str = "weft v1 seal order";

/// A leader's claim to a term (R4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TermClaim {
    pub fleet: FleetId,
    pub term: u64,
    signature: Signature,
}

impl TermClaim {
    pub fn sign(fleet: FleetId, term: u64, key: &SigningKey) -> Self {
        Self { fleet, term, signature: key.sign(&Self::digest(fleet, term)) }
    }

    pub fn verify(&self, key: &PublicKey) -> Result<(), KeyError> {
        key.verify(&Self::digest(self.fleet, self.term), &self.signature)
    }

    pub fn encode(&self) -> Vec<u8> {
        Encoder::new().fixed(&self.fleet.0).u64(self.term).fixed(&self.signature.0).finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Decoder::new("term claim", bytes);
        let claim = Self { fleet: FleetId(from.fixed()?), term: from.u64()?, signature: Signature(from.fixed()?) };
        from.finish()?;
        Ok(claim)
    }

    fn digest(fleet: FleetId, term: u64) -> Hash {
        digest(CLAIM, &Encoder::new().fixed(&fleet.0).u64(term).finish())
    }
}

/// The order to refuse `view` for `successor`, which it carries whole and signed. A later leader that continues an
/// earlier one's successor orders the same view, byte for byte, under its own term.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealOrder {
    pub term: u64,
    pub view: Hash,
    pub successor: SignedView,
    signature: Signature,
}

impl SealOrder {
    pub fn sign(term: u64, view: Hash, successor: SignedView, key: &SigningKey) -> Self {
        let signature = key.sign(&Self::digest(term, &view, &successor));
        Self { term, view, successor, signature }
    }

    pub fn verify(&self, key: &PublicKey) -> Result<(), KeyError> {
        key.verify(&Self::digest(self.term, &self.view, &self.successor), &self.signature)
    }

    pub fn encode(&self) -> Vec<u8> {
        let to = Encoder::new().u64(self.term).fixed(self.view.as_bytes());
        to.bytes(&self.successor.encode()).fixed(&self.signature.0).finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Decoder::new("seal order", bytes);
        let order = Self {
            term: from.u64()?,
            view: Hash(from.fixed()?),
            successor: SignedView::decode(from.bytes()?)?,
            signature: Signature(from.fixed()?),
        };
        from.finish()?;
        Ok(order)
    }

    fn digest(term: u64, view: &Hash, successor: &SignedView) -> Hash {
        let to = Encoder::new().u64(term).fixed(view.as_bytes());
        digest(ORDER, &to.fixed(successor.view.hash().as_bytes()).finish())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SealError {
    #[error("the successor does not follow the sealed view: {0}")]
    Successor(ViewError),
    #[error("the sealed view is not the operator's: {0}")]
    Sealed(ViewError),
    #[error("a refusal does not count: {0}")]
    Refusal(#[from] TallyError),
    #[error("{wanting} shards are wanting for a seal")]
    NoQuorum { wanting: u16 },
}

/// Refusals of n − f of a view's shards for one successor: they seal it and put the successor into effect. They
/// travel with the successor, operator or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    pub sealed: SignedView,
    pub successor: SignedView,
    pub refusals: Vec<Signed>,
}

impl Seal {
    /// Checks the proof. `authority` is the key that the checker trusts for views.
    pub fn check(&self, authority: &PublicKey) -> Result<(), SealError> {
        self.sealed.verify(authority).map_err(SealError::Sealed)?;
        let (view, successor) = (&self.sealed.view, self.successor.view.hash());
        view.check_successor(&self.successor).map_err(SealError::Successor)?;
        let sealed = view.hash();
        let mut tally = Tally::new(view);
        for refusal in &self.refusals {
            tally.add(refusal, |statement| match statement {
                Statement::Refusal { view, successor: named, term: _ } if (*view, *named) == (sealed, successor) => {
                    Some(ShardSet::first(255))
                }
                _ => None,
            })?;
        }
        match tally.wanting() {
            0 => Ok(()),
            wanting => Err(SealError::NoQuorum { wanting }),
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        Encoder::new()
            .bytes(&self.sealed.encode())
            .bytes(&self.successor.encode())
            .list(&self.refusals, |to, refusal| to.bytes(&refusal.encode()))
            .finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Decoder::new("seal", bytes);
        let seal = Self {
            sealed: SignedView::decode(from.bytes()?)?,
            successor: SignedView::decode(from.bytes()?)?,
            refusals: from.list(|from| Signed::decode(from.bytes()?))?,
        };
        from.finish()?;
        Ok(seal)
    }
}
