//! The source rows of one stripe: fetched, or rebuilt from other primaries, and checked before anyone sees a byte
//! (R17).

use std::{collections::BTreeMap, ops::RangeInclusive, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::time::{Instant, sleep_until};
use weft_proto::v1::SliverRequest;
use weft_redstuff::{Axis, BlobId, Code, Metadata, StripeHashes, rebuild_source_rows};

use super::hashes::stripe_hashes;
use crate::{Current, Holder, apart};

/// For one sliver.
const ANSWER: Duration = Duration::from_secs(10);
/// After which rows that haven't come are sought elsewhere too.
const HEDGE: Duration = Duration::from_millis(150);

type Fetched = (u16, Result<Bytes, String>);

/// A primary on its way.
struct Flight {
    since: Instant,
    /// Its holder failed lately.
    doubtful: bool,
}

/// One reading of one stripe.
pub(super) struct StripeRead {
    id: BlobId,
    stripe: u32,
    code: Code,
    hashes: Arc<StripeHashes>,
    /// The source rows that are wanted.
    wanted: RangeInclusive<u16>,
    have: BTreeMap<u16, Bytes>,
    /// Primaries on their way.
    flying: BTreeMap<u16, Flight>,
    /// Primaries that nobody was asked for yet, the best to ask for at the end.
    untried: Vec<(u16, Arc<Holder>)>,
    /// Whether some wanted row must be rebuilt, as far as is known.
    trouble: bool,
    failures: Vec<String>,
}

/// Fetches source rows of a stripe. Each is `k2` symbols; fails with what each member said.
pub(super) async fn read_rows(
    current: &Current,
    id: BlobId,
    metadata: &Metadata,
    stripe: u32,
    wanted: RangeInclusive<u16>,
) -> Result<Vec<Bytes>, Vec<String>> {
    let hashes = Arc::new(stripe_hashes(current, id, metadata, stripe).await?);
    StripeRead::new(current, id, metadata.code(), stripe, hashes, wanted).run().await
}

impl StripeRead {
    fn new(
        current: &Current,
        id: BlobId,
        code: Code,
        stripe: u32,
        hashes: Arc<StripeHashes>,
        wanted: RangeInclusive<u16>,
    ) -> Self {
        let held =
            |index| current.holder(code.shard_of(Axis::Primary, index)).map(|holder| (index, Arc::clone(holder)));
        let mut untried: Vec<_> = (0..code.shards()).filter_map(held).collect();
        let reachable = |index: &u16| untried.iter().any(|(of, holder)| of == index && !holder.is_suspect());
        let trouble = !wanted.clone().all(|index| reachable(&index));
        // Wanted rows first, then those of members that answer; spread over the members by the stripe's number.
        let spread = |index: u16| (u32::from(index) + stripe) % u32::from(code.shards());
        untried.sort_by_key(|(index, holder)| (wanted.contains(index), !holder.is_suspect(), spread(*index)));
        let (have, flying, failures) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        Self { id, stripe, code, hashes, wanted, have, flying, untried, trouble, failures }
    }

    async fn run(mut self) -> Result<Vec<Bytes>, Vec<String>> {
        let mut flights: FuturesUnordered<BoxFuture<'static, Fetched>> = FuturesUnordered::new();
        loop {
            if self.missing().is_empty() {
                return Ok(self.rows());
            }
            if self.have.len() >= usize::from(self.code.source_rows()) {
                return self.rebuild().await;
            }
            self.launch(&mut flights);
            let late = self.next_late();
            tokio::select! {
                biased;
                fetched = flights.next() => match fetched {
                    Some(fetched) => self.take(fetched),
                    None => return Err(self.failures),
                },
                () = sleep_until(late.unwrap_or_else(Instant::now)), if late.is_some() => {
                    self.trouble |= self.next_late() != late;
                }
            }
        }
    }

    fn missing(&self) -> Vec<u16> {
        self.wanted.clone().filter(|index| !self.have.contains_key(index)).collect()
    }

    /// Asks for all wanted rows, and, where some won't come, for as many others as rebuild them.
    fn launch(&mut self, flights: &mut FuturesUnordered<BoxFuture<'static, Fetched>>) {
        let need = usize::from(self.code.source_rows());
        while let Some((index, _)) = self.untried.last() {
            let timely = self.flying.values().filter(|flight| flight.is_timely()).count();
            let enough = !self.trouble || self.have.len() + timely >= need;
            if enough && !self.wanted.contains(index) {
                return;
            }
            let Some((index, holder)) = self.untried.pop() else { return };
            self.flying.insert(index, Flight { since: Instant::now(), doubtful: holder.is_suspect() });
            flights.push(fetch(holder, self.id, self.stripe, index).boxed());
        }
    }

    /// When the next row becomes late; `None` when all are, or there is nobody else to ask.
    fn next_late(&self) -> Option<Instant> {
        let timely = self.flying.values().filter(|flight| flight.is_timely());
        timely.map(|flight| flight.since + HEDGE).min().filter(|_| !self.untried.is_empty())
    }

    fn take(&mut self, (index, fetched): Fetched) {
        self.flying.remove(&index);
        match fetched {
            Ok(sliver) if self.hashes.matches(Axis::Primary, index, &sliver) => {
                self.have.insert(index, sliver);
            }
            Ok(_) => self.fail(index, format!("primary {index} of stripe {} has another hash", self.stripe)),
            Err(reason) => self.fail(index, reason),
        }
    }

    fn fail(&mut self, index: u16, reason: String) {
        tracing::debug!(blob = %self.id, stripe = self.stripe, index, reason, "a sliver can't be had");
        self.trouble |= self.wanted.contains(&index);
        self.failures.push(reason);
    }

    /// Decodes the missing rows and checks them against their hashes.
    async fn rebuild(mut self) -> Result<Vec<Bytes>, Vec<String>> {
        let (code, missing, have) = (self.code, self.missing(), self.have.clone());
        let hashes = Arc::clone(&self.hashes);
        let work = move || {
            let primaries: Vec<(u16, &[u8])> = have.iter().map(|(index, bytes)| (*index, &bytes[..])).collect();
            let rows = rebuild_source_rows(code, &primaries, &missing).map_err(|error| error.to_string())?;
            let rows: Vec<(u16, Bytes)> = missing.into_iter().zip(rows.into_iter().map(Bytes::from)).collect();
            match rows.iter().find(|(index, row)| !hashes.matches(Axis::Primary, *index, row)) {
                Some((index, _)) => Err(format!("row {index}, rebuilt, isn't the one that was committed to")),
                None => Ok(rows),
            }
        };
        let rebuilt = apart(work).await.unwrap_or_else(|error| Err(error.to_string()));
        match rebuilt {
            Ok(rows) => self.have.extend(rows),
            Err(reason) => {
                self.failures.push(format!("stripe {}: {reason}", self.stripe));
                return Err(self.failures);
            }
        }
        Ok(self.rows())
    }

    fn rows(&self) -> Vec<Bytes> {
        self.wanted.clone().filter_map(|index| self.have.get(&index).cloned()).collect()
    }
}

impl Flight {
    fn is_timely(&self) -> bool {
        !self.doubtful && self.since.elapsed() < HEDGE
    }
}

async fn fetch(holder: Arc<Holder>, id: BlobId, stripe: u32, index: u16) -> Fetched {
    let request = SliverRequest {
        blob: Bytes::copy_from_slice(id.as_bytes()),
        stripe,
        axis: Axis::Primary as u32,
        index: index.into(),
    };
    let reply = holder.call(ANSWER, holder.reads().get_sliver(request)).await;
    let failed = |status: tonic::Status| format!("{}: {}", holder.member(), status.message());
    (index, reply.map(|reply| reply.data).map_err(failed))
}
