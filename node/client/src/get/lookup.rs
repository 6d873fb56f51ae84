//! What the fleet knows of a blob (R10).

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, stream::FuturesUnordered};
use tokio::time::{Instant, sleep, sleep_until};
use tonic::Status;
use weft_proto::v1::{LiveBlob, LookupReply, LookupRequest, Sliver, SourceRows};
use weft_protocol::{Entry, ShardSet, Summary, check_content};
use weft_redstuff::{Axis, BlobId, Metadata};

use super::{GetError, is_small};
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
    /// Of a small blob, what came with its entry where that was wanted; not checked yet.
    pub(crate) rows: Vec<SourceRows>,
    /// Members with more than f shards have proven that its writer lied: one of them is honest (R19).
    pub(crate) invalid: bool,
}

/// Whether the content is wanted with the entry of a small blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    Entry,
    Content,
}

impl Client {
    /// Looks a blob up. A delete that was answered is seen: synced members of 2f + 1 shards answer, so f + 1 of them had
    /// it, and one of those tells the truth (R13). While a view is being sealed they may be fewer for a moment. Where
    /// fewer answer at all, f + 1 shards' members do, for one of those had it if nobody lies, or they give slivers.
    /// "Not found" takes members synced to the view before, with 2f + 1 shards (R10), whatever the others say: a liar or a
    /// newcomer may have the entry of a blob whose tombstone has been collected (R14).
    pub(crate) async fn lookup(&self, id: BlobId, want: Want) -> Result<Live, GetError> {
        let mut attempt = 1;
        loop {
            let current = self.fleet().current().await?;
            let outcome = Lookup::new(self.fleet(), &current, id, want, attempt == ATTEMPTS).run().await;
            let settled = match &outcome {
                Ok(found) => !found.changing,
                Err(error) => !matches!(error, GetError::Unavailable { .. }),
            };
            if settled || attempt == ATTEMPTS {
                return outcome.map(|found| found.live);
            }
            attempt += 1;
            sleep(PAUSE).await;
            self.fleet().refresh().await?;
        }
    }
}

struct Known {
    live: Live,
    /// Enough members answer, but too few are synced and of our view to have seen each delete.
    changing: bool,
}

struct Lookup<'a> {
    fleet: &'a Fleet,
    current: &'a Current,
    id: BlobId,
    want: Want,
    /// Whether it is the last attempt, for which every answer counts.
    last: bool,
    /// Shards of members who answered anything.
    answered: ShardSet,
    /// Of those among them that are synced and of our view: shards of those who know the blob, and of those who don't.
    known: ShardSet,
    unknown: ShardSet,
    /// Shards of those who say that the blob's writer lied.
    invalid: ShardSet,
    live: Option<Live>,
    /// Holders of source rows that were asked and haven't answered.
    awaited: usize,
    rows: Vec<SourceRows>,
    failures: Vec<String>,
}

impl<'a> Lookup<'a> {
    fn new(fleet: &'a Fleet, current: &'a Current, id: BlobId, want: Want, last: bool) -> Self {
        let none = ShardSet::EMPTY;
        let (answered, known, unknown, invalid) = (none, none, none, none);
        let (awaited, rows, failures) = (0, Vec::new(), Vec::new());
        Self { fleet, current, id, want, last, answered, known, unknown, invalid, live: None, awaited, rows, failures }
    }

    /// Whom to ask, the first first. Where content is wanted, holders of source rows come before the others, but for those
    /// that failed lately.
    fn order(&self) -> VecDeque<Arc<Holder>> {
        let mut holders = self.current.by_health(self.id.0[31]);
        let sound = holders.iter().take_while(|holder| !holder.is_suspect()).count();
        holders[..sound].sort_by_key(|holder| !self.brings_rows(holder));
        holders.into()
    }

    /// Whether it should have source rows, where they are wanted.
    fn brings_rows(&self, holder: &Holder) -> bool {
        let code = self.current.view.code;
        let mut rows = (0..code.source_rows()).map(|row| code.shard_of(Axis::Primary, row) as u8);
        self.want == Want::Content && rows.any(|shard| holder.shards().contains(shard))
    }

