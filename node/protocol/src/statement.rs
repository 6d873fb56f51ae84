//! What members sign: acks, receipts, refusals, standings, batches of symbols.
//!
//! One signature covers everything that one durable commit made true: a Merkle root over the statements, together
//! with the signer's identity and its sequence (R1). A statement travels with its path in that tree.

use thiserror::Error;
use weft_redstuff::{BlobId, Hash, merkle};

use crate::{
    ShardSet,
    codec::{DecodeError, Decoder, Encoder},
    identity::{FleetId, Incarnation, MemberId, Seat},
    keys::{KeyError, Signature, SigningKey, digest},
    view::ViewId,
};

const LEAF: &str = "weft v1 statement";
const BATCH: &str = "weft v1 statement batch";

const ANSWER: u8 = 16;
const ACCUSATION: u8 = 17;

/// What a receipt is given for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    Certificate(BlobId),
    Tombstone(BlobId),
}

/// What was wrong with an answer to a challenge (R29).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The accused signed that it lacks a piece.
    Lacks,
    /// A piece, its proof or the signature was wrong.
    Wrong,
}

impl Fault {
    /// One word, for people and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lacks => "lacks",
            Self::Wrong => "wrong",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    /// The slivers of these shards are durable here and match the metadata (R8).
    Ack { view: Hash, blob: BlobId, shards: ShardSet },
    /// The certificate or tombstone is stored here; of `view`, which the signer doesn't refuse (R8, R13).
    Receipt { view: Hash, subject: Subject },
    /// No acks, receipts or deletes of `view` will be given any more; `successor` follows, by order of `term` (R5).
    Refusal { view: Hash, successor: Hash, term: u64 },
    /// While refusing `view`: the registry has `digest`, and the signer is synced to `synced` (R9).
    Standing { view: Hash, synced: Option<ViewId>, registry: Hash },
    /// The symbols of digest `payload` answer the request of digest `request` (R18).
    Symbols { request: Hash, payload: Hash },
    /// The signer's durable sequence has reached the header's: for peers to remember, and to tell back (R1).
    Sequence,
    /// Synced to `synced`, the signer has no certificate of `blob`, and no tombstone that it tells of (R12).
    Lacking { synced: ViewId, blob: BlobId },
    /// The answer to the round of digest `round`: `state` binds the pieces that it gave; the next one is of the blob
    /// that the signer `lacks`, if it gave up there (R28).
    Answer { round: Hash, state: Hash, lacks: Option<BlobId> },
    /// The third answer of that incarnation, of a thousand, that failed: in the round of digest `round`, which began at
    /// `began` (seconds since 1970), on a piece of `blob` (R29).
    Accusation { accused: MemberId, incarnation: Incarnation, blob: BlobId, began: u64, round: Hash, fault: Fault },
}

impl Statement {
    pub fn encode(&self) -> Vec<u8> {
        let to = Encoder::new();
        match self {
            Self::Ack { view, blob, shards } => {
                to.u8(1).fixed(view.as_bytes()).fixed(blob.as_bytes()).fixed(&shards.to_bytes())
            }
            Self::Receipt { view, subject } => {
                let (kind, blob) = match subject {
                    Subject::Certificate(blob) => (0, blob),
                    Subject::Tombstone(blob) => (1, blob),
                };
                to.u8(2).fixed(view.as_bytes()).u8(kind).fixed(blob.as_bytes())
            }
            Self::Refusal { view, successor, term } => {
                to.u8(3).fixed(view.as_bytes()).fixed(successor.as_bytes()).u64(*term)
            }
            Self::Standing { view, synced, registry } => to
                .u8(4)
                .fixed(view.as_bytes())
                .option(synced.as_ref(), |to, id| id.encode(to))
                .fixed(registry.as_bytes()),
            Self::Symbols { request, payload } => to.u8(5).fixed(request.as_bytes()).fixed(payload.as_bytes()),
            Self::Sequence => to.u8(6),
            Self::Lacking { synced, blob } => synced.encode(to.u8(9)).fixed(blob.as_bytes()),
            Self::Answer { round, state, lacks } => to
                .u8(ANSWER)
                .fixed(round.as_bytes())
                .fixed(state.as_bytes())
                .option(lacks.as_ref(), |to, blob| to.fixed(blob.as_bytes())),
            Self::Accusation { accused, incarnation, blob, began, round, fault } => incarnation
                .encode(to.u8(ACCUSATION).u32(accused.0))
                .fixed(blob.as_bytes())
                .u64(*began)
                .fixed(round.as_bytes())
                .u8(match fault {
                    Fault::Lacks => 0,
                    Fault::Wrong => 1,
                }),
        }
        .finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Decoder::new("statement", bytes);
        let hash = |from: &mut Decoder<'_>| from.fixed().map(Hash);
        let blob = |from: &mut Decoder<'_>| from.fixed().map(BlobId);
        let statement = match from.u8()? {
            1 => Self::Ack {
                view: hash(&mut from)?,
                blob: blob(&mut from)?,
                shards: ShardSet::from_bytes(&from.fixed()?),
            },
            2 => {
                let view = hash(&mut from)?;
                let subject = match from.u8()? {
                    0 => Subject::Certificate(blob(&mut from)?),
                    1 => Subject::Tombstone(blob(&mut from)?),
                    other => return Err(from.invalid(format!("{other} is no subject of a receipt"))),
                };
                Self::Receipt { view, subject }
            }
            3 => Self::Refusal { view: hash(&mut from)?, successor: hash(&mut from)?, term: from.u64()? },
            4 => Self::Standing {
                view: hash(&mut from)?,
                synced: from.option(ViewId::decode)?,
                registry: hash(&mut from)?,
            },
            5 => Self::Symbols { request: hash(&mut from)?, payload: hash(&mut from)? },
            6 => Self::Sequence,
            9 => Self::Lacking { synced: ViewId::decode(&mut from)?, blob: blob(&mut from)? },
            ANSWER => Self::Answer { round: hash(&mut from)?, state: hash(&mut from)?, lacks: from.option(blob)? },
            ACCUSATION => Self::Accusation {
                accused: MemberId(from.u32()?),
                incarnation: Incarnation::decode(&mut from)?,
                blob: blob(&mut from)?,
                began: from.u64()?,
                round: hash(&mut from)?,
                fault: match from.u8()? {
                    0 => Fault::Lacks,
                    1 => Fault::Wrong,
                    other => return Err(from.invalid(format!("{other} is no fault"))),
                },
            },
            other => return Err(from.invalid(format!("{other} is no kind of statement"))),
        };
        from.finish()?;
        Ok(statement)
    }

