//! The rules that keep data safe, as pure code.
//!
//! No network, no disk, no clock: everything here is a value or a function of values, so that nodes, gateways, the
//! operator's planner, simulations and models all decide by the same lines. Rules are cited by their number (R1 …).
//!
//! Quorums are of *shards*: any two sets of n − f of one view's n shards share at least f + 1, so at least one
//! shard of an honest member.

mod accusation;
mod certificate;
mod challenge;
mod codec;
mod entry;
mod fence;
mod floor;
mod identity;
mod keys;
mod seal;
mod set_hash;
mod shards;
mod sketch;
mod statement;
mod sync;
mod tally;
mod tombstone;
mod view;
mod void;

pub use accusation::{Accusation, AccusationError, Accusers, Conduct};
pub use certificate::{Acks, Certificate, CertificateError, Receipts};
pub use challenge::{Course, Place, Round};
pub use codec::{DecodeError, Decoder, Encoder};
pub use entry::{Entry, EntryError, Rank, Summary, check_content};
pub use fence::{Fence, FenceError};
pub use floor::{FloorError, TimeFloor};
pub use identity::{FleetId, Incarnation, MemberId, Seat, VolumeId};
pub use keys::{KeyError, PublicKey, Signature, SigningKey};
pub use seal::{Declaration, Seal, SealError, SealOrder, TermClaim};
pub use set_hash::SetHash;
pub use shards::ShardSet;
pub use sketch::{Difference, Sketch};
pub use statement::{BatchHeader, Fault, Signed, Statement, StatementError, Subject, sign_batch};
pub use sync::{SyncError, SyncTally};
pub use tally::{Tally, TallyError};
pub use tombstone::Tombstone;
pub use view::{Authority, SignedView, View, ViewError, ViewId};
pub use void::Void;
