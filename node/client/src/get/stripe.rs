//! The source rows of one stripe: fetched, or decoded from other slivers, and checked before anyone sees a byte (R17).
//!
//! Any k1 primaries or any k2 secondaries give all rows. The newest view's holders are asked first; when they aren't
//! enough, whoever can be reached is asked what it holds: holders of earlier views, and incarnations that came back
//! (R22, R25).

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::time::{Instant, sleep_until};
use weft_proto::v1::{Sliver, SliverRequest, SourceRows};
use weft_redstuff::{Axis, BlobId, Code, Metadata, StripeHashes, StripeLayout};

use super::{
    decode::{Decoded, decode},
    hashes::{proven, stripe_hashes},
    held::held,
};
use crate::{Current, Holder};

/// For one sliver.
const ANSWER: Duration = Duration::from_secs(10);
/// After which slivers that haven't come are sought elsewhere too.
const HEDGE: Duration = Duration::from_millis(150);
/// After which others than the newest view's holders of primaries are asked: not so soon that a slow fleet gets more to do.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why rows can't be had.
#[derive(Debug)]
pub(super) enum RowsError {
    /// Too little can be reached now; what is wanting, and what members said.
    TooFew(Vec<String>),
    /// Slivers that match their hashes contradict each other: the writer lied (R19).
    Inconsistent(String),
}

/// Rows, and the hashes that they were checked against.
pub(super) struct Rows {
    pub(super) rows: Vec<Bytes>,
    pub(super) hashes: Arc<StripeHashes>,
}

/// Somebody who may have a sliver.
#[derive(Debug, Clone)]
struct Candidate {
    axis: Axis,
    index: u16,
    holder: Arc<Holder>,
}

/// A sliver on its way.
struct Flight {
    candidate: Candidate,
    since: Instant,
    /// Its holder failed lately.
    doubtful: bool,
}

enum Landed {
    Sliver {
        flight: usize,
        data: Result<Bytes, String>,
    },
    /// What somebody says that it holds of the stripe.
    Held {
        holder: Arc<Holder>,
        slivers: Vec<(Axis, u16)>,
    },
}

type Flights = FuturesUnordered<BoxFuture<'static, Landed>>;

/// One reading of one stripe.
struct StripeRead<'a> {
    current: &'a Current,
    id: BlobId,
    layout: StripeLayout,
    code: Code,
    hashes: Arc<StripeHashes>,
    /// The source rows that are wanted.
    wanted: RangeInclusive<u16>,
    /// Slivers that match their hashes, primaries and secondaries.
    have: [BTreeMap<u16, Bytes>; 2],
    flying: BTreeMap<usize, Flight>,
    /// Those whom nobody asked yet, the best to ask at the end.
    untried: Vec<Candidate>,
    /// Whether some wanted row must be decoded, as far as is known.
    trouble: bool,
    /// Whether everybody was asked what it holds, and how many haven't answered.
    searching: Option<usize>,
    launched: usize,
    failures: BTreeSet<String>,
}

/// Fetches source rows of a stripe, `k2` symbols each. `came`: what members have given of it already, where it is the only
/// stripe.
pub(super) async fn read_rows(
    current: &Current,
    id: BlobId,
    metadata: &Metadata,
    layout: StripeLayout,
    wanted: RangeInclusive<u16>,
    came: &[SourceRows],
) -> Result<Rows, RowsError> {
    let hashes = match came.iter().find_map(|came| proven(metadata, &came.hashes)) {
        Some(hashes) => hashes,
        None => stripe_hashes(current, id, metadata, layout.index).await.map_err(RowsError::TooFew)?,
    };
    let hashes = Arc::new(hashes);
    let slivers = came.iter().flat_map(|came| &came.slivers).filter(|sliver| sliver.axis == Axis::Primary as u32);
    let index = |sliver: &Sliver| u16::try_from(sliver.index).ok().filter(|index| wanted.contains(index));
    let sound = slivers.filter_map(|sliver| Some((index(sliver)?, &sliver.data)));
    let sound = sound.filter(|(index, data)| hashes.matches(Axis::Primary, *index, data));
    let rows: BTreeMap<u16, Bytes> = sound.map(|(index, data)| (index, data.clone())).collect();
    if rows.len() == wanted.len() {
        return Ok(Rows { rows: rows.into_values().collect(), hashes });
    }
    let mut read = StripeRead::new(current, id, metadata.code(), layout, hashes, wanted, &rows);
    read.have[Axis::Primary as usize] = rows;
    read.run().await
}

