//! What gateways, members and the operator read.

use std::sync::Arc;

use bytes::Bytes;
use tonic::{Request, Response, Status};
use weft_client::{Filter, ListQuery, Order};
use weft_proto::v1::{
    GetViewRequest, HeldReply, HeldRequest, HeldSliver, ListReply, ListRequest, LiveBlob, LookupReply, LookupRequest,
    Sliver, SliverReply, SliverRequest, SourceRows, StripeHashesReply, StripeHashesRequest, ViewReply, reads_server,
};
use weft_protocol::Summary;
use weft_redstuff::{BlobId, Code, Hash, Metadata};

use super::{
    blob,
    caller::{Gate, Service},
};
use crate::{
    member::{Listed, Member, MemberError, sliver_axis},
    telemetry,
};

#[derive(Debug)]
pub(super) struct Reads {
    pub(super) gate: Gate,
    pub(super) member: Arc<Member>,
}

/// What a reader may know of a blob.
struct Found {
    /// Encoded.
    entry: Bytes,
    /// Of a live blob, what the entry says.
    live: Option<(Metadata, LiveBlob)>,
}

impl Reads {
    /// A void is for members to know: to readers there is no such blob. Nor is there one that has expired (R15).
    fn found(&self, id: &BlobId) -> Result<Option<Found>, MemberError> {
        let Some(entry) = self.member.encoded_entry(id)?.map(Bytes::from) else { return Ok(None) };
        let (metadata, inline) = match Summary::of(&entry)? {
            Summary::Live { metadata, inline } => (metadata, inline),
            Summary::Deleted => return Ok(Some(Found { entry, live: None })),
            Summary::Void => return Ok(None),
        };
        let live = LiveBlob { metadata: entry.slice_ref(metadata), inline: inline.map(|bytes| entry.slice_ref(bytes)) };
        let metadata = Metadata::decode(metadata)?;
        Ok((!self.member.has_expired(&metadata)).then_some(Found { live: Some((metadata, live)), entry }))
    }

    /// What is held of the source rows of a blob's only stripe.
    async fn source_rows(&self, id: &BlobId, code: Code) -> Result<Option<SourceRows>, MemberError> {
        let Some((hashes, rows)) = self.member.source_rows(id, code).await? else { return Ok(None) };
        self.member.metrics().sent("reads", rows.iter().map(|(_, _, data)| data.len()).sum());
        let sliver = |(axis, index, data)| Sliver { axis: axis as u32, index: u32::from(index), data };
        let slivers = rows.into_iter().map(sliver).collect();
        Ok(Some(SourceRows { hashes: hashes.encode().into(), slivers }))
    }
}

#[tonic::async_trait]
impl reads_server::Reads for Reads {
    async fn get_view(&self, request: Request<GetViewRequest>) -> Result<Response<ViewReply>, Status> {
        self.gate.admit(&request, Service::Reads)?;
        let known = self.member.known();
        Ok(Response::new(ViewReply {
            newest: known.newest.as_ref().map(|newest| newest.encode().into()).unwrap_or_default(),
            seal: known.fence.seal().map(|seal| seal.encode().into()).unwrap_or_default(),
            peers: self.member.peer_list(),
            time_floor: self.member.time_floor().map(|floor| floor.encode().into()).unwrap_or_default(),
        }))
    }

