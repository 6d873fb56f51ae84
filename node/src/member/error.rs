//! Why a member doesn't do what it was asked to.

use prost::Message;
use thiserror::Error;
use tonic::{Code, Status};
use weft_client::{ConnectError, time};
use weft_proto::v1::ViewChanged;
use weft_protocol::{
    DecodeError, EntryError, Fence, FenceError, FloorError, MemberId, StatementError, TimeFloor, ViewId,
};
use weft_redstuff::{Axis, BlobId, Hash, MetadataError, StripeHashesError};
use weft_store::StoreError;

#[derive(Debug, Error)]
pub enum MemberError {
    #[error("the store: {0}")]
    Store(#[from] StoreError),
    #[error("read a record or a request: {0}")]
    Decode(#[from] DecodeError),
    #[error("read metadata: {0}")]
    Metadata(#[from] MetadataError),
    #[error("read stripe hashes: {0}")]
    StripeHashes(#[from] StripeHashesError),
    #[error("the operator's order is refused: {0}")]
    Order(Box<FenceError>),
    #[error("the order is for {asked}; this is {here} (R1)")]
    OtherMember { asked: String, here: String },
    /// The caller's view isn't the newest here, or is refused (R5); it is told the newest.
    #[error("{source}")]
    View { source: Box<FenceError>, changed: Box<ViewChanged> },
    #[error(
        "this member is not yet synced to the view before {}.{}, and may not know what was deleted (R13)", .0.epoch, .0.revision
    )]
    NotSynced(ViewId),
    #[error(
        "the put began under view {}.{}, and tombstones of blobs put then have been collected: begin again (R14)", .0.epoch, .0.revision
    )]
    BegunEarly(ViewId),
    #[error("the order declares an incarnation of member {0} lost, and it lives (R7)")]
    StillLives(MemberId),
    #[error("the registry entry is refused: {0}")]
    Entry(Box<EntryError>),
    #[error(
        "the certificate is of view {certificate}, the request of {request}: acks and receipts are renewed together (R8)"
    )]
    OtherCertificate { certificate: Hash, request: Hash },
    #[error("blob {0} is deleted (R13)")]
    Deleted(BlobId),
    #[error("the blob expires at {}, and the fleet's time is {} already (R15)", time::format(*expiry), time::format(floor.seconds))]
    Expired { expiry: u64, floor: Box<TimeFloor> },
    #[error("the fleet's time isn't known here yet, so that nothing can be put that expires (R15): try again")]
    NoFloor,
    #[error("{0} (R15)")]
    Floor(#[from] FloorError),
    #[error("blob {0} is not known here as a live blob with slivers")]
    NoBlob(BlobId),
    #[error("blob {blob} has no stripe {stripe} of such hashes")]
    NoStripe { blob: BlobId, stripe: u32 },
    #[error("{} sliver {index} of stripe {stripe} has not its committed hash or length", axis.name())]
    WrongSliver { stripe: u32, axis: Axis, index: u16 },
    #[error("what is held of blob {0} is from before the volume was admitted again, and not confirmed yet (R25)")]
    Unconfirmed(BlobId),
    #[error("the request's {field} is malformed")]
    Malformed { field: &'static str },
    #[error("the upload session has not all stripes of any shard of this member")]
    Incomplete,
    #[error("the stripes of the session are not those of the metadata")]
    WrongStripes,
    #[error("this member has no shard in the view")]
    NoSeat,
    #[error(
        "what a lost member holds would no longer fit on the others: a shard would have {bytes} bytes, and may have {limit}; \
         delete blobs, add members, or let storage.size grow"
    )]
    NoRoomForRepair { bytes: u64, limit: u64 },
    #[error("the copies may not go: {0} (R23)")]
    Retire(&'static str),
    #[error("the member serves reads only: {0}")]
    Ailing(String),
    #[error("what is to be remembered is not signed by whom it names: {0} (R1)")]
    Forged(#[from] StatementError),
    #[error("no address of member {0} is known")]
    NoAddress(MemberId),
    #[error(
        "the order in which blobs were made is not known here yet: it is made since this member's release keeps it"
    )]
    NotOrdered,
    #[error("reach member {member}: {source}")]
    Connect { member: MemberId, source: ConnectError },
}

impl MemberError {
    /// What is told to a caller whose view isn't the one that may be acked or receipted.
    pub(crate) fn view(fence: &Fence, source: FenceError) -> Self {
        let changed = ViewChanged {
            newest: fence.newest().map(|newest| newest.encode().into()).unwrap_or_default(),
            seal: fence.seal().map(|seal| seal.encode().into()).unwrap_or_default(),
            sealing: fence.successor().is_some(),
            syncing: false,
        };
        Self::View { source: Box::new(source), changed: Box::new(changed) }
    }

    /// An order that isn't to be carried out.
    pub(crate) fn order(error: FenceError) -> Self {
        Self::Order(Box::new(error))
    }

    /// Whether an order was refused because a later leader has been here (R4).
    pub(crate) fn is_old_term(&self) -> bool {
        matches!(self, Self::Order(error) if matches!(**error, FenceError::OldTerm { .. }))
    }

    /// Whether the store takes no writes any more, until its process is started again.
    pub(crate) fn is_read_only(&self) -> bool {
        matches!(self, Self::Store(StoreError::ReadOnly { .. }))
    }

    fn code(&self) -> Code {
        match self {
            Self::Store(StoreError::Full { .. }) | Self::NoRoomForRepair { .. } => Code::ResourceExhausted,
            Self::Store(StoreError::ReadOnly { .. } | StoreError::Closed)
            | Self::Ailing(_)
            | Self::NoAddress(_)
            | Self::Unconfirmed(_)
            | Self::Connect { .. } => Code::Unavailable,
            Self::Store(_) => Code::Internal,
            Self::View { .. } | Self::NotSynced(_) | Self::BegunEarly(_) | Self::NoFloor | Self::NotOrdered => {
                Code::FailedPrecondition
            }
            Self::Order(_) | Self::StillLives(_) | Self::OtherMember { .. } | Self::Retire(_) => Code::Aborted,
            Self::Deleted(_) | Self::Expired { .. } => Code::AlreadyExists,
            Self::NoBlob(_) | Self::NoStripe { .. } | Self::Incomplete => Code::NotFound,
            Self::NoSeat => Code::OutOfRange,
            Self::Decode(_)
            | Self::Metadata(_)
            | Self::StripeHashes(_)
            | Self::Entry(_)
            | Self::Forged(_)
            | Self::Floor(_)
            | Self::OtherCertificate { .. }
            | Self::WrongSliver { .. }
            | Self::WrongStripes
            | Self::Malformed { .. } => Code::InvalidArgument,
        }
    }
}

impl From<EntryError> for MemberError {
    fn from(error: EntryError) -> Self {
        Self::Entry(Box::new(error))
    }
}

impl From<MemberError> for Status {
    fn from(error: MemberError) -> Self {
        let (code, message) = (error.code(), error.to_string());
        match error {
            MemberError::View { changed, .. } => Self::with_details(code, message, changed.encode_to_vec().into()),
            // Proves to the gateway what is said here.
            MemberError::Expired { floor, .. } => Self::with_details(code, message, floor.encode().into()),
            MemberError::NotSynced(_) => {
                let detail = ViewChanged { syncing: true, ..ViewChanged::default() };
                Self::with_details(code, message, detail.encode_to_vec().into())
            }
            _ => Self::new(code, message),
        }
    }
}
