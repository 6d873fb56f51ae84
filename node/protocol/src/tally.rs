//! Counting shards: distinct ones, of one view, as signed by the incarnations that the view seats (R8).

use thiserror::Error;

use crate::{
    ShardSet,
    identity::{Incarnation, MemberId},
    statement::{Signed, Statement, StatementError},
    view::View,
};

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TallyError {
    #[error("member {0} has no seat in the view")]
    NoSeat(MemberId),
    #[error("the statement is another one than is being counted")]
    OtherStatement,
    #[error(transparent)]
    Statement(#[from] StatementError),
}

/// The shards of one view whose holders signed what is being counted.
#[derive(Debug, Clone)]
pub struct Tally<'v> {
    view: &'v View,
    shards: ShardSet,
    countable: ShardSet,
    quorum: u16,
}

impl<'v> Tally<'v> {
    pub fn new(view: &'v View) -> Self {
        Self { view, shards: ShardSet::EMPTY, countable: ShardSet::first(255), quorum: view.quorum() }
    }

    /// Counts what seals the view, or syncs to it, when these incarnations are declared lost (R7): their own shards
    /// never count, and all others suffice where n − f can't be reached.
    pub fn without(view: &'v View, declared: &[(MemberId, Incarnation)]) -> Self {
        let (countable, quorum) = (view.undeclared(declared), view.quorum_without(declared));
        Self { view, shards: ShardSet::EMPTY, countable, quorum }
    }

    /// Counts a statement if `accept` says which of the signer's shards it speaks for: `None` refuses it. Shards that
    /// the view doesn't give the signer never count, whatever the statement says.
    pub fn add(
        &mut self,
        signed: &Signed,
        accept: impl FnOnce(&Statement) -> Option<ShardSet>,
    ) -> Result<(), TallyError> {
        let member = signed.header.member;
        let seat = self.view.seat(member).ok_or(TallyError::NoSeat(member))?;
        let spoken_for = accept(&signed.statement).ok_or(TallyError::OtherStatement)?;
        signed.verify(self.view.fleet, seat)?;
        self.shards = self.shards.union(spoken_for.intersection(seat.shards).intersection(self.countable));
        Ok(())
    }

    pub fn shards(&self) -> ShardSet {
        self.shards
    }

    /// Whether n − f shards of the view are counted, or as many as suffice instead.
    pub fn is_quorum(&self) -> bool {
        self.shards.len() >= self.quorum
    }

    /// How many shards are still wanting for a quorum.
    pub fn wanting(&self) -> u16 {
        self.quorum.saturating_sub(self.shards.len())
    }
}
