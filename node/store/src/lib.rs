//! The durable store of a member: protocol state, registry, slivers, on one volume.
//!
//! A log of commits in segments, where slivers lie, and one [redb](https://docs.rs/redb) file of rows, over a small [`Disk`]
//! trait. Writes are closures: [`Store::write`] queues them to the one writer, which runs those that wait in one transaction,
//! writes it to the log durably, and then answers them all (group commit). Reads are snapshots: [`Store::view`].
//!
//! What it promises:
//!
//! - what was answered as committed survives a loss of power, and a write is there whole or not at all;
//! - a failed write, fsync or commit is never acknowledged and never tried again: the store is read-only from then on, and
//!   says so ([`Store::health`]). Reads go on;
//! - a full disk refuses new data ([`StoreError::Full`]) while a reserve lets deletes and records work;
//! - rotten bytes are an error. Rows carry checksums; slivers are returned as they are, for their hashes to be checked.
//!
//! ```
//! use std::sync::Arc;
//! use weft_store::{Options, Room, Store, StoreError, View, fake::FakeDisk};
//!
//! let store = Store::open(Arc::new(FakeDisk::new(1)), &Options::default())?;
//! let written = store.write_blocking(Room::Reserved, |tx| {
//!     tx.put_state("term", vec![7]);
//!     Ok::<_, StoreError>(())
//! })?;
//! assert_eq!(store.view().state("term")?, Some(vec![7]));
//! assert_eq!(store.view().sequence(), written.sequence);
//! # Ok::<(), StoreError>(())
//! ```

mod base;
mod bypass;
mod changes;
mod chores;
mod closing;
mod compact;
mod counters;
mod disk;
mod engine;
mod error;
mod extents;
pub mod fake;
mod gate;
mod host;
mod job;
mod keys;
mod log;
mod open;
mod poison;
mod rows;
mod snapshot;
mod space;
mod store;
mod tables;
mod tx;
mod view;

pub use disk::{Disk, DiskFile, Space};
pub use error::StoreError;
pub use host::HostDisk;
pub use keys::{Axis, SliverKey, Totals, Upload, UploadNumber, slot_of};
pub use snapshot::ReadTx;
pub use space::{Room, Usage};
pub use store::{Committed, FILE, Health, IDENTITY, Options, Pending, Store, Writer};
pub use tables::Table;
pub use tx::{MAX_SLIVER, Tx};
pub use view::{Page, View};
