//! What the fleet knows of a blob (R10).

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, stream::FuturesUnordered};
use tokio::time::{Instant, sleep, sleep_until};
use tonic::Status;
use weft_proto::v1::{LookupReply, LookupRequest};
use weft_protocol::{Entry, EntryError, ShardSet, Tombstone};
use weft_redstuff::{BlobId, Hash, Metadata};

use super::GetError;
use crate::{Client, Current, Fleet, Holder};

/// For one member's answer.
const ANSWER: Duration = Duration::from_secs(2);
/// Between starting to ask one member and the next, while answers are wanting.
const HEDGE: Duration = Duration::from_millis(50);
/// Between askings when members are at another view than ours.
const PAUSE: Duration = Duration::from_millis(200);
const ATTEMPTS: u32 = 3;

/// A live entry.
#[derive(Debug, Clone)]
pub(crate) struct Live {
    pub(crate) metadata: Metadata,
    pub(crate) inline: Option<Bytes>,
}

impl Client {
    /// Looks a blob up. A delete that was answered is seen: members of 2f + 1 shards answer, so f + 1 of them had it,
    /// and one of those tells the truth (R13). Where fewer answer at all, what they know is all that there is to know.
    /// "Not found" takes members synced to the view before, with 2f + 1 shards (R10).
    pub(crate) async fn lookup(&self, id: BlobId) -> Result<Live, GetError> {
        let mut attempt = 1;
        loop {
            let current = self.fleet().current().await?;
            match Lookup::new(self.fleet(), &current, id).run().await {
                Err(GetError::Unavailable { .. }) if attempt < ATTEMPTS => {
                    attempt += 1;
                    sleep(PAUSE).await;
                    self.fleet().refresh().await?;
                }
                outcome => return outcome,
            }
        }
    }
}

struct Lookup<'a> {
    fleet: &'a Fleet,
    current: &'a Current,
    id: BlobId,
    /// Shards of members who answered anything.
    answered: ShardSet,
    /// Shards of members whose "unknown" counts.
    unknown: ShardSet,
    live: Option<Live>,
    failures: Vec<String>,
}

impl<'a> Lookup<'a> {
    fn new(fleet: &'a Fleet, current: &'a Current, id: BlobId) -> Self {
        let (answered, unknown) = (ShardSet::EMPTY, ShardSet::EMPTY);
        Self { fleet, current, id, answered, unknown, live: None, failures: Vec::new() }
    }

    async fn run(mut self) -> Result<Live, GetError> {
        let enough = 2 * self.current.view.code.fault_tolerance() + 1;
        let mut waiting = self.current.by_health(self.id.0[31]).into_iter();
        let (mut asked, mut asked_shards) = (FuturesUnordered::new(), 0);
        let mut hedge = Instant::now();
        loop {
            let wanted = asked_shards < enough || self.wants_everybody() || hedge.elapsed() >= HEDGE;
            if wanted && let Some(holder) = waiting.next() {
                asked_shards += holder.shards().len();
                hedge = Instant::now();
                asked.push(ask(holder, self.id));
                continue;
            }
            tokio::select! {
                biased;
                answer = asked.next() => match answer {
                    Some((holder, answer)) => self.take(&holder, answer)?,
                    None => return self.conclude(),
                },
                () = sleep_until(hedge + HEDGE), if waiting.len() > 0 => {}
            }
            let seen_deletes = self.answered.len() >= enough;
            if (self.live.is_some() && seen_deletes) || self.is_unknown() {
                return self.conclude();
            }
        }
    }

    /// Whether somebody failed or doesn't know the blob: then it may take more.
    fn wants_everybody(&self) -> bool {
        !self.failures.is_empty() || (self.live.is_none() && !self.answered.is_empty())
    }

    fn is_unknown(&self) -> bool {
        self.live.is_none() && self.unknown.len() > 2 * self.current.view.code.fault_tolerance()
    }

    fn conclude(self) -> Result<Live, GetError> {
        if self.is_unknown() {
            return Err(GetError::NotFound(self.id));
        }
        match self.live {
            Some(live) => Ok(live),
            None => Err(GetError::Unavailable { blob: self.id, reasons: self.failures }),
        }
    }

    fn take(&mut self, holder: &Holder, answer: Result<LookupReply, Status>) -> Result<(), GetError> {
        let member = holder.member();
        let LookupReply { entry, counts, view } = match answer {
            Ok(reply) => reply,
            Err(status) => {
                self.failures.push(format!("member {member}: {}", status.message()));
                return Ok(());
            }
        };
        if entry.is_empty() {
            self.answered = self.answered.union(holder.shards());
            if counts && view.as_ref() == self.current.hash.as_bytes() {
                self.unknown = self.unknown.union(holder.shards());
            } else {
                self.failures.push(format!("member {member}: its not knowing the blob doesn't count"));
            }
            return Ok(());
        }
        match self.check(&entry) {
            // Whatever the others say: a member that hasn't heard how late it is proves nothing (R15).
            Ok(Found::Live(live)) if self.fleet.has_expired(&live.metadata) => Err(GetError::NotFound(self.id)),
            Ok(Found::Live(live)) => {
                self.answered = self.answered.union(holder.shards());
                self.live.get_or_insert(live);
                Ok(())
            }
            Ok(Found::Deleted) => Err(GetError::Deleted(self.id)),
            Err(reason) => {
                tracing::warn!(%member, reason, blob = %self.id, "a member gives a bad entry");
                self.failures.push(format!("member {member}: {reason}"));
                Ok(())
            }
        }
    }

    fn check(&self, entry: &[u8]) -> Result<Found, String> {
        let entry = Entry::decode(entry).map_err(|error| error.to_string())?;
        if entry.blob() != self.id {
            return Err("the entry is another blob's".to_owned());
        }
        let named = entry.names().and_then(|hash| self.fleet.view(&hash));
        let check = entry.check(self.fleet.id(), |_: &Hash| named.as_deref(), |key| self.fleet.may_delete(key));
        match (check, entry) {
            // The ID proves the metadata, and they the content: a certificate of a view from before our time adds
            // nothing to that.
            (Ok(()) | Err(EntryError::UnknownView(_)), Entry::Live { metadata, inline, certificate: _ }) => {
                Ok(Found::Live(Live { metadata, inline: inline.map(Bytes::from) }))
            }
            (Ok(()), Entry::Deleted(Tombstone { .. })) => Ok(Found::Deleted),
            // Members tell each other of voids; to a reader they say that they don't know the blob.
            (Ok(()), Entry::Void(_)) => Err("the entry is a void".to_owned()),
            (Err(error), _) => Err(error.to_string()),
        }
    }
}

enum Found {
    Live(Live),
    Deleted,
}

async fn ask(holder: Arc<Holder>, id: BlobId) -> (Arc<Holder>, Result<LookupReply, Status>) {
    let request = LookupRequest { blob: Bytes::copy_from_slice(id.as_bytes()) };
    let answer = holder.call(ANSWER, holder.reads().lookup(request)).await;
    (holder, answer)
}
