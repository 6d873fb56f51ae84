//! Sealing (R5): what the operator orders, and the proof that a successor is in effect.

use std::collections::BTreeSet;

use thiserror::Error;
use weft_redstuff::Hash;

use crate::{
    ShardSet,
    codec::{DecodeError, Decoder, Encoder},
    identity::{FleetId, Incarnation, MemberId},
    keys::{KeyError, PublicKey, Signature, SigningKey, digest},
    statement::{Signed, Statement},
    tally::{Tally, TallyError},
    view::{SignedView, View, ViewError},
};

const CLAIM: &str = "weft v1 term claim";
const ORDER: &str = "weft v1 seal order";
const DECLARATION: &str = "weft v1 declaration";

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

/// What a person asserts to be destroyed while `view` is being sealed (R7): incarnations whose shards this seal doesn't
/// wait for. It is said beside the successor and not inside of it: whoever is lost may have helped to seal that one
/// already, so no other may take its place.
///
/// It is of one term, and only refusals by orders of that term count with it: who gave them has seen it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declaration {
    pub term: u64,
    /// Sorted.
    pub declared: Vec<(MemberId, Incarnation)>,
    signature: Signature,
}

impl Declaration {
    /// For the seal of `view` with this successor.
    pub fn sign(
        term: u64,
        (view, successor): (&View, &View),
        declared: Vec<(MemberId, Incarnation)>,
        key: &SigningKey,
    ) -> Self {
        let signature = key.sign(&Self::digest(term, (&view.hash(), &successor.hash()), &declared));
        Self { term, declared, signature }
    }

    fn verify(&self, (view, successor): (&Hash, &Hash), key: &PublicKey) -> Result<(), KeyError> {
        key.verify(&Self::digest(self.term, (view, successor), &self.declared), &self.signature)
    }

    pub fn encode(&self) -> Vec<u8> {
        let to = Encoder::new().u64(self.term);
        declared(to, &self.declared).fixed(&self.signature.0).finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Decoder::new("declaration", bytes);
        let term = from.u64()?;
        let declared = from.list(|from| Ok((MemberId(from.u32()?), Incarnation::decode(from)?)))?;
        if !declared.is_sorted_by(|a, b| a < b) {
            return Err(from.invalid("the declared incarnations are not sorted"));
        }
        let signature = Signature(from.fixed()?);
        from.finish()?;
        Ok(Self { term, declared, signature })
    }

    fn digest(term: u64, (view, successor): (&Hash, &Hash), lost: &[(MemberId, Incarnation)]) -> Hash {
        let to = Encoder::new().u64(term).fixed(view.as_bytes()).fixed(successor.as_bytes());
        digest(DECLARATION, &declared(to, lost).finish())
    }
}

fn declared(to: Encoder, lost: &[(MemberId, Incarnation)]) -> Encoder {
    to.list(lost, |to, (member, incarnation)| incarnation.encode(to.u32(member.0)))
}

/// The order to refuse `view` for `successor`, which it carries whole and signed. A later leader that continues an
/// earlier one's successor orders the same view, byte for byte, under its own term.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealOrder {
    pub term: u64,
    pub view: Hash,
    pub successor: SignedView,
    /// Of this very term.
    pub declaration: Option<Declaration>,
    signature: Signature,
}

impl SealOrder {
    pub fn sign(term: u64, view: Hash, successor: SignedView, key: &SigningKey) -> Self {
        Self::declaring(term, view, successor, None, key)
    }

    /// An order of `term` that says what is destroyed. A declaration of another term is left out.
    pub fn declaring(
        term: u64,
        view: Hash,
        successor: SignedView,
        declaration: Option<Declaration>,
        key: &SigningKey,
    ) -> Self {
        let declaration = declaration.filter(|declaration| declaration.term == term);
        let signature = key.sign(&Self::digest(term, &view, &successor, declaration.as_ref()));
        Self { term, view, successor, declaration, signature }
    }

    pub fn verify(&self, key: &PublicKey) -> Result<(), KeyError> {
        let digest = Self::digest(self.term, &self.view, &self.successor, self.declaration.as_ref());
        key.verify(&digest, &self.signature)
    }

    /// The incarnations that it says are destroyed: by the declaration, and by the successor.
    pub fn declared(&self) -> Vec<(MemberId, Incarnation)> {
        all_declared(&self.successor.view, self.declaration.as_ref())
    }

    pub fn encode(&self) -> Vec<u8> {
        let to = Encoder::new().u64(self.term).fixed(self.view.as_bytes());
        let to = to.bytes(&self.successor.encode()).fixed(&self.signature.0);
        to.option(self.declaration.as_ref(), |to, declaration| to.bytes(&declaration.encode())).finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Decoder::new("seal order", bytes);
        let (term, view) = (from.u64()?, Hash(from.fixed()?));
        let (successor, signature) = (SignedView::decode(from.bytes()?)?, Signature(from.fixed()?));
        let declaration = from.option(|from| Declaration::decode(from.bytes()?))?;
        from.finish()?;
        Ok(Self { term, view, successor, declaration, signature })
    }

