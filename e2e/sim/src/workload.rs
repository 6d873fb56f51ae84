//! Clients: the real one, as gateways have it, putting, reading and deleting blobs.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use tokio::time::sleep;
use weft_client::{ByteRange, Client, DeleteError, Fleet, FleetConfig, GetError, PutRequest};
use weft_redstuff::{BlobId, Code, Hash, Labels, Layout, Metadata, inline_root};

use super::{
    Bug,
    dice::Dice,
    env::unix,
    ledger::{Books, Fate, Got},
    net::SimConnector,
    oracle,
    stage::{FLEET, Shared},
    trace::elapsed,
};

/// Between looks for a newer view, as gateways do.
const TRACK: Duration = Duration::from_secs(2);

/// Blobs that all clients together put.
const MOST_BLOBS: usize = 40;

/// What clients do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing: there is no fleet yet, or it is coming to rest.
    Idle,
    Busy,
    /// One of them reads everything.
    Verify,
    Verified,
    /// One of them deletes what can't be had back.
    GiveUp,
}

pub(super) struct Worker {
    pub(super) stage: Shared,
    pub(super) books: Books,
    pub(super) phase: std::rc::Rc<std::cell::Cell<Phase>>,
    pub(super) name: &'static str,
}

impl Worker {
    /// Works for as long as the simulation lasts.
    pub(super) async fn run(self) -> turmoil::Result {
        let (client, mut dice) = self.client();
        let fleet = client.fleet().clone();
        tokio::task::spawn_local(async move { fleet.track(TRACK).await });
        loop {
            sleep(Duration::from_millis(100 + dice.below(1500))).await;
            match self.phase.get() {
                Phase::Busy => self.work(&client, &mut dice).await,
                Phase::Verify if self.name == "client-0" => self.verify(&client).await,
                Phase::GiveUp if self.name == "client-0" => self.give_up(&client).await,
                Phase::Idle | Phase::Verify | Phase::Verified | Phase::GiveUp => {}
            }
        }
    }

    fn client(&self) -> (Client, Dice) {
        let stage = self.stage.borrow();
        let uri = format!("weft://{FLEET}/gateway");
        let connector = SimConnector::new(uri, stage.trace.clone(), stage.endpoints.clone());
        let config = FleetConfig {
            fleet: FLEET,
            trust: stage.key.public(),
            seeds: vec!["members".to_owned()],
            connector: Arc::new(connector),
        };
        (Client::new(Fleet::new(config)), Dice::new(stage.seed, self.name))
    }

    async fn work(&self, client: &Client, dice: &mut Dice) {
        let ids = self.books.borrow().ids();
        match (dice.below(10), dice.pick(&ids).copied()) {
            (0..=3, _) | (_, None) if ids.len() < MOST_BLOBS => self.put(client, dice).await,
            (9, Some(id)) if dice.one_in(2) => self.delete(client, id).await,
            (_, Some(id)) => self.get(client, id, dice.next()).await,
            (_, None) => {}
        }
    }

    async fn put(&self, client: &Client, dice: &mut Dice) {
        let code = self.stage.borrow().committee.code;
        let length = length(code, dice);
        let mut content = vec![0; length];
        dice.fill(&mut content);
        let (content, mut nonce) = (Bytes::from(content), [0; 16]);
        dice.fill(&mut nonce);
        let expiry = dice.one_in(3).then(|| unix(elapsed()) + 10 + dice.below(200));
        // A put that failed is tried again with its nonce, and is the same blob (R16).
        for attempt in 0..=dice.below(3) {
            let request = PutRequest { nonce, labels: Labels::default(), expiry };
            let pieces: Vec<io::Result<Bytes>> = vec![Ok(content.clone())];
            let put = client.put(request, stream::iter(pieces)).await;
            let stored = match &put {
                Ok(stored) => Ok(stored.id),
                Err(error) => match planted(&self.stage, code, &content, nonce, expiry) {
                    Some(id) => Ok(id),
                    None => Err(weft_node::run::chain(error)),
                },
            };
            match stored {
                Ok(id) => {
                    self.tell("put", format_args!("{length} bytes are {id}, attempt {attempt}, until {expiry:?}"));
                    if expiry.is_some() {
                        self.tell("expiring", format_args!("{id}"));
                    }
                    self.books.borrow_mut().stored(id, content, elapsed(), expiry);
                    return;
                }
                Err(error) => self.tell("put", format_args!("{length} bytes: {error}")),
            }
        }
    }

