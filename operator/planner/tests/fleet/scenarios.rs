//! What must come out of the losses that happen.

use std::time::Duration;

use weft_planner::{EpochPhase, Margin, MemberState, Survives, Truth};
use weft_protocol::{MemberId, ShardSet, View};

use crate::model::{Model, TICK};

const FULL: Margin = Margin { read: 18, write: 9 };

pub(crate) fn assert_full(model: &Model) {
    let plan = model.last.as_ref().expect("it ran");
    assert_eq!(plan.margin, FULL);
    assert_eq!(plan.missing.slivers, 0);
    assert_eq!(plan.conditions.degraded.status, Truth::False);
    assert_eq!(plan.conditions.available.status, Truth::True);
    assert!(plan.members.iter().all(|m| m.current.state == MemberState::Serving && m.custody.is_empty()));
    assert_eq!(model.largest_load(), 4);
}

#[test]
fn a_new_fleet_gets_one_view_and_comes_to_rest() {
    let mut model = Model::new(7, 8, 4);
    model.rest();
    assert_full(&model);
    assert_eq!(model.position(), (1, 0));
    assert_eq!(model.last.as_ref().unwrap().survives, Survives { members: 2, zones: 1 });
    assert_eq!((model.times("ProposeView"), model.times("CreatePod"), model.times("CreateClaim")), (1, 7, 7));
}

#[test]
fn a_deleted_pod_is_made_again_and_nothing_else_happens() {
    let mut model = Model::rested(7, 8, 4);
    model.delete_pod(3);
    model.rest();
    assert_full(&model);
    assert_eq!(model.position(), (1, 0));
    assert_eq!(model.done.len(), 1);
    assert_eq!(model.times("CreatePod"), 1);
}

#[test]
fn a_deleted_claim_is_a_loss_and_the_replacement_gets_its_shards_back() {
    let mut model = Model::rested(7, 8, 4);
    let before = model.last.as_ref().unwrap().members[3].shards.clone();
    model.delete_claim_and_pod(3);
    model.rest();
    assert_full(&model);
    assert_eq!(model.position(), (2, 0));
    let member = &model.last.as_ref().unwrap().members[3];
    assert_eq!((member.current.number, &member.shards), (2, &before));
    assert_eq!((model.times("ProposeView"), model.times("DeclareLost"), model.times("CreateEpoch")), (2, 1, 1));
}

#[test]
fn two_members_on_one_dead_node_go_in_one_revision() {
    let mut model = Model::rested(7, 4, 4);
    let node = model.node_of(0);
    assert_eq!(model.members_on(&node).len(), 2);
    model.cluster.cut(&node, model.now);
    model.rest();
    assert_full(&model);
    assert_eq!(model.position(), (2, 0));
    assert_eq!((model.times("DeclareLost"), model.times("ProposeView"), model.times("TakeEffect")), (2, 2, 2));
    // The dead node still exists: what is on it isn't pretended away, and nothing is removed by force.
    let old = model.cluster.pods.iter().filter(|pod| pod.node.as_deref() == Some(&node));
    assert!(old.count() == 2);
}

#[test]
fn a_node_that_is_deleted_with_its_volumes_leaves_nothing_behind() {
    let mut model = Model::rested(7, 8, 4);
    let node = model.node_of(5);
    model.cluster.cut(&node, model.now);
    (0..3).for_each(|_| model.tick());
    model.cluster.remove(&node, model.now);
    model.cluster.lose_volumes(&node);
    model.rest();
    assert_full(&model);
    assert_eq!(model.cluster.claims.len(), 7);
    assert_eq!(model.cluster.pods.len(), 7);
}

#[test]
fn a_node_that_is_gone_takes_its_volumes_along_after_a_minute() {
    let mut model = Model::rested(7, 8, 4);
    model.committee.unreachable_after = Duration::from_secs(600);
    let node = model.node_of(5);
    model.cluster.remove(&node, model.now);
    let gone = model.now;
    while model.times("DeclareLost") == 0 {
        model.tick();
        assert!(model.now - gone < Duration::from_secs(80));
    }
    assert!(model.now - gone >= Duration::from_secs(60));
    model.rest();
    assert_full(&model);
}

