//! How many members may be evicted, and that Nodes which are drained never take more than the code bears.

use std::time::Duration;

use weft_planner::{ANSWER_HOLDS, Act};
use weft_protocol::MemberId;

use crate::{
    model::{Model, TICK},
    scenarios::assert_full,
};

/// How many may be evicted, and how many must stay.
fn allowed(model: &Model) -> (u32, u32) {
    let budget = &model.last.as_ref().expect("it ran").budget;
    (budget.evictable, budget.min_available)
}

fn why(model: &Model) -> &str {
    &model.last.as_ref().expect("it ran").budget.reason
}

/// Evicts what is on a node, as far as the budget allows now. Gives who is left there.
fn drain(model: &mut Model, node: &str) -> Vec<u32> {
    model.cluster.cordoned.insert(node.to_owned());
    for member in model.members_on(node) {
        model.evict(member);
    }
    let pods = model.cluster.pods.iter().filter(|pod| pod.node.as_deref() == Some(node) && !pod.terminating);
    pods.map(|pod| pod.member.0).collect()
}

/// How far an epoch's first plan gets, and every later one until it is committed: nothing may be evicted meanwhile.
fn forbids_until_committed(model: &mut Model, number: u64) {
    let begun = model.now;
    while !model
        .record
        .epochs
        .iter()
        .any(|epoch| epoch.number == number && epoch.phase >= weft_planner::EpochPhase::Committed)
    {
        model.tick();
        assert_eq!(allowed(model).0, 0, "{}", why(model));
        assert!(model.now < begun + Duration::from_secs(900), "epoch {number} is never committed: {}", why(model));
    }
}

#[test]
fn nothing_may_be_evicted_before_there_is_a_whole_fleet_and_then_one() {
    let mut model = Model::new(7, 8, 4);
    while model.record.epochs.iter().all(|epoch| epoch.phase < weft_planner::EpochPhase::Committed) {
        model.tick();
        assert_eq!(allowed(&model).0, 0);
    }
    model.rest();
    assert_eq!(allowed(&model), (1, 6));
    assert!(model.evict(3));
    assert!(!model.evict(4), "two at once, with nobody looking");
    model.rest();
    assert_eq!(allowed(&model), (1, 6));
    assert_full(&model);
}

#[test]
fn the_budget_follows_the_margin_down_and_up() {
    let mut model = Model::rested(7, 8, 4);
    let nodes: Vec<String> = (0..2).map(|member| model.node_of(member)).collect();
    model.committee.unreachable_after = Duration::from_secs(600);
    // Two may be away at once: with one that is, another one may go, and of seven pods five must stay.
    model.cluster.cut(&nodes[0], model.now);
    model.tick();
    assert_eq!(allowed(&model), (1, 5));
    model.cluster.cut(&nodes[1], model.now);
    model.tick();
    assert_eq!(allowed(&model), (0, 7));
    assert!(why(&model).starts_with("margin: 2 pods aren't ready"), "{}", why(&model));
    let withheld = &model.last.as_ref().unwrap().withheld;
    assert!(withheld.iter().any(|held| held.act == "AllowEviction" && held.by == why(&model)), "{withheld:?}");
    for node in &nodes {
        model.cluster.restore(node);
    }
    model.rest();
    assert_eq!(allowed(&model), (1, 6));
}

/// Kubernetes calls a pod ready, and nobody hears of its member: it is gone, but not one of those that count as away.
#[test]
fn a_silent_member_whose_pod_is_called_ready_takes_its_place_in_the_budget() {
    let mut model = Model::rested(7, 8, 4);
    model.committee.unreachable_after = Duration::from_secs(600);
    for (member, left) in [(0, (1, 6)), (1, (0, 7))] {
        let node = model.node_of(member);
        model.cluster.cut_quietly(&node);
        for _ in 0..=(ANSWER_HOLDS.as_secs() / TICK.as_secs()) {
            model.tick();
        }
        assert_eq!(allowed(&model), left, "{}", why(&model));
    }
}

/// Four members of four shards, f = 5: one may be away.
#[test]
fn of_two_nodes_that_are_drained_at_once_the_second_waits_until_the_first_is_back_and_whole() {
    let mut model = Model::rested(4, 4, 4);
    let nodes: Vec<String> = (0..2).map(|member| model.node_of(member)).collect();
    assert_eq!(allowed(&model), (1, 3));
    for _ in 0..4 {
        assert_eq!(drain(&mut model, &nodes[0]), [0_u32; 0]);
        assert_eq!(drain(&mut model, &nodes[1]), [1]);
        model.tick();
        assert_eq!(allowed(&model), (0, 4));
    }
    // Back, and lacking what was written meanwhile: nothing in the budget's number lets it through.
    model.cluster.cordoned.remove(&nodes[0]);
    model.tick();
    for missing in model.volumes.get_mut(&(MemberId(0), 1)).expect("it is back").held.values_mut() {
        *missing = 2000;
    }
    assert_eq!(drain(&mut model, &nodes[1]), [1]);
    while allowed(&model).0 == 0 {
        assert_eq!(drain(&mut model, &nodes[1]), [1]);
        model.tick();
    }
    assert_eq!(drain(&mut model, &nodes[1]), [0_u32; 0]);
    model.cluster.cordoned.clear();
    model.rest();
    assert_full_of_four(&model);
}

