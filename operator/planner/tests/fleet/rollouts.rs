//! Members restart with another spec one after another, and what is wrong with it stops at the first of them.

use std::{collections::BTreeSet, time::Duration};

use weft_planner::{MemberState, Truth};
use weft_protocol::MemberId;

use crate::{
    checks::served,
    model::{Model, TICK},
    scenarios::assert_full,
};

/// Members whose pods are made of this spec.
fn made_of(model: &Model, inputs: &str) -> Vec<u32> {
    let pods = model.cluster.pods.iter().filter(|pod| !pod.terminating && pod.inputs.as_deref() == Some(inputs));
    pods.map(|pod| pod.member.0).collect()
}

/// A fleet at rest, for whose members nothing good is said any more.
fn with_bad_spec() -> Model {
    let mut model = Model::rested(7, 8, 4);
    model.cluster.broken.insert("bad".to_owned());
    "bad".clone_into(&mut model.committee.inputs);
    model
}

fn zone(model: &Model, member: u32) -> Option<String> {
    let node = model.node_of(member);
    model.cluster.nodes.iter().find(|known| known.name == node).and_then(|node| node.zone.clone())
}

/// Why a restart waits.
fn waits_for(model: &Model) -> Option<&str> {
    let withheld = &model.last.as_ref()?.withheld;
    withheld.iter().find(|withheld| withheld.act == "DeletePod").map(|withheld| withheld.by.as_str())
}

#[test]
fn members_restart_one_after_another_and_zone_after_zone() {
    let mut model = Model::rested(7, 8, 4);
    let zones: Vec<Option<String>> = (0..7).map(|member| zone(&model, member)).collect();
    model.committee.inputs = "second".to_owned();
    let (begun, mut order) = (model.now, Vec::new());
    while order.len() < 7 {
        model.tick();
        assert!(served(&model).len() >= 24, "more than one member is away");
        for member in made_of(&model, "second") {
            if !order.contains(&member) {
                order.push(member);
            }
        }
        assert!(model.now < begun + Duration::from_secs(1800), "{order:?}, {:?}", waits_for(&model));
    }
    let mut visited: Vec<&Option<String>> = order.iter().map(|member| &zones[*member as usize]).collect();
    visited.dedup();
    let distinct: BTreeSet<&Option<String>> = visited.iter().copied().collect();
    assert_eq!(visited.len(), distinct.len(), "a zone is done before the next one begins: {visited:?}");
    model.rest();
    assert_eq!((model.times("DeletePod"), model.times("CreatePod"), model.position()), (7, 7, (1, 0)));
    assert_full(&model);
}

/// It is put right late: with another spec, or as the others' pods still are, with which they serve.
#[test]
fn what_is_wrong_with_a_spec_stops_at_the_first_member_and_is_put_right_there() {
    for right in ["first", "third"] {
        let mut model = with_bad_spec();
        // As long as it takes to give up ten who are silent.
        for _ in 0..(10 * model.committee.unreachable_after.as_secs() / TICK.as_secs()) {
            model.tick();
        }
        let told = &model.last.as_ref().unwrap().members[0].current;
        assert_eq!((told.state, told.reason.as_str()), (MemberState::Unreachable, "ImagePullBackOff"));
        assert_eq!(made_of(&model, "bad"), [0]);
        assert_eq!(served(&model).len(), 24);
        let plan = model.last.as_ref().unwrap();
        let held = plan.withheld.iter().find(|withheld| withheld.act == "DeclareLost").expect("it is silent for long");
        assert!(held.by.starts_with("rollout: "), "{}", held.by);
        assert_eq!(plan.conditions.ready.status, Truth::False);

        right.clone_into(&mut model.committee.inputs);
        model.rest();
        assert_eq!(made_of(&model, right).len(), 7);
        let restarts = if right == "first" { 2 } else { 8 };
        assert_eq!(model.times("DeletePod"), restarts, "{right}: who serves with it doesn't restart");
        assert_eq!((model.times("DeclareLost"), model.times("CreateClaim"), model.position()), (0, 0, (1, 0)));
        assert_full(&model);
    }
}

/// A person deletes the bad pod as well: nothing tells any more what that was made of.
#[test]
fn who_has_no_pod_when_the_spec_is_put_right_restarts_on_its_volume() {
    let mut model = with_bad_spec();
    for _ in 0..(2 * model.committee.unreachable_after.as_secs() / TICK.as_secs()) {
        model.tick();
    }
    model.cluster.pods.retain(|pod| pod.inputs.as_deref() != Some("bad"));
    "first".clone_into(&mut model.committee.inputs);
    model.rest();
    assert_eq!((model.times("DeclareLost"), model.times("CreateClaim"), model.position()), (0, 0, (1, 0)));
    assert_full(&model);
}

/// What its disk went through meanwhile shows when the spec is right again, and no sooner than any silence counts.
#[test]
fn who_stays_silent_with_the_spec_that_others_serve_with_is_given_up() {
    let mut model = with_bad_spec();
    for _ in 0..(2 * model.committee.unreachable_after.as_secs() / TICK.as_secs()) {
        model.tick();
    }
    // Others go on with it as they are; what is made of it from now on doesn't start.
    model.cluster.broken.insert("first".to_owned());
    "first".clone_into(&mut model.committee.inputs);
    let right = model.now;
    model.until("DeclareLost");
    assert!(model.now >= right + model.committee.unreachable_after, "{:?} after {right:?}", model.now);
    assert_eq!(model.record.members[0].current.state, MemberState::Lost);
}

