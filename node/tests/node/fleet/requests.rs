//! What gateways ask of members, one request at a time.

use bytes::Bytes;
use prost::Message;
use tonic::{Code, transport::Channel};
use weft_client::Connector;
use weft_proto::{
    MAX_MESSAGE,
    v1::{CertifyRequest, FinishRequest, ViewChanged, peers_client::PeersClient, writes_client::WritesClient},
};
use weft_protocol::{Certificate, Encoder, Entry, Signed, View};
use weft_redstuff::{Hash, Labels, Layout, Metadata, inline_root};

use super::Fleet;

pub(crate) fn writes(fleet: &Fleet, id: u32) -> WritesClient<Channel> {
    WritesClient::new(channel(fleet, id, "gateway")).max_encoding_message_size(MAX_MESSAGE)
}

/// A member's service for its peers; the role is a peer's: `member/<id>/<incarnation>`.
pub(crate) fn peers(fleet: &Fleet, id: u32, role: &str) -> PeersClient<Channel> {
    PeersClient::new(channel(fleet, id, role))
}

fn channel(fleet: &Fleet, id: u32, role: &str) -> Channel {
    fleet.connector(role).channel(&fleet.places[&id].address.to_string()).expect("the address is one")
}

/// An inline blob: its acks need no upload.
pub(crate) fn blob(fleet: &Fleet, nonce: u8) -> (Metadata, Vec<u8>) {
    let content = vec![nonce; 100];
    let layout = Layout::for_length(fleet.newest().code, 100).unwrap();
    let (root, digest) = (inline_root(&content), Hash::of(&content));
    (Metadata { root, layout, labels: Labels::default(), expiry: None, digest, nonce: [nonce; 16] }, content)
}

/// Of a put that began under the view that it asks for. Without inline content, of what was uploaded.
pub(crate) fn finish(view: &View, metadata: &Metadata, content: &[u8]) -> FinishRequest {
    FinishRequest {
        view: view.hash().0.to_vec().into(),
        session: metadata.nonce.to_vec().into(),
        metadata: metadata.encode().into(),
        inline: content.to_vec().into(),
        is_inline: metadata.layout.is_inline(),
        begun: begun(view),
    }
}

/// The ID of the view that a put began under.
pub(crate) fn begun(view: &View) -> Bytes {
    view.id().encode(Encoder::new()).finish().into()
}

pub(crate) async fn ack(fleet: &Fleet, id: u32, view: &View, metadata: &Metadata, content: &[u8]) -> Signed {
    let reply = writes(fleet, id).finish(finish(view, metadata, content)).await.expect("the member acks");
    Signed::decode(&reply.into_inner().ack).unwrap()
}

/// An inline blob that everyone has acked.
pub(crate) async fn certified(fleet: &Fleet, nonce: u8) -> Entry {
    let (view, (metadata, content)) = (fleet.newest().clone(), blob(fleet, nonce));
    let mut acks = Vec::new();
    for id in fleet.places.keys() {
        acks.push(ack(fleet, *id, &view, &metadata, &content).await);
    }
    let certificate = Certificate::new(&view, metadata.id(), acks).unwrap();
    Entry::Live { metadata, inline: Some(content), certificate }
}

pub(crate) fn certify(view: &View, entry: &Entry) -> CertifyRequest {
    CertifyRequest { view: view.hash().0.to_vec().into(), entry: entry.encode().into() }
}

pub(crate) fn changed(status: &tonic::Status) -> ViewChanged {
    assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
    ViewChanged::decode(status.details()).expect("the status tells the newest view")
}
