//! What a put asks of one holder once the metadata are known: its ack, then its receipt (R8).

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::stream;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, timeout},
};
use tonic::{Code, Status};
use weft_proto::v1::{CertifyRequest, FinishRequest};
use weft_protocol::{DecodeError, MemberId, Signed};

use super::{Carried, Prepared, encode::Stripe, upload::STANDSTILL};
use crate::{Client, Fleet, Holder, fleet::reached};

/// For a commit on the holder's disk, which may be busy.
const ANSWER: Duration = Duration::from_secs(10);
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
    pub(super) prepared: Arc<Prepared>,
    pub(super) holder: Arc<Holder>,
    /// Hash of the view that is asked for.
    pub(super) view: Bytes,
    /// The encoded entry, once there is a certificate.
    pub(super) entry: watch::Receiver<Option<Bytes>>,
    pub(super) events: mpsc::UnboundedSender<Event>,
}

impl Chain {
    /// Asks for the ack, and for the receipt as soon as there is a certificate. A holder that lags may still finish
    /// its upload, so that it needn't rebuild, but not for ever.
    pub(super) async fn run(mut self) {
        let member = self.holder.member();
        tokio::select! {
            biased;
            ack = self.ack() => self.tell(ack.map_or_else(|status| Event::NoAck(member, status), Event::Ack)),
            () = self.given_up() => if let Carried::Uploaded(uploaded) = &self.prepared.carried {
                uploaded.give_up(member);
            },
        }
        let Ok(entry) = self.entry.wait_for(Option::is_some).await.map(|entry| entry.clone()) else { return };
        let receipt = self.certify(entry.unwrap_or_default()).await;
        self.tell(receipt.map_or_else(|status| Event::NoReceipt(member, status), Event::Receipt));
    }

    /// Waits until the holder isn't needed and isn't worth the memory of what it lacks: it stands still, has failed
    /// lately, or others want the memory.
    async fn given_up(&self) {
        let mut certified = self.entry.clone();
        // The sender is dropped when the put has failed: then nobody is needed either.
        let _ = certified.wait_for(Option::is_some).await;
        if !self.holder.is_suspect() {
            tokio::select! {
                biased;
                () = self.standstill() => {}
                () = self.client.write_memory.wanted() => {}
            }
        }
    }

    async fn standstill(&self) {
        match &self.prepared.carried {
            Carried::Uploaded(uploaded) => uploaded.standstill(self.holder.member()).await,
            Carried::Inline(_) | Carried::Whole(_) => sleep(STANDSTILL).await,
        }
    }

    fn tell(&self, event: Event) {
        // Nobody listens any more once the put is answered.
        let _ = self.events.send(event);
    }

    async fn ack(&self) -> Result<Signed, Status> {
        if let Carried::Uploaded(uploaded) = &self.prepared.carried {
            uploaded.complete(self.holder.member()).await?;
        }
        let acked = self.finish().await;
        match (&self.prepared.carried, acked) {
            // Members of before take stripes by stream alone.
            (Carried::Whole(stripe), Err(status)) if status.code() == Code::NotFound => {
                self.upload(stripe).await?;
                self.finish().await
            }
            (_, acked) => acked,
        }
    }

    async fn finish(&self) -> Result<Signed, Status> {
        let Prepared { metadata, encoded, carried, begun, id: _ } = &*self.prepared;
        let inline = self.prepared.inline();
        let stripe = match carried {
            Carried::Whole(stripe) => Some(stripe.request(&[], &[], self.holder.shards())),
            Carried::Inline(_) | Carried::Uploaded(_) => None,
        };
        let request = FinishRequest {
            view: self.view.clone(),
            session: Bytes::copy_from_slice(&metadata.nonce),
            metadata: encoded.clone(),
            inline: inline.cloned().unwrap_or_default(),
            is_inline: inline.is_some(),
            begun: begun.clone(),
            stripe,
        };
        let ask = || {
            let (holder, request) = (Arc::clone(&self.holder), request.clone());
            async move { signed(&holder.call(ANSWER, holder.writes().finish(request)).await?.ack) }
        };
        repeat(self.client.fleet(), &self.holder, ask).await
    }

    /// Uploads the only stripe by itself.
    async fn upload(&self, stripe: &Stripe) -> Result<(), Status> {
        let request = stripe.request(&self.prepared.metadata.nonce, &self.view, self.holder.shards());
        let mut writes = self.holder.writes();
        let upload = async move {
            let mut replies = writes.upload(stream::once(async { request })).await?.into_inner();
            replies.message().await?.ok_or_else(|| Status::aborted("the upload stream ended early"))
        };
        timeout(ANSWER, upload).await.map_err(|_| Status::deadline_exceeded("the upload took too long"))?.map(drop)
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