fn assert_full_of_four(model: &Model) {
    let plan = model.last.as_ref().expect("it ran");
    assert_eq!((plan.missing.slivers, model.position(), allowed(model)), (0, (1, 0), (1, 3)));
}

/// Two members on each of two nodes: the code bears two, so one node is emptied, and of the other nothing goes.
#[test]
fn a_node_with_two_members_is_drained_where_the_code_bears_both() {
    let mut model = Model::rested(7, 4, 4);
    model.committee.unreachable_after = Duration::from_secs(600);
    let full: Vec<String> = (0..4).map(|node| format!("node-{node}")).collect();
    let full: Vec<String> = full.into_iter().filter(|node| model.members_on(node).len() == 2).collect();
    let mut ticks = 0;
    while !drain(&mut model, &full[0]).is_empty() {
        model.tick();
        ticks += 1;
        assert!(ticks < 10, "{}", why(&model));
    }
    for _ in 0..20 {
        model.tick();
        assert_eq!(drain(&mut model, &full[1]).len(), 2, "{}", why(&model));
    }
    assert_eq!(model.position(), (1, 0));
    model.cluster.cordoned.clear();
    model.rest();
    assert_full(&model);
    assert_eq!(allowed(&model), (1, 6));
}

#[test]
fn nothing_may_be_evicted_from_the_plan_that_begins_a_replacement_to_the_end_of_its_epoch() {
    let mut model = Model::rested(7, 8, 4);
    model.committee.replace.insert((MemberId(2), 1));
    model.tick();
    let admits = |act: &Act| matches!(act, Act::Admit { .. });
    assert!(model.last.as_ref().unwrap().steps.iter().any(|step| admits(&step.act)));
    forbids_until_committed(&mut model, 2);
    // The old volume is kept for a while, and its pod runs: one of eight.
    while allowed(&model).0 == 0 {
        model.tick();
    }
    assert_eq!(allowed(&model), (1, 7), "{}", why(&model));
    model.rest();
    assert_eq!(allowed(&model), (1, 6));
}

/// A leaver's and a newcomer's pods are more, or fewer, than the spec has members.
#[test]
fn drains_of_members_and_changes_of_their_number_leave_no_slack_and_no_block() {
    let mut model = Model::rested(7, 9, 3);
    model.committee.drain.insert(MemberId(3));
    forbids_until_committed(&mut model, 2);
    model.rest();
    // Six of seven members, with five shards and four: one may go.
    assert_eq!(allowed(&model), (1, 5));
    model.committee.drain.clear();
    forbids_until_committed(&mut model, 3);
    model.rest();
    model.committee.members = 8;
    forbids_until_committed(&mut model, 4);
    model.rest();
    assert_eq!(allowed(&model), (1, 7));
    model.committee.members = 7;
    forbids_until_committed(&mut model, 5);
    model.rest();
    assert_eq!(allowed(&model), (1, 6));
}

#[test]
fn nothing_may_be_evicted_while_a_lost_members_shards_are_others_to_keep() {
    let mut model = Model::rested(7, 8, 4);
    model.delete_claim_and_pod(3);
    while !why(&model).contains("are with custodians") {
        assert!(model.position() < (2, 0), "{}", why(&model));
        model.tick();
    }
    forbids_until_committed(&mut model, 2);
    model.rest();
    assert_eq!(allowed(&model), (1, 6));
}

/// Three of four members can't hold all shards: the drain waits, and with it whoever else would take a member away.
#[test]
fn nothing_may_be_evicted_while_a_member_is_to_leave_and_cant() {
    let mut model = Model::rested(4, 4, 4);
    model.committee.drain.insert(MemberId(3));
    for _ in 0..10 {
        model.tick();
        assert_eq!((allowed(&model), why(&model)), ((0, 4), "member 3-1 is to give up its shards"));
    }
    model.committee.drain.clear();
    model.rest();
    assert_full_of_four(&model);
}

#[test]
fn an_operator_that_hears_nobody_lets_nobody_go() {
    let mut model = Model::rested(7, 8, 4);
    model.hears = false;
    model.restart_operator();
    model.tick();
    assert_eq!(allowed(&model), (0, 7));
    model.hears = true;
    model.rest();
    assert_eq!(allowed(&model), (1, 6));
}

#[test]
fn nothing_may_be_evicted_while_objects_that_were_set_back_are_unconfirmed() {
    let mut model = Model::rested(7, 8, 4);
    let before = model.snapshot();
    model.committee.replace.insert((MemberId(2), 1));
    model.until("TakeEffect");
    model.restore_record(&before);
    for _ in 0..60 {
        model.tick();
        assert_eq!(allowed(&model).0, 0, "{}", why(&model));
    }
    let rewound = model.record.rewound.expect("it is noticed");
    model.committee.confirmed_rewind = Some(rewound.to_string());
    model.rest();
    assert_eq!(allowed(&model).0, 1, "{}", why(&model));
}

#[test]
fn a_pause_changes_nothing_about_what_the_code_bears() {
    let mut model = Model::rested(7, 8, 4);
    model.committee.paused = true;
    model.tick();
    assert_eq!(allowed(&model), (1, 6));
    // The operator brings nobody back: two may go, and no third.
    assert!(model.evict(3));
    assert!(!model.evict(4));
    model.tick();
    assert!(model.evict(4));
    for _ in 0..10 {
        model.tick();
        assert!(!model.evict(5), "{}", why(&model));
    }
}
