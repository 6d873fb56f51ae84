//! The views that a client has verified.

use std::{collections::HashMap, sync::Arc};

use thiserror::Error;
use weft_protocol::{DecodeError, FleetId, PublicKey, Seal, SealError, SignedView, View, ViewError};
use weft_redstuff::Hash;

/// Why an offered view isn't taken.
#[derive(Debug, Error)]
pub enum ViewRefused {
    #[error("the view or its seal can't be read: {0}")]
    Decode(#[from] DecodeError),
    #[error("the view is of fleet {theirs}, not of {ours}")]
    OtherFleet { ours: FleetId, theirs: FleetId },
    #[error("the view doesn't hold: {0}")]
    View(#[from] ViewError),
    #[error("the view's seal doesn't hold: {0}")]
    Seal(#[from] SealError),
    #[error("the seal puts another view into effect")]
    OtherSuccessor,
}

/// What an offered view turned out to be, next to the newest one known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offer {
    /// It is the newest one now.
    Newer,
    /// It is the newest one known already.
    Same,
    /// The one who offered it lags behind.
    Older,
}

/// All views seen, by hash, and the newest of them.
#[derive(Debug)]
pub(crate) struct Views {
    fleet: FleetId,
    trust: PublicKey,
    newest: Option<(Hash, Arc<View>)>,
    known: HashMap<Hash, Arc<View>>,
}

impl Views {
    /// `trust` is the operator's key for views.
    pub(crate) fn new(fleet: FleetId, trust: PublicKey) -> Self {
        Self { fleet, trust, newest: None, known: HashMap::new() }
    }

    pub(crate) fn newest(&self) -> Option<&(Hash, Arc<View>)> {
        self.newest.as_ref()
    }

    pub(crate) fn get(&self, hash: &Hash) -> Option<Arc<View>> {
        self.known.get(hash).cloned()
    }

    /// Whether any verified view lets this key sign deletes (R13).
    pub(crate) fn may_delete(&self, key: &PublicKey) -> bool {
        self.known.values().any(|view| view.authority.deletes.contains(key))
    }

    /// Takes a view if the operator signed it, and its seal proves it to be in effect (R5). `newest` is a
    /// `SignedView`; `seal` a `Seal`, empty for a first view.
    pub(crate) fn offer(&mut self, newest: &[u8], seal: &[u8]) -> Result<Offer, ViewRefused> {
        let signed = SignedView::decode(newest)?;
        let hash = signed.view.hash();
        if let Some((ours, view)) = &self.newest {
            if *ours == hash {
                return Ok(Offer::Same);
            }
            if signed.view.position() <= view.position() {
                return Ok(Offer::Older);
            }
        }
        self.verify(&signed)?;
        if signed.view.predecessor.is_some() {
            let seal = Seal::decode(seal)?;
            if seal.successor != signed {
                return Err(ViewRefused::OtherSuccessor);
            }
            seal.check(&self.trust)?;
            self.known.insert(seal.sealed.view.hash(), Arc::new(seal.sealed.view));
        }
        let view = Arc::new(signed.view);
        self.known.insert(hash, Arc::clone(&view));
        self.newest = Some((hash, view));
        Ok(Offer::Newer)
    }

    fn verify(&self, signed: &SignedView) -> Result<(), ViewRefused> {
        signed.verify(&self.trust)?;
        signed.view.check()?;
        if signed.view.fleet == self.fleet {
            Ok(())
        } else {
            Err(ViewRefused::OtherFleet { ours: self.fleet, theirs: signed.view.fleet })
        }
    }
}
