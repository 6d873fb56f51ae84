//! What members are asked for.

use std::collections::BTreeMap;

use bytes::Bytes;
use tonic::{Request, Response, Status};
use weft_client::{Order, Place};
use weft_proto::{
    SMALL_BLOB,
    v1::{
        GetViewRequest, HeldReply, HeldRequest, HeldSliver, ListReply, ListRequest, LookupReply, LookupRequest, Sliver,
        SliverReply, SliverRequest, SourceRows, StripeHashesReply, StripeHashesRequest, ViewReply, reads_server::Reads,
    },
};
use weft_redstuff::{BlobId, Metadata, merkle};

use super::{FakeFleet, Fault, Serving, blob_id, metadata_of};

fn flipped(data: &Bytes) -> Bytes {
    let mut data = data.to_vec();
    data[0] ^= 1;
    data.into()
}

#[tonic::async_trait]
impl Reads for Serving {
    async fn get_view(&self, _: Request<GetViewRequest>) -> Result<Response<ViewReply>, Status> {
        self.awake().await?;
        let state = self.lock();
        let (view, seal) = state.view.as_ref().map(|(view, seal)| (view, seal.as_ref())).unzip();
        Ok(Response::new(ViewReply {
            newest: view.map(|view| view.encode().into()).unwrap_or_default(),
            seal: seal.flatten().map(|seal| seal.encode().into()).unwrap_or_default(),
            peers: state.peers.clone(),
            time_floor: state.time_floor.clone(),
        }))
    }

    async fn lookup(&self, request: Request<LookupRequest>) -> Result<Response<LookupReply>, Status> {
        let fault = self.awake().await?;
        let state = self.lock();
        // As a member of before, it knows of nothing but entries.
        let LookupRequest { blob, content, summary: _ } = request.into_inner();
        let id = blob_id(&blob)?;
        let entry = state.entries.get(&id);
        let small = |metadata: &Metadata| metadata.layout.stripes() == 1 && metadata.length() <= SMALL_BLOB;
        let withheld = !content || matches!(fault, Fault::OnlyUploads | Fault::NoPrimaries);
        let held = state.holdings.get(&id).filter(|_| !withheld && entry.and_then(metadata_of).is_some_and(small));
        let rows = held.map(|held| {
            let source = |sliver: &&Sliver| sliver.axis == 0 && sliver.index < FakeFleet::code().source_rows().into();
            let mut slivers: Vec<Sliver> = held[&0].slivers.iter().filter(source).cloned().collect();
            if fault == Fault::Lies {
                for sliver in &mut slivers {
                    sliver.data = flipped(&sliver.data);
                }
            }
            SourceRows { hashes: held[&0].hashes.encode().into(), slivers }
        });
        let view = state.view.as_ref().expect("a view").0.view.hash();
        Ok(Response::new(LookupReply {
            entry: entry.map(|entry| entry.encode().into()).unwrap_or_default(),
            counts: fault != Fault::NotSynced,
            view: Bytes::copy_from_slice(view.as_bytes()),
            rows,
            invalid: fault == Fault::Convicts,
            live: None,
        }))
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListReply>, Status> {
        let fault = self.awake().await?;
        let request = request.into_inner();
        let state = self.lock();
        // A member of before reads no more of the request.
        let is_dated = fault != Fault::ListsById;
        let order = Order::read(request.order).filter(|_| is_dated).unwrap_or_default();
        let after = order.decode(&request.after);
        let place = |metadata: &&Metadata| order.place(metadata.id(), metadata);
        let mut found: Vec<_> = state.entries.values().filter_map(metadata_of).collect();
        found.sort_by_key(place);
        found.retain(|metadata| after.is_none_or(|after| after < place(metadata)));
        if fault == Fault::LeadsNowhere {
            let mut further = after.map_or(BlobId([0; 32]), |after| after.id());
            further.0[31] = further.0[31].saturating_add(1);
            let reached = order.encode(&Place::new(after.map_or(0, |after| after.created()), further));
            return Ok(Response::new(ListReply { metadata: Vec::new(), more: true, dated: true, reached }));
        }
        let most = if fault == Fault::LooksAtTwo { 2 } else { request.limit as usize };
        let more = found.len() > most;
        found.truncate(most);
        let reached = found.last().filter(|_| more && is_dated).map(|last| order.encode(&place(last)));
        let metadata = found.iter().map(|metadata| metadata.encode().into()).collect();
        Ok(Response::new(ListReply { metadata, more, dated: is_dated, reached: reached.unwrap_or_default() }))
    }

    async fn get_stripe_hashes(
        &self,
        request: Request<StripeHashesRequest>,
    ) -> Result<Response<StripeHashesReply>, Status> {
        self.awake().await?;
        let request = request.into_inner();
        let mut state = self.lock();
        state.asked_apart += 1;
        let held = state.holdings.get(&blob_id(&request.blob)?).ok_or_else(|| Status::not_found("no blob"))?;
        let roots: Vec<_> = held.values().map(|stripe| stripe.hashes.root()).collect();
        let path = merkle::path(&roots, request.stripe).ok_or_else(|| Status::not_found("no stripe"))?;
        Ok(Response::new(StripeHashesReply {
            hashes: held[&request.stripe].hashes.encode().into(),
            path: path.iter().map(|hash| Bytes::copy_from_slice(hash.as_bytes())).collect(),
        }))
    }

    async fn get_sliver(&self, request: Request<SliverRequest>) -> Result<Response<SliverReply>, Status> {
        let fault = self.awake().await?;
        let request = request.into_inner();
        let mut state = self.lock();
        state.asked_apart += 1;
        let held = state.holdings.get(&blob_id(&request.blob)?).ok_or_else(|| Status::not_found("no blob"))?;
        let stripe = held.get(&request.stripe).ok_or_else(|| Status::not_found("no stripe"))?;
        if fault == Fault::NoPrimaries && request.axis == 0 {
            return Err(Status::not_found("not rebuilt yet"));
        }
        let sliver = stripe.slivers.iter().find(|sliver| (sliver.axis, sliver.index) == (request.axis, request.index));
        let data = &sliver.ok_or_else(|| Status::not_found("no sliver"))?.data;
        Ok(Response::new(SliverReply { data: if fault == Fault::Lies { flipped(data) } else { data.clone() } }))
    }

    async fn get_held(&self, request: Request<HeldRequest>) -> Result<Response<HeldReply>, Status> {
        let fault = self.awake().await?;
        let HeldRequest { blob, stripe } = request.into_inner();
        let state = self.lock();
        let held = state.holdings.get(&blob_id(&blob)?).ok_or_else(|| Status::not_found("no blob"))?;
        let mut counts = BTreeMap::new();
        for stored in held.iter().filter(|(number, _)| stripe.is_none_or(|asked| asked == **number)) {
            for sliver in stored.1.slivers.iter().filter(|sliver| fault != Fault::NoPrimaries || sliver.axis == 1) {
                *counts.entry((sliver.axis, sliver.index)).or_default() += 1;
            }
        }
        let slivers = counts.into_iter().map(|((axis, index), stripes)| HeldSliver { axis, index, stripes }).collect();
        Ok(Response::new(HeldReply { slivers }))
    }
}
