//! The control plane goes back in time (R26): the record follows the fleet, and nothing is destroyed unconfirmed.

use weft_planner::Truth;

use crate::model::{Model, Snapshot};

fn withheld_by(model: &Model, act: &str) -> Vec<String> {
    let plan = model.last.as_ref().unwrap();
    plan.withheld.iter().filter(|withheld| withheld.act == act).map(|withheld| withheld.by.clone()).collect()
}

/// A fleet whose member on a dead node was replaced after the snapshot; the dead volume is still kept.
fn replaced_since() -> (Model, Snapshot) {
    let mut model = Model::rested(7, 8, 4);
    let snapshot = model.snapshot();
    let node = model.node_of(3);
    model.cluster.cut(&node, model.now);
    (0..3).for_each(|_| model.restart_operator());
    while model.position() != (2, 0) {
        model.tick();
    }
    model.done.clear();
    (model, snapshot)
}

#[test]
fn a_record_that_was_set_back_follows_the_fleet_and_destroys_nothing_before_a_person_confirms() {
    let (mut model, snapshot) = replaced_since();
    let term = model.record.term;
    model.restore_record(&snapshot);
    assert!(model.record.term < term && model.position() == (1, 0));
    model.rest();
    assert!(model.record.term > term, "a term beyond the one that members took");
    let rewind = model.record.rewound.expect("it was set back");
    assert_eq!((model.position(), rewind.position), ((2, 0), (2, 0)));
    assert!(rewind.term > term && rewind.term <= model.record.term);
    let plan = model.last.as_ref().unwrap();
    assert_eq!((plan.margin.read, plan.members[3].current.number), (18, 2));
    assert_eq!((plan.conditions.rewound.status, plan.conditions.stalled.reason), (Truth::True, "ControlPlaneRewound"));
    let command = "kubectl annotate --overwrite --namespace default storagecommittee demo weft.dev/confirm-rewind";
    let command = format!("{command}={rewind}");
    assert!(plan.conditions.rewound.message.ends_with(&command), "{}", plan.conditions.rewound.message);

    // Long after everything else would have let it go.
    (0..100).for_each(|_| model.tick());
    assert_eq!((model.times("DestroyClaim"), model.times("DeletePod"), model.times("DeclareLost")), (0, 0, 0));
    assert!(withheld_by(&model, "DestroyClaim")[0].starts_with("R26"), "{:?}", withheld_by(&model, "DestroyClaim"));
    let plan = model.last.as_ref().unwrap();
    assert!(plan.orders.iter().all(|order| order.retire.is_none()), "no copy is dropped either");

    for other in ["2.0".to_owned(), format!("1.0.{}", rewind.term), format!("2.0.{}", rewind.term - 1)] {
        model.committee.confirmed_rewind = Some(other);
        (0..3).for_each(|_| model.tick());
        assert_eq!(model.times("ConfirmRewind"), 0, "another rewind is confirmed");
    }
    model.committee.confirmed_rewind = Some(rewind.to_string());
    model.until("DestroyClaim");
    model.rest();
    assert_eq!((model.record.rewound, model.last.as_ref().unwrap().conditions.rewound.status), (None, Truth::False));
}

/// The annotation stays on the object. It was given for what was shown then, and not for this.
#[test]
fn r26_a_second_rewind_under_the_same_view_takes_a_word_of_its_own() {
    let (mut model, snapshot) = replaced_since();
    model.restore_record(&snapshot);
    model.rest();
    let first = model.record.rewound.expect("it was set back");
    let unconfirmed = model.snapshot();
    model.committee.confirmed_rewind = Some(first.to_string());
    model.until("ConfirmRewind");
    // With what was there before the first rewind, and with what was there when nobody had confirmed it yet.
    for snapshot in [snapshot, unconfirmed] {
        model.done.clear();
        model.restart_operator();
        model.restore_record(&snapshot);
        model.rest();
        let again = model.record.rewound.expect("it was set back again");
        assert_eq!((again.position, model.times("ConfirmRewind")), (first.position, 0));
        (0..60).for_each(|_| model.tick());
        assert_eq!((model.times("DestroyClaim"), model.times("ConfirmRewind")), (0, 0));
        model.committee.confirmed_rewind = Some(again.to_string());
        model.until("ConfirmRewind");
        assert!(again.term > first.term && model.record.rewound.is_none());
    }
}

#[test]
fn claims_that_were_set_back_are_not_made_anew_over_volumes_that_may_be_there() {
    let (mut model, snapshot) = replaced_since();
    model.rest();
    model.done.clear();
    model.restore(&snapshot);
    (0..3).for_each(|_| model.tick());
    assert_eq!(model.times("CreateClaim"), 0);
    assert!(withheld_by(&model, "CreateClaim")[0].starts_with("R26"), "{:?}", withheld_by(&model, "CreateClaim"));
    // Silence is a guess, and mended like any other.
    model.rest();
    assert_eq!(model.last.as_ref().unwrap().margin.read, 18);
    assert_eq!(model.record.members[3].current.number, 3);
    assert_eq!(model.times("DestroyClaim"), 0);
}

#[test]
fn members_that_the_record_has_forgotten_are_not_given_up() {
    let mut model = Model::rested(7, 9, 3);
    let snapshot = model.snapshot();
    model.committee.members = 8;
    model.rest();
    model.done.clear();
    model.restore_record(&snapshot);
    model.rest();
    assert_eq!((model.record.members.len(), model.record.view.as_ref().unwrap().view.seats.len()), (8, 8));
    assert_eq!((model.times("DeclareLost"), model.times("ProposeView")), (0, 0));
}

#[test]
fn a_control_plane_in_step_says_so() {
    let mut model = Model::rested(7, 8, 4);
    model.delete_claim_and_pod(3);
    while model.position() != (2, 0) {
        model.tick();
        assert_eq!(model.last.as_ref().unwrap().conditions.rewound.status, Truth::False);
    }
}