    async fn get(&self, client: &Client, id: BlobId, chance: u64) {
        let Some(before) = self.books.borrow().get(&id).cloned() else { return };
        let length = before.content.len() as u64;
        let range = (chance.is_multiple_of(4) && length > 0).then(|| chance % length);
        let mut got = read(client, id, range).await;
        if let (Some(Bug::ShortRead), Got::Bytes(bytes)) = (self.stage.borrow().bug, &mut got) {
            bytes.truncate(bytes.len() / 2);
        }
        let outcome = match &got {
            Got::Bytes(bytes) => format!("{} bytes", bytes.len()),
            Got::Gone => "gone".to_owned(),
            Got::Refused => "refused".to_owned(),
        };
        self.tell("get", format_args!("{id}: {outcome}"));
        let whole = match (got, range) {
            // A part is right when the whole is that has it in its place.
            (Got::Bytes(part), Some(from)) => Got::Bytes([&before.content[..from as usize], &part[..]].concat().into()),
            (got, _) => got,
        };
        self.judge(&id, before.fate, &whole);
    }

    async fn delete(&self, client: &Client, id: BlobId) {
        let (key, before) = (self.stage.borrow().deletes.clone(), self.books.borrow().get(&id).map(|a| a.fate));
        if before == Some(Fate::Stored) {
            self.books.borrow_mut().set(&id, Fate::Deleting);
        }
        let planted = self.stage.borrow().bug == Some(Bug::EarlyDelete);
        let deleted = if planted { Ok(()) } else { client.delete(id, &key).await };
        match deleted {
            Ok(()) => {
                self.tell("delete", format_args!("{id}: deleted"));
                self.books.borrow_mut().set(&id, Fate::Deleted);
            }
            Err(error) => {
                self.tell("delete", format_args!("{id}: {}", weft_node::run::chain(&error)));
                if matches!(error, DeleteError::Lookup(GetError::NotFound(_))) && before == Some(Fate::Stored) {
                    self.judge(&id, Fate::Stored, &Got::Gone);
                }
            }
        }
    }

    /// Deletes what too little is left of (R20).
    async fn give_up(&self, client: &Client) {
        let lost: Vec<BlobId> = self.books.borrow().lost(unix(elapsed())).map(|(id, _)| *id).collect();
        for id in lost {
            self.delete(client, id).await;
        }
    }

    /// Everything must be readable now but what is lost, and what was deleted gone.
    async fn verify(&self, client: &Client) {
        let ids = self.books.borrow().ids();
        for id in ids {
            let Some(before) = self.books.borrow().get(&id).cloned() else { continue };
            let got = read(client, id, None).await;
            if matches!(got, Got::Refused) && before.lost.is_none() && !before.has_expired(unix(elapsed())) {
                self.stage.borrow_mut().violation(format!("blob {id} can't be read from a fleet at rest"));
            }
            self.judge(&id, before.fate, &got);
        }
        self.phase.set(Phase::Verified);
    }

    fn judge(&self, id: &BlobId, before: Fate, got: &Got) {
        let wrong = self.books.borrow().judge(id, before, got, unix(elapsed()));
        if let Some(wrong) = wrong {
            let stage = &mut *self.stage.borrow_mut();
            let known = oracle::known(stage, id);
            stage.violation(format!("{wrong}\n{known}"));
        }
    }

    fn tell(&self, kind: &'static str, what: std::fmt::Arguments<'_>) {
        self.stage.borrow().trace.event(elapsed(), kind, format_args!("{} {what}", self.name));
    }
}

/// Reads a blob, or its rest from an offset.
async fn read(client: &Client, id: BlobId, from: Option<u64>) -> Got {
    match client.get(id, from.map(|from| ByteRange::From(from, None))).await {
        Ok(found) => match found.bytes.boxed().try_collect::<Vec<Bytes>>().await {
            Ok(pieces) => Got::Bytes(pieces.concat().into()),
            Err(_) => Got::Refused,
        },
        Err(GetError::NotFound(_) | GetError::Deleted(_)) => Got::Gone,
        Err(_) => Got::Refused,
    }
}

/// Blobs of all kinds: empty, inline, of one stripe, and where stripes are small, of several.
fn length(code: Code, dice: &mut Dice) -> usize {
    let inline = Layout::max_inline_length(code);
    let stripe = code.stripe_capacity(Layout::full_symbol_size(code));
    let length = match dice.below(20) {
        0 => 0,
        1..=8 => 1 + dice.below(inline),
        9..=15 => inline + 1 + dice.below(5_000),
        16 if stripe < 2_000_000 => stripe + dice.below(stripe),
        _ => 20_000 + dice.below(60_000),
    };
    length as usize
}

/// What the planted client takes for stored though its put failed. Of an inline blob the name follows from the content.
fn planted(stage: &Shared, code: Code, content: &Bytes, nonce: [u8; 16], expiry: Option<u64>) -> Option<BlobId> {
    let layout = Layout::for_length(code, content.len() as u64).ok()?;
    if stage.borrow().bug != Some(Bug::EarlyAnswer) || !layout.is_inline() {
        return None;
    }
    let (root, digest) = (inline_root(content), Hash::of(content));
    let metadata = Metadata { root, layout, labels: Labels::default(), expiry, digest, nonce };
    Some(Metadata::id_of(&metadata.encode()))
}
