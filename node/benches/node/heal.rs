//! What a lost member, or drive, costs: bytes that the others received, or that were read of them, for each that was lost.

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
    load::{Target, ask, content, http},
    minio::Minio,
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
    weft: Cost,
    minio: Cost,
}

/// Bytes that were lost, and that were moved for them.
struct Cost {
    lost: u64,
    moved: u64,
    time: Duration,
}

impl Cost {
    fn ratio(&self) -> f64 {
        self.moved as f64 / self.lost as f64
    }

    fn columns(&self) -> String {
        let Self { lost, moved, time } = self;
        let (lost, moved, seconds) = (*lost as f64 / 1e6, *moved as f64 / 1e6, time.as_secs_f64());
        format!("{lost:.1} | {moved:.1} | {:.3} | {seconds:.1} |", self.ratio())
    }
}

impl Healed {
    /// In fleets of their own.
    pub(crate) async fn measure(folder: &Path, code: Code, size: usize) -> Result<Self, Failure> {
        let blobs = (BYTES / size).clamp(BLOBS.0, BLOBS.1);
        let weft = weft(&folder.join("weft"), code, size, blobs).await?;
        let minio = minio(&folder.join("minio"), size, blobs).await?;
        Ok(Self { size, blobs, weft, minio })
    }

    pub(crate) fn line(&self) -> String {
        let Self { size, blobs, weft, minio } = self;
        let told = |cost: &Cost| format!("{} bytes lost, {} moved, {:.1?}", cost.lost, cost.moved, cost.time);
        format!("{blobs} blobs of {size} bytes: a member: {}; a drive of MinIO's: {}", told(weft), told(minio))
    }

    pub(crate) fn row(&self) -> String {
        let Self { size, blobs, weft, minio } = self;
        format!("| {size} | {blobs} | {} {}\n", weft.columns(), minio.columns())
    }

    pub(crate) fn broken(&self) -> Option<String> {
        let most = if self.size >= 1 << 20 { 1.01 } else { 1.05 };
        let (Self { size, .. }, ratio) = (self, self.weft.ratio());
        (ratio > most).then(|| {
            format!("A member lost with blobs of {size} bytes took {ratio:.3} bytes for each; {most} is promised.")
        })
    }
}

/// A fleet loses a member and rebuilds what it had.
async fn weft(folder: &Path, code: Code, size: usize, blobs: usize) -> Result<Cost, Failure> {
    let mut fleet = Fleet::start(folder, code).await?;
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
    Ok(Cost { lost, moved: after - before, time })
}

/// A drive is replaced by an empty one while nobody looks, and healed. All are of one process: what it reads, it would receive
/// from others where they are of many.
async fn minio(folder: &Path, size: usize, blobs: usize) -> Result<Cost, Failure> {
    let mut minio = Minio::start(folder, 1).await?;
    put_all(&minio, size, blobs).await?;
    let lost = minio.held(1)?;
    let started = Instant::now();
    minio.lose(1).await?;
    eventually("the drive is healed", || async { Ok((minio.held(1)? >= lost).then_some(())) }).await?;
    Ok(Cost { lost, moved: minio.read()?, time: started.elapsed() })
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

pub(crate) async fn put_all(target: &dyn Target, size: usize, blobs: usize) -> Result<(), Failure> {
    let http = http();
    let next = AtomicUsize::new(0);
    let clients = (0..CLIENTS).map(|_| async {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= blobs {
                return Ok::<_, Failure>(());
            }
            let (method, uri) = target.put(number as u64)?;
            let body: Bytes = content(number as u64, size);
            ask(&http, method, uri, body).await?;
        }
    });
    futures::future::try_join_all(clients).await.map(drop)
}