impl<'a> StripeRead<'a> {
    fn new(
        current: &'a Current,
        id: BlobId,
        code: Code,
        layout: StripeLayout,
        hashes: Arc<StripeHashes>,
        wanted: RangeInclusive<u16>,
        came: &BTreeMap<u16, Bytes>,
    ) -> Self {
        let held = |(axis, index)| {
            current.holder(code.shard_of(axis, index)).map(|holder| Candidate {
                axis,
                index,
                holder: Arc::clone(holder),
            })
        };
        let all =
            [Axis::Secondary, Axis::Primary].into_iter().flat_map(|axis| (0..code.shards()).map(move |i| (axis, i)));
        let mut untried: Vec<Candidate> = all.filter_map(held).collect();
        let is_wanted = |candidate: &Candidate| candidate.axis == Axis::Primary && wanted.contains(&candidate.index);
        let is_sound = |candidate: &&Candidate| {
            is_wanted(candidate) && (!candidate.holder.is_suspect() || came.contains_key(&candidate.index))
        };
        let sound = untried.iter().filter(is_sound).count();
        let trouble = sound < wanted.len();
        // Wanted rows first, then those of members that answer; spread over the members by the stripe's number.
        let spread = |index: u16| (u32::from(index) + layout.index) % u32::from(code.shards());
        // Asked once each: it may change meanwhile, and a sort panics where the order does.
        untried.sort_by_cached_key(|candidate| {
            (is_wanted(candidate), !candidate.holder.is_suspect(), spread(candidate.index))
        });
        let (have, flying, failures) = (Default::default(), BTreeMap::new(), BTreeSet::new());
        let (searching, launched) = (None, 0);
        Self {
            current,
            id,
            layout,
            code,
            hashes,
            wanted,
            have,
            flying,
            untried,
            trouble,
            searching,
            launched,
            failures,
        }
    }

    async fn run(mut self) -> Result<Rows, RowsError> {
        let mut flights = Flights::new();
        loop {
            if let Some(rows) = self.rows() {
                return Ok(Rows { rows, hashes: self.hashes });
            }
            if let Some(axis) = Axis::BOTH.into_iter().find(|axis| self.have(*axis).len() >= self.need(*axis)) {
                return self.decode(axis).await;
            }
            self.launch(&mut flights);
            let nobody_else = self.searching == Some(0);
            if nobody_else && Axis::BOTH.into_iter().all(|axis| self.shortfall(axis, |_| true) > 0) {
                return Err(self.too_few());
            }
            let look = self.next_look();
            tokio::select! {
                biased;
                landed = flights.next() => match landed {
                    Some(landed) => self.take(landed),
                    None => return Err(self.too_few()),
                },
                () = sleep_until(look.unwrap_or_else(Instant::now)), if look.is_some() => {
                    self.trouble |= self.flying.values().any(|flight| !flight.is_timely());
                }
            }
        }
    }

    fn have(&self, axis: Axis) -> &BTreeMap<u16, Bytes> {
        &self.have[axis as usize]
    }

    fn need(&self, axis: Axis) -> usize {
        self.code.slivers_to_decode(axis).into()
    }

    /// How many slivers of an axis are wanting for a decode, if all that is untried came, and what is on its way and
    /// `counts`.
    fn shortfall(&self, axis: Axis, counts: impl Fn(&Flight) -> bool) -> usize {
        let flying = self.flying.values().filter(|flight| counts(flight)).map(|flight| &flight.candidate);
        let coming = flying.chain(&self.untried).filter(|candidate| candidate.axis == axis);
        let indexes: BTreeSet<u16> =
            coming.map(|candidate| candidate.index).chain(self.have(axis).keys().copied()).collect();
        self.need(axis).saturating_sub(indexes.len())
    }

    /// Asks for all wanted rows, and, where some won't come, for as many slivers as decode them; for what everybody
    /// holds when those that should hold them aren't enough.
    fn launch(&mut self, flights: &mut Flights) {
        while let Some(at) = self.untried.iter().rposition(|candidate| self.is_wanted(candidate)) {
            self.fly(at, flights);
        }
        if !self.trouble {
            return;
        }
        let patiently = |flight: &Flight| flight.since.elapsed() < PATIENCE;
        let possible = |axis: &Axis| self.shortfall(*axis, patiently) == 0;
        let Some(axis) = Axis::BOTH.into_iter().find(possible) else {
            return self.search(flights);
        };
        let timely = |read: &Self| {
            read.flying.values().filter(|flight| flight.is_timely() && flight.candidate.axis == axis).count()
        };
        while self.have(axis).len() + timely(self) < self.need(axis)
            && let Some(at) = self.untried.iter().rposition(|candidate| candidate.axis == axis)
        {
            self.fly(at, flights);
        }
    }

    fn is_wanted(&self, candidate: &Candidate) -> bool {
        candidate.axis == Axis::Primary && self.wanted.contains(&candidate.index) && !self.has(candidate)
    }

    fn has(&self, candidate: &Candidate) -> bool {
        self.have(candidate.axis).contains_key(&candidate.index)
    }

    fn fly(&mut self, at: usize, flights: &mut Flights) {
        let candidate = self.untried.remove(at);
        let doubtful = candidate.holder.is_suspect();
        self.launched += 1;
        flights.push(fetch(candidate.clone(), self.id, self.layout.index, self.launched).boxed());
        self.flying.insert(self.launched, Flight { candidate, since: Instant::now(), doubtful });
    }

