//! Measures a disk as the store uses it: `cargo run --release -p weft-store --example throughput -- DIRECTORY`.
//!
//! Eight writers put slivers, then small records, each waiting for its commit; then the slivers are read and deleted.

use std::error::Error;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use weft_store::{Axis, HostDisk, Options, Room, SliverKey, Store, StoreError, View};

const WRITERS: u32 = 8;
const SLIVERS: u32 = 100;
const SLIVER: usize = 800_000;
const RECORDS: u32 = 500;
const RECORD: usize = 4096;

fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::args().nth(1).ok_or("usage: throughput DIRECTORY (an empty one)")?;
    let store = Store::open(Arc::new(HostDisk::new(directory)?), &Options::default())?;
    let upload = store.write_blocking(Room::Reserved, |tx| tx.hold(&[0; 32]))?.value;
    let place = |stripe| SliverKey { upload, stripe, axis: Axis::Primary, index: 0 };

    let slivers = f64::from(WRITERS * SLIVERS);
    let megabytes = slivers * SLIVER as f64 / 1e6;
    let (seconds, commits) = by_all(&store, SLIVERS, |number| {
        let place = place(number);
        let sliver = vec![number as u8; SLIVER];
        let put = store.write_blocking(Room::Grows { bytes: SLIVER as u64 }, move |tx| tx.put_sliver(&place, sliver));
        put.map(drop)
    })?;
    println!("slivers: {megabytes:.0} MB at {:.0} MB/s, {commits} commits for {slivers}", megabytes / seconds);

    let (seconds, commits) = by_all(&store, RECORDS, |number| {
        let put = store.write_blocking(Room::Grows { bytes: RECORD as u64 }, move |tx| {
            tx.put_state(&format!("record {number}"), vec![number as u8; RECORD]);
            Ok::<_, StoreError>(())
        });
        put.map(drop)
    })?;
    let records = f64::from(WRITERS * RECORDS);
    println!("records: {:.0}/s, {:.0} commits/s", records / seconds, commits as f64 / seconds);

    let (seconds, _) = by_all(&store, SLIVERS, |number| store.view().sliver(&place(number)).map(drop))?;
    println!("reads: {:.0} MB/s", megabytes / seconds);

    let start = Instant::now();
    store.write_blocking(Room::Reserved, |tx| tx.release_blob(&[0; 32]))?;
    let answered = start.elapsed();
    while store.has_trash() {
        store.sweep();
    }
    println!("delete: answered in {answered:.1?}, swept in {:.1?}", start.elapsed());
    println!("{:?}", store.usage()?);
    Ok(())
}

/// Runs `work` for each number, spread over the writers. Returns seconds and commits.
fn by_all(
    store: &Store,
    each: u32,
    work: impl Fn(u32) -> Result<(), StoreError> + Sync,
) -> Result<(f64, u64), StoreError> {
    let before = store.view().sequence();
    let start = Instant::now();
    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                scope.spawn({
                    let work = &work;
                    move || (0..each).try_for_each(|number| work(writer * each + number))
                })
            })
            .collect();
        writers
            .into_iter()
            .try_for_each(|writer| writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })?;
    Ok((start.elapsed().as_secs_f64(), store.view().sequence() - before))
}
