//! What a lost member costs: bytes that the others received, for each that was lost.

use std::{
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use weft_proto::v1::Inventory;
use weft_redstuff::Code;

use crate::{
    Failure,
    fleet::Fleet,
    load::{Http, Target, ask, content},
    process::eventually,
};

/// Bytes that are put.
const BYTES: usize = 256 << 20;
/// Blobs at least, and at the most.
const BLOBS: (usize, usize) = (4, 4000);
/// Clients that put them.
const CLIENTS: usize = 8;

pub(crate) struct Healed {
    size: usize,
    blobs: usize,
    lost: u64,
    received: u64,
    time: Duration,
}

impl Healed {
    fn ratio(&self) -> f64 {
        self.received as f64 / self.lost as f64
    }

    pub(crate) fn line(&self) -> String {
        let Self { size, blobs, lost, received, time } = self;
        format!("{blobs} blobs of {size} bytes: a member lost {lost} bytes, {received} were received, {time:.1?}")
    }

    pub(crate) fn row(&self) -> String {
        let Self { size, blobs, lost, received, time } = self;
        let (lost, received, ratio) = (*lost as f64 / 1e6, *received as f64 / 1e6, self.ratio());
        format!("| {size} | {blobs} | {lost:.1} | {received:.1} | {ratio:.3} | {:.1} |\n", time.as_secs_f64())
    }

    pub(crate) fn broken(&self) -> Option<String> {
        let most = if self.size >= 1 << 20 { 1.01 } else { 1.05 };
        let Self { size, .. } = self;
        (self.ratio() > most).then(|| {
            format!(
                "A member lost with blobs of {size} bytes took {:.3} bytes for each; {most} is promised.",
                self.ratio()
            )
        })
    }
}

/// A fleet of its own loses a member and rebuilds what it had.
pub(crate) async fn weft(folder: &Path, code: Code, size: usize) -> Result<Healed, Failure> {
    let mut fleet = Fleet::start(folder, code).await?;
    let blobs = (BYTES / size).clamp(BLOBS.0, BLOBS.1);
    put_all(&fleet, size, blobs).await?;
    wait_for_all(&fleet, blobs).await?;
    let before = received(&fleet.order_all(None).await?);
    let last = fleet.order_all(None).await?.pop().ok_or("nobody is there")?;
    let (member, lost) = (last.identity.map(|identity| identity.member), last.held_sliver_bytes);

    let started = Instant::now();
    fleet.lose(member.ok_or("an inventory names no member")?).await?;
    let after = eventually("what was lost is rebuilt", || async {
        let inventories = fleet.order_all(None).await?;
        let rebuilt: u64 =
            inventories.iter().filter_map(|inventory| inventory.repair).map(|done| done.bytes_rebuilt).sum();
        Ok((is_whole(&inventories, blobs) && rebuilt >= lost).then(|| received(&inventories)))
    })
    .await?;
    let time = started.elapsed();
    // Of the one that is gone nothing is counted any more: it had received nothing.
    Ok(Healed { size, blobs, lost, received: after - before, time })
}

/// Whether nothing is missing of so many blobs.
fn is_whole(inventories: &[Inventory], blobs: usize) -> bool {
    let missing = inventories.iter().flat_map(|inventory| &inventory.shards).map(|shard| shard.missing_slivers);
    missing.sum::<u64>() == 0 && inventories.iter().all(|inventory| inventory.counts && inventory.blobs >= blobs as u64)
}

pub(crate) async fn wait_for_all(fleet: &Fleet, blobs: usize) -> Result<(), Failure> {
    eventually("every member has all", || async { Ok(is_whole(&fleet.order_all(None).await?, blobs).then_some(())) })
        .await
}

fn received(inventories: &[Inventory]) -> u64 {
    inventories.iter().filter_map(|inventory| inventory.repair).map(|done| done.bytes_received).sum()
}

pub(crate) async fn put_all(fleet: &Fleet, size: usize, blobs: usize) -> Result<(), Failure> {
    let http: Http = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new()).build_http();
    let next = AtomicUsize::new(0);
    let clients = (0..CLIENTS).map(|_| async {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= blobs {
                return Ok::<_, Failure>(());
            }
            let (method, uri) = fleet.put(number as u64)?;
            let body: Bytes = content(number as u64, size);
            ask(&http, method, uri, body).await?;
        }
    });
    futures::future::try_join_all(clients).await.map(drop)
}
