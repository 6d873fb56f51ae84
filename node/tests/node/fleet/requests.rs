//! What gateways ask of members, one request at a time.

use bytes::Bytes;
use prost::Message;
use tonic::{Code, transport::Channel};
use weft_client::Connector;
use weft_proto::{
    MAX_MESSAGE,
    v1::{
        CertifyRequest, FinishRequest, Sliver, UploadRequest, ViewChanged, peers_client::PeersClient,
        reads_client::ReadsClient, writes_client::WritesClient,
    },
};
use weft_protocol::{Certificate, Encoder, Entry, Signed, View};
use weft_redstuff::{Axis, EncodedStripe, Hash, Labels, Layout, Metadata, encode_stripe, inline_root, merkle};

use super::Fleet;

pub(crate) fn writes(fleet: &Fleet, id: u32) -> WritesClient<Channel> {
    WritesClient::new(channel(fleet, id, "gateway")).max_encoding_message_size(MAX_MESSAGE)
}

pub(crate) fn reads(fleet: &Fleet, id: u32) -> ReadsClient<Channel> {
    ReadsClient::new(channel(fleet, id, "gateway"))
}

/// A member's service for its peers; the role is a peer's: `member/<id>/<incarnation>`.
pub(crate) fn peers(fleet: &Fleet, id: u32, role: &str) -> PeersClient<Channel> {
    PeersClient::new(channel(fleet, id, role))
}

fn channel(fleet: &Fleet, id: u32, role: &str) -> Channel {
    fleet.connector(role).channel(&fleet.places[&id].port.address().to_string()).expect("the address is one")
}

/// An inline blob: its acks need no upload.
pub(crate) fn blob(fleet: &Fleet, nonce: u8) -> (Metadata, Vec<u8>) {
    let content = vec![nonce; 100];
    let layout = Layout::for_length(fleet.newest().code, 100).unwrap();
    let (root, digest) = (inline_root(&content), Hash::of(&content));
    (Metadata { root, layout, labels: Labels::default(), expiry: None, digest, nonce: [nonce; 16] }, content)
}

/// A blob of one stripe.
pub(crate) fn small(view: &View, nonce: u8, content: &[u8]) -> (Metadata, Stripe) {
    let layout = Layout::sliced(view.code, content.len() as u64).unwrap();
    let encoded = encode_stripe(view.code, layout.tail_symbol_size(), content.to_vec().into()).unwrap();
    let (root, digest) = (merkle::root(&[encoded.hashes().root()]), Hash::of(content));
    let metadata = Metadata { root, layout, labels: Labels::default(), expiry: None, digest, nonce: [nonce; 16] };
    (metadata, Stripe(encoded))
}

pub(crate) struct Stripe(EncodedStripe);

impl Stripe {
    /// Both slivers of so many shards.
    pub(crate) fn of(&self, shards: &[u8]) -> UploadRequest {
        let slivers = shards.iter().flat_map(|shard| {
            Axis::BOTH.map(|axis| {
                let index = self.0.code().sliver_index(u16::from(*shard), axis);
                Sliver { axis: axis as u32, index: index.into(), data: self.0.sliver(axis, index) }
            })
        });
        UploadRequest {
            symbol_size: self.0.symbol_size(),
            hashes: self.0.hashes().encode().into(),
            slivers: slivers.collect(),
            ..UploadRequest::default()
        }
    }
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
        stripe: None,
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
