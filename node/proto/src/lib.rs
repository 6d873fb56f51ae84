//! The gRPC messages and services between operator, gateways and members, generated from `proto/node.proto`.
//!
//! What is hashed or signed is opaque here: its canonical bytes are those of crate `weft-protocol`.

/// Package `weft.node.v1`.
#[expect(clippy::pedantic, clippy::allow_attributes, reason = "generated code")]
pub mod v1 {
    tonic::include_proto!("weft.node.v1");
}

/// The largest message that a member or a gateway sends or takes: the slivers of f shards of one stripe, and room.
pub const MAX_MESSAGE: usize = 64 << 20;

/// Bytes of the largest blob whose content comes with its entry, where a reader wants it to.
pub const SMALL_BLOB: u64 = 1 << 20;
