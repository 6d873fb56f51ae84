//! Verdicts (R29): when a challenger accuses, what an accusation must carry, and how many accusers make a member
//! Faulty.

use std::collections::VecDeque;

use thiserror::Error;

use crate::{
    ShardSet,
    codec::{DecodeError, Decoder, Encoder},
    identity::{Incarnation, MemberId, Seat},
    statement::{Fault, Signed, Statement, StatementError},
    view::View,
};

/// Faults are counted among so many answers.
const WINDOW: u64 = 1000;
/// A rotten sliver is first a repair; the third in a window counts.
const STRIKES: usize = 3;

/// What one challenger has seen of one incarnation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conduct {
    /// Pieces that were answered, rightly or not.
    answers: u64,
    /// Which answers were wrong or lacking, of the last window.
    faults: VecDeque<u64>,
}

impl Conduct {
    pub fn passed(&mut self, pieces: u64) {
        self.answers += pieces;
        let answers = self.answers;
        self.faults.retain(|at| answers - at < WINDOW);
    }

    /// A wrong proof, or a signed "I lack it".
    pub fn failed(&mut self) {
        self.faults.push_back(self.answers);
        self.passed(1);
    }

    /// Whether enough of the last answers failed to accuse.
    pub fn accuses(&self) -> bool {
        self.faults.len() >= STRIKES
    }

    /// Whether an accusation, also one from before a restart, is to be taken back: a whole window was good enough.
    pub fn acquits(&self) -> bool {
        self.answers >= WINDOW && !self.accuses()
    }
}

/// An accuser's signed statement, and the accused's own signed answer that it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accusation {
    pub statement: Signed,
    /// What the accused signed; `None` where it signed nothing of the sort.
    pub answer: Option<Signed>,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AccusationError {
    #[error("the statement is no accusation")]
    OtherStatement,
    #[error("accuser {0} has no seat in the view")]
    NoAccuser(MemberId),
    #[error("the view doesn't seat the accused incarnation of member {0}")]
    NoAccused(MemberId),
    #[error("member {0} accuses itself")]
    OfItself(MemberId),
    #[error("the accuser's signature does not hold: {0}")]
    Accuser(#[source] StatementError),
    #[error("the accused's signature does not hold: {0}")]
    Accused(#[source] StatementError),
    #[error("the evidence isn't an answer to that round that bears the accusation out")]
    Evidence,
}

impl Accusation {
    pub fn accuser(&self) -> MemberId {
        self.statement.header.member
    }

    /// Whom it accuses.
    pub fn accused(&self) -> Option<MemberId> {
        Some(self.incarnation()?.0)
    }

    /// Which incarnation of whom.
    pub fn incarnation(&self) -> Option<(MemberId, Incarnation)> {
        match &self.statement.statement {
            Statement::Accusation { accused, incarnation, .. } => Some((*accused, *incarnation)),
            _ => None,
        }
    }

    /// Checks signatures and evidence by the view's keys, and gives the accuser's seat. That a proof is wrong is the
    /// accuser's word; that the accused lacks something must have been signed by the accused.
    pub fn check<'v>(&self, view: &'v View) -> Result<&'v Seat, AccusationError> {
        let Statement::Accusation { accused, incarnation, blob, began: _, round, fault } = &self.statement.statement
        else {
            return Err(AccusationError::OtherStatement);
        };
        let accuser = view.seat(self.accuser()).ok_or(AccusationError::NoAccuser(self.accuser()))?;
        let seat = view.seat(*accused).filter(|seat| seat.incarnation == *incarnation);
        let seat = seat.ok_or(AccusationError::NoAccused(*accused))?;
        if seat.member == accuser.member {
            return Err(AccusationError::OfItself(seat.member));
        }
        self.statement.verify(view.fleet, accuser).map_err(AccusationError::Accuser)?;
        let lacking = match &self.answer {
            None => None,
            Some(answer) => {
                answer.verify(view.fleet, seat).map_err(AccusationError::Accused)?;
                match &answer.statement {
                    Statement::Answer { round: answered, lacks, state: _ } if answered == round => Some(*lacks),
                    _ => return Err(AccusationError::Evidence),
                }
            }
        };
        match (fault, lacking) {
            (Fault::Lacks, Some(Some(lacks))) if lacks == *blob => Ok(accuser),
            (Fault::Wrong, _) => Ok(accuser),
            (Fault::Lacks, _) => Err(AccusationError::Evidence),
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        let to = Encoder::new().bytes(&self.statement.encode());
        to.option(self.answer.as_ref(), |to, answer| to.bytes(&answer.encode())).finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Decoder::new("accusation", bytes);
        let accusation = Self {
            statement: Signed::decode(from.bytes()?)?,
            answer: from.option(|from| Signed::decode(from.bytes()?))?,
        };
        from.finish()?;
        Ok(accusation)
    }
}

/// Counts the accusers of one member: the shards that they own, each once, over rounds.
#[derive(Debug, Clone)]
pub struct Accusers<'v> {
    view: &'v View,
    accused: MemberId,
    shards: ShardSet,
}

impl<'v> Accusers<'v> {
    pub fn new(view: &'v View, accused: MemberId) -> Self {
        Self { view, accused, shards: ShardSet::EMPTY }
    }

    /// Counts an accusation of this member. `owned`: the shards that the accuser owns; what it only keeps for others
    /// doesn't count, or losing members would give those that remain a louder voice.
    pub fn add(&mut self, accusation: &Accusation, owned: ShardSet) -> Result<(), AccusationError> {
        let accuser = accusation.check(self.view)?;
        if accusation.accused() != Some(self.accused) {
            return Err(AccusationError::OtherStatement);
        }
        self.shards = self.shards.union(accuser.shards.intersection(owned));
        Ok(())
    }

    pub fn shards(&self) -> ShardSet {
        self.shards
    }

    /// Whether f + 1 shards accuse: at least one of an honest member.
    pub fn is_verdict(&self) -> bool {
        self.shards.len() > self.view.code.fault_tolerance()
    }
}
