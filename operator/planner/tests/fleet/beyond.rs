//! More than f shards lost (R7): declared, and made good; also when they go while a view is being sealed, whose
//! successor then stays, byte for byte.

use proptest::prelude::*;
use weft_planner::{MemberState, PodPhase, Truth};
use weft_protocol::{MemberId, Seal, SignedView};

use crate::{
    model::{Model, TICK},
    scenarios::assert_full,
};

/// A fleet that lost member 0, and whose successor is recorded; nobody has heard of it.
fn begun() -> (Model, SignedView) {
    let mut model = Model::rested(7, 8, 4);
    model.hears = false;
    model.delete_claim_and_pod(0);
    model.until("ProposeView");
    let pending = model.record.pending.clone().expect("it is being sealed");
    assert!(pending.view.view.declared.is_empty());
    (model, pending.view)
}

fn stalled(model: &Model) -> &'static str {
    model.last.as_ref().map_or("", |plan| plan.conditions.stalled.reason)
}

/// Runs until a view is in effect that follows the first one.
fn next_view(model: &mut Model) -> SignedView {
    model.until("TakeEffect");
    model.record.view.clone().expect("a view")
}

#[test]
fn r7_a_seal_that_can_not_be_reached_goes_on_without_the_declared_under_a_new_term() {
    let (mut model, successor) = begun();
    model.delete_claim_and_pod(1);
    model.delete_claim_and_pod(2);
    model.hears = true;
    (0..20).for_each(|_| model.tick());
    assert_eq!((model.position(), stalled(&model)), ((1, 0), "BeyondFaultTolerance"));
    let message = &model.last.as_ref().unwrap().conditions.stalled.message;
    assert!(message.contains("12 shards") && message.contains("weft recover --declare-lost 0-1,1-1,2-1"), "{message}");

    model.committee.declared_lost = [(MemberId(0), 1), (MemberId(1), 1)].into();
    (0..10).for_each(|_| model.tick());
    assert_eq!((model.position(), model.times("DeclareInSeal")), ((1, 0), 0), "one of the lost is undeclared");
    let term = model.record.term;
    model.committee.declared_lost.insert((MemberId(2), 1));
    assert_eq!(next_view(&mut model), successor);
    assert_eq!((model.record.term, model.times("DeclareInSeal"), model.times("ProposeView")), (term + 1, 1, 1));
    model.rest();
    assert_full(&model);
    assert_eq!(model.last.as_ref().unwrap().conditions.stalled.status, Truth::False);
    assert!(model.record.view.as_ref().unwrap().view.declared.is_empty());
}

#[test]
fn r7_another_leader_declares_anew_by_its_own_term() {
    let (mut model, successor) = begun();
    model.delete_claim_and_pod(1);
    model.delete_claim_and_pod(2);
    model.committee.declared_lost = (0..3).map(|member| (MemberId(member), 1)).collect();
    while model.times("DeclareInSeal") == 0 {
        model.tick();
    }
    let first = model.record.pending.clone().expect("it is being sealed").declaration.expect("it was declared");
    assert_eq!((first.term, first.declared.len()), (model.record.term, 3));
    model.restart_operator();
    model.hears = true;
    assert_eq!(next_view(&mut model), successor);
    assert_eq!(model.times("DeclareInSeal"), 2);
    model.rest();
    assert_full(&model);
}

#[test]
fn r7_a_successor_that_was_sealed_before_its_helpers_went_is_continued() {
    let (mut model, successor) = begun();
    // Everybody refuses the view for it, and the operator hears nothing; one member has come to the seal.
    model.hears = true;
    model.tick();
    let refusals = model.heard.values().filter_map(|heard| heard.inventory.refusal.clone()).collect();
    let sealed = model.record.view.clone().expect("a view");
    let seal = Seal { sealed, successor: successor.clone(), refusals, declaration: None };
    model.volumes.get_mut(&(MemberId(3), 1)).unwrap().fence.install(seal).unwrap();
    model.delete_claim_and_pod(1);
    model.delete_claim_and_pod(2);
    model.restart_operator();
    model.committee.declared_lost = (0..3).map(|member| (MemberId(member), 1)).collect();
    assert_eq!(next_view(&mut model), successor);
    model.rest();
    assert_full(&model);
}

#[test]
fn r7_a_declaration_is_taken_back_when_those_who_return_can_seal() {
    let (mut model, successor) = begun();
    let nodes: Vec<String> = (1..4).map(|member| model.node_of(member)).collect();
    let now = model.now;
    for node in &nodes {
        model.cluster.cut(node, now);
    }
    model.hears = true;
    model.committee.declared_lost = (0..3).map(|member| (MemberId(member), 1)).collect();
    while model.times("DeclareInSeal") == 0 {
        model.tick();
        assert!(model.now - now < 40 * TICK);
    }
    (0..5).for_each(|_| model.tick());
    assert_eq!(model.position(), (1, 0), "member 3 is silent, and nobody declared it");
    model.committee.declared_lost.clear();
    for node in &nodes[..2] {
        model.cluster.restore(node);
    }
    let running = |model: &Model, member: u32| {
        model.cluster.pods.iter().any(|pod| pod.member.0 == member && pod.phase == PodPhase::Running)
    };
    assert!(running(&model, 1) && running(&model, 2));
    assert_eq!(next_view(&mut model), successor);
    model.cluster.restore(&nodes[2]);
    model.rest();
    assert_eq!(model.last.as_ref().unwrap().margin.read, 18);
}

/// Loses these members for good, and a person says so.
fn lose(model: &mut Model, lost: &[u32]) {
    for member in lost {
        model.delete_claim_and_pod(*member);
    }
    model.committee.declared_lost = lost.iter().map(|member| (MemberId(*member), 1)).collect();
}

fn assert_at_full_strength(model: &Model) {
    let (plan, code) = (model.last.as_ref().unwrap(), model.committee.code);
    assert_eq!(plan.margin.read, i32::from(2 * code.fault_tolerance()));
    assert_eq!(model.whole_shards().len(), code.shards());
    let serves = |m: &weft_planner::MemberRecord| m.current.state == MemberState::Serving && m.custody.is_empty();
    assert!(plan.members.iter().all(serves));
}

/// Nobody may hold more than one of four shards, so that two are vacant: more than f, and the next epoch fills them.
#[test]
fn r6_vacant_shards_do_not_count_among_those_that_move() {
    let mut model = Model::of(4, 1, 7, 4).filled();
    lose(&mut model, &[2, 3]);
    model.rest();
    assert_at_full_strength(&model);
    assert_eq!((model.position().0, model.times("ReplanEpoch")), (2, 0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 50, ..ProptestConfig::default() })]

    /// As many shards as the code bears at all: k1 = n - 2f are left.
    #[test]
    fn r7_whatever_is_declared_lost_is_made_good_while_the_code_reaches(
        (members, per_member) in (4..=8_u32, 1..=4_u16),
        order in Just((0..8_u32).collect::<Vec<_>>()).prop_shuffle(),
        share in 0..=100_u16,
    ) {
        let mut model = Model::of(members, per_member, members + 5, 4).filled();
        let bears = 2 * model.committee.code.fault_tolerance() / per_member;
        let lost: Vec<u32> = order.into_iter().filter(|member| *member < members).collect();
        let number = usize::from((bears * share + 50) / 100);
        lose(&mut model, &lost[..number]);
        model.rest();
        assert_at_full_strength(&model);
    }
}
