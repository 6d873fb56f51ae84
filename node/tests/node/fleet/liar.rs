//! A peer that lies about what it remembers: it answers exchanges at a member's address, under its certificate.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, transport::Server};
use weft_proto::v1::{
    EntriesReply, EntriesRequest, EntryIdsReply, EntryIdsRequest, ExchangeReply, ExchangeRequest, Identity,
    LackingReply, LackingRequest, LeftoversReply, LeftoversRequest, RegistryDigestsReply, RegistryDigestsRequest,
    SketchReply, SketchRequest, SliverItem, SliversRequest, StripeItem, StripesRequest, SymbolBatch, SymbolsRequest,
    VerdictsReply, VerdictsRequest, peers_server,
};
use weft_protocol::{
    BatchHeader, Entry, FleetId, Incarnation, MemberId, SignedView, SigningKey, Statement, sign_batch,
};

use super::{FLEET, Fleet};

/// Until dropped.
pub(crate) struct Liar {
    asked: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

struct Lies {
    /// What it offers of its registry, in order of ID, with the view of the certificate.
    offers: Vec<(Entry, SignedView)>,
    identity: Identity,
    remembered: Bytes,
    sequence: Bytes,
    asked: Arc<AtomicUsize>,
}

impl Liar {
    /// Takes the place of a member that was killed, and tells everybody that it remembers this of them.
    pub(crate) async fn start(fleet: &Fleet, id: u32, remembered: Vec<u8>) -> Self {
        Self::tell(fleet, id, remembered, Vec::new()).await
    }

    /// Takes the place of a member that was killed, and offers everybody a certificate.
    pub(crate) async fn offer(fleet: &Fleet, id: u32, entry: Entry, view: SignedView) -> Self {
        Self::tell(fleet, id, Vec::new(), vec![(entry, view)]).await
    }

    async fn tell(fleet: &Fleet, id: u32, remembered: Vec<u8>, offers: Vec<(Entry, SignedView)>) -> Self {
        let place = &fleet.places[&id];
        let seat = fleet.newest().seat(MemberId(id)).expect("the member has a seat").clone();
        let identity = Identity {
            fleet: FLEET.0.to_vec().into(),
            member: id,
            incarnation: place.incarnation,
            volume: seat.incarnation.volume.0.to_vec().into(),
        };
        let asked = Arc::new(AtomicUsize::new(0));
        let sequence = sequence(FLEET, seat.member, seat.incarnation, 1, &SigningKey::from_seed([66; 32])).into();
        let lies = Lies { offers, identity, remembered: remembered.into(), sequence, asked: asked.clone() };
        let listener = place.port.listen().await;
        let (certificate, key) = fleet.authority.issue(&format!("weft://{FLEET}/member/{id}/{}", place.incarnation));
        let mut tasks = JoinSet::new();
        let (sender, connections) = mpsc::channel(8);
        tasks.spawn(accept(listener, acceptor(&certificate, &key), sender));
        let service = peers_server::PeersServer::new(lies).max_decoding_message_size(weft_proto::MAX_MESSAGE);
        let serving = Server::builder().add_service(service).serve_with_incoming(ReceiverStream::new(connections));
        tasks.spawn(async move { serving.await.expect("the liar serves") });
        Self { asked, _tasks: tasks }
    }

    /// How often it has lied.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

/// A signed sequence, encoded; the key need not be the incarnation's.
pub(crate) fn sequence(
    fleet: FleetId,
    member: MemberId,
    incarnation: Incarnation,
    sequence: u64,
    key: &SigningKey,
) -> Vec<u8> {
    let header = BatchHeader { fleet, member, incarnation, sequence };
    sign_batch(header, vec![Statement::Sequence], key).remove(0).encode()
}

fn acceptor(certificate: &[u8], key: &[u8]) -> TlsAcceptor {
    let chain = vec![CertificateDer::from_pem_slice(certificate).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_slice(key).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.expect("versions").with_no_client_auth();
    let mut config = builder.with_single_cert(chain, key).expect("they belong together");
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    connections: mpsc::Sender<io::Result<TlsStream<TcpStream>>>,
) {
    loop {
        let (stream, _) = listener.accept().await.expect("connections come");
        if let Ok(stream) = acceptor.accept(stream).await {
            drop(connections.send(Ok(stream)).await);
        }
    }
}

fn mute<T>() -> Result<Response<T>, Status> {
    Err(Status::unavailable("the liar says nothing else"))
}

#[tonic::async_trait]
impl peers_server::Peers for Lies {
    type SymbolsStream = ReceiverStream<Result<SymbolBatch, Status>>;
    type SliversStream = ReceiverStream<Result<SliverItem, Status>>;
    type StripesStream = ReceiverStream<Result<StripeItem, Status>>;

    async fn exchange(&self, _: Request<ExchangeRequest>) -> Result<Response<ExchangeReply>, Status> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Ok(Response::new(ExchangeReply {
            identity: Some(self.identity.clone()),
            remembered: self.remembered.clone(),
            sequence: self.sequence.clone(),
            registry_digest: if self.offers.is_empty() { Bytes::new() } else { vec![1; 32].into() },
            ..ExchangeReply::default()
        }))
    }

    async fn entries(&self, _: Request<EntriesRequest>) -> Result<Response<EntriesReply>, Status> {
        let entries = self.offers.iter().map(|(entry, _)| entry.encode().into()).collect();
        let views = self.offers.iter().map(|(_, view)| view.encode().into()).collect();
        Ok(Response::new(EntriesReply { entries, views }))
    }

    async fn registry_digests(
        &self,
        _: Request<RegistryDigestsRequest>,
    ) -> Result<Response<RegistryDigestsReply>, Status> {
        // Nobody's digests are these, so everybody asks for all.
        Ok(Response::new(RegistryDigestsReply { digests: vec![1; 256 * 32].into(), digest_kind: 0 }))
    }

    async fn sketch(&self, _: Request<SketchRequest>) -> Result<Response<SketchReply>, Status> {
        Err(Status::unimplemented("a member of before there were sketches"))
    }

    async fn entry_ids(&self, _: Request<EntryIdsRequest>) -> Result<Response<EntryIdsReply>, Status> {
        let row = |(entry, view): &(Entry, SignedView)| {
            let (epoch, revision) = view.view.position();
            let kind = [&[1][..], &epoch.to_be_bytes(), &revision.to_be_bytes()].concat();
            [&entry.blob().0[..], &kind].concat()
        };
        let ids = self.offers.iter().flat_map(row).collect::<Vec<u8>>();
        Ok(Response::new(EntryIdsReply { ids: ids.into(), more: false }))
    }

    async fn lacking(&self, _: Request<LackingRequest>) -> Result<Response<LackingReply>, Status> {
        mute()
    }

    async fn leftovers(&self, _: Request<LeftoversRequest>) -> Result<Response<LeftoversReply>, Status> {
        mute()
    }

    async fn symbols(&self, _: Request<SymbolsRequest>) -> Result<Response<Self::SymbolsStream>, Status> {
        mute()
    }

    async fn slivers(&self, _: Request<SliversRequest>) -> Result<Response<Self::SliversStream>, Status> {
        mute()
    }

    async fn verdicts(&self, _: Request<VerdictsRequest>) -> Result<Response<VerdictsReply>, Status> {
        mute()
    }

    async fn stripes(&self, _: Request<StripesRequest>) -> Result<Response<Self::StripesStream>, Status> {
        mute()
    }
}
