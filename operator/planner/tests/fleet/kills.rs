//! The operator dies at every call that it makes, before it and after it, and another leader carries on: where the fleet
//! ends, and how often each object was made and deleted, is as if nobody had died.

use std::collections::{BTreeMap, BTreeSet};

use weft_planner::{EpochPhase, MemberState};
use weft_protocol::{MemberId, ShardSet};

use crate::model::Model;

/// What must be the same at the end.
#[derive(Debug, PartialEq, Eq)]
struct End {
    position: (u64, u64),
    seats: Vec<(MemberId, u32, ShardSet)>,
    members: Vec<(MemberId, u32, MemberState, Vec<u8>)>,
    epochs: Vec<(u64, EpochPhase, Vec<MemberId>)>,
    claims: BTreeSet<(MemberId, u32)>,
    pods: BTreeSet<(MemberId, u32, u32)>,
    touched: BTreeMap<(&'static str, String), usize>,
}

fn end(model: &Model) -> End {
    let record = &model.record;
    let view = &record.view.as_ref().expect("a view").view;
    let members = record.members.iter().map(|member| {
        let current = &member.current;
        (member.id, current.number, current.state, member.shards.clone())
    });
    End {
        position: view.position(),
        seats: view.seats.iter().map(|seat| (seat.member, seat.incarnation.number, seat.shards)).collect(),
        members: members.collect(),
        epochs: record.epochs.iter().map(|epoch| (epoch.number, epoch.phase, epoch.owners.clone())).collect(),
        claims: model.cluster.claims.iter().map(|claim| (claim.member, claim.incarnation)).collect(),
        pods: model.cluster.pods.iter().map(|pod| (pod.member, pod.incarnation, pod.attempt)).collect(),
        touched: model.touched.clone(),
    }
}

/// Kills the operator at each call that it makes from here until the fleet rests.
fn at_every_call(begun: &Model) {
    let mut undisturbed = begun.clone();
    undisturbed.rest();
    let (wanted, calls) = (end(&undisturbed), undisturbed.calls);
    assert!(calls >= 10, "{calls} calls are no story");
    for call in 0..calls {
        for after in [false, true] {
            let mut model = begun.clone();
            model.dies = Some((call, after));
            model.rest();
            assert!(model.record.term > begun.record.term, "somebody died");
            assert_eq!(end(&model), wanted, "killed {} call {call}", if after { "after" } else { "before" });
        }
    }
}

#[test]
fn a_drain_ends_the_same_wherever_the_operator_dies() {
    let mut model = Model::rested(7, 8, 4);
    model.committee.drain.insert(MemberId(3));
    at_every_call(&model);
}

#[test]
fn a_replacement_ends_the_same_wherever_the_operator_dies() {
    let mut model = Model::rested(7, 8, 4);
    model.committee.replace.insert((MemberId(2), 1));
    at_every_call(&model);
}

#[test]
fn another_member_comes_the_same_wherever_the_operator_dies() {
    let mut model = Model::rested(7, 9, 3);
    model.committee.members = 8;
    at_every_call(&model);
}

#[test]
fn the_last_member_goes_the_same_wherever_the_operator_dies() {
    let mut model = Model::rested(8, 9, 3);
    model.committee.members = 7;
    at_every_call(&model);
}

#[test]
fn a_loss_is_mended_the_same_wherever_the_operator_dies() {
    let mut model = Model::rested(7, 8, 4);
    model.delete_claim_and_pod(4);
    at_every_call(&model);
}

#[test]
fn a_node_that_is_silent_is_mended_the_same_wherever_the_operator_dies() {
    let mut model = Model::rested(7, 8, 4);
    let (node, now) = (model.node_of(5), model.now);
    model.cluster.cut(&node, now);
    at_every_call(&model);
}

#[test]
fn r7_a_loss_beyond_f_is_mended_the_same_wherever_the_operator_dies() {
    let mut model = Model::rested(7, 8, 4);
    (0..3).for_each(|member| model.delete_claim_and_pod(member));
    model.committee.declared_lost = (0..3).map(|member| (MemberId(member), 1)).collect();
    at_every_call(&model);
}

#[test]
fn members_restart_with_another_spec_the_same_wherever_the_operator_dies() {
    let mut model = Model::rested(4, 6, 3);
    model.committee.inputs = "second".to_owned();
    at_every_call(&model);
}
