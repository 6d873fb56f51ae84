//! What members are asked for.

use std::collections::BTreeMap;

use bytes::Bytes;
use tonic::{Request, Response, Status};
use weft_proto::v1::{
    GetViewRequest, HeldReply, HeldRequest, HeldSliver, ListReply, ListRequest, LookupReply, LookupRequest,
    SliverReply, SliverRequest, StripeHashesReply, StripeHashesRequest, ViewReply, reads_server::Reads,
};
use weft_redstuff::merkle;

use super::{Fault, Serving, blob_id, metadata_of};

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
        let entry = state.entries.get(&blob_id(&request.get_ref().blob)?);
        let view = state.view.as_ref().expect("a view").0.view.hash();
        Ok(Response::new(LookupReply {
            entry: entry.map(|entry| entry.encode().into()).unwrap_or_default(),
            counts: fault != Fault::NotSynced,
            view: Bytes::copy_from_slice(view.as_bytes()),
        }))
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListReply>, Status> {
        self.awake().await?;
        let request = request.into_inner();
        let state = self.lock();
        let mut found: Vec<_> = state.entries.values().filter_map(metadata_of).collect();
        found.sort_by_key(|metadata| metadata.id());
        found.retain(|metadata| metadata.id().as_bytes()[..] > request.after[..]);
        let more = found.len() > request.limit as usize;
        let metadata = found.iter().take(request.limit as usize).map(|metadata| metadata.encode().into()).collect();
        Ok(Response::new(ListReply { metadata, more }))
    }

    async fn get_stripe_hashes(
        &self,
        request: Request<StripeHashesRequest>,
    ) -> Result<Response<StripeHashesReply>, Status> {
        self.awake().await?;
        let request = request.into_inner();
        let state = self.lock();
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
        let state = self.lock();
        let held = state.holdings.get(&blob_id(&request.blob)?).ok_or_else(|| Status::not_found("no blob"))?;
        let stripe = held.get(&request.stripe).ok_or_else(|| Status::not_found("no stripe"))?;
        if fault == Fault::NoPrimaries && request.axis == 0 {
            return Err(Status::not_found("not rebuilt yet"));
        }
        let sliver = stripe.slivers.iter().find(|sliver| (sliver.axis, sliver.index) == (request.axis, request.index));
        let mut data = sliver.ok_or_else(|| Status::not_found("no sliver"))?.data.to_vec();
        if fault == Fault::Lies {
            data[0] ^= 1;
        }
        Ok(Response::new(SliverReply { data: data.into() }))
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
