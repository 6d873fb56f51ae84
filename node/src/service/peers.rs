//! What members ask each other.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use weft_proto::v1::{
    EntriesReply, EntriesRequest, EntryIdsReply, EntryIdsRequest, ExchangeReply, ExchangeRequest, Lack, LackingReply,
    LackingRequest, LeftoversReply, LeftoversRequest, RegistryDigestsReply, RegistryDigestsRequest, SketchReply,
    SketchRequest, SliverItem, SliversRequest, StripeItem, StripesRequest, SymbolBatch, SymbolsRequest, Verdict,
    VerdictsReply, VerdictsRequest, peers_server,
};
use weft_redstuff::BlobId;

use super::{
    blob,
    caller::{Caller, Gate, Role, Service},
    malformed, peers_transfer, view, view_id,
};
use crate::{
    exchange,
    member::{DigestKind, Member, ROW, Said, read_row, row},
};

/// IDs in one reply.
const MAX_IDS: usize = 32 * 1024;

/// Entries in one reply: with inline contents they stay far below the largest message.
const MAX_ENTRIES: usize = 512;

#[derive(Debug)]
pub(super) struct Peers {
    pub(super) gate: Gate,
    pub(super) member: Arc<Member>,
}

#[tonic::async_trait]
impl peers_server::Peers for Peers {
    type SymbolsStream = ReceiverStream<Result<SymbolBatch, Status>>;
    type SliversStream = ReceiverStream<Result<SliverItem, Status>>;
    type StripesStream = ReceiverStream<Result<StripeItem, Status>>;

    async fn exchange(&self, request: Request<ExchangeRequest>) -> Result<Response<ExchangeReply>, Status> {
        let caller = self.gate.admit(&request, Service::Peers)?;
        let request = request.into_inner();
        is_from(caller, &request)?;
        Ok(Response::new(exchange::answer(&self.member, request).await?))
    }

    async fn entries(&self, request: Request<EntriesRequest>) -> Result<Response<EntriesReply>, Status> {
        self.gate.admit(&request, Service::Peers)?;
        let blobs = request.into_inner().blobs;
        let mut entries = Vec::with_capacity(blobs.len().min(MAX_ENTRIES));
        for bytes in blobs.iter().take(MAX_ENTRIES) {
            entries.extend(self.member.entry(&blob(bytes)?)?);
        }
        let views = self.member.views_of(&entries).iter().map(|view| view.encode().into()).collect();
        let entries: Vec<Bytes> = entries.iter().map(|entry| entry.encode().into()).collect();
        self.member.metrics().sent("registry", entries.iter().map(Bytes::len).sum());
        Ok(Response::new(EntriesReply { entries, views }))
    }

    async fn registry_digests(
        &self,
        request: Request<RegistryDigestsRequest>,
    ) -> Result<Response<RegistryDigestsReply>, Status> {
        self.gate.admit(&request, Service::Peers)?;
        let kind = DigestKind::read(request.into_inner().digest_kind);
        let digests = self.member.registry_digests(kind).await?.iter().flat_map(|digest| digest.0).collect::<Vec<u8>>();
        self.member.metrics().sent("registry", digests.len());
        Ok(Response::new(RegistryDigestsReply { digests: digests.into(), digest_kind: kind.wire() }))
    }

    async fn sketch(&self, request: Request<SketchRequest>) -> Result<Response<SketchReply>, Status> {
        self.gate.admit(&request, Service::Peers)?;
        let SketchRequest { cells, digest_kind } = request.into_inner();
        let kind = DigestKind::read(digest_kind);
        let (mut digests, sketch) = self.member.registry_sketch(cells as usize);
        if kind == DigestKind::Rows {
            digests = self.member.registry_digests(kind).await?;
        }
        let digests = digests.iter().flat_map(|digest| digest.0).collect::<Vec<u8>>();
        let cells = sketch.encode();
        self.member.metrics().sent("registry", digests.len() + cells.len());
        Ok(Response::new(SketchReply { digests: digests.into(), cells: cells.into(), digest_kind: kind.wire() }))
    }

    async fn lacking(&self, request: Request<LackingRequest>) -> Result<Response<LackingReply>, Status> {
        self.gate.admit(&request, Service::Peers)?;
        let LackingRequest { view, blobs } = request.into_inner();
        let view = view_id(&view).map_err(|error| malformed(&error))?;
        let blobs: Vec<BlobId> =
            blobs.iter().take(MAX_ENTRIES).map(|bytes| blob(bytes)).collect::<Result<_, Status>>()?;
        let lacks = self.member.opinion(&view, &blobs)?.into_iter().map(|said| match said {
            Said::Lacks(signed) => Lack { lacking: signed.encode().into(), known: false },
            Said::Knows => Lack { lacking: Bytes::new(), known: true },
            Said::Nothing => Lack::default(),
        });
        Ok(Response::new(LackingReply { lacks: lacks.collect() }))
    }

