//! Epoch boundaries: why they come, who chooses the owners, and that nothing at them can be killed for good.

use std::time::Duration;

use weft_planner::{EpochPhase, EpochWish, MemberState};
use weft_protocol::MemberId;

use crate::model::Model;

fn owners(model: &Model) -> Vec<u32> {
    let view = &model.record.view.as_ref().unwrap().view;
    (0..28).map(|shard| view.holder(shard).unwrap().member.0).collect()
}

fn ask(model: &mut Model, number: u64, owners: Option<Vec<u32>>) {
    let owners = owners.map(|owners| owners.into_iter().map(MemberId).collect());
    model.wished = vec![EpochWish { number, owners, refused: None }];
}

/// The refusal of the wish that is asked for, once it is told.
fn refusal(model: &mut Model) -> String {
    for _ in 0..3 {
        model.tick();
        let steps = &model.last.as_ref().unwrap().steps;
        let refused = steps.iter().find(|step| step.act.name() == "RefuseEpoch").map(|step| step.reason.clone());
        if let Some(message) = refused {
            model.wished[0].refused = Some(message.clone());
            model.tick();
            let again = model.last.as_ref().unwrap().steps.iter().any(|step| step.act.name() == "RefuseEpoch");
            assert!(!again, "it is said once");
            return message;
        }
    }
    panic!("it isn't refused: {:?}", model.last.as_ref().unwrap().withheld);
}

#[test]
fn an_epoch_begins_by_time_and_moves_nothing_for_nothing() {
    let mut model = Model::rested(7, 8, 4);
    let (before, held) = (owners(&model), model.now);
    model.committee.interval = Some(Duration::from_secs(3600));
    while model.position() == (1, 0) {
        model.tick();
        assert!(model.now - held < Duration::from_secs(3700));
    }
    let committed = model.record.epochs[0].since;
    assert!(model.now - committed >= Duration::from_secs(3600), "not before its time");
    model.committee.interval = None;
    model.rest();
    assert_eq!((model.position(), owners(&model)), ((2, 0), before));
    let last = model.record.epochs.last().unwrap();
    assert_eq!((last.phase, model.last.as_ref().unwrap().missing.slivers), (EpochPhase::Retired, 0));
}

#[test]
fn a_user_may_ask_for_an_epoch_and_leave_the_choice() {
    let mut model = Model::rested(7, 8, 4);
    let before = owners(&model);
    ask(&mut model, 2, None);
    model.rest();
    assert_eq!((model.position(), owners(&model)), ((2, 0), before));
    // It is over: its object is the epoch that was made of it.
    assert_eq!(model.times("CreateEpoch"), 1);
}

#[test]
fn a_users_choice_of_owners_is_taken_and_stands() {
    let mut model = Model::rested(7, 8, 4);
    let mut wished = owners(&model);
    // Two shards of member 0 go to member 1: 2 and 6, not balanced within one.
    for shard in wished.iter_mut().filter(|owner| **owner == 0).take(2) {
        *shard = 1;
    }
    ask(&mut model, 2, Some(wished.clone()));
    model.until("CreateEpoch");
    model.wished.clear();
    model.rest();
    assert_eq!((model.position(), owners(&model)), ((2, 0), wished));
    assert_eq!(model.last.as_ref().unwrap().margin.read, 18);
    // Until someone comes: then shards are balanced again.
    model.committee.members = 8;
    model.rest();
    assert!(model.largest_load() <= 4);
}

#[test]
fn a_users_choice_that_breaks_a_rule_is_refused_with_the_reason() {
    let mut model = Model::rested(7, 8, 4);
    let now = owners(&model);
    let with = |change: &dyn Fn(&mut Vec<u32>)| {
        let mut owners = now.clone();
        change(&mut owners);
        owners
    };
    let cases: [(u64, Vec<u32>, &str); 5] = [
        (3, now.clone(), "the next epoch is 2"),
        (2, with(&|owners| owners.truncate(27)), "27 owners for 28 shards"),
        (2, with(&|owners| owners[0] = 9), "member 9 can't own shards"),
        (2, with(&|owners| owners[..10].fill(0)), "more than f = 9 (R2)"),
        (2, with(&|owners| owners.rotate_left(1)), "more than f = 9 (R6)"),
    ];
    for (number, owners, why) in cases {
        ask(&mut model, number, Some(owners));
        let message = refusal(&mut model);
        assert!(message.contains(why), "{message}");
    }
    model.rest();
    assert_eq!(model.position(), (1, 0));
}

#[test]
fn custodians_become_owners_where_nobody_is_to_come() {
    let mut model = Model::rested(8, 9, 3);
    model.committee.members = 7;
    model.delete_claim_and_pod(7);
    model.rest();
    let members = &model.last.as_ref().unwrap().members;
    assert!(members.iter().all(|member| member.custody.is_empty() && member.current.state == MemberState::Serving));
    assert_eq!((members.len(), model.position()), (7, (2, 0)));
}

/// Who is killed while member 7 comes.
#[derive(Debug, Clone, Copy)]
enum Victim {
    Operator,
    Source,
    Target,
    /// The target's pod, when a person wants another volume for it.
    Replaced,
}

#[test]
fn whoever_dies_in_whichever_phase_the_fleet_ends_in_the_same_place() {
    let phases = [EpochPhase::Planned, EpochPhase::Migrating, EpochPhase::Sealing, EpochPhase::Committed];
    for phase in phases {
        for victim in [Victim::Operator, Victim::Source, Victim::Target, Victim::Replaced] {
            let mut model = Model::rested(7, 9, 3);
            model.committee.members = 8;
            let begun = model.now;
            let reached =
                |model: &Model| model.record.epochs.iter().any(|epoch| epoch.number == 2 && epoch.phase >= phase);
            while !reached(&model) {
                model.tick();
                assert!(model.now < begun + Duration::from_secs(1200), "{phase:?} never comes");
            }
            match victim {
                Victim::Operator => model.restart_operator(),
                Victim::Source => model.delete_claim_and_pod(0),
                Victim::Target => model.delete_claim_and_pod(7),
                Victim::Replaced => {
                    model.committee.replace.insert((MemberId(7), 1));
                    model.delete_pod(7);
                }
            }
            model.rest();
            let plan = model.last.as_ref().unwrap();
            let serves =
                |m: &weft_planner::MemberRecord| m.current.state == MemberState::Serving && m.custody.is_empty();
            assert!(plan.members.len() == 8 && plan.members.iter().all(serves), "{victim:?} in {phase:?}");
            assert_eq!((plan.margin.read, plan.missing.slivers, model.largest_load()), (18, 0, 4));
            assert_eq!(model.whole_shards().len(), 28, "{victim:?} in {phase:?}");
        }
    }
}