    /// Asks everybody, once, what it holds; and for all that is still untried.
    fn search(&mut self, flights: &mut Flights) {
        while let Some(last) = self.untried.len().checked_sub(1) {
            self.fly(last, flights);
        }
        if self.searching.is_some() {
            return;
        }
        let everybody = self.current.everybody();
        self.searching = Some(everybody.len());
        for holder in everybody {
            let (id, stripe) = (self.id, self.layout.index);
            let ask = async move {
                let slivers = held(&holder, id, Some(stripe)).await;
                let slivers = slivers.map(|held| held.into_iter().map(|held| (held.axis, held.index)).collect());
                Landed::Held { holder, slivers: slivers.unwrap_or_default() }
            };
            flights.push(ask.boxed());
        }
    }

    /// When the next sliver becomes late; `None` when all are, or there is nobody else to ask.
    fn next_look(&self) -> Option<Instant> {
        let now = Instant::now();
        let looks = self.flying.values().flat_map(|flight| [flight.since + HEDGE, flight.since + PATIENCE]);
        let more = !self.untried.is_empty() || self.searching.is_none();
        looks.filter(|look| *look > now).min().filter(|_| more)
    }

    fn take(&mut self, landed: Landed) {
        match landed {
            Landed::Sliver { flight, data } => {
                let Some(Flight { candidate: Candidate { axis, index, holder }, .. }) = self.flying.remove(&flight)
                else {
                    return;
                };
                match data {
                    Ok(data) if self.hashes.matches(axis, index, &data) => {
                        self.have[axis as usize].insert(index, data);
                    }
                    Ok(_) => self.fail(
                        axis,
                        index,
                        format!("member {}: a {} has another hash", holder.member(), axis.name()),
                    ),
                    Err(reason) => self.fail(axis, index, reason),
                }
            }
            Landed::Held { holder, slivers } => {
                self.searching = self.searching.map(|waiting| waiting - 1);
                // What a holder of the newest view should have was asked of it already.
                let own =
                    |(axis, index): &(Axis, u16)| holder.shards().contains(self.code.shard_of(*axis, *index) as u8);
                let fresh =
                    slivers.into_iter().filter(|(_, index)| *index < self.code.shards()).filter(|sliver| !own(sliver));
                let fresh: Vec<_> =
                    fresh.map(|(axis, index)| Candidate { axis, index, holder: Arc::clone(&holder) }).collect();
                self.untried.extend(fresh);
            }
        }
    }

    fn fail(&mut self, axis: Axis, index: u16, reason: String) {
        tracing::debug!(blob = %self.id, stripe = self.layout.index, axis = axis.name(), index, reason, "a sliver can't be had");
        self.trouble |= axis == Axis::Primary && self.wanted.contains(&index);
        self.failures.insert(reason);
    }

    fn too_few(self) -> RowsError {
        let told = Axis::BOTH.map(|axis| {
            let (have, need) = (self.have(axis).len(), self.need(axis));
            format!("{have} {} slivers, it takes {need}", axis.name())
        });
        let stripe = self.layout.index;
        let summary = format!("of stripe {stripe} there are {}", told.join("; or "));
        RowsError::TooFew([summary].into_iter().chain(self.failures).collect())
    }

    /// The wanted rows from enough slivers of one axis.
    async fn decode(mut self, axis: Axis) -> Result<Rows, RowsError> {
        let given = std::mem::take(&mut self.have[axis as usize]);
        let missing =
            self.wanted.clone().filter(|index| !given.contains_key(index) || axis == Axis::Secondary).collect();
        let Decoded { rows, given } = decode(self.code, self.layout, axis, given, missing, &self.hashes).await?;
        let primaries = &mut self.have[Axis::Primary as usize];
        if axis == Axis::Primary {
            primaries.extend(given);
        }
        primaries.extend(rows);
        self.rows().map(|rows| Rows { rows, hashes: Arc::clone(&self.hashes) }).ok_or_else(|| self.too_few())
    }

    /// The wanted rows, when all are there.
    fn rows(&self) -> Option<Vec<Bytes>> {
        self.wanted.clone().map(|index| self.have(Axis::Primary).get(&index).cloned()).collect()
    }
}

impl Flight {
    fn is_timely(&self) -> bool {
        !self.doubtful && self.since.elapsed() < HEDGE
    }
}

async fn fetch(candidate: Candidate, id: BlobId, stripe: u32, flight: usize) -> Landed {
    let Candidate { axis, index, holder } = candidate;
    let request =
        SliverRequest { blob: Bytes::copy_from_slice(id.as_bytes()), stripe, axis: axis as u32, index: index.into() };
    let reply = holder.call(ANSWER, holder.reads().get_sliver(request)).await;
    let failed = |status: tonic::Status| format!("member {}: {}", holder.member(), status.message());
    Landed::Sliver { flight, data: reply.map(|reply| reply.data).map_err(failed) }
}
