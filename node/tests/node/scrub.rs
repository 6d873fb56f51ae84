//! What rots on disks is found by reading, and mended (RELIABILITY, row 6).

use std::time::Duration;

use weft_redstuff::{Axis, BlobId};
use weft_store::View;

use super::fleet::{Fleet, OrderChanges, content, delete_slivers, eventually, put};

const HOUR: Duration = Duration::from_secs(3600);

/// A sliver and its bytes.
type Sliver = (BlobId, Axis, u16, bytes::Bytes);

/// Orders it, and waits until every member has begun.
async fn scrub(fleet: &mut Fleet) {
    fleet.scrub_period_seconds = HOUR.as_secs();
    fleet.order_all(OrderChanges::default()).await;
    for (id, member) in fleet.members() {
        eventually(&format!("member {id} begins a pass"), || async {
            member.store().view().state("scrub").expect("the store reads").is_some()
        })
        .await;
    }
}

/// One of a member's counters.
fn count(fleet: &Fleet, id: u32, name: &str) -> u64 {
    let member = fleet.member(id);
    let text = member.metrics().render(&member.levels().expect("levels"));
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.expect("there is such a counter").parse().expect("a counter is a number")
}

/// Waits until a member has been through everything that it holds.
async fn passed(fleet: &Fleet, id: u32) {
    eventually(&format!("member {id} has been through everything"), || async {
        count(fleet, id, "weft_scrub_passes_total") > 0
    })
    .await;
}

/// Both slivers of each of a member's shards.
async fn slivers(fleet: &Fleet, id: u32, blob: BlobId) -> Vec<Sliver> {
    let (member, mut slivers) = (fleet.member(id), Vec::new());
    for (axis, index) in member.held_slivers(&blob, 0).unwrap() {
        let data = member.read_sliver(&blob, 0, axis, index).await.unwrap().expect("it is sound");
        slivers.push((blob, axis, index, data));
    }
    slivers
}

#[tokio::test(flavor = "multi_thread")]
async fn what_rots_is_found_by_nobodys_reading_it_and_is_mended() {
    let mut fleet = Fleet::start(7).await;
    let mut blobs = Vec::new();
    for nonce in 0..12 {
        blobs.push(
            put(&fleet.client(), nonce, &content(u64::from(nonce), 5_000 + 20_000 * usize::from(nonce))).await.id,
        );
    }
    fleet.whole().await;
    // Two members' disks rot: a sliver of each of ten blobs, of either axis; and one loses a blob's slivers, and its rows.
    let (rotting, gone) = ([0, 1], blobs[11]);
    let mut flipped: Vec<(u32, Sliver)> = Vec::new();
    for id in rotting {
        for (at, blob) in blobs[..10].iter().enumerate() {
            let mut all = slivers(&fleet, id, *blob).await;
            flipped.push((id, all.swap_remove(at % all.len())));
        }
    }
    let lost = slivers(&fleet, 0, gone).await;
    delete_slivers(&fleet.member(0), &[gone]).await;
    for id in rotting {
        fleet.kill(id).await;
        for (_, (_, _, _, data)) in flipped.iter().filter(|(of, _)| *of == id) {
            fleet.rot(id, data);
        }
        fleet.run(id).await;
    }
    fleet.settled().await;
    scrub(&mut fleet).await;
    fleet.clock.pass(HOUR);
    for id in rotting {
        passed(&fleet, id).await;
    }
    let found: u64 = rotting.iter().map(|id| count(&fleet, *id, "weft_store_rotten_slivers_total")).sum();
    println!("slivers found rotten / flipped: {found} / {}", flipped.len());
    assert_eq!(found, flipped.len() as u64);
    fleet.whole().await;
    for (id, (blob, axis, index, data)) in flipped.into_iter().chain(lost.into_iter().map(|sliver| (0, sliver))) {
        let read = fleet.member(id).read_sliver(&blob, 0, axis, index).await.unwrap();
        assert_eq!(read, Some(data), "{axis:?} {index} of {blob} at member {id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_disk_does_not_give_is_rebuilt_and_a_disk_that_gives_nothing_is_not_emptied() {
    let mut fleet = Fleet::start(7).await;
    let mut blobs = Vec::new();
    for nonce in 0..12 {
        blobs.push(put(&fleet.client(), nonce, &content(u64::from(nonce), 30_000)).await.id);
    }
    fleet.whole().await;
    // Member 0's disk has bad sectors here and there, and member 1's gives nothing of all that it holds.
    let mut bad = Vec::new();
    for blob in blobs.iter().step_by(4) {
        bad.push(slivers(&fleet, 0, *blob).await.swap_remove(3));
    }
    for (.., data) in &bad {
        fleet.make_unreadable(0, data);
    }
    for blob in &blobs {
        for (.., data) in slivers(&fleet, 1, *blob).await {
            fleet.make_unreadable(1, &data);
        }
    }
    scrub(&mut fleet).await;
    fleet.clock.pass(HOUR);
    for id in [0, 1] {
        passed(&fleet, id).await;
    }
    let dropped = |id| count(&fleet, id, "weft_store_rotten_slivers_total");
    assert_eq!(dropped(0), bad.len() as u64);
    assert_eq!(dropped(1), 1, "the first looks like a bad sector, and after it nothing does");
    fleet.whole().await;
    for (blob, axis, index, data) in bad {
        let read = fleet.member(0).read_sliver(&blob, 0, axis, index).await.unwrap();
        assert_eq!(read, Some(data), "{axis:?} {index} of {blob}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pass_takes_its_period_and_goes_on_where_it_was_after_a_restart() {
    let mut fleet = Fleet::start(4).await;
    let mut blobs = Vec::new();
    for nonce in 0..16 {
        blobs.push(put(&fleet.client(), nonce, &content(u64::from(nonce), 20_000)).await.id);
    }
    fleet.whole().await;
    let mut held = 0;
    for blob in &blobs {
        held += slivers(&fleet, 0, *blob).await.iter().map(|(.., data)| data.len() as u64).sum::<u64>();
    }
    let read = |fleet: &Fleet| count(fleet, 0, "weft_scrub_read_bytes_total");
    scrub(&mut fleet).await;
    blobs.sort_unstable();
    let half = blobs.iter().filter(|blob| blob.0[0] < 128).count();
    let first_half = half as u64 * held / 16;
    fleet.clock.pass(HOUR / 2);
    eventually("half of it has been read", || async { read(&fleet) >= first_half }).await;
    let before = read(&fleet);
    assert!(before < held, "{before} of {held} bytes were read in half the time");
    fleet.clock.pass(Duration::from_secs(61));
    eventually("how far it is has been recorded", || async {
        let pass = fleet.member(0).store().view().state("scrub").unwrap().expect("a pass is under way");
        // When it began, that there is a last blob, and which.
        half == 0 || pass.get(9..41).is_some_and(|after| after >= &blobs[half - 1].0[..])
    })
    .await;
    let before = read(&fleet);
    fleet.restart(0).await;
    fleet.settled().await;
    scrub(&mut fleet).await;
    fleet.clock.pass(HOUR);
    passed(&fleet, 0).await;
    let all = before + read(&fleet);
    assert!(
        (held..=held + held / 8).contains(&all),
        "of {held} bytes {all} were read, and only a minute's may be twice"
    );
}
