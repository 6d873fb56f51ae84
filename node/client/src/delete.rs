//! Deleting a blob: a tombstone that holders of n − f shards have receipted (R13).

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, stream::FuturesUnordered};
use thiserror::Error;
use tokio::time::{Instant, sleep_until, timeout};
use tonic::Status;
use tracing::Instrument;
use weft_proto::v1::DeleteRequest;
use weft_protocol::{MemberId, Receipts, Signed, SigningKey, Subject, Tombstone};
use weft_redstuff::BlobId;

use crate::{
    Client, Current, FleetError, GetError, Holder,
    get::Want,
    put::{
        chain::{repeat, signed},
        settle::Open,
    },
};

/// For a commit on the holder's disk.
const ANSWER: Duration = Duration::from_secs(10);
/// For all receipts, view changes included.
const SETTLE: Duration = Duration::from_secs(30);
/// How long the slower holders are still told.
const AFTERWARDS: Duration = Duration::from_secs(10);

/// Why a blob isn't known to be deleted.
#[derive(Debug, Error)]
pub enum DeleteError {
    #[error("the fleet's view isn't known")]
    Fleet(#[from] FleetError),
    #[error("what to delete can't be looked up")]
    Lookup(#[from] GetError),
    #[error("key {0} may not delete (R13)")]
    NoAuthority(weft_protocol::PublicKey),
    #[error("too few holders took the tombstone: {wanting} shards are wanting; {}", reasons.join("; "))]
    TooFew { wanting: u16, reasons: Vec<String> },
    #[error("no quorum of receipts within {SETTLE:?}")]
    Late,
}

impl Client {
    /// Deletes a blob for good. Deleting it again does no harm; what was never stored is refused as not found.
    pub async fn delete(&self, id: BlobId, key: &SigningKey) -> Result<(), DeleteError> {
        match self.lookup(id, Want::Entry).await {
            // Receipts are gathered again: an earlier delete may not have been answered.
            Ok(_) | Err(GetError::Deleted(_)) => {}
            Err(error) => return Err(error.into()),
        }
        if !self.fleet().may_delete(&key.public()) {
            return Err(DeleteError::NoAuthority(key.public()));
        }
        let tombstone = Bytes::from(Tombstone::sign(self.fleet().id(), id, key).encode());
        let deadline = Instant::now() + SETTLE;
        loop {
            let current = self.fleet().current().await?;
            tokio::select! {
                biased;
                outcome = self.spread(&current, id, &tombstone) => return outcome,
                () = self.fleet().changed_from(current.hash) => {}
                () = sleep_until(deadline) => return Err(DeleteError::Late),
            }
        }
    }

    /// Sends the tombstone to all holders of one view, and counts their receipts.
    async fn spread(&self, current: &Arc<Current>, id: BlobId, tombstone: &Bytes) -> Result<(), DeleteError> {
        let mut receipts = Receipts::new(&current.view, Subject::Tombstone(id));
        let view = Bytes::copy_from_slice(current.hash.as_bytes());
        let told = current.holders.iter().map(|holder| {
            let request = DeleteRequest { view: view.clone(), tombstone: tombstone.clone() };
            self.clone().tell(Arc::clone(holder), request)
        });
        let mut told: FuturesUnordered<_> = told.collect();
        let (mut open, mut reasons) = (Open::of(current), Vec::new());
        // Others may hang, or wait for a view to be sealed: who has failed decides.
        while open.shards() >= receipts.wanting()
            && let Some((member, receipt)) = told.next().await
        {
            open.close(member);
            let counted = match receipt {
                Ok(receipt) => receipts.add(&receipt).map_err(|error| error.to_string()),
                Err(status) => Err(status.message().to_owned()),
            };
            if let Err(reason) = counted {
                reasons.push(format!("member {member}: {reason}"));
            }
            if receipts.suffice() {
                let rest = async move { timeout(AFTERWARDS, told.for_each(|_| async {})).await };
                tokio::spawn(rest.in_current_span());
                return Ok(());
            }
        }
        Err(DeleteError::TooFew { wanting: receipts.wanting() - open.shards(), reasons })
    }

    async fn tell(self, holder: Arc<Holder>, request: DeleteRequest) -> (MemberId, Result<Signed, Status>) {
        let ask = || {
            let (holder, request) = (Arc::clone(&holder), request.clone());
            async move { signed(&holder.call(ANSWER, holder.writes().delete(request)).await?.receipt) }
        };
        (holder.member(), repeat(self.fleet(), &holder, ask).await)
    }
}
