//! Blobs of which too little is left (R20): listed when more than f shards say so, in nobody's way, and what is left of
//! them is kept until they are deleted.

use std::collections::BTreeSet;

use weft_planner::{EpochPhase, MemberState, Plan, Truth};
use weft_protocol::MemberId;
use weft_redstuff::BlobId;

use crate::model::Model;

/// Seven members of four shards: f = 9.
fn rested() -> Model {
    Model::rested(7, 9, 4)
}

fn blob(id: u8) -> BlobId {
    BlobId([id; 32])
}

/// From now on there is a blob of which only these members have slivers, too few.
fn lose_blob(model: &mut Model, id: u8, keepers: &[u32]) {
    model.lost_blobs.insert(blob(id));
    for member in keepers {
        let shards =
            model.record.view.as_ref().and_then(|view| view.view.seat(MemberId(*member))).expect("a seat").shards;
        model.volumes.get_mut(&(MemberId(*member), 1)).expect("it runs").keeps.insert(blob(id), shards);
    }
}

fn last(model: &Model) -> &Plan {
    model.last.as_ref().expect("it ran")
}

fn listed(model: &Model) -> &[BlobId] {
    &last(model).unrecoverable.ids
}

/// Runs until nothing has been planned for two minutes, though the committee isn't Ready.
fn calm(model: &mut Model) {
    let mut quiet = 0;
    for _ in 0..400 {
        model.tick();
        quiet = if last(model).steps.is_empty() { quiet + 1 } else { 0 };
        if quiet == 24 {
            return;
        }
    }
    panic!("never calm: {:#?}, withheld {:#?}", last(model).steps, last(model).withheld);
}

fn withheld_claims(model: &Model) -> Vec<(&str, &str)> {
    let claims = last(model).withheld.iter().filter(|withheld| withheld.act == "DestroyClaim");
    claims.map(|withheld| (withheld.target.as_str(), withheld.by.as_str())).collect()
}

#[test]
fn r20_what_more_than_f_shards_lack_is_listed_and_nothing_else_is_wrong() {
    let mut model = rested();
    lose_blob(&mut model, 7, &[5, 6]);
    calm(&mut model);
    assert_eq!((listed(&model), last(&model).unrecoverable.blobs), (&[blob(7)][..], 1));
    let plan = last(&model);
    assert_eq!((plan.margin.read, plan.margin.write, plan.missing.slivers), (18, 9, 0));
    let conditions = &plan.conditions;
    for (condition, status) in [(&conditions.ready, Truth::False), (&conditions.degraded, Truth::True)] {
        assert_eq!((condition.status, condition.reason), (status, "Unrecoverable"));
        for told in [blob(7).to_string().as_str(), "weft rm", "comes back", "k1 = 10"] {
            assert!(condition.message.contains(told), "{told}: {}", condition.message);
        }
    }
    assert_eq!((conditions.progressing.status, conditions.available.status), (Truth::False, Truth::True));
    assert_eq!(conditions.stalled.status, Truth::False);

    model.lost_blobs.clear();
    model.rest();
    assert_eq!(listed(&model), []);
}

#[test]
fn r20_f_shards_that_lie_list_nothing() {
    let mut model = rested();
    // Two members have 8 shards, and f = 9; each may name as many as it likes.
    for member in [2, 3] {
        let made_up: BTreeSet<BlobId> = (0..40).map(blob).collect();
        model.volumes.get_mut(&(MemberId(member), 1)).unwrap().makes_up = Some(made_up);
    }
    model.rest();
    assert_eq!((listed(&model), last(&model).unrecoverable.blobs), (&[][..], 0));
    model.volumes.get_mut(&(MemberId(4), 1)).unwrap().makes_up = Some([blob(3)].into());
    model.tick();
    model.tick();
    assert_eq!(listed(&model), [blob(3)]);
}

#[test]
fn r20_one_that_hides_a_loss_does_not_keep_it_from_the_list() {
    let mut model = rested();
    lose_blob(&mut model, 7, &[5, 6]);
    for member in [0, 1] {
        model.volumes.get_mut(&(MemberId(member), 1)).unwrap().makes_up = Some(BTreeSet::new());
    }
    calm(&mut model);
    assert_eq!(listed(&model), [blob(7)]);
}

