//! Weft's custom resources, `weft.dev/v1alpha1`: the Rust types, and the definitions that are generated from them.
//!
//! The definitions refuse what makes no sense (schema, patterns, CEL rules), so the types parse whatever the API
//! server accepted and leave the meaning of texts (durations, quantities) to be asked for: one odd object must never
//! keep a list of healthy ones from being read.

#![expect(unreachable_pub, reason = "KubeSchema copies each struct, with its `pub`, into a function")]

mod conditions;
mod definition;
mod duration;
mod encoding;
mod epoch;
mod maintenance;
mod member;
pub mod names;
mod policies;
mod quantity;
mod status;
mod storage_committee;
mod template;
mod tracing;
mod view;

pub use conditions::{committee_condition, epoch_condition};
pub use definition::{Definition, DefinitionError, definitions};
pub use duration::{DurationError, DurationText};
pub use encoding::{Encoding, EncodingSpec, encoding_for};
pub use epoch::{Epoch, EpochMember, EpochPhase, EpochSpec, EpochStatus, Moves, epoch_name};
pub use maintenance::{MaintenanceWindow, TimeOfDay, TimeOfDayError, Weekday};
pub use member::{Incarnation, MemberState, MemberStatus, Successor};
pub use policies::{
    Access, Challenges, DeletionPolicy, Epochs, Gateway, IssuerKind, IssuerRef, Placement, Repair, Replacement, Scrub,
    Spread, Storage, Tls, Upgrade,
};
pub use quantity::{QuantityError, QuantityText};
pub use status::{
    Accusation, Destruction, EpochPointer, ListedBlobs, Margin, Missing, PlannedAct, Rewound, Sealing,
    StorageCommitteeStatus, Survives,
};
pub use storage_committee::{StorageCommittee, StorageCommitteeSpec};
pub use template::{Amounts, MemberTemplate, Resources};
pub use tracing::Tracing;
pub use view::{View, ViewMember};

/// The API group of every kind here.
pub const GROUP: &str = "weft.dev";
/// The version that is served and stored.
pub const VERSION: &str = "v1alpha1";