#[test]
fn a_node_that_comes_back_in_time_costs_nothing() {
    let mut model = Model::rested(7, 8, 4);
    let node = model.node_of(2);
    model.cluster.cut(&node, model.now);
    (0..4).for_each(|_| model.tick());
    assert_eq!(model.last.as_ref().unwrap().conditions.degraded.status, Truth::True);
    model.cluster.restore(&node);
    model.rest();
    assert_full(&model);
    assert!(model.done.is_empty(), "{:?}", model.done);
}

#[test]
fn silence_of_half_the_nodes_is_waited_out() {
    let mut model = Model::rested(7, 4, 4);
    let nodes = [model.node_of(0), model.node_of(1)];
    for node in &nodes {
        model.cluster.cut(node, model.now);
    }
    (0..60).for_each(|_| model.tick());
    assert_eq!(model.times("DeclareLost"), 0);
    let plan = model.last.as_ref().unwrap();
    assert!(
        plan.withheld.iter().any(|w| w.act == "DeclareLost" && w.by.contains("2 of 4 nodes")),
        "{:?}",
        plan.withheld
    );
    for node in &nodes {
        model.cluster.restore(node);
    }
    model.rest();
    assert!(model.done.is_empty());
}

#[test]
fn a_view_change_that_members_have_yet_to_hear_of_takes_nothing_off_the_margin_but_what_moves() {
    let mut model = Model::rested(7, 8, 4);
    model.asks_every = 2;
    model.committee.replace = [(MemberId(4), 1)].into();
    let mut least = i32::MAX;
    for _ in 0..60 {
        model.tick();
        least = least.min(model.last.as_ref().unwrap().margin.read);
    }
    assert_eq!(model.position(), (2, 0));
    assert!(least >= FULL.read - 4, "{least}");
}

#[test]
fn where_more_than_f_are_silent_no_part_of_them_is_given_up() {
    let mut model = Model::rested(7, 2, 2);
    // One node in two isn't several that fall silent together; but three members hold 12 shards of f = 9.
    let node = ["node-0", "node-1"].into_iter().find(|node| model.members_on(node).len() == 3).expect("four and three");
    model.cluster.cut(node, model.now);
    (0..60).for_each(|_| model.tick());
    assert_eq!(model.times("DeclareLost"), 0);
    let plan = model.last.as_ref().unwrap();
    let waiting = plan.withheld.iter().filter(|w| w.act == "DeclareLost" && w.by.contains("no view could be sealed"));
    assert_eq!(waiting.count(), 3, "{:?}", plan.withheld);
    assert_eq!(plan.conditions.stalled.reason, "BeyondFaultTolerance");
    model.cluster.restore(node);
    model.rest();
    assert!(model.done.is_empty(), "{:?}", model.done);
}

#[test]
fn a_deaf_operator_gives_nobody_up() {
    let mut model = Model::rested(7, 8, 4);
    model.hears = false;
    (0..60).for_each(|_| model.tick());
    assert!(model.done.is_empty(), "{:?}", model.done);
    assert_eq!(model.last.as_ref().unwrap().conditions.ready.status, Truth::Unknown);
    model.hears = true;
    model.restart_operator();
    model.rest();
    assert!(model.done.is_empty());
}

#[test]
fn more_losses_than_the_code_bears_stall_and_say_so() {
    let mut model = Model::rested(7, 8, 4);
    (0..3).for_each(|member| model.delete_claim_and_pod(member));
    (0..20).for_each(|_| model.tick());
    let plan = model.last.as_ref().unwrap();
    assert_eq!(plan.conditions.stalled.status, Truth::True);
    assert_eq!(plan.conditions.stalled.reason, "BeyondFaultTolerance");
    assert!(plan.conditions.stalled.message.contains("weft recover --declare-lost 0-1,1-1,2-1"));
    assert_eq!(model.position(), (1, 0));
    // No view names them, and the survivors rebuild every lost shard ahead of one (R7).
    let spares = plan.orders.iter().filter_map(|order| order.target).map(|(_, shards)| shards);
    assert_eq!(spares.fold(ShardSet::EMPTY, ShardSet::union).len(), 12);
}

