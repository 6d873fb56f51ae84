//! A power cut loses nothing acknowledged (RELIABILITY row 3).

use std::sync::{Arc, Mutex};
use std::thread;

use weft_store::fake::FakeDisk;
use weft_store::{Committed, Room, Store, StoreError, View, Writer};

use crate::model::Model;
use crate::{Random, open};

/// Why a closure of the model test ended without effect.
#[derive(Debug)]
enum Ended {
    OnPurpose,
    By(StoreError),
}

impl From<StoreError> for Ended {
    fn from(error: StoreError) -> Self {
        Self::By(error)
    }
}

/// One write of some random steps. Returns the model after it, and how the store answered.
fn write(store: &Store, model: &Model, seed: u64) -> (Model, Result<Committed<()>, Ended>) {
    let after = Arc::new(Mutex::new(model.clone()));
    let shared = after.clone();
    let result = store.write_blocking(Room::Reserved, move |tx| {
        let mut random = Random(seed);
        let model = &mut *shared.lock().unwrap();
        for _ in 0..=random.below(6) {
            model.step(tx, &mut random)?;
        }
        let read = Model::of(tx)?;
        assert!(model.same(&read), "inside the write: {model:?} is read as {read:?}");
        if random.below(6) == 0 { Err(Ended::OnPurpose) } else { Ok(()) }
    });
    let after = after.lock().unwrap().clone();
    (after, result)
}

/// Crashes at random points; after each the store holds what was acknowledged, and of the write that was cut off all or
/// nothing.
fn run(seed: u64) -> (u32, u32, bool) {
    let mut random = Random(seed);
    let disk = FakeDisk::new(seed);
    let mut model = Model::default();
    let (mut crashes, mut writes, mut moved) = (0, 0, false);
    let mut sequence = 0;
    for _ in 0..8 {
        // Most lives end with the power. Some with a failed fsync, after which another process starts under the same kernel, to
        // which all seems to be there.
        let is_killed = random.below(3) == 0;
        if is_killed {
            disk.fail_sync_after(random.below(40));
        } else {
            disk.cut_power_after(random.below(60));
        }
        let mut maybe = None;
        let mut reached = sequence;
        if let Ok(store) = open(&disk, Writer::Inline) {
            while maybe.is_none() {
                let (after, result) = write(&store, &model, random.next());
                writes += 1;
                match result {
                    Ok(committed) => {
                        assert!(committed.sequence >= reached);
                        reached = committed.sequence;
                        model = after;
                    }
                    Err(Ended::OnPurpose) => {}
                    Err(Ended::By(StoreError::ReadOnly { .. })) => maybe = Some(after),
                    // A file that wasn't opened before.
                    Err(Ended::By(StoreError::Read { .. })) if disk.is_dead() => maybe = Some(model.clone()),
                    Err(Ended::By(error)) => panic!("seed {seed}: {error}"),
                }
            }
        }
        if is_killed {
            disk.mend();
            disk.kill();
        } else {
            disk.crash();
        }
        crashes += 1;
        let store = open(&disk, Writer::Inline).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        store.audit().unwrap_or_else(|error| panic!("seed {seed} crash {crashes} killed {is_killed}: {error}"));
        moved |= disk.contents().keys().any(|name| name.starts_with("moved-"));
        let read = Model::of(&store.view())
            .unwrap_or_else(|error| panic!("seed {seed} crash {crashes} killed {is_killed}: {error}"));
        if !model.same(&read) {
            let maybe = maybe.unwrap_or_else(|| panic!("seed {seed}: {read:?} instead of {model:?}"));
            assert!(maybe.same(&read), "seed {seed}: {read:?} is neither {model:?} nor {maybe:?}");
            model = maybe;
        }
        assert!(store.view().sequence() >= reached, "seed {seed}: the sequence went back");
        sequence = store.view().sequence();
    }
    (crashes, writes, moved)
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_half_done_is_visible() {
    let (mut crashes, mut writes, mut moved) = (0, 0, 0);
    for seed in 0..60 {
        let done = run(seed);
        crashes += done.0;
        writes += done.1;
        moved += u32::from(done.2);
    }
    assert!(moved > 10, "in {moved} of 60 runs slivers were moved");
    println!("crash points {crashes}, writes {writes}, losses 0");
    assert!(writes > 2 * crashes, "most lives should do some writes: {writes} in {crashes}");
}

/// Four threads write pairs of rows through the writer's thread while the power goes.
#[test]
fn grouped_writes_survive_whole() {
    for seed in 0..12 {
        let disk = FakeDisk::new(seed);
        let store = open(&disk, Writer::Thread).unwrap();
        disk.cut_power_after(40 + 13 * seed);
        let acknowledged: Vec<u32> = thread::scope(|scope| {
            let writers: Vec<_> = (0..4)
                .map(|name| {
                    scope.spawn({
                        let store = &store;
                        move || write_pairs(store, name)
                    })
                })
                .collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        drop(store);
        disk.crash();
        let view = open(&disk, Writer::Inline).unwrap().view();
        for (name, acknowledged) in acknowledged.into_iter().enumerate() {
            let value = |side: &str| {
                let record = view.state(&format!("{side}/{name}")).unwrap();
                record.map_or(0, |record| u32::from_be_bytes(record[..].try_into().unwrap()))
            };
            let (left, right) = (value("left"), value("right"));
            assert_eq!(left, right, "seed {seed}: half a write is visible");
            assert!(left == acknowledged || left == acknowledged + 1, "seed {seed}: {left} after {acknowledged}");
        }
    }
}

/// Counts a pair of rows up until the store refuses. Returns the last value acknowledged.
fn write_pairs(store: &Store, name: usize) -> u32 {
    for value in 1_u32.. {
        let written = store.write_blocking(Room::Reserved, move |tx| {
            tx.put_state(&format!("left/{name}"), value.to_be_bytes().to_vec());
            tx.put_state(&format!("right/{name}"), value.to_be_bytes().to_vec());
            Ok::<_, StoreError>(())
        });
        if written.is_err() {
            return value - 1;
        }
    }
    unreachable!("the power goes long before")
}

#[test]
fn a_volume_whose_making_was_cut_off_is_made_again() {
    for operations in 0..80 {
        let disk = FakeDisk::new(operations);
        disk.cut_power_after(operations);
        let _ = open(&disk, Writer::Inline);
        disk.crash();
        let store = open(&disk, Writer::Inline).unwrap_or_else(|error| panic!("after {operations}: {error}"));
        assert!(store.is_empty_volume().unwrap());
    }
}