    async fn leftovers(&self, request: Request<LeftoversRequest>) -> Result<Response<LeftoversReply>, Status> {
        self.gate.admit(&request, Service::Peers)?;
        let LeftoversRequest { view: asked, ids } = request.into_inner();
        let asked = view(&asked)?;
        let malformed = || Status::invalid_argument("a row is malformed");
        let rows = ids.chunks(ROW).take(MAX_IDS).map(|row| read_row(row).ok_or_else(malformed));
        let rows: Vec<_> = rows.collect::<Result<_, _>>()?;
        let newest = self.member.newest().filter(|_| self.member.is_settled(&asked));
        let Some(newest) = newest else { return Ok(Response::new(LeftoversReply::default())) };
        let leftovers = self.member.leftovers_here(&newest.view, &rows)?;
        let leftovers = leftovers.into_iter().map(i32::from).collect();
        Ok(Response::new(LeftoversReply { settled: true, leftovers }))
    }

    async fn entry_ids(&self, request: Request<EntryIdsRequest>) -> Result<Response<EntryIdsReply>, Status> {
        self.gate.admit(&request, Service::Peers)?;
        let EntryIdsRequest { after, limit, parts } = request.into_inner();
        if !parts.is_sorted_by(|a, b| a < b) {
            return Err(Status::invalid_argument("the parts of a registry are asked for in order"));
        }
        let after: Option<BlobId> = if after.is_empty() { None } else { Some(blob(&after)?) };
        let (member, limit) = (self.member.clone(), (limit as usize).clamp(1, MAX_IDS));
        let page = weft_client::apart(move || member.entry_ids(&parts, after, limit)).await;
        let (page, more) = page.map_err(|error| Status::internal(error.to_string()))??;
        let mut ids = BytesMut::with_capacity(page.len() * ROW);
        for (blob, kind) in &page {
            ids.put_slice(&row(blob, kind.rank()));
        }
        self.member.metrics().sent("registry", ids.len());
        Ok(Response::new(EntryIdsReply { ids: ids.freeze(), more }))
    }

    async fn symbols(&self, request: Request<SymbolsRequest>) -> Result<Response<Self::SymbolsStream>, Status> {
        let caller = self.gate.admit(&request, Service::Peers)?;
        Ok(Response::new(peers_transfer::symbols(self.member.clone(), caller, request.into_inner())?))
    }

    async fn slivers(&self, request: Request<SliversRequest>) -> Result<Response<Self::SliversStream>, Status> {
        let caller = self.gate.admit(&request, Service::Peers)?;
        Ok(Response::new(peers_transfer::slivers(self.member.clone(), caller, request.into_inner())?))
    }

    async fn stripes(&self, request: Request<StripesRequest>) -> Result<Response<Self::StripesStream>, Status> {
        self.gate.admit(&request, Service::Peers)?;
        Ok(Response::new(peers_transfer::stripes(self.member.clone(), request.into_inner())?))
    }

    async fn verdicts(&self, request: Request<VerdictsRequest>) -> Result<Response<VerdictsReply>, Status> {
        self.gate.admit(&request, Service::Peers)?;
        let VerdictsRequest { after, limit } = request.into_inner();
        let after: Option<BlobId> = if after.is_empty() { None } else { Some(blob(&after)?) };
        let limit = (limit as usize).clamp(1, MAX_ENTRIES);
        let page = self.member.verdicts(after, limit);
        let more = page.len() == limit;
        let verdicts = page.into_iter().map(|(blob, verdict)| Verdict {
            blob: Bytes::copy_from_slice(&blob.0),
            stripe: verdict.stripe,
            axis: verdict.axis as u32,
            index: verdict.index.into(),
            helpers: verdict.helpers.to_bytes().to_vec().into(),
        });
        Ok(Response::new(VerdictsReply { verdicts: verdicts.collect(), more }))
    }
}

/// Whether a member speaks for itself: what is remembered of it is remembered under that name.
fn is_from(caller: Caller, request: &ExchangeRequest) -> Result<(), Status> {
    let named = request.from.as_ref().map(|from| (from.member, from.incarnation));
    match caller.role {
        Role::Member { member, incarnation } if named == Some((member.0, incarnation)) => Ok(()),
        _ => Err(Status::permission_denied("a member exchanges for itself only")),
    }
}