#[test]
fn r7_a_loss_beyond_f_is_mended_when_all_of_it_is_declared() {
    let mut model = Model::rested(7, 8, 4);
    (0..3).for_each(|member| model.delete_claim_and_pod(member));
    model.committee.declared_lost = [(MemberId(0), 1), (MemberId(1), 1)].into();
    (0..20).for_each(|_| model.tick());
    assert_eq!(model.position(), (1, 0), "one of the lost is undeclared");
    model.committee.declared_lost.insert((MemberId(2), 1));
    model.until("TakeEffect");
    assert_eq!(model.record.view.as_ref().unwrap().view.declared.len(), 3);
    model.rest();
    assert_full(&model);
    // What was said of incarnations that are gone says nothing of their successors.
    assert!(model.record.view.as_ref().unwrap().view.declared.is_empty());
    assert_eq!(model.last.as_ref().unwrap().conditions.stalled.status, Truth::False);
}

#[test]
fn r7_members_silent_together_are_given_up_only_on_a_persons_word_and_never_while_they_answer() {
    let mut model = Model::rested(7, 8, 4);
    let nodes: Vec<String> = (0..3).map(|member| model.node_of(member)).collect();
    model.committee.declared_lost = (0..3).map(|member| (MemberId(member), 1)).collect();
    (0..10).for_each(|_| model.tick());
    assert_eq!(model.last.as_ref().unwrap().conditions.stalled.reason, "DeclaredLives");
    assert_eq!(model.times("DeclareLost"), 0);
    model.committee.declared_lost.clear();
    let now = model.now;
    for node in &nodes {
        model.cluster.cut(node, now);
    }
    (0..30).for_each(|_| model.tick());
    let plan = model.last.as_ref().unwrap();
    assert_eq!((plan.conditions.stalled.reason, model.times("DeclareLost")), ("BeyondFaultTolerance", 0));
    assert!(plan.withheld.iter().any(|held| held.act == "DeclareLost" && held.by.contains("silent together")));
    // They come back with their volumes: the fleet goes on, and nobody had to say anything.
    for node in &nodes {
        model.cluster.restore(node);
    }
    model.rest();
    assert_full(&model);
    assert_eq!((model.position(), model.times("DeclareLost")), ((1, 0), 0));
}

#[test]
fn a_third_loss_after_two_were_mended_is_mended_too() {
    let mut model = Model::rested(7, 8, 4);
    for member in [0, 1, 2, 3] {
        model.delete_claim_and_pod(member);
        model.rest();
        assert_full(&model);
    }
}

#[test]
fn a_source_that_dies_while_its_slivers_migrate_is_lost_like_any_other() {
    let mut model = Model::rested(7, 8, 4);
    model.delete_claim_and_pod(6);
    model.until("CreateEpoch");
    model.delete_claim_and_pod(0);
    model.rest();
    assert_full(&model);
}

#[test]
fn a_target_that_dies_before_the_boundary_is_planned_around() {
    let mut model = Model::rested(7, 8, 4);
    model.delete_claim_and_pod(6);
    model.until("CreateEpoch");
    model.delete_claim_and_pod(6);
    model.rest();
    assert_full(&model);
    assert_eq!(model.last.as_ref().unwrap().members[6].current.number, 3);
}

#[test]
fn every_leader_may_die_after_every_step() {
    let mut model = Model::rested(7, 8, 4);
    model.delete_claim_and_pod(4);
    for _ in 0..100 {
        model.tick();
        model.tick();
        model.restart_operator();
    }
    model.rest();
    assert_full(&model);
}

#[test]
fn a_pause_lets_everything_wait() {
    let mut model = Model::rested(7, 8, 4);
    model.committee.paused = true;
    model.delete_claim_and_pod(4);
    (0..40).for_each(|_| model.tick());
    assert!(model.done.is_empty(), "{:?}", model.done);
    model.committee.paused = false;
    model.rest();
    assert_full(&model);
}

#[test]
fn members_are_added_and_taken_away() {
    let mut model = Model::rested(7, 8, 4);
    model.committee.members = 8;
    model.rest();
    let loads = |model: &Model| -> Vec<u16> {
        model.record.view.as_ref().unwrap().view.seats.iter().map(|seat| seat.shards.len()).collect()
    };
    assert_eq!(loads(&model).iter().sum::<u16>(), 28);
    assert_eq!(loads(&model).len(), 8);
    assert!(loads(&model).iter().all(|load| (3..=4).contains(load)));
    model.committee.members = 7;
    model.rest();
    assert_full(&model);
    assert_eq!((model.cluster.claims.len(), model.record.members.len()), (7, 7));
}

