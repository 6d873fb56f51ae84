//! Signing, and what others remember of it (R1).

use std::sync::{PoisonError, atomic::Ordering};

use weft_protocol::{BatchHeader, Incarnation, MemberId, Signed, Statement, sign_batch};
use weft_store::{Room, Tx, View};

use super::{Condition, Member, MemberError, Peer, records, shards_in};

impl Member {
    /// Signs what one commit made true.
    pub(crate) fn sign(&self, statements: Vec<Statement>, sequence: u64) -> Vec<Signed> {
        self.signed.fetch_max(sequence, Ordering::Relaxed);
        let header = BatchHeader {
            fleet: self.identity.fleet,
            member: self.identity.member,
            incarnation: self.identity.incarnation,
            sequence,
        };
        sign_batch(header, statements, &self.identity.key)
    }

    pub(crate) fn sign_at(&self, statement: Statement, sequence: u64) -> Signed {
        self.sign(vec![statement], sequence).pop().expect("one statement gives one signed statement")
    }

    /// Signs what is true as of the newest commit.
    pub fn sign_now(&self, statement: Statement) -> Signed {
        self.sign_at(statement, self.store.view().sequence())
    }

    /// What peers are to remember: the highest sequence under which this incarnation signed anything that others rest
    /// on, or could have before it was started. What it commits before it is judged doesn't count: it would be judged
    /// by that.
    pub(crate) fn signed_sequence(&self) -> u64 {
        match self.condition() {
            Condition::Healthy => self.signed.load(Ordering::Relaxed),
            Condition::WaitingForPeers | Condition::Rewound { .. } => self.opened_at,
        }
    }

    /// Remembers, durably, what an incarnation has signed.
    pub(crate) async fn remember(
        &self,
        member: MemberId,
        incarnation: Incarnation,
        sequence: u64,
    ) -> Result<(), MemberError> {
        if self.remembered(member, incarnation)? >= sequence {
            return Ok(());
        }
        self.store.write(Room::Reserved, move |tx| note(tx, [(member, incarnation, sequence)])).await?;
        Ok(())
    }

    /// The highest sequence that this member saw signed by an incarnation; 0 for none.
    pub(crate) fn remembered(&self, member: MemberId, incarnation: Incarnation) -> Result<u64, MemberError> {
        Ok(records::memory(&self.store.view())?.get(&(member, incarnation)).copied().unwrap_or(0))
    }

    /// Judges the volume by what peers remember of it, once holders of n − f shards have told; its own count, for a
    /// volume that is behind is one of the f faults.
    pub(crate) async fn judge(&self, answers: &[(Peer, u64)]) -> Result<(), MemberError> {
        if self.condition() != Condition::WaitingForPeers {
            return Ok(());
        }
        let known = self.known();
        let Some(newest) = &known.newest else { return Ok(()) };
        let own = shards_in(&self.identity, &newest.view);
        let heard = answers.iter().filter_map(|((member, number), _)| {
            newest.view.seat(*member).filter(|seat| seat.incarnation.number == *number)
        });
        let heard = heard.fold(own, |heard, seat| heard.union(seat.shards));
        let here = self.opened_at;
        let remembered = answers.iter().map(|(_, sequence)| *sequence).max().unwrap_or(0);
        let condition = if remembered > here {
            Condition::Rewound { here, remembered }
        } else if heard.len() >= newest.view.quorum() {
            Condition::Healthy
        } else {
            return Ok(());
        };
        tracing::info!(?condition, sequence = here, "peers have told what they remember of this volume");
        let rewound = condition != Condition::Healthy;
        let judge = self.store.write(Room::Reserved, move |tx| {
            if rewound {
                records::put_rewound(tx, here, remembered);
            } else {
                records::put_unjudged(tx, None);
            }
            Ok::<_, MemberError>(())
        });
        judge.await?;
        *self.condition.write().unwrap_or_else(PoisonError::into_inner) = condition;
        Ok(())
    }
}

/// Raises what is remembered, where it is higher.
pub(crate) fn note(
    tx: &mut Tx<'_>,
    seen: impl IntoIterator<Item = (MemberId, Incarnation, u64)>,
) -> Result<(), MemberError> {
    let mut memory = records::memory(tx)?;
    let mut raised = false;
    for (member, incarnation, sequence) in seen {
        let remembered = memory.entry((member, incarnation)).or_default();
        if *remembered < sequence {
            *remembered = sequence;
            raised = true;
        }
    }
    if raised {
        records::put_memory(tx, &memory);
    }
    Ok(())
}