    async fn run(mut self) -> Result<Known, GetError> {
        let enough = self.enough();
        let mut waiting = self.order();
        let (mut asked, mut asked_shards) = (FuturesUnordered::new(), 0);
        let (mut hedge, mut concluded) = (Instant::now(), None);
        loop {
            let rows = waiting.front().is_some_and(|next| self.brings_rows(next) && !next.is_suspect());
            let wanted =
                asked.is_empty() || asked_shards < enough || rows || self.wants_everybody() || hedge.elapsed() >= HEDGE;
            if wanted
                && concluded.is_none()
                && let Some(holder) = waiting.pop_front()
            {
                asked_shards += holder.shards().len();
                self.awaited += usize::from(self.brings_rows(&holder));
                hedge = Instant::now();
                asked.push(ask(holder, self.id, self.want));
                continue;
            }
            tokio::select! {
                biased;
                answer = asked.next() => match answer {
                    Some((holder, answer)) => self.take(&holder, answer)?,
                    None => return self.conclude(),
                },
                () = sleep_until(hedge + HEDGE), if !waiting.is_empty() && concluded.is_none() => {}
                () = sleep_until(concluded.unwrap_or(hedge) + HEDGE), if concluded.is_some() => return self.conclude(),
            }
            if self.is_certain() || (self.live.is_some() && self.is_changing() && !self.last) {
                // The rest of the rows is on its way: asking for it again would take longer. And where some say that the blob is
                // invalid, all readers are to hear the same.
                if !self.awaits_rows() && !self.is_disputed() {
                    return self.conclude();
                }
                concluded.get_or_insert_with(Instant::now);
            }
        }
    }

    /// Whether source rows of the blob are still to come.
    fn awaits_rows(&self) -> bool {
        self.awaited > 0 && self.live.as_ref().is_some_and(|live| is_small(&live.metadata))
    }

    /// Keeps what a member gives of a small blob, as far as it may be source rows: of others nothing was to come.
    fn keep(&mut self, mut rows: SourceRows) {
        let Some(live) = self.live.as_ref().filter(|live| is_small(&live.metadata)) else { return };
        let (code, stripes) = (live.metadata.code(), live.metadata.layout.iter());
        let length = stripes.map(|stripe| stripe.sliver_length(Axis::Primary)).sum::<usize>();
        let may_be = |sliver: &Sliver| {
            sliver.axis == Axis::Primary as u32
                && sliver.index < u32::from(code.source_rows())
                && sliver.data.len() == length
        };
        rows.slivers.retain(may_be);
        rows.slivers.truncate(code.source_rows().into());
        self.rows.push(rows);
    }

    /// Shards of which any n - f have f + 1 in common with.
    fn enough(&self) -> u16 {
        2 * self.current.view.code.fault_tolerance() + 1
    }

    /// How many shards' members have answered that are synced and of our view.
    fn counted(&self) -> u16 {
        self.known.union(self.unknown).len()
    }

    fn has_seen_deletes(&self) -> bool {
        self.counted() >= self.enough()
    }

    /// Whether enough have answered, and whoever is still to answer can't make enough of those that count.
    fn is_changing(&self) -> bool {
        let waiting = self.current.view.code.shards() - self.answered.len();
        self.answered.len() >= self.enough() && self.counted() + waiting < self.enough()
    }

    /// Whether somebody failed, doesn't know the blob, or doesn't count: then it may take more.
    fn wants_everybody(&self) -> bool {
        !self.failures.is_empty()
            || (self.live.is_none() && !self.answered.is_empty())
            || self.answered.len() > self.counted()
            || self.is_disputed()
    }

    /// Whether some say that the blob is invalid, and too few to be believed.
    fn is_disputed(&self) -> bool {
        !self.invalid.is_empty() && self.invalid.len() <= self.current.view.code.fault_tolerance()
    }

    /// Whether no further answer matters: one of those who know it tells the truth, and no delete has been missed.
    fn is_certain(&self) -> bool {
        let honest = self.known.len() > self.current.view.code.fault_tolerance();
        (honest && self.has_seen_deletes()) || self.is_unknown()
    }

    fn is_unknown(&self) -> bool {
        self.unknown.len() >= self.enough()
    }

