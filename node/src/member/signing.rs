//! Signing, and what others remember of it (R1).

use std::sync::{PoisonError, atomic::Ordering};

use bytes::Bytes;
use weft_protocol::{BatchHeader, Incarnation, MemberId, Seat, ShardSet, Signed, Statement, sign_batch};
use weft_store::{Room, Tx, View};

use super::{Condition, Identity, Member, MemberError, Peer, lock, records, shards_in};

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

    /// What peers are to remember, signed: the highest sequence under which this incarnation signed anything that
    /// others rest on, or could have before it was started. What it commits before it is judged doesn't count: it would
    /// be judged by that.
    pub(crate) fn signed_sequence(&self) -> Signed {
        let sequence = match self.condition() {
            Condition::Healthy => self.signed.load(Ordering::Relaxed),
            Condition::WaitingForPeers | Condition::Rewound { .. } => self.opened_at,
        };
        // Every peer is told every second, and it seldom changes.
        let mut told = lock(&self.told_sequence);
        match &*told {
            Some(signed) if signed.header.sequence == sequence => signed.clone(),
            _ => told.insert(self.sign_at(Statement::Sequence, sequence)).clone(),
        }
    }

    /// Hears what an incarnation has signed, to be remembered with what others have; nothing where that isn't news. Only of
    /// incarnations that a view has seated: before, it signs nothing that anyone rests on, and its key isn't known.
    ///
    /// # Errors
    ///
    /// [`MemberError::Forged`] when the incarnation that it names didn't sign it.
    pub(crate) fn hear_sequence(&self, signed: Signed) -> Result<(), MemberError> {
        let BatchHeader { member, incarnation, sequence, fleet: _ } = signed.header;
        if self.remembered(member, incarnation)?.is_some_and(|known| known.header.sequence >= sequence) {
            return Ok(());
        }
        let known = self.known();
        let mut seats = known.views.values().filter_map(|view| view.view.seat(member));
        let Some(seat) = seats.find(|seat| seat.incarnation == incarnation) else { return Ok(()) };
        signed.verify(self.identity.fleet, seat)?;
        lock(&self.heard_sequences).insert((member, incarnation.number), signed);
        Ok(())
    }

    /// Remembers, durably, what was heard: in one commit, of however many peers.
    pub(crate) async fn remember(&self) -> Result<(), MemberError> {
        let heard = lock(&self.heard_sequences).clone();
        if heard.is_empty() {
            return Ok(());
        }
        let noted = heard.clone();
        self.store.write(Room::Reserved, move |tx| note(tx, noted.values())).await?;
        lock(&self.heard_sequences).retain(|peer, signed| heard.get(peer) != Some(signed));
        Ok(())
    }

    /// What an incarnation signed with the highest sequence that this member saw.
    pub fn remembered(&self, member: MemberId, incarnation: Incarnation) -> Result<Option<Signed>, MemberError> {
        let noted = records::remembered(&self.store.view(), member, incarnation)?;
        let heard = lock(&self.heard_sequences).get(&(member, incarnation.number)).cloned();
        let heard = heard.filter(|heard| heard.header.incarnation == incarnation);
        Ok([noted, heard].into_iter().flatten().max_by_key(|signed| signed.header.sequence))
    }

    /// The sequence of a statement that a peer remembers of this volume; 0 for none.
    ///
    /// # Errors
    ///
    /// When it isn't this very volume's: nobody else's word counts (R1).
    fn own_sequence(&self, told: &[u8]) -> Result<u64, MemberError> {
        if told.is_empty() {
            return Ok(0);
        }
        let signed = Signed::decode(told)?;
        let Identity { fleet, member, incarnation, key } = &self.identity;
        let (member, incarnation, shards) = (*member, *incarnation, ShardSet::EMPTY);
        signed.verify(*fleet, &Seat { member, incarnation, key: key.public(), shards })?;
        Ok(signed.header.sequence)
    }

    /// The sequences of what peers tell, without those who tell what this volume never signed.
    fn believed(&self, answers: &[(Peer, Bytes)]) -> Vec<(Peer, u64)> {
        let believe = |(peer, remembered): &(Peer, Bytes)| match self.own_sequence(remembered) {
            Ok(sequence) => Some((*peer, sequence)),
            Err(error) => {
                tracing::warn!(member = %peer.0, incarnation = peer.1, %error, "the peer remembers what this volume never signed");
                None
            }
        };
        answers.iter().filter_map(believe).collect()
    }

    /// Judges the volume by what peers remember of it, once holders of n − f shards have told; its own count, for a
    /// volume that is behind is one of the f faults. What a peer remembers counts as signed by this volume; a peer
    /// that tells anything else has told nothing.
    pub(crate) async fn judge(&self, answers: &[(Peer, Bytes)]) -> Result<(), MemberError> {
        if self.condition() != Condition::WaitingForPeers {
            return Ok(());
        }
        let known = self.known();
        let Some(newest) = &known.newest else { return Ok(()) };
        let own = shards_in(&self.identity, &newest.view);
        let told = self.believed(answers);
        let heard = told.iter().filter_map(|((member, number), _)| {
            newest.view.seat(*member).filter(|seat| seat.incarnation.number == *number)
        });
        let heard = heard.fold(own, |heard, seat| heard.union(seat.shards));
        let here = self.opened_at;
        let remembered = told.iter().map(|(_, sequence)| *sequence).max().unwrap_or(0);
        let condition = if remembered > here {
            Condition::Rewound { here, remembered }
        } else if heard.len() >= newest.view.quorum_without(&lock(&self.declared)) {
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
        // A refusal is signed from now on.
        self.refresh()
    }
}

/// Remembers statements whose signatures were checked, where their sequences are higher than what is remembered.
pub(crate) fn note<'s>(tx: &mut Tx<'_>, seen: impl IntoIterator<Item = &'s Signed>) -> Result<(), MemberError> {
    for signed in seen {
        let header = &signed.header;
        let known = records::remembered(tx, header.member, header.incarnation)?;
        if known.is_none_or(|known| known.header.sequence < header.sequence) {
            records::put_remembered(tx, signed);
        }
    }
    Ok(())
}