/// Four members of four shards, f = 5: one may be away.
#[test]
fn nobody_restarts_while_somebody_is_away_or_something_is_lacking() {
    let mut model = Model::rested(4, 6, 3);
    model.committee.unreachable_after = Duration::from_secs(600);
    let node = model.node_of(3);
    model.cluster.cut(&node, model.now);
    model.committee.inputs = "second".to_owned();
    for _ in 0..20 {
        model.tick();
    }
    assert_eq!(made_of(&model, "second"), [0_u32; 0]);
    assert!(waits_for(&model).is_some(), "{:#?}", model.last);
    let behind = model.volumes.get_mut(&(MemberId(3), 1)).expect("its volume is there");
    behind.held.values_mut().for_each(|missing| *missing = 2000);
    model.committee.inputs = "first".to_owned();
    model.cluster.restore(&node);
    while model.last.as_ref().is_some_and(|plan| plan.missing.slivers == 0) {
        model.tick();
    }
    model.committee.inputs = "second".to_owned();
    model.tick();
    assert!(waits_for(&model).is_some_and(|by| by.ends_with("at their holders")), "{:?}", waits_for(&model));
    model.rest();
    assert_eq!(made_of(&model, "second").len(), 4);
    assert_eq!((model.whole_shards().len(), model.times("DeclareLost")), (16, 0));
}

/// Its disk died before, and the spec changes then: nothing excuses its silence.
#[test]
fn a_member_that_was_silent_before_the_spec_changed_is_given_up_as_ever() {
    let mut model = Model::rested(7, 8, 4);
    model.cluster.broken.insert("first".to_owned());
    model.delete_pod(4);
    for _ in 0..5 {
        model.tick();
    }
    assert_eq!(model.times("DeclareLost"), 0);
    model.cluster.broken.insert("second".to_owned());
    model.committee.inputs = "second".to_owned();
    model.until("DeclareLost");
    assert_eq!(model.record.members[4].current.restarting, None);
}

/// A bad spec, and then its node is cut: that isn't the spec's fault.
#[test]
fn a_member_whose_node_is_silent_is_given_up_though_it_was_restarting() {
    let mut model = with_bad_spec();
    model.until("DeletePod");
    for _ in 0..10 {
        model.tick();
    }
    let node = model.node_of(0);
    model.cluster.cut(&node, model.now);
    model.until("DeclareLost");
}

/// While the first to try a bad spec is away, another member's pod is deleted, and is made of the same.
#[test]
fn a_pod_that_is_lost_meanwhile_is_made_of_the_bad_spec_and_its_member_is_kept_as_well() {
    let mut model = with_bad_spec();
    model.until("DeletePod");
    for _ in 0..4 {
        model.tick();
    }
    assert!(!model.evict(3), "the budget is closed while members restart");
    model.delete_pod(3);
    for _ in 0..(4 * model.committee.unreachable_after.as_secs() / TICK.as_secs()) {
        model.tick();
    }
    assert_eq!((made_of(&model, "bad"), served(&model).len()), (vec![0, 3], 20));
    let plan = model.last.as_ref().unwrap();
    assert_eq!((plan.conditions.stalled.status, plan.conditions.stalled.reason), (Truth::True, "RolloutHalted"));
    model.committee.inputs = "third".to_owned();
    model.rest();
    assert_eq!((model.times("DeclareLost"), model.position(), made_of(&model, "third").len()), (0, (1, 0), 7));
    assert_full(&model);
}

/// The first one serves with the new spec, and the second doesn't come up: that isn't the spec's fault.
#[test]
fn once_somebody_serves_with_a_spec_it_excuses_nobody() {
    let mut model = Model::rested(7, 8, 4);
    model.committee.inputs = "second".to_owned();
    while made_of(&model, "second").len() < 2 {
        model.tick();
    }
    model.cluster.broken.insert("second".to_owned());
    let second = *made_of(&model, "second").last().expect("two");
    model.delete_pod(second);
    model.until("DeclareLost");
}

/// It runs, and lacks what it should have: so nobody else restarts, and it does with the next spec.
#[test]
fn who_answers_and_is_unwell_with_a_spec_restarts_with_the_next_one() {
    let mut model = Model::rested(7, 8, 4);
    model.committee.inputs = "second".to_owned();
    model.until("DeletePod");
    while made_of(&model, "second").is_empty() {
        model.tick();
    }
    let first = made_of(&model, "second")[0];
    model.committee.inputs = "third".to_owned();
    for _ in 0..10 {
        let behind = model.volumes.get_mut(&(MemberId(first), 1)).expect("its volume is there");
        behind.held.values_mut().for_each(|missing| *missing = 2000);
        model.tick();
    }
    assert!(made_of(&model, "third").len() <= 1, "{:?}", made_of(&model, "third"));
    model.rest();
    assert_eq!(made_of(&model, "third").len(), 7);
}

/// A new pod couldn't be placed there.
#[test]
fn a_member_on_a_cordoned_node_does_not_restart() {
    let mut model = Model::rested(7, 8, 4);
    let node = model.node_of(0);
    model.cluster.cordoned.insert(node);
    model.committee.inputs = "second".to_owned();
    for _ in 0..100 {
        model.tick();
    }
    assert_eq!(made_of(&model, "first"), [0]);
    assert_eq!(waits_for(&model), Some("its Node isn't ready, or cordoned"));
    model.cluster.cordoned.clear();
    model.rest();
    assert_eq!(made_of(&model, "second").len(), 7);
}

#[test]
fn pods_of_which_nobody_noted_what_they_are_made_of_stay() {
    let mut model = Model::rested(7, 8, 4);
    model.cluster.pods.iter_mut().for_each(|pod| pod.inputs = None);
    model.committee.inputs = "second".to_owned();
    model.rest();
    assert_eq!(model.times("DeletePod"), 0);
}