    /// Whether this says that its signer, synced to `view` or a later one, lacks the blob (R12).
    pub fn says_lacking(&self, view: &ViewId, blob: &BlobId) -> bool {
        matches!(self, Self::Lacking { synced, blob: lacked }
            if lacked == blob && synced.position() >= view.position())
    }

    fn leaf(&self) -> Hash {
        digest(LEAF, &self.encode())
    }
}

/// Who signed a batch, and after which durable commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    pub fleet: FleetId,
    pub member: MemberId,
    pub incarnation: Incarnation,
    /// The signer's durable sequence: peers remember the highest one that they saw (R1).
    pub sequence: u64,
}

impl BatchHeader {
    fn encode(&self, to: Encoder) -> Encoder {
        self.incarnation.encode(to.fixed(&self.fleet.0).u32(self.member.0)).u64(self.sequence)
    }

    fn digest(&self, root: &Hash) -> Hash {
        digest(BATCH, &self.encode(Encoder::new()).fixed(root.as_bytes()).finish())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StatementError {
    #[error("the statement is of fleet {theirs}, not of {ours}")]
    OtherFleet { ours: FleetId, theirs: FleetId },
    #[error("the statement is of member {member}, incarnation {incarnation}, which has no such seat")]
    OtherIncarnation { member: MemberId, incarnation: Incarnation },
    #[error("the statement's place in its batch is not proven")]
    NotInBatch,
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// One statement of a signed batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    pub statement: Statement,
    pub header: BatchHeader,
    index: u32,
    count: u32,
    path: Vec<Hash>,
    root: Hash,
    signature: Signature,
}

/// Signs what one commit made true, with one signature.
pub fn sign_batch(header: BatchHeader, statements: Vec<Statement>, key: &SigningKey) -> Vec<Signed> {
    let leaves: Vec<Hash> = statements.iter().map(Statement::leaf).collect();
    if leaves.is_empty() {
        return Vec::new();
    }
    let (root, count) = (merkle::root(&leaves), leaves.len() as u32);
    let signature = key.sign(&header.digest(&root));
    let sign = |(index, statement)| {
        let path = merkle::path(&leaves, index).expect("the index is one of the leaves");
        Signed { statement, header, index, count, path, root, signature }
    };
    (0..count).zip(statements).map(sign).collect()
}

impl Signed {
    /// Checks that the incarnation in `seat` signed this for `fleet`.
    pub fn verify(&self, fleet: FleetId, seat: &Seat) -> Result<(), StatementError> {
        let BatchHeader { fleet: theirs, member, incarnation, sequence: _ } = self.header;
        if theirs != fleet {
            return Err(StatementError::OtherFleet { ours: fleet, theirs });
        }
        if (member, incarnation) != (seat.member, seat.incarnation) {
            return Err(StatementError::OtherIncarnation { member, incarnation });
        }
        if !merkle::verify(&self.root, &self.statement.leaf(), self.index, self.count, &self.path) {
            return Err(StatementError::NotInBatch);
        }
        Ok(seat.key.verify(&self.header.digest(&self.root), &self.signature)?)
    }

    pub fn encode(&self) -> Vec<u8> {
        self.header
            .encode(Encoder::new().bytes(&self.statement.encode()))
            .u32(self.index)
            .u32(self.count)
            .list(&self.path, |to, hash| to.fixed(hash.as_bytes()))
            .fixed(self.root.as_bytes())
            .fixed(&self.signature.0)
            .finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Decoder::new("signed statement", bytes);
        let signed = Self {
            statement: Statement::decode(from.bytes()?)?,
            header: BatchHeader {
                fleet: FleetId(from.fixed()?),
                member: MemberId(from.u32()?),
                incarnation: Incarnation::decode(&mut from)?,
                sequence: from.u64()?,
            },
            index: from.u32()?,
            count: from.u32()?,
            path: from.list(|from| from.fixed().map(Hash))?,
            root: Hash(from.fixed()?),
            signature: Signature(from.fixed()?),
        };
        from.finish()?;
        Ok(signed)
    }
}
