//! What clients notice of a repair: the same load on a fleet that is whole, and on one that rebuilds what a member had.

use std::{path::Path, time::Duration};

use weft_redstuff::Code;

use crate::{
    Failure,
    fleet::Fleet,
    heal::{put_all, wait_for_all},
    load::{Load, Measured, Rate},
};

/// Of the blobs that are there before, and of the load's.
const SIZE: usize = 1 << 20;
const BLOBS: usize = 1024;
const CLIENTS: usize = 4;

/// What is kept of the throughput, and how many times as long the slowest hundredth may take.
const LEAST: f64 = 0.8;
const MOST: f64 = 2.0;

pub(crate) struct Beside {
    whole: Measured,
    mending: Measured,
    /// Slivers that were still missing when the load ended.
    left: u64,
}

/// The load while a member's loss is rebuilt, beside the same before.
pub(crate) async fn measure(folder: &Path, code: Code, seconds: Duration) -> Result<Beside, Failure> {
    let mut fleet = Fleet::start(folder, code).await?;
    put_all(&fleet, SIZE, BLOBS).await?;
    wait_for_all(&fleet, BLOBS).await?;
    let load = Load { size: SIZE, clients: CLIENTS, seconds };
    // The first one's deletes leave the second one work, as the second one's do the third.
    let first = load.run(&fleet).await?;
    eprintln!("{}", first.line(&load));
    let whole = load.run(&fleet).await?;
    eprintln!("{}", whole.line(&load));
    let last = fleet.order_all(None).await?.pop().and_then(|inventory| inventory.identity);
    fleet.lose(last.ok_or("an inventory names no member")?.member).await?;
    let mending = load.measure(&fleet).await?;
    eprintln!("{}", mending.line(&load));
    let inventories = fleet.order_all(None).await?;
    let left = inventories.iter().flat_map(|told| &told.shards).map(|shard| shard.missing_slivers).sum();
    Ok(Beside { whole, mending, left })
}

impl Beside {
    fn kept(&self, of: fn(&Measured) -> &Rate) -> (f64, f64) {
        let (mending, whole) = (of(&self.mending), of(&self.whole));
        let late = |rate: &Rate| rate.percentile(99).as_secs_f64();
        (mending.bytes / whole.bytes, late(mending) / late(whole))
    }

    pub(crate) fn line(&self) -> String {
        let row = |what: &str, of: fn(&Measured) -> &Rate| {
            let (kept, late) = self.kept(of);
            format!("{what} {:.1} MB/s, {kept:.2} × as fast, p99 {late:.2} × as long", of(&self.mending).bytes / 1e6)
        };
        let left = self.left;
        format!(
            "Beside a repair (1 MiB, {CLIENTS} clients; {left} slivers were left when it ended): {}; {}.",
            row("puts", |told| &told.put),
            row("gets", |told| &told.get)
        )
    }

    pub(crate) fn broken(&self) -> Vec<String> {
        let mut broken = Vec::new();
        if self.left == 0 {
            broken.push("The repair was over before the load was: nothing is known of the two together.".to_owned());
        }
        for (what, (kept, late)) in [("Puts", self.kept(|told| &told.put)), ("Gets", self.kept(|told| &told.get))] {
            if kept < LEAST || late > MOST {
                broken.push(format!(
                    "{what} beside a repair keep {kept:.2} of their throughput, and the slowest hundredth takes {late:.2} × as long: \
                     {LEAST} and {MOST} are promised."
                ));
            }
        }
        broken
    }
}
