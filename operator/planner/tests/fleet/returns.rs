//! Lost members that come back (R25).

use weft_planner::{MemberRecord, MemberState};
use weft_protocol::MemberId;

use crate::{model::Model, process::Process, scenarios::assert_full};

const LOST: u32 = 5;

fn member(model: &Model) -> &MemberRecord {
    &model.record.members[LOST as usize]
}

/// A fleet whose member 5 was given up with its node, and others keep its shards. No volume can be made, so that no
/// successor runs.
fn bereft() -> (Model, String) {
    let mut model = Model::rested(7, 8, 4);
    model.cluster.full = true;
    let node = model.node_of(LOST);
    assert_eq!(model.members_on(&node), [LOST]);
    model.cluster.cut(&node, model.now);
    for _ in 0..60 {
        model.tick();
        if model.position() == (1, 1) && member(&model).successor.is_some() {
            (0..6).for_each(|_| model.tick());
            return (model, node);
        }
    }
    panic!("never given up: {:?}", member(&model));
}

fn owner(model: &Model) -> (u32, Vec<(u32, u32)>) {
    let claims = model.cluster.claims.iter().filter(|claim| claim.member == MemberId(LOST));
    (member(model).current.number, claims.map(|claim| (claim.origin, claim.incarnation)).collect())
}

#[test]
fn r25_a_returned_volume_becomes_the_successor_where_none_has_run() {
    let (mut model, node) = bereft();
    model.cluster.restore(&node);
    model.rest();
    assert_full(&model);
    assert_eq!(model.position(), (2, 0));
    assert_eq!(owner(&model), (3, vec![(1, 3)]), "the planned successor gave way");
    assert_eq!(model.readmitted, [(MemberId(LOST), 3)]);
    assert_eq!((model.times("InheritClaim"), model.times("DestroyClaim")), (1, 1));
    assert_eq!((model.cluster.claims.len(), model.cluster.pods.len()), (7, 7));
    // It can be lost and come back again.
    let node = model.node_of(LOST);
    model.cluster.cut(&node, model.now);
    (0..40).for_each(|_| model.tick());
    model.cluster.restore(&node);
    model.rest();
    assert_full(&model);
    assert_eq!(owner(&model), (5, vec![(1, 5)]));
}

#[test]
fn r25_every_leader_may_die_between_the_steps() {
    let (mut model, node) = bereft();
    model.cluster.restore(&node);
    for _ in 0..60 {
        model.tick();
        model.restart_operator();
        model.tick();
        model.tick();
    }
    model.rest();
    assert_full(&model);
    assert_eq!(owner(&model), (3, vec![(1, 3)]));
    assert_eq!(model.readmitted.len(), 1);
}

#[test]
fn r25_a_successor_that_runs_stays() {
    let (mut model, node) = bereft();
    model.cluster.full = false;
    (0..4).for_each(|_| model.tick());
    model.cluster.restore(&node);
    model.rest();
    assert_full(&model);
    assert_eq!(owner(&model), (2, vec![(2, 2)]));
    assert!(model.readmitted.is_empty());
}

#[test]
fn r25_an_old_process_that_never_ends_keeps_its_volume() {
    let (mut model, node) = bereft();
    model.cluster.restore(&node);
    model.tick();
    // It answered, and then its node falls silent: nobody knows whether it has let go of the volume.
    model.cluster.cut_quietly(&node);
    model.until("DeletePod");
    assert!(member(&model).successor.as_ref().is_some_and(|successor| successor.inherits == Some(1)));
    model.cluster.full = false;
    model.rest();
    assert_full(&model);
    assert_eq!(model.times("InheritClaim"), 0);
    assert!(model.readmitted.is_empty());
    assert_eq!(owner(&model).0, 4);
}

#[test]
fn r25_a_volume_that_goes_again_before_it_is_admitted_is_given_up() {
    let (mut model, node) = bereft();
    model.cluster.restore(&node);
    model.until("InheritClaim");
    model.cluster.cut(&node, model.now);
    model.cluster.full = false;
    model.rest();
    assert_full(&model);
    assert!(model.readmitted.is_empty());
    assert_eq!(owner(&model).0, 4);
}

#[test]
fn r25_a_destroyed_claim_admits_nobody() {
    let (mut model, node) = bereft();
    model.cluster.restore(&node);
    model.until("InheritClaim");
    let claim = model.cluster.claims.iter_mut().find(|claim| claim.member == MemberId(LOST) && claim.origin == 1);
    claim.expect("it is there").terminating = true;
    model.delete_pod(LOST);
    model.cluster.full = false;
    model.rest();
    assert_full(&model);
    let (number, claims) = owner(&model);
    assert!(number > 3 && claims == [(number, number)], "{number}: {claims:?}");
}

#[test]
fn r25_a_cheater_does_not_come_back() {
    let (mut model, node) = bereft();
    model.record.members[LOST as usize].current.state = MemberState::Faulty;
    model.cluster.restore(&node);
    (0..20).for_each(|_| model.tick());
    assert_eq!(member(&model).current.state, MemberState::Faulty);
    model.cluster.full = false;
    model.rest();
    assert_full(&model);
    assert_eq!((owner(&model).0, model.times("InheritClaim")), (2, 0));
}

#[test]
fn r25_an_empty_volume_is_no_candidate() {
    let (mut model, node) = bereft();
    let (who, fleet) = ((MemberId(LOST), 1), model.record.fleet.expect("there is a fleet"));
    let trust = model.record.view.as_ref().expect("there is a view").view.authority.views;
    model.volumes.insert(who, Process::new(fleet, who.0, who.1, 99, trust));
    model.cluster.restore(&node);
    (0..20).for_each(|_| model.tick());
    assert_eq!(model.times("InheritClaim"), 0);
    model.cluster.full = false;
    model.rest();
    assert_full(&model);
    assert_eq!(owner(&model).0, 2);
}

#[test]
fn r25_a_volume_that_shall_be_replaced_is_no_candidate() {
    let (mut model, node) = bereft();
    model.committee.replace.insert((MemberId(LOST), 1));
    model.cluster.restore(&node);
    (0..20).for_each(|_| model.tick());
    assert_eq!(model.times("InheritClaim"), 0);
}
