//! The calls that a member answers. Handlers read a request, check who asks, call the member, and convert.

mod caller;
mod challenges;
mod connection;
mod control;
mod peers;
mod peers_transfer;
mod reads;
mod writes;

use std::sync::Arc;

use tonic::service::Routes;
use weft_proto::{
    MAX_MESSAGE,
    v1::{
        challenges_server::ChallengesServer, control_server::ControlServer, peers_server::PeersServer,
        reads_server::ReadsServer, writes_server::WritesServer,
    },
};

use crate::member::{Identity, Member};
use caller::Gate;
pub use caller::{Caller, Role};
pub(crate) use connection::Connection;
use control::{Control, ForeignControl};

/// All services of a member.
pub fn routes(member: &Arc<Member>) -> Routes {
    let gate = Gate { fleet: member.identity().fleet };
    let (control, writes, reads, peers, challenges) = (
        Control { gate, member: member.clone() },
        writes::Writes { gate, member: member.clone() },
        reads::Reads { gate, member: member.clone() },
        peers::Peers { gate, member: member.clone() },
        challenges::Challenges { gate, member: member.clone() },
    );
    Routes::new(ControlServer::new(control).max_decoding_message_size(MAX_MESSAGE))
        .add_service(WritesServer::new(writes).max_decoding_message_size(MAX_MESSAGE))
        .add_service(ReadsServer::new(reads).max_decoding_message_size(MAX_MESSAGE))
        .add_service(PeersServer::new(peers).max_decoding_message_size(MAX_MESSAGE))
        .add_service(ChallengesServer::new(challenges))
}

/// What is served from a volume that is another's (R1): the answer that it is, and nothing else.
pub fn foreign_routes(fleet: weft_protocol::FleetId, found: Identity) -> Routes {
    Routes::new(ControlServer::new(ForeignControl { gate: Gate { fleet }, found }))
}

fn blob(bytes: &[u8]) -> Result<weft_redstuff::BlobId, tonic::Status> {
    weft_redstuff::BlobId::from_slice(bytes).ok_or_else(|| tonic::Status::invalid_argument("a blob ID is 32 bytes"))
}

fn view(bytes: &[u8]) -> Result<weft_redstuff::Hash, tonic::Status> {
    weft_redstuff::Hash::from_slice(bytes).ok_or_else(|| tonic::Status::invalid_argument("a view's hash is 32 bytes"))
}

fn view_id(bytes: &[u8]) -> Result<weft_protocol::ViewId, weft_protocol::DecodeError> {
    let mut from = weft_protocol::Decoder::new("view id", bytes);
    let view = weft_protocol::ViewId::decode(&mut from)?;
    from.finish()?;
    Ok(view)
}

fn malformed(error: &weft_protocol::DecodeError) -> tonic::Status {
    tonic::Status::invalid_argument(error.to_string())
}
