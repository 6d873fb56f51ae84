//! What a put asks of one holder once the metadata are known: its ack, then its receipt (R8).

use std::{
    sync::{
        Arc, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::stream;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, timeout},
};
use tonic::{Code, Status};
use weft_proto::v1::{CertifyRequest, FinishRequest, UploadRequest};
use weft_protocol::{DecodeError, MemberId, Signed};

use super::{Carried, Prepared, encode::Stripe, upload::STANDSTILL};
use crate::{Client, Fleet, Holder, fleet::reached};

/// For a commit on the holder's disk, which may be busy.
const ANSWER: Duration = Duration::from_secs(10);
/// The slowest link that a holder may be behind, in bytes a second: many puts may share it.
const SLOWEST: f64 = 100e3;
/// How often a holder is sent its part of a small blob that it says it hasn't.
const CARRIES: usize = 4;
/// Between askings of a holder that is sealing, syncing, behind, or unreachable for a moment.
const PAUSE: Duration = Duration::from_millis(100);
/// How often an unreachable holder is asked.
const ATTEMPTS: u32 = 5;
/// How long after its first failure, where nobody hears of it.
const GONE: Duration = Duration::from_secs(3);

/// What a holder answered.
#[derive(Debug)]
pub(super) enum Event {
    Ack(Signed),
    NoAck(MemberId, Status),
    Receipt(Signed),
    NoReceipt(MemberId, Status),
}

/// One holder under one view.
pub(super) struct Chain {
    pub(super) client: Client,
    pub(super) holder: Arc<Holder>,
    /// Hash of the view that is asked for.
    pub(super) view: Bytes,
    /// Whether it was asked under a view before, so that it is likely to have what it needs.
    pub(super) again: bool,
    /// The encoded entry, once there is a certificate.
    pub(super) entry: watch::Receiver<Option<Bytes>>,
    pub(super) events: mpsc::UnboundedSender<Event>,
}

impl Chain {
    /// Asks for the ack, and for the receipt as soon as there is a certificate. A holder that lags may still finish
    /// its upload, so that it needn't rebuild, but not for ever. What was to be uploaded is let go as soon as it is acked or
    /// given up.
    pub(super) async fn run(mut self, prepared: Arc<Prepared>) {
        let member = self.holder.member();
        tokio::select! {
            biased;
            ack = self.ack(&prepared) => self.tell(ack.map_or_else(|status| Event::NoAck(member, status), Event::Ack)),
            () = self.given_up(&prepared) => if let Carried::Uploaded(uploaded) = &prepared.carried {
                uploaded.give_up(member);
            },
        }
        drop(prepared);
        let Ok(entry) = self.entry.wait_for(Option::is_some).await.map(|entry| entry.clone()) else { return };
        let receipt = self.certify(entry.unwrap_or_default()).await;
        self.tell(receipt.map_or_else(|status| Event::NoReceipt(member, status), Event::Receipt));
    }

    /// Waits until the holder isn't needed and isn't worth the memory of what it lacks: it stands still, has failed
    /// lately, or others want the memory.
    async fn given_up(&self, prepared: &Prepared) {
        let mut certified = self.entry.clone();
        // The sender is dropped when the put has failed: then nobody is needed either.
        let _ = certified.wait_for(Option::is_some).await;
        if !self.holder.is_suspect() {
            tokio::select! {
                biased;
                () = self.standstill(prepared) => {}
                () = self.client.write_memory.wanted() => {}
            }
        }
    }

    async fn standstill(&self, prepared: &Prepared) {
        match &prepared.carried {
            Carried::Uploaded(uploaded) => uploaded.standstill(self.holder.member()).await,
            Carried::Inline(_) | Carried::Whole(_) => sleep(STANDSTILL).await,
        }
    }

    fn tell(&self, event: Event) {
        // Nobody listens any more once the put is answered.
        let _ = self.events.send(event);
    }

    async fn ack(&self, prepared: &Prepared) -> Result<Signed, Status> {
        let stripe = match &prepared.carried {
            Carried::Inline(_) => return self.finish(prepared, None).await.0,
            Carried::Uploaded(uploaded) => {
                uploaded.complete(self.holder.member()).await?;
                return self.finish(prepared, None).await.0;
            }
            Carried::Whole(stripe) => stripe,
        };
        // Whoever has it, or says for now that it won't take it, needn't be sent it again.
        let mut carry = !self.again;
        for _ in 0..CARRIES {
            let (acked, carried) = self.finish(prepared, carry.then_some(stripe)).await;
            match acked {
                Err(status) if status.code() == Code::NotFound && carried => break,
                Err(status) if status.code() == Code::NotFound => carry = true,
                acked => return acked,
            }
        }
        // Members of before take stripes by stream alone.
        self.upload(prepared, stripe).await?;
        self.finish(prepared, None).await.0
    }

