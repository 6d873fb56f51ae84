//! One holder's upload stream.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};
use weft_proto::v1::UploadRequest;
use weft_redstuff::Hash;

use super::encode::Stripe;
use crate::{Holder, fleet::has_no_room};

/// A broken stream is opened again this often; what the holder hasn't confirmed is sent again.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(100);

/// How far each holder is.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress {
    /// Stripes that the holder said are durable.
    pub(super) durable: u32,
    /// Why the holder gets no more stripes, if so: it failed or fell behind.
    pub(super) dropped: Option<Status>,
}

/// All holders' progress, in the order of the view's holders.
pub(super) type Board = watch::Sender<Vec<Progress>>;

pub(super) struct Lane {
    pub(super) holder: Arc<Holder>,
    pub(super) place: usize,
    pub(super) session: [u8; 16],
    pub(super) view: Hash,
    pub(super) board: Arc<Board>,
}

/// Stripes that were taken from the queue and aren't confirmed.
type Pending = Mutex<VecDeque<Arc<Stripe>>>;

impl Lane {
    /// Sends what is queued until the queue is closed and all is confirmed, or the holder has failed for good.
    pub(super) async fn run(self, mut queue: mpsc::UnboundedReceiver<Arc<Stripe>>) {
        let pending = Pending::default();
        let mut last = Status::aborted("the upload stream ended early");
        for _ in 0..ATTEMPTS {
            match self.stream(&mut queue, &pending).await {
                Ok(()) if pending.lock().unwrap_or_else(PoisonError::into_inner).is_empty() => return,
                Ok(()) => {}
                Err(status) => {
                    tracing::debug!(member = %self.holder.member(), %status, "an upload stream broke");
                    last = status;
                    if has_no_room(&last) || last.code() == Code::PermissionDenied {
                        break;
                    }
                }
            }
            sleep(PAUSE).await;
        }
        self.board.send_modify(|board| board[self.place].dropped = Some(last));
    }

    async fn stream(&self, queue: &mut mpsc::UnboundedReceiver<Arc<Stripe>>, pending: &Pending) -> Result<(), Status> {
        // One message waits while another one is sent: the bound on memory is on stripes, above.
        let (requests, outgoing) = mpsc::channel(1);
        let feed = async {
            self.feed(queue, pending, requests).await;
            Ok(())
        };
        tokio::try_join!(feed, self.confirm(pending, outgoing)).map(|_| ())
    }

    async fn feed(
        &self,
        queue: &mut mpsc::UnboundedReceiver<Arc<Stripe>>,
        pending: &Pending,
        requests: mpsc::Sender<UploadRequest>,
    ) {
        let again: Vec<_> = pending.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect();
        for stripe in again {
            if requests.send(self.request(&stripe)).await.is_err() {
                return;
            }
        }
        while let Some(stripe) = queue.recv().await {
            let request = self.request(&stripe);
            pending.lock().unwrap_or_else(PoisonError::into_inner).push_back(stripe);
            if requests.send(request).await.is_err() {
                return;
            }
        }
    }

    async fn confirm(&self, pending: &Pending, outgoing: mpsc::Receiver<UploadRequest>) -> Result<(), Status> {
        let mut replies = self.holder.writes().upload(ReceiverStream::new(outgoing)).await?.into_inner();
        while let Some(reply) = replies.message().await? {
            let mut pending = pending.lock().unwrap_or_else(PoisonError::into_inner);
            let before = pending.len();
            pending.retain(|stripe| stripe.index != reply.stripe);
            let confirmed = (before - pending.len()) as u32;
            drop(pending);
            self.board.send_modify(|board| board[self.place].durable += confirmed);
        }
        Ok(())
    }

    fn request(&self, stripe: &Stripe) -> UploadRequest {
        stripe.request(&self.session, self.view.as_bytes(), self.holder.shards())
    }
}
