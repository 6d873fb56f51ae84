//! From durable slivers to an answer: acks, the certificate, receipts; renewed when the view changes (R8).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};
use tonic::{Code, Status};
use tracing::Instrument;
use weft_protocol::{Acks, Certificate, Entry, MemberId, Receipts, Subject};

use super::{
    Prepared, PutError, Stored,
    chain::{Chain, Event},
};
use crate::{Client, Current, GetError, Holder, fleet::has_no_room, get::Want};

/// For acks and receipts, view changes included.
const SETTLE: Duration = Duration::from_secs(60);
/// How long laggards are fed after the answer.
const AFTERWARDS: Duration = Duration::from_secs(30);

/// Gathers acks and receipts of one view; begins again under each newer one.
pub(super) async fn settle(client: &Client, prepared: Prepared) -> Result<Stored, PutError> {
    let (fleet, prepared) = (client.fleet(), Arc::new(prepared));
    let deadline = Instant::now() + SETTLE;
    let mut again = false;
    loop {
        let current = fleet.current().await?;
        tokio::select! {
            biased;
            outcome = Round::start(client, &current, &prepared, again).run() => return outcome,
            () = fleet.changed_from(current.hash) => tracing::info!("the view changed under a put"),
            () = sleep_until(deadline) => return Err(PutError::Late { after: SETTLE }),
        }
        again = true;
    }
}

/// The chains of all holders of one view.
struct Round {
    client: Client,
    current: Arc<Current>,
    prepared: Arc<Prepared>,
    chains: JoinSet<()>,
    events: mpsc::UnboundedReceiver<Event>,
    entry: watch::Sender<Option<Bytes>>,
    failures: Vec<(MemberId, Status)>,
}

impl Round {
    fn start(client: &Client, current: &Arc<Current>, prepared: &Arc<Prepared>, again: bool) -> Self {
        let (tell, events) = mpsc::unbounded_channel();
        let (entry, known) = watch::channel(None);
        let mut chains = JoinSet::new();
        for holder in &current.holders {
            let chain = Chain {
                client: client.clone(),
                holder: Arc::clone(holder),
                view: Bytes::copy_from_slice(current.hash.as_bytes()),
                again,
                entry: known.clone(),
                events: tell.clone(),
            };
            chains.spawn(chain.run(Arc::clone(prepared)).in_current_span());
        }
        let (current, prepared) = (Arc::clone(current), Arc::clone(prepared));
        Self { client: client.clone(), current, prepared, chains, events, entry, failures: Vec::new() }
    }

    async fn run(mut self) -> Result<Stored, PutError> {
        let certificate = self.acks().await?;
        let blob = self.prepared.id;
        let entry = Entry::Live {
            metadata: self.prepared.metadata.clone(),
            inline: self.prepared.inline().map(|content| content.to_vec()),
            certificate,
        };
        self.entry.send_replace(Some(entry.encode().into()));
        self.receipts().await?;
        let stored = Stored { id: blob, metadata: self.prepared.metadata.clone(), view: self.current.view.id() };
        let mut chains = self.chains;
        tokio::spawn(async move { timeout(AFTERWARDS, async { while chains.join_next().await.is_some() {} }).await });
        Ok(stored)
    }

    /// The certificate, of acks of n − f shards; a refusal as soon as so many can't come together any more, whoever still hangs
    /// or seals.
    async fn acks(&mut self) -> Result<Certificate, PutError> {
        let current = Arc::clone(&self.current);
        let (mut acks, mut open) = (Acks::new(&current.view, self.prepared.id), Open::of(&current));
        while acks.wanting() > 0 && open.shards() >= acks.wanting() {
            match self.events.recv().await {
                Some(Event::Ack(ack)) => {
                    let member = ack.header.member;
                    open.close(member);
                    if let Err(error) = acks.add(ack) {
                        self.failures.push((member, Status::internal(error.to_string())));
                    }
                }
                Some(Event::NoAck(member, status)) => {
                    open.close(member);
                    self.failures.push((member, status));
                }
                Some(Event::Receipt(_) | Event::NoReceipt(..)) => {}
                None => break,
            }
        }
        match acks.wanting() {
            0 => Ok(acks.certificate()?),
            wanting => Err(self.too_few("acked", wanting, &open).await),
        }
    }

    /// Receipts of n − f shards.
    async fn receipts(&mut self) -> Result<(), PutError> {
        let current = Arc::clone(&self.current);
        let mut receipts = Receipts::new(&current.view, Subject::Certificate(self.prepared.id));
        let mut open = Open::of(&current);
        while !receipts.suffice() && open.shards() >= receipts.wanting() {
            match self.events.recv().await {
                Some(Event::Receipt(receipt)) => {
                    open.close(receipt.header.member);
                    if let Err(error) = receipts.add(&receipt) {
                        self.failures.push((receipt.header.member, Status::internal(error.to_string())));
                    }
                }
                Some(Event::NoReceipt(member, status)) => {
                    open.close(member);
                    self.failures.push((member, status));
                }
                // Late: the certificate needs them no more.
                Some(Event::Ack(_) | Event::NoAck(..)) => {}
                None => break,
            }
        }
        if receipts.suffice() { Ok(()) } else { Err(self.too_few("receipted", receipts.wanting(), &open).await) }
    }

    /// `open` are those who still might.
    async fn too_few(&mut self, did: &'static str, wanting: u16, open: &Open<'_>) -> PutError {
        let failures = std::mem::take(&mut self.failures);
        // One member's word for it may be a lie.
        let told_deleted = failures.iter().any(|(_, status)| status.code() == Code::AlreadyExists);
        let blob = self.prepared.id;
        if told_deleted && matches!(self.client.lookup(blob, Want::Entry).await, Err(GetError::Deleted(_))) {
            return PutError::Deleted(blob);
        }
        if let Some(expiry) = self.prepared.metadata.expiry
            && let Some(time) = failures.iter().find_map(|(_, status)| self.client.fleet().expired(status, expiry))
        {
            return PutError::Expired { expiry, time };
        }
        let no_room = failures.iter().any(|(_, status)| has_no_room(status));
        let reasons =
            failures.iter().map(|(member, status)| format!("member {member}: {}", status.message())).collect();
        let quorum = self.current.view.quorum();
        let answered = quorum - wanting + open.shards();
        if no_room { PutError::NoRoom { reasons } } else { PutError::TooFew { did, answered, quorum, reasons } }
    }
}

/// Holders that have yet to answer.
#[derive(Debug)]
pub(crate) struct Open<'c>(BTreeMap<MemberId, &'c Holder>);

impl<'c> Open<'c> {
    pub(crate) fn of(current: &'c Current) -> Self {
        Self(current.holders.iter().map(|holder| (holder.member(), &**holder)).collect())
    }

    pub(crate) fn close(&mut self, member: MemberId) {
        self.0.remove(&member);
    }

    pub(crate) fn shards(&self) -> u16 {
        self.0.values().map(|holder| holder.shards().len()).sum()
    }
}
