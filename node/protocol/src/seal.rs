//! Sealing (R5): what the operator orders, and the proof that a successor is in effect.

use std::collections::BTreeSet;

use thiserror::Error;
use weft_redstuff::Hash;

use crate::{
    ShardSet,
    codec::{DecodeError, Decoder, Encoder},
    identity::FleetId,
    keys::{KeyError, PublicKey, Signature, SigningKey, digest},
    statement::{Signed, Statement},
    tally::{Tally, TallyError},
    view::{SignedView, View, ViewError},
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

fn term_of(refusal: &Signed) -> Option<u64> {
    match refusal.statement {
        Statement::Refusal { term, .. } => Some(term),
        _ => None,
    }
}

/// A refusal speaks for all shards of its signer, if it is the one that is counted.
fn counts(statement: &Statement, sealed: &Hash, successor: &Hash, term: Option<u64>) -> Option<ShardSet> {
    let Statement::Refusal { view, successor: named, term: of } = statement else { return None };
    ((view, named, Some(*of)) == (sealed, successor, term)).then(|| ShardSet::first(255))
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

/// Refusals of n − f of a view's shards (R7: of every shard that the successor doesn't declare lost) for one successor, by
/// orders of one term: they seal it and put the successor into effect. They
/// travel with the successor, operator or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    pub sealed: SignedView,
    pub successor: SignedView,
    pub refusals: Vec<Signed>,
}

impl Seal {
    /// Checks the proof. `authority` is the key that the checker trusts for views. The refusals must be of one term:
    /// a leader counts only those of its own orders, and of two terms' it can't tell which came last (R4).
    pub fn check(&self, authority: &PublicKey) -> Result<(), SealError> {
        self.sealed.verify(authority).map_err(SealError::Sealed)?;
        let (view, successor) = (&self.sealed.view, self.successor.view.hash());
        view.check_successor(&self.successor).map_err(SealError::Successor)?;
        let (sealed, term) = (view.hash(), self.refusals.first().and_then(term_of));
        let mut tally = Tally::without(view, &self.successor.view.declared);
        for refusal in &self.refusals {
            tally.add(refusal, |statement| counts(statement, &sealed, &successor, term))?;
        }
        match tally.wanting() {
            0 => Ok(()),
            wanting => Err(SealError::NoQuorum { wanting }),
        }
    }

    /// Those of some refusals that count together for sealing `sealed` for `successor`: of the term under which the
    /// most shards are refused, each signed by a seat. Gives their shards too. Whatever else is among them is passed
    /// over.
    pub fn gather<'a>(
        sealed: &View,
        successor: &View,
        refusals: impl IntoIterator<Item = &'a Signed>,
    ) -> (ShardSet, Vec<Signed>) {
        let (view, next) = (sealed.hash(), successor.hash());
        let refusals: Vec<&Signed> = refusals.into_iter().collect();
        let terms: BTreeSet<u64> = refusals.iter().filter_map(|refusal| term_of(refusal)).collect();
        let of_term = |term| {
            let (mut tally, mut counted) = (Tally::without(sealed, &successor.declared), Vec::new());
            for refusal in &refusals {
                if tally.add(refusal, |statement| counts(statement, &view, &next, Some(term))).is_ok() {
                    counted.push(Signed::clone(refusal));
                }
            }
            (tally.shards(), counted)
        };
        terms.into_iter().map(of_term).max_by_key(|(shards, _)| shards.len()).unwrap_or_default()
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
