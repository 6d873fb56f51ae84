//! What clients of Weft do: with a fleet, and offline with plain sliver files.
//!
//! [`Client`] speaks to the members of a fleet themselves, over gRPC and mutual TLS: gateways use it. Everybody else
//! speaks HTTP to a gateway.

mod connector;
mod delete;
mod fleet;
mod get;
#[cfg(feature = "http")]
pub mod http;
mod list;
pub mod offline;
mod put;

use std::sync::Arc;

use tokio::sync::Semaphore;

pub use connector::{ConnectError, Connector, MEMBER_NAME, TlsConnector};
pub use delete::DeleteError;
pub use fleet::{Current, Fleet, FleetConfig, FleetError, Holder, ViewRefused};
pub use get::{ByteRange, Content, GetError};
pub use list::{ListError, ListQuery, Page};
pub use put::{ContentError, PutError, PutRequest, Stored, StripeError, UploadError};

/// Bytes of slivers that all puts together may have on their way.
const WRITE_MEMORY: u64 = 160 << 20;
/// Bytes of content that all gets together may be fetching.
const READ_MEMORY: u64 = 96 << 20;
/// What memory is counted in, so that counts fit.
const MEMORY_UNIT: u64 = 1 << 10;

/// Puts, gets and deletes blobs of one fleet. Cheap to clone; clones share their bounds on memory.
#[derive(Debug, Clone)]
pub struct Client {
    fleet: Fleet,
    write_memory: Arc<Semaphore>,
    read_memory: Arc<Semaphore>,
}

impl Client {
    pub fn new(fleet: Fleet) -> Self {
        let room = |bytes: u64| Arc::new(Semaphore::new((bytes / MEMORY_UNIT) as usize));
        Self { fleet, write_memory: room(WRITE_MEMORY), read_memory: room(READ_MEMORY) }
    }

    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }
}

/// Waits for room for so many bytes, or for all there is.
async fn room(memory: &Arc<Semaphore>, bytes: u64, all: u64) -> tokio::sync::OwnedSemaphorePermit {
    let units = bytes.min(all).div_ceil(MEMORY_UNIT) as u32;
    Arc::clone(memory).acquire_many_owned(units).await.expect("the semaphore is never closed")
}