    fn conclude(mut self) -> Result<Known, GetError> {
        if self.is_unknown() {
            return Err(GetError::NotFound(self.id));
        }
        let (answered, least) = (self.answered.len(), self.current.view.code.fault_tolerance() + 1);
        let changing = answered >= self.enough() && !self.has_seen_deletes();
        if let Some(mut live) = self.live.take() {
            live.rows = std::mem::take(&mut self.rows);
            live.invalid = self.invalid.len() >= least;
            // Of a coded blob so many have to give slivers, and nobody does that knows of its delete.
            if answered >= least || live.inline.is_none() {
                return Ok(Known { live, changing });
            }
            let few = format!("members of {answered} shards answer, and it may have been deleted: that takes {least}");
            self.failures.push(few);
        }
        Err(GetError::Unavailable { blob: self.id, reasons: self.failures })
    }

    fn take(&mut self, holder: &Holder, answer: Result<LookupReply, Status>) -> Result<(), GetError> {
        let member = holder.member();
        self.awaited -= usize::from(self.brings_rows(holder));
        let LookupReply { entry, counts, view, rows, invalid, live } = match answer {
            Ok(reply) => reply,
            Err(status) => {
                self.failures.push(format!("member {member}: {}", status.message()));
                return Ok(());
            }
        };
        let counts = counts && view.as_ref() == self.current.hash.as_bytes();
        if entry.is_empty() && live.is_none() {
            self.answered = self.answered.union(holder.shards());
            if counts {
                self.unknown = self.unknown.union(holder.shards());
            } else {
                self.failures.push(format!("member {member}: its not knowing the blob doesn't count"));
            }
            return Ok(());
        }
        match live.map_or_else(|| self.check(&entry), |live| self.check_live(live)) {
            // Whatever the others say: a member that hasn't heard how late it is proves nothing (R15).
            Ok(Found::Live(live)) if self.fleet.has_expired(&live.metadata) => Err(GetError::NotFound(self.id)),
            Ok(Found::Live(live)) => {
                self.answered = self.answered.union(holder.shards());
                if invalid {
                    self.invalid = self.invalid.union(holder.shards());
                }
                if counts {
                    self.known = self.known.union(holder.shards());
                }
                self.live.get_or_insert(*live);
                if let Some(rows) = rows {
                    self.keep(rows);
                }
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

    /// The ID proves the metadata, and they the content. A certificate adds nothing to that: who lies names a view that nobody
    /// here knows. That a blob was acknowledged is told by more than f shards' members who know it.
    fn check_live(&self, LiveBlob { metadata, inline }: LiveBlob) -> Result<Found, String> {
        let metadata = Metadata::decode(&metadata).map_err(|error| error.to_string())?;
        if metadata.id() != self.id {
            return Err(OTHER.to_owned());
        }
        check_content(&metadata, inline.as_deref()).map_err(|error| error.to_string())?;
        // Copied: a slice would keep the whole reply for as long as a client takes to read, and a liar's may be long.
        let inline = inline.map(|content| Bytes::copy_from_slice(&content));
        Ok(Found::Live(Box::new(Live { metadata, inline, rows: Vec::new(), invalid: false })))
    }

    /// An entry, of a member of before if it is live.
    fn check(&self, entry: &Bytes) -> Result<Found, String> {
        match Summary::of(entry).map_err(|error| error.to_string())? {
            Summary::Live { metadata, inline } => {
                let inline = inline.map(|content| entry.slice_ref(content));
                self.check_live(LiveBlob { metadata: entry.slice_ref(metadata), inline })
            }
            Summary::Deleted => {
                let entry = Entry::decode(entry).map_err(|error| error.to_string())?;
                if entry.blob() != self.id {
                    return Err(OTHER.to_owned());
                }
                let checked = entry.check(self.fleet.id(), |_| None, |key| self.fleet.may_delete(key));
                checked.map(|()| Found::Deleted).map_err(|error| error.to_string())
            }
            // Members tell each other of voids; to a reader they say that they don't know the blob.
            Summary::Void => Err("the entry is a void".to_owned()),
        }
    }
}

enum Found {
    Live(Box<Live>),
    Deleted,
}

/// Why an entry isn't taken.
const OTHER: &str = "the entry is another blob's";

async fn ask(holder: Arc<Holder>, id: BlobId, want: Want) -> (Arc<Holder>, Result<LookupReply, Status>) {
    let request =
        LookupRequest { blob: Bytes::copy_from_slice(id.as_bytes()), content: want == Want::Content, summary: true };
    let answer = holder.call(ANSWER, holder.reads().lookup(request)).await;
    (holder, answer)
}
