//! What clients of Weft do: with a fleet, and offline with plain sliver files.
//!
//! [`Client`] speaks to the members of a fleet themselves, over gRPC and mutual TLS: gateways use it. Everybody else
//! speaks HTTP to a gateway.

mod apart;
mod connector;
mod delete;
mod descriptors;
mod fleet;
mod get;
#[cfg(feature = "http")]
pub mod http;
mod list;
mod memory;
pub mod offline;
mod order;
mod put;
pub mod time;
mod traced;

pub use apart::{apart, apart_unwinding};
pub use connector::{ConnectError, Connector, MEMBER_NAME, TlsConnector};
pub use delete::DeleteError;
pub use descriptors::allow_descriptors;
pub use fleet::{Current, Fleet, FleetConfig, FleetError, Holder, ViewRefused};
pub use get::{ByteRange, Consistency, Content, GetError, HeldSliver, Holding, Placement};
pub use list::{Filter, ListError, ListQuery, Page};
pub use order::{Order, Place};
pub use put::{ContentError, PutError, PutRequest, Stored, StripeError, UploadError};
pub use traced::Traced;

use weft_redstuff::Buffers;

use self::memory::Memory;

/// Bytes of slivers that all puts together may have on their way.
const WRITE_MEMORY: u64 = 96 << 20;
/// Bytes of content that all gets together may be fetching.
const READ_MEMORY: u64 = 96 << 20;
/// Bytes for encoded stripes that are kept for the next ones.
const KEPT_BUFFERS: usize = 32 << 20;

/// Puts, gets and deletes blobs of one fleet. Cheap to clone; clones share their bounds on memory.
#[derive(Debug, Clone)]
pub struct Client {
    fleet: Fleet,
    write_memory: Memory,
    read_memory: Memory,
    buffers: Buffers,
}

impl Client {
    pub fn new(fleet: Fleet) -> Self {
        Self {
            fleet,
            write_memory: Memory::new(WRITE_MEMORY),
            read_memory: Memory::new(READ_MEMORY),
            buffers: Buffers::keeping(KEPT_BUFFERS),
        }
    }

    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }
}