#[test]
fn a_newcomer_whose_volume_takes_no_writes_gets_another() {
    let mut model = Model::rested(7, 8, 4);
    model.committee.members = 8;
    model.until("CreatePod");
    model.tick();
    let newcomer = (MemberId(7), 1);
    model.volumes.get_mut(&newcomer).expect("it runs").read_only = true;
    model.rest();
    assert_full(&model);
    let seat = model.record.view.as_ref().unwrap().view.seat(MemberId(7)).unwrap();
    assert_eq!(seat.incarnation.number, 2);
    assert_eq!(model.cluster.claims.len(), 8, "its first volume is gone");
}

#[test]
fn a_member_whose_volume_takes_no_writes_is_replaced() {
    let mut model = Model::rested(7, 8, 4);
    let begun = model.now;
    model.volumes.get_mut(&(MemberId(3), 1)).expect("it runs").read_only = true;
    model.until("ProposeView");
    assert!(model.now >= begun + model.committee.unreachable_after, "its disk may work again within that time");
    model.rest();
    assert_full(&model);
    let seat = model.record.view.as_ref().unwrap().view.seat(MemberId(3)).unwrap();
    assert_eq!(seat.incarnation.number, 2);
}

#[test]
fn a_custodian_gives_its_shard_away_though_there_are_more_members_than_shards() {
    let mut model = Model::new(7, 10, 4);
    model.committee.code = weft_redstuff::Code::new(7, 2).unwrap();
    model.rest();
    model.committee.members = 9;
    (0..60).for_each(|_| model.tick());
    model.done.clear();
    model.delete_claim_and_pod(3);
    model.until("TakeEffect");
    let load =
        |model: &Model| model.record.view.as_ref().unwrap().view.seats.iter().map(|seat| seat.shards.len()).max();
    assert_eq!(load(&model), Some(2), "a custodian has it");
    model.done.clear();
    model.until("TakeEffect");
    assert_eq!(load(&model), Some(1));
}

/// Only a fleet that is adopted can come to this: the definition knows the recorded code.
#[test]
fn more_members_than_shards_are_told_until_a_person_wants_fewer() {
    let mut model = Model::new(7, 10, 4);
    model.committee.code = weft_redstuff::Code::new(7, 2).unwrap();
    model.rest();
    model.committee.members = 9;
    (0..60).for_each(|_| model.tick());
    let told = |model: &Model| {
        let conditions = &model.last.as_ref().unwrap().conditions;
        let of = |condition: &weft_planner::Condition| (condition.status, condition.reason);
        [&conditions.ready, &conditions.stalled, &conditions.degraded, &conditions.progressing].map(of)
    };
    let reason = "MoreMembersThanShards";
    let degraded = (Truth::False, "FullMargin");
    assert_eq!(told(&model), [(Truth::False, reason), (Truth::True, reason), degraded, (Truth::False, "Idle")]);
    let message = model.last.as_ref().unwrap().conditions.ready.message.clone();
    assert!(message.contains("spec.members is 9, and the fleet's code has n = 7 shards"), "{message}");
    assert!(message.ends_with("Set spec.members to 7 at the most"), "{message}");
    // Who is drained owns none.
    model.committee.drain = [MemberId(7)].into();
    model.tick();
    assert_eq!(told(&model)[0], (Truth::False, reason));
    assert!(model.last.as_ref().unwrap().conditions.ready.message.contains("9, 1 of them drained, and"));
    model.committee.drain = [MemberId(7), MemberId(8)].into();
    model.tick();
    assert_eq!(told(&model)[1], (Truth::False, "NotStalled"));

    model.committee.drain.clear();
    model.committee.members = 7;
    model.rest();
    assert_eq!(told(&model)[0], (Truth::True, "Fulfilled"));
    assert_eq!(model.record.members.len(), 7);
}