#[test]
fn r20_a_member_is_replaced_and_its_volume_kept_until_the_blob_is_deleted() {
    let mut model = rested();
    lose_blob(&mut model, 7, &[5, 6]);
    calm(&mut model);
    model.committee.replace.insert((MemberId(6), 1));
    calm(&mut model);
    let view = &model.record.view.as_ref().unwrap().view;
    assert_eq!((view.epoch, view.seat(MemberId(6)).unwrap().incarnation.number), (2, 2));
    assert!(model.record.epochs.iter().all(|epoch| epoch.phase == EpochPhase::Retired), "epochs go on");
    assert!(last(&model).members.iter().all(|member| member.current.state == MemberState::Serving));
    let withheld = withheld_claims(&model);
    assert!(
        matches!(withheld[..], [("claim 6-1", by)] if by.contains("R20") && by.contains("weft rm")),
        "{withheld:?}"
    );
    assert!(model.volumes[&(MemberId(6), 1)].keeps.contains_key(&blob(7)));

    model.lost_blobs.clear();
    model.rest();
    assert!(!model.volumes.contains_key(&(MemberId(6), 1)), "its volume goes when nothing is left to keep it for");
}

#[test]
fn r20_the_fleet_grows_and_shrinks_and_loses_a_volume() {
    let mut model = rested();
    lose_blob(&mut model, 7, &[5, 6]);
    model.committee.members = 8;
    calm(&mut model);
    let seats = |model: &Model| model.record.view.as_ref().unwrap().view.seats.len();
    assert_eq!((seats(&model), listed(&model)), (8, &[blob(7)][..]));
    model.committee.members = 6;
    calm(&mut model);
    assert_eq!(seats(&model), 6);
    let claims: Vec<&str> = withheld_claims(&model).into_iter().map(|(claim, _)| claim).collect();
    assert_eq!(claims, ["claim 6-1", "claim 7-1"]);
    model.delete_claim_and_pod(0);
    calm(&mut model);
    assert_eq!((seats(&model), listed(&model)), (6, &[blob(7)][..]));
    assert_eq!(last(&model).margin.read, 18);
    model.lost_blobs.clear();
    model.rest();
    assert_eq!(model.cluster.claims.len(), 6);
}

/// The members that said so have forgotten it, and leave it out by the list of a moment ago: that is no wholeness.
#[test]
fn r20_nobody_is_whole_by_a_list_that_no_longer_holds() {
    let mut model = rested();
    lose_blob(&mut model, 7, &[5, 6]);
    model.committee.replace.insert((MemberId(6), 1));
    calm(&mut model);
    assert_eq!(withheld_claims(&model).len(), 1);
    for process in model.volumes.values_mut() {
        process.makes_up = Some(BTreeSet::new());
    }
    for heard in model.heard.values_mut() {
        heard.inventory.unrecoverable.clear();
    }
    // What goes wrong is found by the checks of each plan.
    for _ in 0..10 {
        model.tick();
        assert_eq!((listed(&model), last(&model).conditions.ready.status), (&[][..], Truth::False));
        assert_eq!(withheld_claims(&model).len(), 1);
    }
    model.volumes.values_mut().for_each(|process| process.makes_up = None);
    calm(&mut model);
    assert_eq!(listed(&model), [blob(7)]);
}

#[test]
fn r20_another_leader_knows_what_is_listed_before_it_destroys_anything() {
    let mut model = rested();
    lose_blob(&mut model, 7, &[5, 6]);
    model.committee.replace.insert((MemberId(6), 1));
    calm(&mut model);
    for _ in 0..3 {
        model.restart_operator();
        calm(&mut model);
        assert_eq!((listed(&model), withheld_claims(&model).len()), (&[blob(7)][..], 1));
    }
}

#[test]
fn r19_what_more_than_f_shards_convict_is_in_nobodys_way_and_keeps_nothing() {
    let mut model = rested();
    lose_blob(&mut model, 7, &[5, 6]);
    for member in 0..7 {
        model.volumes.get_mut(&(MemberId(member), 1)).unwrap().convicts.insert(blob(7));
    }
    // Liars of 8 shards convict another one.
    for member in [0, 1] {
        model.volumes.get_mut(&(MemberId(member), 1)).unwrap().convicts.insert(blob(3));
    }
    model.committee.replace.insert((MemberId(6), 1));
    model.rest();
    let plan = last(&model);
    assert_eq!((&plan.invalid.ids[..], plan.invalid.blobs, listed(&model)), (&[blob(7)][..], 1, &[][..]));
    assert_eq!((plan.margin.read, plan.margin.write, plan.missing.slivers), (18, 9, 0));
    assert_eq!((plan.conditions.ready.status, plan.conditions.degraded.status), (Truth::True, Truth::False));
    assert!(!model.volumes.contains_key(&(MemberId(6), 1)), "no volume is kept for what nobody can mend");
}
