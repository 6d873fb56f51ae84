//! Views (R2): which incarnation serves each shard, one after another, each sealed before the next takes effect.

use std::collections::BTreeSet;

use thiserror::Error;
use weft_redstuff::{Code, Hash};

use crate::{
    ShardSet,
    codec::{DecodeError, Decoder, Encoder},
    identity::{FleetId, Incarnation, MemberId, Seat},
    keys::{KeyError, PublicKey, Signature, SigningKey, digest},
};

const HASH: &str = "weft v1 view";
const SIGNATURE: &str = "weft v1 view signature";

/// A view's place in the order of views, and its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ViewId {
    pub epoch: u64,
    pub revision: u64,
    pub hash: Hash,
}

impl ViewId {
    /// Epochs first, revisions within them.
    pub fn position(&self) -> (u64, u64) {
        (self.epoch, self.revision)
    }

    pub fn encode(&self, to: Encoder) -> Encoder {
        to.u64(self.epoch).u64(self.revision).fixed(self.hash.as_bytes())
    }

    pub fn decode(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok(Self { epoch: from.u64()?, revision: from.u64()?, hash: Hash(from.fixed()?) })
    }
}

/// The keys that a view vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// Signs the next view, its seal order and the orders under it.
    pub views: PublicKey,
    /// Sign deletes: the gateways' keys, sorted.
    pub deletes: Vec<PublicKey>,
}