    fn digest(term: u64, view: &Hash, successor: &SignedView, declaration: Option<&Declaration>) -> Hash {
        let to = Encoder::new().u64(term).fixed(view.as_bytes()).fixed(successor.view.hash().as_bytes());
        digest(ORDER, &to.option(declaration, |to, declaration| to.bytes(&declaration.encode())).finish())
    }
}

/// What a successor and a declaration beside it say together is destroyed, sorted.
fn all_declared(successor: &View, declaration: Option<&Declaration>) -> Vec<(MemberId, Incarnation)> {
    let beside = declaration.into_iter().flat_map(|declaration| &declaration.declared);
    let all: BTreeSet<_> = successor.declared.iter().chain(beside).copied().collect();
    all.into_iter().collect()
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
    #[error("the declaration of what is destroyed is not the operator's for this seal: {0}")]
    Declaration(KeyError),
    #[error("{wanting} shards are wanting for a seal")]
    NoQuorum { wanting: u16 },
}

/// Refusals of n − f of a view's shards (R7: of every shard that isn't declared lost) for one successor, by orders of
/// one term: they seal it and put the successor into effect. They travel with the successor, operator or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    pub sealed: SignedView,
    pub successor: SignedView,
    pub refusals: Vec<Signed>,
    /// What was declared lost after the successor was made; the refusals are of its term.
    pub declaration: Option<Declaration>,
}

impl Seal {
    /// Checks the proof. `authority` is the key that the checker trusts for views. The refusals must be of one term:
    /// a leader counts only those of its own orders, and of two terms' it can't tell which came last (R4).
    pub fn check(&self, authority: &PublicKey) -> Result<(), SealError> {
        self.sealed.verify(authority).map_err(SealError::Sealed)?;
        let (view, successor) = (&self.sealed.view, self.successor.view.hash());
        view.check_successor(&self.successor).map_err(SealError::Successor)?;
        let (sealed, mut term) = (view.hash(), self.refusals.first().and_then(term_of));
        if let Some(declaration) = &self.declaration {
            declaration.verify((&sealed, &successor), authority).map_err(SealError::Declaration)?;
            term = Some(declaration.term);
        }
        let mut tally = Tally::without(view, &all_declared(&self.successor.view, self.declaration.as_ref()));
        for refusal in &self.refusals {
            tally.add(refusal, |statement| counts(statement, &sealed, &successor, term))?;
        }
        match tally.wanting() {
            0 => Ok(()),
            wanting => Err(SealError::NoQuorum { wanting }),
        }
    }

    /// The seal of `sealed` for `successor` from some refusals, if they suffice: without the declaration where that is
    /// possible.
    pub fn gathered<'a>(
        sealed: &SignedView,
        successor: &SignedView,
        declaration: Option<&Declaration>,
        refusals: impl IntoIterator<Item = &'a Signed>,
    ) -> Option<Self> {
        let refusals: Vec<&Signed> = refusals.into_iter().collect();
        [None, declaration].into_iter().find_map(|declaration| {
            let (shards, counted) = Self::gather(&sealed.view, &successor.view, declaration, refusals.iter().copied());
            let lost = all_declared(&successor.view, declaration);
            (shards.len() >= sealed.view.quorum_without(&lost)).then(|| Self {
                sealed: sealed.clone(),
                successor: successor.clone(),
                refusals: counted,
                declaration: declaration.cloned(),
            })
        })
    }

    /// Those of some refusals that count together for sealing `sealed` for `successor`: of the term under which the
    /// most shards are refused (of the declaration's, where there is one), each signed by a seat. Gives their shards
    /// too. Whatever else is among them is passed over.
    pub fn gather<'a>(
        sealed: &View,
        successor: &View,
        declaration: Option<&Declaration>,
        refusals: impl IntoIterator<Item = &'a Signed>,
    ) -> (ShardSet, Vec<Signed>) {
        let (view, next) = (sealed.hash(), successor.hash());
        let refusals: Vec<&Signed> = refusals.into_iter().collect();
        let terms: BTreeSet<u64> = match declaration {
            Some(declaration) => [declaration.term].into(),
            None => refusals.iter().filter_map(|refusal| term_of(refusal)).collect(),
        };
        let lost = all_declared(successor, declaration);
        let of_term = |term| {
            let (mut tally, mut counted) = (Tally::without(sealed, &lost), Vec::new());
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
            .option(self.declaration.as_ref(), |to, declaration| to.bytes(&declaration.encode()))
            .finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Decoder::new("seal", bytes);
        let seal = Self {
            sealed: SignedView::decode(from.bytes()?)?,
            successor: SignedView::decode(from.bytes()?)?,
            refusals: from.list(|from| Signed::decode(from.bytes()?))?,
            declaration: from.option(|from| Declaration::decode(from.bytes()?))?,
        };
        from.finish()?;
        Ok(seal)
    }
}
