//! What members are asked to store.

use std::{pin::Pin, sync::Arc};

use futures::Stream;
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status, Streaming};
use weft_proto::v1::{
    CertifyRequest, DeleteRequest, FinishReply, FinishRequest, ReceiptReply, StripeDurable, UploadRequest, ViewChanged,
    writes_server::Writes,
};
use weft_protocol::{Entry, Statement, Subject, Tombstone};
use weft_redstuff::{Axis, Metadata, StripeHashes, merkle};

use super::{FLEET, FakeFleet, Fault, Member, Serving, Stripe, encoded};

impl Member {
    fn store(&self, request: UploadRequest) -> Result<u32, Status> {
        let hashes = StripeHashes::decode(FakeFleet::code(), &request.hashes).map_err(invalid)?;
        for sliver in &request.slivers {
            let axis = Axis::BOTH[sliver.axis as usize];
            if !hashes.matches(axis, sliver.index as u16, &sliver.data) {
                return Err(Status::invalid_argument("a sliver has another hash"));
            }
        }
        let mut state = self.lock();
        let slivers = if state.fault == Fault::Forgets { Vec::new() } else { request.slivers };
        let stripe = Stripe { hashes, slivers };
        state.sessions.entry(request.session.to_vec()).or_default().insert(request.stripe, stripe);
        Ok(request.stripe)
    }
}

fn invalid<E: std::error::Error>(error: E) -> Status {
    Status::invalid_argument(error.to_string())
}

/// Makes the session the blob's holding, once it is complete.
fn take(member: &Member, session: &[u8], metadata: &Metadata) -> Result<(), Status> {
    let mut state = member.lock();
    let Some(stripes) = state.sessions.remove(session) else {
        let held = state.holdings.contains_key(&metadata.id());
        return if held { Ok(()) } else { Err(Status::not_found("no session")) };
    };
    let roots: Vec<_> = stripes.values().map(|stripe| stripe.hashes.root()).collect();
    if roots.len() != metadata.layout.stripes() as usize || merkle::root(&roots) != metadata.root {
        return Err(Status::not_found("the session isn't complete"));
    }
    state.holdings.insert(metadata.id(), stripes);
    Ok(())
}

#[tonic::async_trait]
impl Writes for Serving {
    type UploadStream = Pin<Box<dyn Stream<Item = Result<StripeDurable, Status>> + Send>>;

    async fn upload(&self, request: Request<Streaming<UploadRequest>>) -> Result<Response<Self::UploadStream>, Status> {
        if self.awake().await? == Fault::NoUploads {
            return Err(Status::unavailable("no uploads"));
        }
        self.lock().asked_apart += 1;
        let mut stripes = request.into_inner();
        let (replies, outgoing) = mpsc::channel(1);
        let member = Arc::clone(&self.0);
        tokio::spawn(async move {
            while let Ok(Some(request)) = stripes.message().await {
                let reply = match member.awake().await {
                    Ok(Fault::Full) => Err(Status::resource_exhausted("no room")),
                    Ok(_) => member.store(request).map(|stripe| StripeDurable { stripe }),
                    Err(status) => Err(status),
                };
                let failed = reply.is_err();
                if replies.send(reply).await.is_err() || failed {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(outgoing))))
    }

    async fn finish(&self, request: Request<FinishRequest>) -> Result<Response<FinishReply>, Status> {
        let fault = self.awake().await?;
        let request = request.into_inner();
        self.lock().asked_for_acks += 1;
        let (view, shards) = self.permit(&request.view)?;
        if fault == Fault::NotSynced {
            let detail = ViewChanged { syncing: true, ..ViewChanged::default() }.encode_to_vec();
            return Err(Status::with_details(Code::FailedPrecondition, "not synced", detail.into()));
        }
        let metadata = Metadata::decode(&request.metadata).map_err(invalid)?;
        let blob = metadata.id();
        if self.lock().entries.get(&blob).is_some_and(|entry| !entry.is_live()) {
            return Err(Status::already_exists("deleted"));
        }
        if request.is_inline {
            if !metadata.matches_inline(&request.inline) {
                return Err(Status::invalid_argument("inline"));
            }
        } else {
            match request.stripe {
                Some(stripe) if fault == Fault::Full && !stripe.slivers.is_empty() => {
                    return Err(Status::resource_exhausted("no room"));
                }
                Some(stripe) if fault != Fault::OnlyUploads => {
                    self.store(UploadRequest { session: request.session.clone(), ..stripe })?;
                }
                _ => {}
            }
            take(self, &request.session, &metadata)?;
        }
        Ok(Response::new(FinishReply { ack: encoded(&self.sign(Statement::Ack { view, blob, shards })) }))
    }

    async fn certify(&self, request: Request<CertifyRequest>) -> Result<Response<ReceiptReply>, Status> {
        if self.awake().await? == Fault::NoReceipts {
            return Err(Status::internal("no receipts"));
        }
        let request = request.into_inner();
        let (view, _) = self.permit(&request.view)?;
        let entry = Entry::decode(&request.entry).map_err(invalid)?;
        let known = self.lock().view.clone().expect("a view").0;
        entry.check(FLEET, |_| Some(&known.view), |_| false).map_err(invalid)?;
        let subject = Subject::Certificate(entry.blob());
        self.lock().entries.insert(entry.blob(), entry);
        Ok(Response::new(ReceiptReply { receipt: encoded(&self.sign(Statement::Receipt { view, subject })) }))
    }

    async fn delete(&self, request: Request<DeleteRequest>) -> Result<Response<ReceiptReply>, Status> {
        if self.awake().await? == Fault::NoReceipts {
            return Err(Status::internal("no receipts"));
        }
        let request = request.into_inner();
        let (view, _) = self.permit(&request.view)?;
        let tombstone = Tombstone::decode(&request.tombstone).map_err(invalid)?;
        tombstone.verify().map_err(invalid)?;
        let blob = tombstone.blob;
        let mut state = self.lock();
        state.holdings.remove(&blob);
        state.entries.insert(blob, Entry::Deleted(tombstone));
        drop(state);
        let receipt = self.sign(Statement::Receipt { view, subject: Subject::Tombstone(blob) });
        Ok(Response::new(ReceiptReply { receipt: encoded(&receipt) }))
    }
}