/// Which incarnation serves each shard. A shard in no seat is vacant: missing, acked by nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    pub fleet: FleetId,
    pub epoch: u64,
    pub revision: u64,
    /// The term of the leader that made it.
    pub term: u64,
    /// `None` for a fleet's one first view (R3).
    pub predecessor: Option<ViewId>,
    pub code: Code,
    /// Sorted by member, with disjoint, non-empty sets of shards.
    pub seats: Vec<Seat>,
    pub authority: Authority,
    /// Incarnations that a person asserts to be destroyed, sorted; empty as a rule. The seals and syncs of this view's
    /// predecessors count every shard of the others, where n − f can't be reached any more (R7).
    pub declared: Vec<(MemberId, Incarnation)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ViewError {
    #[error("the view's seats are not sorted by member")]
    Unsorted,
    #[error("member {0} has a seat without shards")]
    EmptySeat(MemberId),
    #[error("member {member} holds {shards} shards, more than f = {f}")]
    TooManyShards { member: MemberId, shards: u16, f: u16 },
    #[error("shard {0} is in two seats or beyond the code")]
    BadShard(u8),
    #[error("volume or key of member {0} appears in another seat too")]
    SharedIdentity(MemberId),
    #[error("the first view leaves shard {0} vacant")]
    VacantAtFirst(u8),
    #[error("the successor is of fleet {theirs}, not of {ours}")]
    OtherFleet { ours: FleetId, theirs: FleetId },
    #[error("the successor has another code")]
    OtherCode,
    #[error("the successor names another predecessor")]
    OtherPredecessor,
    #[error("the successor {theirs:?} does not follow {ours:?}")]
    Order { ours: (u64, u64), theirs: (u64, u64) },
    #[error("the successor's term {theirs} is below {ours}")]
    OldTerm { ours: u64, theirs: u64 },
    #[error("the declared incarnations are not sorted")]
    DeclaredUnsorted,
    #[error("member {0} is declared lost and has a seat (R7)")]
    DeclaredSeated(MemberId),
    #[error("the successor moves {moved} shards, more than f = {f} (R6)")]
    MovesTooMuch { moved: u16, f: u16 },
    #[error("the view is not signed by the key that its predecessor names: {0}")]
    Signature(#[from] KeyError),
}

impl View {
    /// Hash of the canonical bytes: the name under which requests, acks, receipts and refusals cite it (R5).
    pub fn hash(&self) -> Hash {
        digest(HASH, &self.encode())
    }

    pub fn id(&self) -> ViewId {
        ViewId { epoch: self.epoch, revision: self.revision, hash: self.hash() }
    }

    pub fn position(&self) -> (u64, u64) {
        (self.epoch, self.revision)
    }

    /// n − f: what certificates, receipts and refusals need.
    pub fn quorum(&self) -> u16 {
        self.code.shards() - self.code.fault_tolerance()
    }

    pub fn seat(&self, member: MemberId) -> Option<&Seat> {
        self.seats.binary_search_by_key(&member, |seat| seat.member).ok().map(|at| &self.seats[at])
    }

    /// The seat that holds a shard, or `None` where it is vacant.
    pub fn holder(&self, shard: u8) -> Option<&Seat> {
        self.seats.iter().find(|seat| seat.shards.contains(shard))
    }

    pub fn vacant(&self) -> ShardSet {
        self.seats.iter().fold(ShardSet::first(self.code.shards()), |left, seat| left.difference(seat.shards))
    }

    /// The shards that somebody holds who isn't among `declared` (R7).
    pub fn undeclared(&self, declared: &[(MemberId, Incarnation)]) -> ShardSet {
        let others = self.seats.iter().filter(|seat| !declared.contains(&(seat.member, seat.incarnation)));
        others.map(|seat| seat.shards).collect()
    }

    /// How many shards seal this view, or sync to it: n − f; all that anybody holds who isn't among `declared`, where
    /// those are fewer (R7). Whoever could still ack under the view has refused it then.
    pub fn quorum_without(&self, declared: &[(MemberId, Incarnation)]) -> u16 {
        self.undeclared(declared).len().clamp(1, self.quorum())
    }

    /// Shards that another incarnation holds in `next`, or nobody.
    pub fn moved_to(&self, next: &View) -> ShardSet {
        (0..self.code.shards() as u8)
            .filter(|shard| {
                let identity = |view: &View| view.holder(*shard).map(|seat| (seat.member, seat.incarnation));
                identity(self) != identity(next)
            })
            .collect()
    }

    /// What any view must be by itself (R2).
    pub fn check(&self) -> Result<(), ViewError> {
        let f = self.code.fault_tolerance();
        if !self.seats.is_sorted_by(|a, b| a.member < b.member) {
            return Err(ViewError::Unsorted);
        }
        let (mut seen, mut identities) = (ShardSet::EMPTY, BTreeSet::new());
        for seat in &self.seats {
            if seat.shards.is_empty() {
                return Err(ViewError::EmptySeat(seat.member));
            }
            if seat.shards.len() > f {
                return Err(ViewError::TooManyShards { member: seat.member, shards: seat.shards.len(), f });
            }
            let all = ShardSet::first(self.code.shards());
            if let Some(bad) = seat.shards.intersection(seen).union(seat.shards.difference(all)).iter().next() {
                return Err(ViewError::BadShard(bad));
            }
            if !identities.insert(seat.key.0.to_vec()) || !identities.insert(seat.incarnation.volume.0.to_vec()) {
                return Err(ViewError::SharedIdentity(seat.member));
            }
            seen = seen.union(seat.shards);
        }
        if !self.declared.is_sorted_by(|a, b| a < b) {
            return Err(ViewError::DeclaredUnsorted);
        }
        let seated = |(member, incarnation): &&(MemberId, Incarnation)| {
            self.seat(*member).is_some_and(|seat| seat.incarnation == *incarnation)
        };
        if let Some((member, _)) = self.declared.iter().find(seated) {
            return Err(ViewError::DeclaredSeated(*member));
        }
        match (self.predecessor, self.vacant().iter().next()) {
            (None, Some(shard)) => Err(ViewError::VacantAtFirst(shard)),
            _ => Ok(()),
        }
    }

    /// Whether `next` may follow this view (R2, R6). Vacant shards and those of declared incarnations may move besides.
    /// Shards whose slivers are lost otherwise may too; that share of R6 is the operator's to judge, and this bound is the
    /// most it could ever allow.
    pub fn check_successor(&self, next: &SignedView) -> Result<(), ViewError> {
        let view = &next.view;
        view.check()?;
        if view.fleet != self.fleet {
            return Err(ViewError::OtherFleet { ours: self.fleet, theirs: view.fleet });
        }
        if view.code != self.code {
            return Err(ViewError::OtherCode);
        }
        if view.predecessor != Some(self.id()) {
            return Err(ViewError::OtherPredecessor);
        }
        let follows = view.position() == (self.epoch, self.revision + 1) || view.position() == (self.epoch + 1, 0);
        if !follows {
            return Err(ViewError::Order { ours: self.position(), theirs: view.position() });
        }
        if view.term < self.term {
            return Err(ViewError::OldTerm { ours: self.term, theirs: view.term });
        }
        let (held, f) = (self.undeclared(&view.declared), self.code.fault_tolerance());
        let moved = self.moved_to(view).intersection(held).len();
        if moved > f {
            return Err(ViewError::MovesTooMuch { moved, f });
        }
        next.verify(&self.authority.views)
    }

    pub fn encode(&self) -> Vec<u8> {
        let to = Encoder::new().fixed(&self.fleet.0).u64(self.epoch).u64(self.revision).u64(self.term);
        to.option(self.predecessor.as_ref(), |to, id| id.encode(to))
            .u8(self.code.shards() as u8)
            .u8(self.code.fault_tolerance() as u8)
            .list(&self.seats, |to, seat| seat.encode(to))
            .fixed(&self.authority.views.0)
            .list(&self.authority.deletes, |to, key| to.fixed(&key.0))
            .list(&self.declared, |to, (member, incarnation)| incarnation.encode(to.u32(member.0)))
            .finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Decoder::new("view", bytes);
        let fleet = FleetId(from.fixed()?);
        let (epoch, revision, term) = (from.u64()?, from.u64()?, from.u64()?);
        let predecessor = from.option(ViewId::decode)?;
        let (n, f) = (u16::from(from.u8()?), u16::from(from.u8()?));
        let code = Code::new(n, f).map_err(|error| from.invalid(error.to_string()))?;
        let seats = from.list(Seat::decode)?;
        let views = PublicKey(from.fixed()?);
        let deletes = from.list(|from| from.fixed().map(PublicKey))?;
        if !deletes.is_sorted_by(|a, b| a < b) {
            return Err(from.invalid("the keys for deletes are not sorted"));
        }
        let declared = from.list(|from| Ok((MemberId(from.u32()?), Incarnation::decode(from)?)))?;
        from.finish()?;
        let authority = Authority { views, deletes };
        Ok(Self { fleet, epoch, revision, term, predecessor, code, seats, authority, declared })
    }
}

/// A view as the operator signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedView {
    pub view: View,
    pub signature: Signature,
}

impl SignedView {
    pub fn sign(view: View, key: &SigningKey) -> Self {
        let signature = key.sign(&digest(SIGNATURE, view.hash().as_bytes()));
        Self { view, signature }
    }

    pub fn verify(&self, key: &PublicKey) -> Result<(), ViewError> {
        Ok(key.verify(&digest(SIGNATURE, self.view.hash().as_bytes()), &self.signature)?)
    }

    pub fn encode(&self) -> Vec<u8> {
        Encoder::new().bytes(&self.view.encode()).fixed(&self.signature.0).finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Decoder::new("signed view", bytes);
        let view = View::decode(from.bytes()?)?;
        let signature = Signature(from.fixed()?);
        from.finish()?;
        Ok(Self { view, signature })
    }
}