#[test]
fn fewer_members_than_can_own_the_shards_are_told_and_nobody_is_given_up_for_them() {
    let mut model = Model::rested(7, 8, 4);
    model.committee.members = 4;
    model.committee.drain = [MemberId(0)].into();
    (0..60).for_each(|_| model.tick());
    let conditions = &model.last.as_ref().unwrap().conditions;
    let reason = "FewerMembersThanItTakes";
    assert_eq!((conditions.stalled.status, conditions.stalled.reason), (Truth::True, reason));
    assert_eq!((conditions.ready.status, conditions.ready.reason), (Truth::False, reason));
    let told = "spec.members is 4, 1 of them drained, and the fleet's code has n = 28 shards, of which one member may own f = 9 \
                at the most, for good: 4 members are the fewest that can own them all. Set spec.members to 5 at the least, or \
                drain fewer";
    assert_eq!(conditions.ready.message, told);
    assert_eq!(conditions.degraded.reason, "FullMargin");
    assert_eq!(model.record.view.as_ref().unwrap().view.seats.len(), 7);
    model.committee.members = 5;
    model.rest();
    assert_eq!(model.last.as_ref().unwrap().conditions.ready.reason, "Fulfilled");
    assert_eq!(model.record.view.as_ref().unwrap().view.seats.len(), 4);
}

#[test]
fn a_member_that_shall_be_replaced_serves_until_its_successor_is_whole() {
    let mut model = Model::rested(7, 8, 4);
    model.committee.replace.insert((MemberId(2), 1));
    model.rest();
    assert_full(&model);
    assert_eq!(model.last.as_ref().unwrap().members[2].current.number, 2);
    assert_eq!((model.times("DeclareLost"), model.times("ProposeView")), (0, 1));
}

#[test]
fn old_copies_outlive_the_boundary_for_as_long_as_the_spec_says() {
    let mut model = Model::rested(7, 8, 4);
    model.committee.replace.insert((MemberId(2), 1));
    model.until("TakeEffect");
    let crossed = model.now;
    model.until("DestroyClaim");
    assert!(model.now - crossed >= model.committee.retain_for);
}

#[test]
fn the_plan_says_when_to_look_again() {
    let mut model = Model::rested(7, 8, 4);
    let node = model.node_of(2);
    let cut = model.now;
    model.cluster.cut(&node, cut);
    for _ in 0..5 {
        model.tick();
    }
    let wake = model.last.as_ref().unwrap().wake_at;
    assert_eq!(wake, Some(cut + model.committee.unreachable_after));
}

/// At rest members are asked every 15 s, so that the last answer may be nearly that old when the power goes.
#[test]
fn nobody_is_given_up_before_the_silence_has_lasted() {
    let mut model = Model::rested(7, 8, 4);
    model.asks_every = 3;
    while model.heard.values().any(|heard| model.now - heard.at < 2 * TICK) {
        model.tick();
    }
    let (node, cut) = (model.node_of(2), model.now);
    model.cluster.cut(&node, cut);
    model.until("DeclareLost");
    // What was planned is told a tick later.
    let after = model.now - (cut + TICK);
    assert!(after >= model.committee.unreachable_after, "{after:?} after");
    model.rest();
    assert_full(&model);
}

/// Another leader goes on counting from what is recorded; it doesn't start anew.
#[test]
fn a_silence_goes_on_under_another_leader() {
    let mut model = Model::rested(7, 8, 4);
    let (node, cut) = (model.node_of(2), model.now);
    model.cluster.cut(&node, cut);
    (0..5).for_each(|_| model.tick());
    model.restart_operator();
    model.until("DeclareLost");
    assert!(model.now - cut <= model.committee.unreachable_after + 2 * TICK);
}

#[test]
fn a_drained_member_gives_its_shards_and_its_volume_up_and_may_come_back() {
    let mut model = Model::rested(7, 8, 4);
    model.committee.drain.insert(MemberId(3));
    model.rest();
    assert_eq!(model.last.as_ref().unwrap().margin, FULL);
    assert_eq!((model.position(), model.largest_load(), model.cluster.claims.len()), ((2, 0), 5, 6));
    assert_eq!(model.times("DeclareLost"), 0);
    model.committee.drain.clear();
    model.rest();
    assert_full(&model);
}

#[test]
fn the_worker_that_dies_for_good_is_mended_on_the_ones_that_are_left() {
    let mut model = Model::rested(7, 4, 4);
    let node = model.node_of(0);
    model.cluster.cut(&node, model.now);
    (0..30).for_each(|_| model.tick());
    model.cluster.lose_volumes(&node);
    model.cluster.remove(&node, model.now);
    model.rest();
    assert_full(&model);
    assert_eq!((model.cluster.claims.len(), model.cluster.pods.len()), (7, 7));
    assert_eq!(model.times("ProposeView"), 2);
}

