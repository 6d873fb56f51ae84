//! Maintenance windows: what waits for them, and what doesn't.

use std::time::Duration;

use weft_planner::{MaintenanceWindow, Plan, Timestamp, Truth};
use weft_protocol::MemberId;

use crate::{model::Model, scenarios::assert_full};

const HOUR: Duration = Duration::from_secs(3600);
const DAY_MILLIS: i64 = 24 * 3600 * 1000;

/// On every day, from this time on.
fn window(from: Timestamp, duration: Duration) -> MaintenanceWindow {
    let start = Duration::from_millis(from.0.rem_euclid(DAY_MILLIS) as u64);
    MaintenanceWindow { days: [true; 7], start, duration }
}

fn last(model: &Model) -> &Plan {
    model.last.as_ref().expect("it ran")
}

/// The fleet is as it should be, and says what waits; a Node may be drained meanwhile.
fn awaits(model: &Model, opens: &str) {
    let (ready, plan) = (&last(model).conditions.ready, last(model));
    assert_eq!((ready.status, ready.reason), (Truth::True, "AwaitingMaintenance"), "{}", ready.message);
    assert!(ready.message.ends_with(&format!("in the window that opens at {opens}")), "{}", ready.message);
    assert_eq!(plan.budget.evictable, 1, "{}", plan.budget.reason);
    let waits = plan.withheld.iter().find(|withheld| withheld.act == "DeletePod").expect("it says what waits");
    assert_eq!(waits.by, format!("maintenance: the next window opens at {opens}"));
}

#[test]
fn members_restart_while_a_window_is_open_and_stay_as_they_are_otherwise() {
    let mut model = Model::rested(7, 8, 4);
    let (opens, lasts) = (model.now + HOUR / 60, HOUR / 90);
    model.committee.maintenance = vec![window(opens, lasts)];
    model.committee.inputs = "second".to_owned();
    while model.now < opens {
        model.tick();
        awaits(&model, &opens.to_string());
    }
    while model.now < opens + lasts {
        model.tick();
        assert_ne!(last(&model).conditions.ready.reason, "AwaitingMaintenance");
    }
    let restarted = model.times("DeletePod");
    assert!((1..7).contains(&restarted), "{restarted} of 7 restart in {lasts:?}");
    model.rest();
    assert_eq!(model.times("DeletePod"), restarted);
    awaits(&model, &(opens + 24 * HOUR).to_string());

    model.committee.maintenance.clear();
    model.rest();
    assert_eq!((model.times("DeletePod"), last(&model).conditions.ready.reason), (7, "Fulfilled"));
    assert_full(&model);
}

#[test]
fn who_does_not_serve_with_a_bad_spec_gets_the_right_one_at_once() {
    let mut model = Model::rested(7, 8, 4);
    model.cluster.broken.insert("bad".to_owned());
    model.committee.inputs = "bad".to_owned();
    model.until("DeletePod");
    model.committee.maintenance = vec![window(model.now + HOUR, HOUR)];
    for _ in 0..20 {
        model.tick();
    }
    assert_eq!(last(&model).conditions.ready.status, Truth::False);
    model.committee.inputs = "first".to_owned();
    model.rest();
    assert_eq!((model.times("DeletePod"), model.times("DeclareLost")), (2, 0));
    assert_full(&model);
}

/// It isn't said that they wait for a window while they wait for a person.
#[test]
fn a_committee_that_is_paused_waits_for_no_window() {
    let mut model = Model::rested(7, 8, 4);
    model.committee.maintenance = vec![window(model.now + HOUR, HOUR)];
    model.committee.inputs = "second".to_owned();
    model.committee.paused = true;
    for _ in 0..5 {
        model.tick();
    }
    let ready = &last(&model).conditions.ready;
    assert_eq!((ready.status, ready.reason), (Truth::False, "RollingOut"));
    assert_eq!(model.times("DeletePod"), 0);
}

/// Whoever restarts when the windows come may go on; nobody else begins.
#[test]
fn a_rollout_that_is_under_way_stops_where_it_is() {
    let mut model = Model::rested(7, 8, 4);
    model.committee.inputs = "second".to_owned();
    model.until("DeletePod");
    let opens = model.now + HOUR;
    model.committee.maintenance = vec![window(opens, HOUR)];
    model.rest();
    awaits(&model, &opens.to_string());
    assert_eq!(model.times("DeletePod"), 1);
    // Who is evicted is made of the new spec, as every pod that is made from now on.
    assert!(model.evict(5));
    model.rest();
    awaits(&model, &opens.to_string());
    let renewed = model.cluster.pods.iter().filter(|pod| pod.inputs.as_deref() == Some("second")).count();
    assert_eq!((renewed, model.times("DeletePod")), (2, 1));
}

/// It didn't answer for a while, as after its Node has been started anew; its pod is coming back as it was.
#[test]
fn who_is_silent_for_another_reason_than_the_spec_is_not_restarted() {
    let mut model = Model::rested(7, 8, 4);
    model.committee.maintenance = vec![window(model.now + HOUR, HOUR)];
    model.committee.inputs = "second".to_owned();
    let node = model.node_of(2);
    model.cluster.cut(&node, model.now);
    for _ in 0..4 {
        model.tick();
    }
    model.cluster.restore(&node);
    model.rest();
    assert_eq!((model.times("DeletePod"), model.times("DeclareLost")), (0, 0));
}

/// A loss is mended, a member is replaced and another drained, as if there were no windows.
#[test]
fn losses_and_what_a_person_asks_for_wait_for_no_window() {
    let mut model = Model::rested(7, 8, 4);
    model.committee.maintenance = vec![window(model.now + 20 * HOUR, HOUR)];
    let node = model.node_of(3);
    model.cluster.cut(&node, model.now);
    model.cluster.lose_volumes(&node);
    model.until("DeclareLost");
    model.rest();
    assert_full(&model);
    model.committee.replace.insert((MemberId(1), 1));
    model.rest();
    assert_eq!(model.record.members[1].current.number, 2);
    model.committee.drain.insert(MemberId(2));
    model.rest();
    assert!(model.record.members[2].shards.is_empty());
}

#[test]
fn an_epoch_for_no_other_reason_than_time_waits_for_a_window() {
    let mut model = Model::rested(7, 8, 4);
    let opens = model.now + HOUR / 6;
    model.committee.maintenance = vec![window(opens, HOUR)];
    model.committee.interval = Some(HOUR / 60);
    while model.now < opens {
        model.tick();
    }
    assert_eq!(model.times("CreateEpoch"), 0);
    let waits = last(&model).withheld.iter().find(|withheld| withheld.act == "CreateEpoch").expect("it is due");
    assert_eq!(waits.by, format!("maintenance: the next window opens at {opens}"));
    model.until("CreateEpoch");
}
