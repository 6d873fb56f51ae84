//! What gateways ask to store and to delete.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, stream::FuturesOrdered};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use weft_proto::v1::{
    CertifyRequest, DeleteRequest, FinishReply, FinishRequest, ReceiptReply, StripeDurable, UploadRequest,
    writes_server,
};
use weft_protocol::{Entry, Tombstone};
use weft_redstuff::{Code, Metadata};

use super::{
    caller::{Gate, Service},
    malformed, view, view_id,
};
use crate::member::{Finish, Member, MemberError, StripeUpload};

/// Stripes of one stream that are being made durable at a time: they share commits.
const WINDOW: usize = 4;

#[derive(Debug)]
pub(super) struct Writes {
    pub(super) gate: Gate,
    pub(super) member: Arc<Member>,
}

type Durable = Result<StripeDurable, Status>;

#[tonic::async_trait]
impl writes_server::Writes for Writes {
    type UploadStream = ReceiverStream<Durable>;

    async fn upload(&self, request: Request<Streaming<UploadRequest>>) -> Result<Response<Self::UploadStream>, Status> {
        self.gate.admit_foreground(&request, Service::Writes, &self.member)?;
        let newest = self.member.newest().ok_or_else(|| Status::unavailable("no view is known here yet"))?;
        let (replies, receiver) = mpsc::channel(WINDOW);
        let (member, code) = (self.member.clone(), newest.view.code);
        tokio::spawn(async move {
            if let Err(status) = receive(&member, code, request.into_inner(), &replies).await {
                // A caller that went away needs no answer.
                let _gone = replies.send(Err(status)).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn finish(&self, request: Request<FinishRequest>) -> Result<Response<FinishReply>, Status> {
        self.gate.admit_foreground(&request, Service::Writes, &self.member)?;
        let request = request.into_inner();
        self.member.metrics().received("writes", request.metadata.len() + request.inline.len());
        let session = request.session[..].try_into().map_err(|_| Status::invalid_argument("a session is 16 bytes"))?;
        let metadata = Metadata::decode(&request.metadata).map_err(MemberError::from)?;
        let stripe = match request.stripe {
            Some(stripe) => {
                // Hashing takes a while, and what a view that is being sealed refuses comes again and again.
                self.member.may_ack(&view(&request.view)?)?;
                let stripe = UploadRequest { session: Bytes::new(), ..stripe };
                Some(parse(&self.member, metadata.code(), Some(session), stripe).await?)
            }
            None => None,
        };
        let finish = Finish {
            view: view(&request.view)?,
            session,
            metadata,
            inline: request.is_inline.then(|| request.inline.to_vec()),
            begun: view_id(&request.begun).map_err(|error| malformed(&error))?,
            stripe,
        };
        let ack = self.member.finish(finish).await?;
        Ok(Response::new(FinishReply { ack: ack.encode().into() }))
    }

    async fn certify(&self, request: Request<CertifyRequest>) -> Result<Response<ReceiptReply>, Status> {
        self.gate.admit_foreground(&request, Service::Writes, &self.member)?;
        let request = request.into_inner();
        let entry = Entry::decode(&request.entry).map_err(|error| malformed(&error))?;
        self.member.metrics().received("writes", request.entry.len());
        let receipt = self.member.certify(view(&request.view)?, entry).await?;
        Ok(Response::new(ReceiptReply { receipt: receipt.encode().into() }))
    }

    async fn delete(&self, request: Request<DeleteRequest>) -> Result<Response<ReceiptReply>, Status> {
        self.gate.admit_foreground(&request, Service::Writes, &self.member)?;
        let request = request.into_inner();
        let tombstone = Tombstone::decode(&request.tombstone).map_err(|error| malformed(&error))?;
        self.member.metrics().received("writes", request.tombstone.len());
        let receipt = self.member.delete(view(&request.view)?, tombstone).await?;
        Ok(Response::new(ReceiptReply { receipt: receipt.encode().into() }))
    }
}

/// Stores the stripes of a stream, some at a time, and tells of each when it is durable.
async fn receive(
    member: &Arc<Member>,
    code: Code,
    mut stripes: Streaming<UploadRequest>,
    replies: &mpsc::Sender<Durable>,
) -> Result<(), Status> {
    let (mut storing, mut session, mut open) = (FuturesOrdered::new(), None, true);
    loop {
        tokio::select! {
            biased;
            request = stripes.message(), if open && storing.len() < WINDOW => match request? {
                None => open = false,
                Some(request) => {
                    // A long put is one call.
                    member.foreground().note();
                    let stripe = parse(member, code, session, request).await?;
                    session = Some(stripe.session);
                    let number = stripe.stripe;
                    let store = member.clone();
                    storing.push_back(async move { store.store_stripe(stripe).await.map(|()| number) });
                }
            },
            Some(stored) = storing.next(), if !storing.is_empty() => {
                if replies.send(Ok(StripeDurable { stripe: stored? })).await.is_err() {
                    return Ok(());
                }
            }
            else => return Ok(()),
        }
    }
}

/// Hashing a stripe's slivers takes milliseconds: not on the threads that serve everyone.
async fn parse(
    member: &Member,
    code: Code,
    session: Option<[u8; 16]>,
    request: UploadRequest,
) -> Result<StripeUpload, Status> {
    let bytes = request.slivers.iter().map(|sliver| sliver.data.len()).sum::<usize>();
    member.metrics().received("writes", bytes + request.hashes.len());
    let parsed = weft_client::apart(move || StripeUpload::parse(code, session, request)).await;
    Ok(parsed.map_err(|error| Status::internal(error.to_string()))??)
}
