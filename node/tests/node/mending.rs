//! A fleet loses a member, mends itself, and takes a replacement in.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{extract::Request, middleware::Next};
use futures::{StreamExt, stream};
use weft_node::member::{Condition, Member};
use weft_proto::v1::{Inventory, Retire, Target};
use weft_protocol::ShardSet;
use weft_redstuff::{Axis, BlobId, Hash};
use weft_store::{Room, View as _};

use super::fleet::{Fleet, Front, OrderChanges, content, delete_slivers, eventually, get, lose, put};

#[tokio::test(flavor = "multi_thread")]
async fn lost_slivers_are_rebuilt_and_a_replacement_takes_them_over() {
    let mut fleet = Fleet::start(7).await;
    let client = fleet.client();
    let contents = [0, 300, 5_000, 200_000, 9_000_000].map(|length| content(length as u64, length));
    let mut blobs = Vec::new();
    for (nonce, content) in contents.iter().enumerate() {
        blobs.push(put(&client, nonce as u8, content).await.id);
    }
    let lost = fleet.newest().seats[6].shards;
    fleet.kill(6).await;
    let custody = fleet.without(&[6]);
    fleet.change_view(&custody).await;
    fleet.whole().await;
    for (blob, content) in blobs.iter().zip(&contents) {
        assert_eq!(get(&client, *blob).await, content);
    }

    fleet.wipe(6).await;
    fleet.order_all(OrderChanges::default()).await;
    let epoch = fleet.with(6, lost).await;
    let target = Target { epoch: epoch.epoch, shards: lost.to_bytes().to_vec().into() };
    let order = OrderChanges { target: Some(target.clone()), ..OrderChanges::default() };
    fleet.order(6, order.clone()).await.unwrap();
    fleet.whole().await;
    let inventory = fleet.order(6, order).await.unwrap();
    assert_eq!(moved(&inventory, &target), (inventory.held_sliver_bytes, 0), "custodians have it all");
    fleet.change_view(&epoch).await;
    fleet.whole().await;
    assert_eq!(fleet.member(6).must_hold(), lost);
    retire(&fleet, &blobs).await;
    for (blob, content) in blobs.iter().zip(&contents) {
        assert_eq!(get(&client, *blob).await, content);
    }
}

/// Less than can be decoded is left at the others.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_store_has_that_takes_no_writes_any_more_helps_to_mend() {
    let fleet = Fleet::start(7).await;
    let client = fleet.client();
    let bytes = content(3, 200_000);
    let blob = put(&client, 1, &bytes).await.id;
    fleet.whole().await;
    fleet.places[&0].disk.fail_next_write();
    let failing = fleet.member(0);
    let mut nonce = 1;
    eventually("the store takes no writes", || {
        nonce += 1;
        let (client, failing) = (client.clone(), failing.clone());
        async move {
            put(&client, nonce, &content(4, 100)).await;
            failing.store().health().read_only.is_some()
        }
    })
    .await;
    for id in 3..7 {
        lose(&fleet.member(id), blob).await;
    }
    for id in 1..7 {
        eventually(&format!("member {id} is whole"), || async {
            fleet.member(id).levels().is_ok_and(|levels| levels.missing_slivers == 0)
        })
        .await;
    }
    assert_eq!(get(&client, blob).await, bytes);
}

