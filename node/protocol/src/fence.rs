//! What a member remembers, durably, of terms and views (R4, R5): the state that every ack, receipt and refusal is
//! checked against in the same commit that records it.

use thiserror::Error;
use weft_redstuff::Hash;

use crate::{
    codec::{DecodeError, Decoder, Encoder},
    identity::FleetId,
    keys::{KeyError, PublicKey},
    seal::{Seal, SealError, SealOrder, TermClaim},
    statement::Statement,
    view::{SignedView, View, ViewError, ViewId},
};

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FenceError {
    #[error("term {theirs} is over: a leader of term {ours} has been here (R4)")]
    OldTerm { ours: u64, theirs: u64 },
    #[error("the order is not signed by the operator's key: {0}")]
    Key(#[from] KeyError),
    #[error("the order is for fleet {theirs}; this volume is of {ours} (R1)")]
    OtherFleet { ours: FleetId, theirs: FleetId },
    #[error("there is a view already; a fleet has one first view (R3)")]
    NotFirst,
    #[error("no view is known yet")]
    NoView,
    #[error("view {asked} is not the newest one, {newest:?}")]
    NotNewest { asked: Hash, newest: ViewId },
    #[error("view {view} is refused: {successor:?} follows it (R5)")]
    Refused { view: Hash, successor: ViewId },
    #[error("view {view} is refused for another successor, by an order of term {term}")]
    OtherSuccessor { view: Hash, term: u64 },
    #[error("the view cannot be taken: {0}")]
    View(#[from] ViewError),
    #[error("the seal does not hold: {0}")]
    Seal(#[from] SealError),
}

/// A member's durable memory of terms and views.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    fleet: FleetId,
    /// The key trusted for views before the first one names it.
    trust: PublicKey,
    term: u64,
    newest: Option<SignedView>,
    seal: Option<Seal>,
    /// The order by which the newest view is refused.
    refused: Option<SealOrder>,
}

impl Fence {
    pub fn new(fleet: FleetId, trust: PublicKey) -> Self {
        Self { fleet, trust, term: 0, newest: None, seal: None, refused: None }
    }

    pub fn term(&self) -> u64 {
        self.term
    }

    /// The newest view known to be in effect.
    pub fn newest(&self) -> Option<&SignedView> {
        self.newest.as_ref()
    }

    /// What put the newest view into effect; `None` for the first view.
    pub fn seal(&self) -> Option<&Seal> {
        self.seal.as_ref()
    }

    /// The successor for which the newest view is refused.
    pub fn successor(&self) -> Option<&SignedView> {
        self.refused.as_ref().map(|refused| &refused.successor)
    }

    /// The order by which the newest view is refused: what a new leader believes of it (R4).
    pub fn order(&self) -> Option<&SealOrder> {
        self.refused.as_ref()
    }

    /// The key that orders and views must be signed with.
    pub fn authority(&self) -> &PublicKey {
        self.newest.as_ref().map_or(&self.trust, |newest| &newest.view.authority.views)
    }

    /// Takes a leader's term, or refuses a lower one (R4).
    pub fn claim(&mut self, claim: &TermClaim) -> Result<(), FenceError> {
        if claim.fleet != self.fleet {
            return Err(FenceError::OtherFleet { ours: self.fleet, theirs: claim.fleet });
        }
        claim.verify(self.authority())?;
        self.reach(claim.term)
    }

    /// Takes a fleet's one first view (R3). Whether the volume is empty is for the caller to know.
    pub fn begin(&mut self, first: SignedView) -> Result<(), FenceError> {
        if let Some(newest) = &self.newest {
            return if *newest == first { Ok(()) } else { Err(FenceError::NotFirst) };
        }
        if first.view.fleet != self.fleet {
            return Err(FenceError::OtherFleet { ours: self.fleet, theirs: first.view.fleet });
        }
        if first.view.predecessor.is_some() {
            return Err(FenceError::NotFirst);
        }
        first.verify(&self.trust)?;
        first.view.check()?;
        self.newest = Some(first);
        Ok(())
    }

    /// Refuses the newest view for the ordered successor: for one successor, and for another only under a higher
    /// term (R5). Gives the refusal to sign once this fence is durable.
    pub fn refuse(&mut self, order: &SealOrder) -> Result<Statement, FenceError> {
        let newest = &self.newest.as_ref().ok_or(FenceError::NoView)?.view;
        order.verify(&newest.authority.views)?;
        if order.term < self.term {
            return Err(FenceError::OldTerm { ours: self.term, theirs: order.term });
        }
        if order.view != newest.hash() {
            return Err(FenceError::NotNewest { asked: order.view, newest: newest.id() });
        }
        newest.check_successor(&order.successor)?;
        if let Some(refused) = &self.refused
            && refused.successor != order.successor
            && refused.term >= order.term
        {
            return Err(FenceError::OtherSuccessor { view: order.view, term: refused.term });
        }
        self.reach(order.term)?;
        self.refused = Some(order.clone());
        self.refusal().ok_or(FenceError::NoView)
    }

    /// The refusal of the newest view, where it is refused.
    pub fn refusal(&self) -> Option<Statement> {
        let (newest, refused) = (self.newest.as_ref()?, self.refused.as_ref()?);
        Some(Statement::Refusal {
            view: newest.view.hash(),
            successor: refused.successor.view.hash(),
            term: refused.term,
        })
    }

    /// Puts a successor into effect on the proof of its predecessor's seal. An older one than is known changes
    /// nothing; a member that was away may skip views.
    ///
    /// Returns whether the newest view changed.
    pub fn install(&mut self, seal: Seal) -> Result<bool, FenceError> {
        let successor = &seal.successor.view;
        if successor.fleet != self.fleet {
            return Err(FenceError::OtherFleet { ours: self.fleet, theirs: successor.fleet });
        }
        if self.newest.as_ref().is_some_and(|newest| newest.view.position() >= successor.position()) {
            return Ok(false);
        }
        seal.check(self.authority())?;
        self.newest = Some(seal.successor.clone());
        self.seal = Some(seal);
        self.refused = None;
        Ok(true)
    }

    /// The view, if acks, receipts and deletes may be given for it: the newest, and not refused (R5).
    pub fn permit(&self, view: &Hash) -> Result<&View, FenceError> {
        let newest = &self.newest.as_ref().ok_or(FenceError::NoView)?.view;
        if newest.hash() != *view {
            return Err(FenceError::NotNewest { asked: *view, newest: newest.id() });
        }
        match &self.refused {
            Some(refused) => Err(FenceError::Refused { view: *view, successor: refused.successor.view.id() }),
            None => Ok(newest),
        }
    }

    /// Whether this member gives no acks or receipts for `view` any more.
    pub fn refuses(&self, view: &ViewId) -> bool {
        self.newest.as_ref().is_some_and(|newest| match newest.view.position().cmp(&view.position()) {
            std::cmp::Ordering::Greater => true,
            std::cmp::Ordering::Equal => self.refused.is_some() || newest.view.hash() != view.hash,
            std::cmp::Ordering::Less => false,
        })
    }

    fn reach(&mut self, term: u64) -> Result<(), FenceError> {
        if term < self.term {
            return Err(FenceError::OldTerm { ours: self.term, theirs: term });
        }
        self.term = term;
        Ok(())
    }

    pub fn encode(&self) -> Vec<u8> {
        Encoder::new()
            .fixed(&self.fleet.0)
            .fixed(&self.trust.0)
            .u64(self.term)
            .option(self.newest.as_ref(), |to, view| to.bytes(&view.encode()))
            .option(self.seal.as_ref(), |to, seal| to.bytes(&seal.encode()))
            .option(self.refused.as_ref(), |to, order| to.bytes(&order.encode()))
            .finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Decoder::new("fence", bytes);
        let fence = Self {
            fleet: FleetId(from.fixed()?),
            trust: PublicKey(from.fixed()?),
            term: from.u64()?,
            newest: from.option(|from| SignedView::decode(from.bytes()?))?,
            seal: from.option(|from| Seal::decode(from.bytes()?))?,
            refused: from.option(|from| SealOrder::decode(from.bytes()?))?,
        };
        from.finish()?;
        Ok(fence)
    }
}