#[test]
fn a_successor_that_members_refuse_their_view_for_is_continued() {
    let mut model = Model::rested(7, 8, 4);
    model.delete_claim_and_pod(1);
    model.until("ProposeView");
    assert!(model.record.pending.is_some());
    // The record is restored from before the proposal, and another leader takes over.
    model.record.pending = None;
    model.record.term += 1;
    model.until("ContinueView");
    model.rest();
    assert_full(&model);
}

/// R4: what counts is the order that the member refuses by, not what it says of it.
#[test]
fn a_liar_that_reports_an_invented_term_misleads_no_leader() {
    let mut model = Model::rested(7, 8, 4);
    let view = model.record.view.clone().expect("a fleet at rest has a view").view;
    model.delete_claim_and_pod(1);
    model.until("ProposeView");
    let ordered = model.record.pending.clone().expect("it is proposed").view;
    // An earlier leader ordered a view that changes nothing, and had it refused by nobody.
    let idle = View { revision: view.revision + 1, predecessor: Some(view.id()), ..view.clone() };
    let mut lie = model.seal_order(view.term, idle);
    lie.term = model.record.term + 1;
    model.volumes.get_mut(&(MemberId(3), 1)).expect("it runs").lie = Some(lie);
    model.record.pending = None;
    model.record.term += 1;
    model.until("ContinueView");
    let continued = model.record.pending.clone().expect("it is continued").view;
    assert_eq!(continued, ordered);
    model.rest();
    assert_full(&model);
}

/// Kubernetes calls a node Ready for a while after its power went: what is placed there hangs.
#[test]
fn replacements_keep_off_nodes_whose_members_are_silent() {
    let mut model = Model::rested(7, 7, 7);
    let member = model.members_on("node-0")[0];
    model.cluster.cut_quietly("node-0");
    model.until("CreateClaim");
    (0..4).for_each(|_| model.tick());
    let replaced = model.cluster.claims.iter().find(|claim| (claim.member.0, claim.incarnation) == (member, 2));
    let replaced = replaced.expect("a replacement");
    assert_ne!(replaced.selected.as_deref(), Some("node-0"), "the emptiest node is the silent one");
    assert!(replaced.volume.is_some());
    model.rest();
    assert_full(&model);
}

/// The node went before anyone knew: the volume that the scheduler wanted there is never made.
#[test]
fn a_claim_that_waits_for_a_silent_node_is_made_anew() {
    let mut model = Model::rested(7, 7, 7);
    let lost = model.members_on("node-3")[0];
    model.cluster.cut_quietly("node-0");
    model.cluster.nodes[3].unready_since = Some(model.now);
    model.delete_claim_and_pod(lost);
    model.until("CreatePod");
    let selected = |model: &Model| -> Vec<(u32, Option<String>)> {
        let claims = model.cluster.claims.iter().filter(|claim| claim.member.0 == lost);
        claims.map(|claim| (claim.incarnation, claim.selected.clone())).collect()
    };
    model.tick();
    assert!(selected(&model).contains(&(2, Some("node-0".to_owned()))), "{:?}", selected(&model));
    model.rest();
    assert_full(&model);
    assert!(selected(&model).iter().all(|(number, node)| *number > 2 && node.as_deref() != Some("node-0")));
}

/// Unknown isn't counted twice: four shards of one member are gone, and no more at any time.
#[test]
fn margins_are_told_truly_through_custody_and_back() {
    let mut model = Model::rested(7, 8, 4);
    model.delete_claim_and_pod(3);
    let mut quiet = 0;
    while quiet < 24 {
        model.tick();
        quiet = if model.is_at_rest() { quiet + 1 } else { 0 };
        let (margin, position) = (model.last.as_ref().unwrap().margin, model.position());
        assert!(margin.read >= FULL.read - 4, "{margin:?} in view {position:?}");
    }
    assert_full(&model);
}