    async fn lookup(&self, request: Request<LookupRequest>) -> Result<Response<LookupReply>, Status> {
        let caller = self.gate.admit_foreground(&request, Service::Reads, &self.member)?;
        // Taken before the registry is read: what is unknown then counts for the view that was newest before.
        let (newest, counts) = self.member.counts_for_not_found();
        let LookupRequest { blob: id, content, summary } = request.into_inner();
        let id = blob(&id)?;
        telemetry::about(&id);
        let found = self.found(&id)?;
        let content = content && !caller.is_closed(&self.member, &id);
        let rows = match found.as_ref().and_then(|found| found.live.as_ref()) {
            Some((metadata, _)) if content && is_small(metadata) => {
                // The entry is worth as much without them.
                self.source_rows(&id, metadata.code()).await.unwrap_or_else(|error| {
                    tracing::debug!(blob = %id, %error, "a small blob's rows can't be read");
                    None
                })
            }
            _ => None,
        };
        let (entry, live) = match found {
            Some(Found { live: Some((_, live)), .. }) if summary => (Bytes::new(), Some(live)),
            Some(Found { entry, .. }) => (entry, None),
            None => (Bytes::new(), None),
        };
        self.member.metrics().sent("reads", entry.len() + live.as_ref().map_or(0, prost::Message::encoded_len));
        let view = newest.map(|hash| hash.0.to_vec().into()).unwrap_or_default();
        let invalid = self.member.is_invalid(&id);
        Ok(Response::new(LookupReply { entry, counts, view, rows, invalid, live }))
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListReply>, Status> {
        self.gate.admit_foreground(&request, Service::Reads, &self.member)?;
        let (query, look) = asked(request.into_inner())?;
        let (member, order) = (self.member.clone(), query.order);
        let list = weft_client::apart(move || member.list(&query, look)).await;
        let Listed { blobs, reached } = list.map_err(|error| Status::internal(error.to_string()))??;
        let metadata: Vec<Bytes> = blobs.iter().map(|metadata| metadata.encode().into()).collect();
        self.member.metrics().sent("reads", metadata.iter().map(Bytes::len).sum());
        let (more, reached) = (reached.is_some(), reached.map(|place| order.encode(&place)).unwrap_or_default());
        Ok(Response::new(ListReply { metadata, more, dated: true, reached }))
    }

    async fn get_stripe_hashes(
        &self,
        request: Request<StripeHashesRequest>,
    ) -> Result<Response<StripeHashesReply>, Status> {
        self.gate.admit_foreground(&request, Service::Reads, &self.member)?;
        let StripeHashesRequest { blob: id, stripe } = request.into_inner();
        let id: BlobId = blob(&id)?;
        telemetry::about(&id);
        let hashes = self.member.stripe_hashes(&id, stripe)?;
        let path = self.member.stripe_path(&id, stripe).await?;
        let (Some((_, hashes)), Some(path)) = (hashes, path) else { return Err(Status::not_found("not held here")) };
        let hashes: Bytes = hashes.encode().into();
        self.member.metrics().sent("reads", hashes.len());
        let path = path.iter().map(|hash| hash.0.to_vec().into()).collect();
        Ok(Response::new(StripeHashesReply { hashes, path }))
    }

    async fn get_sliver(&self, request: Request<SliverRequest>) -> Result<Response<SliverReply>, Status> {
        let caller = self.gate.admit_foreground(&request, Service::Reads, &self.member)?;
        let SliverRequest { blob: id, stripe, axis, index } = request.into_inner();
        let axis = sliver_axis(axis).ok_or_else(|| Status::invalid_argument("an axis is 0 or 1"))?;
        let index = u16::try_from(index).map_err(|_| Status::invalid_argument("there is no such sliver"))?;
        let id: BlobId = blob(&id)?;
        telemetry::about(&id);
        if caller.is_closed(&self.member, &id) {
            return Err(Status::unavailable("the caller is being challenged on this blob (R28)"));
        }
        let data = self.member.read_sliver(&id, stripe, axis, index).await?;
        let data = data.ok_or_else(|| Status::not_found("not held here"))?;
        self.member.metrics().sent("reads", data.len());
        Ok(Response::new(SliverReply { data }))
    }

    async fn get_held(&self, request: Request<HeldRequest>) -> Result<Response<HeldReply>, Status> {
        self.gate.admit(&request, Service::Reads)?;
        let HeldRequest { blob: id, stripe } = request.into_inner();
        let (member, id) = (self.member.clone(), blob(&id)?);
        telemetry::about(&id);
        let held = weft_client::apart(move || member.held_of(&id, stripe)).await;
        let held = held.map_err(|error| Status::internal(error.to_string()))??.into_iter();
        let tell = |((axis, index), stripes)| HeldSliver { axis: axis as u32, index: u32::from(index), stripes };
        Ok(Response::new(HeldReply { slivers: held.map(tell).collect() }))
    }
}

/// Whether a blob's content comes with its entry.
fn is_small(metadata: &Metadata) -> bool {
    metadata.layout.stripes() == 1 && metadata.length() <= weft_proto::SMALL_BLOB
}

/// What is to be listed, and how many entries may be looked at for a page that needn't have anything.
fn asked(request: ListRequest) -> Result<(ListQuery, usize), Status> {
    let ListRequest { after, limit, label, digest, order, since, until, look } = request;
    let order = Order::read(order).ok_or_else(|| Status::invalid_argument("the order isn't known here"))?;
    let malformed = || Status::invalid_argument("the place to go on from is malformed");
    let after = if after.is_empty() { None } else { Some(order.decode(&after).ok_or_else(malformed)?) };
    let label = match label.split_once('=') {
        _ if label.is_empty() => None,
        Some((key, value)) => Some((key.to_owned(), value.to_owned())),
        None => return Err(Status::invalid_argument("a label is key=value")),
    };
    let digest = if digest.is_empty() {
        None
    } else {
        Some(Hash::from_slice(&digest).ok_or_else(|| Status::invalid_argument("a digest is 32 bytes"))?)
    };
    Ok((ListQuery { order, after, limit, filter: Filter { label, digest, since, until } }, look as usize))
}
