//! Being synced (R9): knowing every blob that was acknowledged up to a view.

use thiserror::Error;

use crate::{
    ShardSet,
    identity::{Incarnation, MemberId},
    statement::{Signed, Statement},
    tally::{Tally, TallyError},
    view::{View, ViewId},
};

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SyncError {
    #[error("the peer does not refuse the view: what it receipts later would be missed")]
    NotRefusing,
    #[error("the peer is synced to {peer:?}, not to the view's predecessor {needed:?}: it may lack what that one held")]
    Behind { peer: Option<ViewId>, needed: Option<ViewId> },
    #[error("the standing does not count: {0}")]
    Standing(#[from] TallyError),
}

/// Counts the holders of a view's shards with whom a member, itself refusing the view, has reconciled its registry.
#[derive(Debug, Clone)]
pub struct SyncTally<'v> {
    view: &'v View,
    tally: Tally<'v>,
}

impl<'v> SyncTally<'v> {
    /// `declared`: the incarnations that views in effect after this one declare lost (R7).
    pub fn new(view: &'v View, declared: &[(MemberId, Incarnation)]) -> Self {
        Self { view, tally: Tally::without(view, declared) }
    }

    /// Counts one peer. To be called after merging the registry whose digest the standing names.
    pub fn add(&mut self, standing: &Signed) -> Result<(), SyncError> {
        let Statement::Standing { view, synced, registry: _ } = &standing.statement else {
            return Err(TallyError::OtherStatement.into());
        };
        if *view != self.view.hash() {
            return Err(SyncError::NotRefusing);
        }
        let needed = self.view.predecessor;
        if synced.map(|id| id.position()) < needed.map(|id| id.position()) {
            return Err(SyncError::Behind { peer: *synced, needed });
        }
        Ok(self.tally.add(standing, |_| Some(ShardSet::first(255)))?)
    }

    /// Whether the member is synced to the view: holders of n − f of its shards are counted, or of all that aren't
    /// declared lost.
    pub fn is_synced(&self) -> bool {
        self.tally.is_quorum()
    }

    pub fn wanting(&self) -> u16 {
        self.tally.wanting()
    }
}