/// Custodians hold for others; the last owner's volume is kept until new owners have re-read theirs (R23).
#[test]
fn a_lost_volume_is_kept_until_new_owners_have_kept_theirs_for_long_enough() {
    let mut model = Model::rested(7, 8, 4);
    let (node, member) = (model.node_of(2), 2);
    model.cluster.cut(&node, model.now);
    model.until("DeclareLost");
    while model.position() != (2, 0) {
        model.tick();
        assert!(model.cluster.claims.iter().any(|claim| (claim.member.0, claim.incarnation) == (member, 1)));
    }
    let crossed = model.now;
    model.until("DestroyClaim");
    assert!(model.now - crossed >= model.committee.retain_for);
    model.rest();
    assert_full(&model);
}

#[test]
fn messages_speak_of_one_and_of_many() {
    let withheld = |model: &Model, act: &str| -> Vec<String> {
        let plan = model.last.as_ref().unwrap();
        plan.withheld.iter().filter(|w| w.act == act).map(|w| format!("{}; {}", w.reason, w.by)).collect()
    };
    let mut model = Model::new(4, 4, 4);
    (0..3).for_each(|_| model.tick());
    assert!(withheld(&model, "ProposeView")[0].contains("the key of members 0, 1, 2, 3 on"));
    let mut model = Model::rested(7, 8, 4);
    model.committee.members = 8;
    model.committee.settle = Duration::from_secs(600);
    let ready = |model: &Model| withheld(model, "CreateEpoch").first().cloned().unwrap_or_default();
    (0..10).for_each(|_| model.tick());
    assert!(ready(&model).starts_with("member 7 is ready to own shards"), "{:?}", ready(&model));
    model.committee.members = 9;
    (0..10).for_each(|_| model.tick());
    assert!(ready(&model).starts_with("members 7, 8 are ready to own shards"), "{:?}", ready(&model));
}

#[test]
fn a_replacement_waits_while_vacant_shards_use_up_what_may_move() {
    // Four members of four shards (f = 5): others can keep two of a lost member's shards, and two stay vacant.
    let mut model = Model::rested(4, 7, 4);
    model.committee.replace.insert((MemberId(2), 1));
    model.until("Admit");
    model.delete_claim_and_pod(3);
    model.rest();
    assert_eq!(model.last.as_ref().unwrap().margin.read, 10);
    let numbers: Vec<u32> = model.last.as_ref().unwrap().members.iter().map(|member| member.current.number).collect();
    assert_eq!(numbers, [1, 1, 2, 2]);
}

/// Between an epoch's seal and its commit a member is lost, and no survivor may take all of its shards: the epoch can't be
/// committed while one is vacant, and only the next one gives that a holder.
#[test]
fn r6_a_shard_that_falls_vacant_before_the_epoch_is_committed_gets_a_holder_in_the_next() {
    let mut model = Model::rested(4, 8, 4);
    model.committee.replace.insert((MemberId(1), 1));
    while model.position() < (2, 0) {
        model.tick();
    }
    let committed = |model: &Model| {
        model.record.epochs.iter().any(|epoch| epoch.number == 2 && epoch.phase >= EpochPhase::Committed)
    };
    assert!(!committed(&model));
    model.delete_claim_and_pod(3);
    while model.position() < (2, 1) {
        model.tick();
    }
    assert!(!committed(&model) && !model.record.view.as_ref().unwrap().view.vacant().is_empty());
    model.rest();
    assert_eq!(model.record.view.as_ref().unwrap().view.vacant().len(), 0);
    assert_eq!(model.position().0, 3);
}

/// A member that is to leave is lost, and others are to be replaced: less may move than all that wants to. A replacement that
/// would get but a part of its member's shards waits for another epoch, and keeps nobody else waiting.
#[test]
fn r6_replacements_give_way_to_who_comes_and_goes_where_not_all_can_move() {
    for replaced in [&[1][..], &[1, 3], &[1, 2, 3]] {
        let mut model = Model::rested(4, 12, 4);
        model.committee.members = 5;
        model.rest();
        model.delete_claim_and_pod(4);
        for _ in 0..4 {
            model.tick();
        }
        model.committee.members = 4;
        model.committee.replace = replaced.iter().map(|id| (MemberId(*id), 1)).collect();
        model.rest();
        assert_eq!(model.record.view.as_ref().unwrap().view.vacant().len(), 0);
    }
}