    /// Asks for the ack until it is given or refused for good; with the stripe the first time, where there is one. Whether the
    /// last time was with it.
    async fn finish(&self, prepared: &Prepared, stripe: Option<&Stripe>) -> (Result<Signed, Status>, bool) {
        let Prepared { metadata, encoded, begun, .. } = prepared;
        let inline = prepared.inline();
        let bare = FinishRequest {
            view: self.view.clone(),
            session: Bytes::copy_from_slice(&metadata.nonce),
            metadata: encoded.clone(),
            inline: inline.cloned().unwrap_or_default(),
            is_inline: inline.is_some(),
            begun: begun.clone(),
            stripe: None,
        };
        let part = stripe.map(|stripe| stripe.request(&[], &[], self.holder.shards()));
        let limit = ANSWER + transfer(part.as_ref());
        let (times, with) = (AtomicU32::new(0), part.is_some());
        let part = std::sync::Mutex::new(part);
        let ask = || {
            times.fetch_add(1, Ordering::Relaxed);
            let stripe = part.lock().unwrap_or_else(PoisonError::into_inner).take();
            let (holder, request) = (Arc::clone(&self.holder), FinishRequest { stripe, ..bare.clone() });
            async move { signed(&holder.call(limit, holder.writes().finish(request)).await?.ack) }
        };
        let acked = repeat(self.client.fleet(), &self.holder, ask).await;
        (acked, with && times.load(Ordering::Relaxed) == 1)
    }

    /// Uploads the only stripe by itself.
    async fn upload(&self, prepared: &Prepared, stripe: &Stripe) -> Result<(), Status> {
        let request = stripe.request(&prepared.metadata.nonce, &self.view, self.holder.shards());
        let limit = ANSWER + transfer(Some(&request));
        let mut writes = self.holder.writes();
        let upload = async move {
            let mut replies = writes.upload(stream::once(async { request })).await?.into_inner();
            replies.message().await?.ok_or_else(|| Status::aborted("the upload stream ended early"))
        };
        timeout(limit, upload).await.map_err(|_| Status::deadline_exceeded("the upload took too long"))?.map(drop)
    }

    async fn certify(&self, entry: Bytes) -> Result<Signed, Status> {
        let request = CertifyRequest { view: self.view.clone(), entry };
        let ask = || {
            let (holder, request) = (Arc::clone(&self.holder), request.clone());
            async move { signed(&holder.call(ANSWER, holder.writes().certify(request)).await?.receipt) }
        };
        repeat(self.client.fleet(), &self.holder, ask).await
    }
}

/// What a slow link may take for a part.
fn transfer(part: Option<&UploadRequest>) -> Duration {
    let bytes: usize = part.into_iter().flat_map(|part| &part.slivers).map(|sliver| sliver.data.len()).sum();
    Duration::from_secs_f64(bytes as f64 / SLOWEST)
}

/// Reads an ack or a receipt.
pub(crate) fn signed(bytes: &[u8]) -> Result<Signed, Status> {
    Signed::decode(bytes).map_err(|error: DecodeError| Status::internal(error.to_string()))
}

/// Asks again while the holder is at another view (R5) or not yet synced (R13), and a few times while it isn't reachable: fewer
/// where that takes long and nobody else hears of it. What is newer than the view asked for is learned on the way; whoever waits
/// for it then asks under it.
pub(crate) async fn repeat<T, F>(fleet: &Fleet, holder: &Holder, ask: impl Fn() -> F) -> Result<T, Status>
where
    F: Future<Output = Result<T, Status>>,
{
    let (mut attempt, mut failing) = (0, None);
    loop {
        let status = match ask().await {
            Ok(answer) => return Ok(answer),
            Err(status) => status,
        };
        if fleet.learn(&status).is_none() {
            attempt += 1;
            let since = *failing.get_or_insert_with(Instant::now);
            let is_gone = since.elapsed() >= GONE && !holder.answered_since(since);
            if reached(&status) || status.code() == Code::DeadlineExceeded || attempt == ATTEMPTS || is_gone {
                return Err(status);
            }
        }
        sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::atomic::{AtomicU32, Ordering},
    };

    use futures::future::BoxFuture;
    use tonic::transport::{Channel, Endpoint};
    use weft_protocol::{FleetId, ShardSet, SigningKey};

    use super::*;
    use crate::{ConnectError, Connector, FleetConfig, fleet::Health};

    #[derive(Debug)]
    struct Nobody;

    impl Connector for Nobody {
        fn channel(&self, _: &str) -> Result<Channel, ConnectError> {
            Ok(Endpoint::from_static("http://[::1]:1").connect_lazy())
        }

        fn resolve<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Vec<String>>> {
            Box::pin(async { Ok(Vec::new()) })
        }
    }

    /// How often a holder is asked whose every failure takes so long. `others`: what else is asked of it is answered.
    async fn asked(failure: Duration, others: bool) -> u32 {
        let trust = SigningKey::from_seed([1; 32]).public();
        let connector = Arc::new(Nobody);
        let fleet = Fleet::new(FleetConfig { fleet: FleetId([9; 16]), trust, seeds: Vec::new(), connector });
        let (health, channel) = (Arc::<Health>::default(), Nobody.channel("").unwrap());
        let holder = Holder::new((MemberId(3), 1), ShardSet::EMPTY, channel, Arc::clone(&health));
        let asked = AtomicU32::new(0);
        let (count, health) = (&asked, &health);
        let ask = || async move {
            count.fetch_add(1, Ordering::Relaxed);
            sleep(failure).await;
            if others {
                health.record(true);
            }
            Err::<(), _>(Status::unavailable("no route"))
        };
        repeat(&fleet, &holder, ask).await.unwrap_err();
        asked.into_inner()
    }

    #[tokio::test(start_paused = true)]
    async fn a_holder_that_is_gone_is_given_up_sooner_than_one_that_restarts() {
        assert_eq!(asked(Duration::from_millis(10), false).await, ATTEMPTS);
        assert_eq!(asked(Duration::from_secs(3), false).await, 2);
        assert_eq!(asked(Duration::from_secs(3), true).await, ATTEMPTS, "others hear of it");
    }
}