/// What a member says of its target's epoch and shards, all together: bytes copied, bytes rebuilt.
fn moved(inventory: &Inventory, target: &Target) -> (u64, u64) {
    let shards = ShardSet::from_bytes(target.shards.as_ref().try_into().unwrap());
    let rows = inventory.moved.iter();
    rows.fold((0, 0), |(copied, rebuilt), row| {
        assert!(row.epoch == target.epoch && shards.contains(row.shard as u8), "{row:?}");
        (copied + row.copied_bytes, rebuilt + row.rebuilt_bytes)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_epoch_copies_is_counted_as_durably_as_its_slivers() {
    let mut fleet = Fleet::start(7).await;
    let client = fleet.client();
    for nonce in 0..12 {
        put(&client, nonce, &content(u64::from(nonce), 400_000)).await;
    }
    let lost = fleet.newest().seats[6].shards;
    fleet.kill(6).await;
    let custody = fleet.without(&[6]);
    fleet.change_view(&custody).await;
    fleet.whole().await;
    for inventory in fleet.order_all(OrderChanges::default()).await.values() {
        assert_eq!(inventory.moved, [], "custody moves within an epoch");
    }
    fleet.wipe(6).await;
    fleet.order_all(OrderChanges::default()).await;
    let target = Target { epoch: 2, shards: lost.to_bytes().to_vec().into() };
    let order = OrderChanges { target: Some(target.clone()), ..OrderChanges::default() };
    let (mut reached, mut midway) = (0, 0);
    // What comes first is a small portion, and no operation makes two of them durable: some cut falls between them.
    for operations in 4.. {
        let disk = fleet.places[&6].disk.clone();
        disk.cut_power_after(operations);
        // It may go before the order is durable.
        drop(fleet.order(6, order.clone()).await);
        // With little time, more is made durable at once: all may have come before.
        let member = fleet.member(6);
        let all_came = || member.levels().is_ok_and(|levels| levels.slivers > 0 && levels.missing_slivers == 0);
        eventually("the power goes, or all has come", || async { disk.is_dead() || all_came() }).await;
        drop(member);
        let was_cut = disk.is_dead();
        fleet.restart(6).await;
        let inventory = fleet.order(6, OrderChanges { target: Some(target.clone()), ..OrderChanges::default() }).await;
        let inventory = inventory.unwrap();
        // All that this volume holds has come for this epoch. Who begins and has no peers yet may rebuild.
        let (copied, rebuilt) = moved(&inventory, &target);
        assert_eq!(copied + rebuilt, inventory.held_sliver_bytes, "{copied} copied, {rebuilt} rebuilt");
        assert!(inventory.held_sliver_bytes >= reached, "{} after {reached}", inventory.held_sliver_bytes);
        midway += u32::from(was_cut && inventory.held_sliver_bytes > reached);
        reached = inventory.held_sliver_bytes;
        if !was_cut {
            break;
        }
    }
    assert!(midway > 0, "the power went while slivers came");
    fleet.whole().await;
    let inventory = fleet.order(6, order).await.unwrap();
    assert!(inventory.held_sliver_bytes >= reached, "{} after {reached}", inventory.held_sliver_bytes);
    let (copied, rebuilt) = moved(&inventory, &target);
    assert_eq!(copied + rebuilt, inventory.held_sliver_bytes, "{copied} copied, {rebuilt} rebuilt");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_source_leaves_is_counted_as_rebuilt_and_what_comes_after_the_boundary_is_not() {
    let mut fleet = Fleet::start(7).await;
    put(&fleet.client(), 1, &content(1, 400_000)).await;
    // Its own shards come to it again, on an empty volume, and nobody else ever had them.
    let shards = fleet.newest().seats[6].shards;
    fleet.wipe(6).await;
    fleet.order_all(OrderChanges::default()).await;
    let epoch = fleet.with(6, shards).await;
    let target = Target { epoch: epoch.epoch, shards: shards.to_bytes().to_vec().into() };
    let order = OrderChanges { target: Some(target.clone()), ..OrderChanges::default() };
    fleet.order(6, order).await.unwrap();
    let newcomer = fleet.member(6);
    eventually("the newcomer has what it is to own", || async {
        newcomer.levels().is_ok_and(|levels| levels.blobs == 1 && levels.slivers > 0 && levels.missing_slivers == 0)
    })
    .await;
    drop(newcomer);
    fleet.change_view(&epoch).await;
    fleet.whole().await;
    let rebuilt = fleet.order(6, OrderChanges::default()).await.unwrap();
    assert!(rebuilt.held_sliver_bytes > 0);
    assert_eq!(moved(&rebuilt, &target), (0, rebuilt.held_sliver_bytes));

    put(&fleet.client(), 2, &content(2, 400_000)).await;
    eventually("the new blob's slivers are there", || async {
        fleet.member(6).levels().unwrap().sliver_bytes > rebuilt.held_sliver_bytes
    })
    .await;
    let after = fleet.order(6, OrderChanges::default()).await.unwrap();
    assert_eq!(moved(&after, &target), moved(&rebuilt, &target), "uploads bring what is new");
}

/// Orders everyone to drop spare copies, and waits until they hold what the view gives them and no more (R23).
async fn retire(fleet: &Fleet, blobs: &[BlobId]) {
    let view = fleet.newest();
    for (id, member) in fleet.members() {
        let spare = ShardSet::first(view.code.shards()).difference(member.must_hold());
        let order = Retire { view: view.hash().0.to_vec().into(), shards: spare.to_bytes().to_vec().into() };
        fleet.order(id, OrderChanges { retire: Some(order), ..OrderChanges::default() }).await.unwrap();
    }
    // Three blobs have slivers, of four stripes in all: two slivers of each of four shards. A put that went on without a member
    // has left it an open upload, which counts among all that it has.
    for (id, member) in fleet.members() {
        eventually(&format!("member {id} holds no more than its own"), || async {
            let stripes = blobs.iter().flat_map(|blob| [(blob, 0), (blob, 1)]);
            let held: usize = stripes.map(|(blob, stripe)| member.held_slivers(blob, stripe).unwrap().len()).sum();
            held == 2 * 4 * 4 && member.levels().unwrap().missing_slivers == 0
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r7_survivors_mend_a_loss_beyond_f_once_a_person_has_declared_it() {
    let mut fleet = Fleet::start(7).await;
    let client = fleet.client();
    let contents = [300, 200_000, 2_000_000].map(|length| content(length as u64, length));
    let mut blobs = Vec::new();
    for (nonce, content) in contents.iter().enumerate() {
        blobs.push(put(&client, nonce as u8, content).await.id);
    }
    fleet.whole().await;
    let lost = [4, 5, 6];
    let next = fleet.declaring(&lost);
    // While one of them lives, the declaration is refused, and nobody refuses the view for it.
    let order = OrderChanges { seal_order: Some(fleet.seal_order(&next)), ..OrderChanges::default() };
    for id in [0, 6] {
        assert_eq!(fleet.order(id, order.clone()).await.unwrap_err().code(), tonic::Code::Aborted);
    }
    for id in lost {
        fleet.kill(id).await;
    }
    // No view names them yet, and the survivors rebuild what they can of the lost shards: more copies never hurt.
    let before = fleet.member(0).levels().unwrap().slivers;
    let gained = next.seats[0].shards.difference(fleet.newest().seats[0].shards);
    let target = Target { epoch: 2, shards: gained.to_bytes().to_vec().into() };
    fleet.order(0, OrderChanges { target: Some(target), ..OrderChanges::default() }).await.unwrap();
    eventually("a survivor has spare copies", || async { fleet.member(0).levels().unwrap().slivers > before }).await;
    // Members that start again meanwhile don't wait for what the destroyed ones remember of them.
    fleet.restart(3).await;
    eventually("the destroyed members are out of reach", || async {
        fleet.members().iter().all(|(_, member)| member.reachable().len() == 3)
    })
    .await;
    fleet.order_all(order).await;
    let restarted = fleet.member(3);
    eventually("the order ends the wait", || async { restarted.condition() == Condition::Healthy }).await;
    fleet.change_view(&next).await;
    fleet.whole().await;
    let client = fleet.client();
    for (blob, content) in blobs.iter().zip(&contents) {
        assert_eq!(get(&client, *blob).await, content);
    }
    put(&client, 99, &contents[1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spare_copy_goes_only_under_the_view_that_makes_it_spare() {
    let mut fleet = Fleet::start(7).await;
    let client = fleet.client();
    let (old, content) = (fleet.newest().hash(), content(1, 100_000));
    let blob = put(&client, 1, &content).await.id;
    fleet.whole().await;
    let custody = fleet.without(&[6]);
    fleet.change_view(&custody).await;
    let held = fleet.member(6).levels().unwrap().slivers;
    assert_eq!(held, 8);
    // Of a view that was sealed, and of shards that the member must hold.
    let own = fleet.member(0).must_hold();
    for (id, view, shards) in [(6, old, ShardSet::first(28)), (0, custody.hash(), own)] {
        let order = Retire { view: view.0.to_vec().into(), shards: shards.to_bytes().to_vec().into() };
        fleet.order(id, OrderChanges { retire: Some(order), ..OrderChanges::default() }).await.unwrap();
    }
    fleet.whole().await;
    assert_eq!(fleet.member(6).levels().unwrap().slivers, held);
    assert_eq!(get(&client, blob).await, content);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotten_sliver_is_noticed_and_mended() {
    let mut fleet = Fleet::start(7).await;
    let blob = put(&fleet.client(), 1, &content(1, 300_000)).await.id;
    fleet.whole().await;
    let shard = fleet.newest().seats[0].shards.iter().next().unwrap();
    let index = fleet.newest().code.sliver_index(u16::from(shard), Axis::Primary);
    let sound = fleet.member(0).read_sliver(&blob, 0, Axis::Primary, index).await.unwrap().unwrap();
    fleet.kill(0).await;
    fleet.rot(0, &sound);
    fleet.run(0).await;
    let member = fleet.member(0);
    assert_eq!(member.read_sliver(&blob, 0, Axis::Primary, index).await.unwrap(), None);
    eventually("the sliver is rebuilt", || async {
        member.read_sliver(&blob, 0, Axis::Primary, index).await.unwrap().as_ref() == Some(&sound)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_comes_back_without_its_operator() {
    let mut fleet = Fleet::start(7).await;
    let content = content(1, 200_000);
    let blob = put(&fleet.client(), 1, &content).await.id;
    for id in 0..7 {
        fleet.kill(id).await;
    }
    for id in 0..7 {
        fleet.run(id).await;
    }
    fleet.settled().await;
    let client = fleet.client();
    assert_eq!(get(&client, blob).await, content);
    put(&client, 2, &content).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_seal_a_view_among_themselves() {
    let fleet = Fleet::start(7).await;
    let successor = fleet.without(&[6]);
    let order = fleet.seal_order(&successor);
    // The operator reaches holders of 20 of 28 shards, and is gone before it learns of their refusals.
    for id in 0..5 {
        let changes = OrderChanges { seal_order: Some(order.clone()), ..OrderChanges::default() };
        fleet.order(id, changes).await.unwrap();
    }
    for (id, member) in fleet.members() {
        eventually(&format!("member {id} has the successor"), || async {
            member.newest().is_some_and(|newest| newest.view == successor)
        })
        .await;
    }
}

/// Two of six helpers have nothing to give, and nobody knows.
#[tokio::test(flavor = "multi_thread")]
async fn r18_what_a_helper_does_not_give_is_asked_of_others_and_what_the_rest_gave_is_kept() {
    let fleet = Fleet::start(7).await;
    let blob = put(&fleet.client(), 1, &content(1, 100_000)).await.id;
    fleet.whole().await;
    for id in [1, 4] {
        delete_slivers(&fleet.member(id), &[blob]).await;
    }
    let loser = fleet.member(6);
    let before = loser.metrics().repair_bytes();
    lose(&loser, blob).await;
    eventually("it has its slivers again", || async { loser.levels().unwrap().slivers == 8 }).await;
    // Of each of four secondaries k1 symbols, of each primary k2 without the four that it then has at home.
    let (symbol_size, _) = loser.stripe_hashes(&blob, 0).unwrap().expect("it has the hashes");
    assert_eq!(loser.metrics().repair_bytes() - before, 4 * (10 + 19 - 4) * u64::from(symbol_size));
}

/// Two members answer everything but requests for symbols: these they leave open for ever.
#[tokio::test(flavor = "multi_thread")]
async fn r18_who_never_gives_symbols_is_waited_for_once_and_not_for_each_blob() {
    let mut fleet = Fleet::unformed(7).await;
    let asked = Arc::new(AtomicUsize::new(0));
    let silent: Front = {
        let asked = asked.clone();
        Arc::new(move |_, routes| {
            let asked = asked.clone();
            let between = move |request: Request, next: Next| {
                let asked = asked.clone();
                async move {
                    if request.uri().path() == "/weft.node.v1.Peers/Symbols" {
                        asked.fetch_add(1, Ordering::Relaxed);
                        std::future::pending::<()>().await;
                    }
                    next.run(request).await
                }
            };
            routes.into_axum_router().layer(axum::middleware::from_fn(between)).into()
        })
    };
    for id in [1, 4] {
        fleet.fronts.insert(id, silent.clone());
        fleet.restart(id).await;
    }
    fleet.form().await;
    let client = fleet.client();
    // More than one batch has room for.
    let blobs: Vec<BlobId> = stream::iter(0..80_u8)
        .map(|nonce| {
            let client = client.clone();
            async move { put(&client, nonce, &content(9, 2000)).await.id }
        })
        .buffered(8)
        .collect()
        .await;
    fleet.whole().await;
    let loser = fleet.member(6);
    for blob in blobs {
        lose(&loser, blob).await;
    }
    eventually("it has its slivers again", || async { loser.levels().unwrap().slivers == 80 * 8 }).await;
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

/// Replaces what a member holds of a blob of one stripe, and its hashes: what it serves and signs of it is wrong.
async fn forge(member: &Member, blob: BlobId) {
    let write = member.store().write(Room::Reserved, move |tx| {
        let upload = tx.holding(&blob.0)?.expect("it holds the blob");
        let mut description = tx.stripe(upload, 0)?.expect("it holds the stripe");
        for (place, _) in tx.slivers(upload, None, usize::MAX)? {
            let mut sliver = tx.sliver(&place)?.expect("it is listed");
            sliver[0] ^= 1;
            let row = usize::from(place.index) + if place.axis == weft_store::Axis::Primary { 0 } else { 28 };
            let at = 4 + row * Hash::LENGTH;
            description[at..at + Hash::LENGTH].copy_from_slice(Hash::of(&sliver).as_bytes());
            tx.put_sliver(&place, sliver)?;
        }
        tx.put_stripe(upload, 0, description)
    });
    write.await.expect("the store takes it");
}

#[tokio::test(flavor = "multi_thread")]
async fn r18_members_that_lack_the_same_blob_leave_each_other_out() {
    let fleet = Fleet::start(7).await;
    let blob = put(&fleet.client(), 1, &content(1, 100_000)).await.id;
    fleet.whole().await;
    // Eight of 28 shards lack it, and f = 9. Whatever window of ten one chooses of the others' shards, in turn, the
    // other member is in it.
    for id in [5, 6] {
        lose(&fleet.member(id), blob).await;
    }
    for id in [5, 6] {
        let member = fleet.member(id);
        eventually("it has its slivers again", || async { member.levels().unwrap().slivers == 8 }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r18_a_helper_whose_symbols_are_wrong_is_left_out() {
    let fleet = Fleet::start(7).await;
    let blob = put(&fleet.client(), 1, &content(1, 100_000)).await.id;
    fleet.whole().await;
    forge(&fleet.member(1), blob).await;
    let loser = fleet.member(6);
    lose(&loser, blob).await;
    eventually("it has its slivers again", || async { loser.levels().unwrap().slivers == 8 }).await;
    let (own, member) = (loser.must_hold(), fleet.member(0));
    let (_, hashes) = member.stripe_hashes(&blob, 0).unwrap().unwrap();
    for (shard, axis) in own.iter().flat_map(|shard| Axis::BOTH.map(|axis| (shard, axis))) {
        let index = fleet.newest().code.sliver_index(u16::from(shard), axis);
        let sliver = loser.read_sliver(&blob, 0, axis, index).await.unwrap().expect("it was rebuilt");
        assert!(hashes.matches(axis, index, &sliver));
    }
}
