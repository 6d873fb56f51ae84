//! What accusations lead to (R29).

use std::time::Duration;

use weft_planner::{MemberState, Plan};
use weft_protocol::{Fault, MemberId};

use crate::model::Model;

fn accuse(model: &mut Model, accusers: &[u32], accused: u32) {
    let incarnation = model.volumes.iter().find(|(who, _)| who.0 == MemberId(accused)).expect("it runs").1.incarnation;
    for accuser in accusers {
        let process = model.volumes.iter_mut().find(|(who, _)| who.0 == MemberId(*accuser)).expect("it runs").1;
        process.accuse(MemberId(accused), incarnation, Fault::Wrong);
    }
}

fn withheld(plan: &Plan) -> Vec<&str> {
    plan.withheld.iter().filter(|withheld| withheld.act == "DeclareFaulty").map(|withheld| &withheld.by[..]).collect()
}

#[test]
fn r29_a_member_that_f_plus_1_shards_accuse_is_replaced_like_any_loss() {
    let mut model = Model::rested(7, 8, 4);
    let before = model.last.as_ref().unwrap().members[6].shards.clone();
    accuse(&mut model, &[0, 1, 2], 6);
    model.until("DeclareFaulty");
    // It answers as well as ever, and says that it is whole. Nothing brings it back.
    while model.times("CreateEpoch") == 0 {
        let member = &model.last.as_ref().unwrap().members[6];
        assert_eq!((member.current.number, member.current.state), (1, MemberState::Faulty));
        assert_eq!(member.current.reason, "Accused");
        model.tick();
    }
    model.rest();
    let member = &model.last.as_ref().unwrap().members[6];
    assert_eq!((member.current.number, member.current.state, &member.shards), (2, MemberState::Serving, &before));
    assert_eq!((model.times("DeclareFaulty"), model.times("DeclareLost")), (1, 0));
    assert_eq!(model.position(), (2, 0));
    assert!(model.cluster.claims.iter().all(|claim| (claim.member, claim.incarnation) != (MemberId(6), 1)));
}

#[test]
fn r29_accusers_of_f_shards_change_nothing() {
    let mut model = Model::rested(7, 8, 4);
    accuse(&mut model, &[0, 1], 6);
    // A third one, in whose name another signs.
    let incarnation = model.volumes[&(MemberId(6), 1)].incarnation;
    let forger = model.volumes.get_mut(&(MemberId(1), 1)).unwrap();
    let mut forged = forger.accusation(MemberId(6), incarnation, Fault::Wrong);
    forged.statement.header.member = MemberId(2);
    forged.statement.header.incarnation = model.volumes[&(MemberId(2), 1)].incarnation;
    model.volumes.get_mut(&(MemberId(2), 1)).unwrap().accusations.push(forged);
    // And "I lack it", which the accused never signed.
    let unsigned = model.volumes[&(MemberId(3), 1)].accusation(MemberId(6), incarnation, Fault::Lacks);
    model.volumes.get_mut(&(MemberId(3), 1)).unwrap().accusations.push(unsigned);
    model.rest();
    assert!(model.done.is_empty(), "{:?}", model.done);
    let plan = model.last.as_ref().unwrap();
    assert_eq!(withheld(plan), ["R29: they own 8 shards, and 10 are needed"]);
    assert_eq!(plan.members[6].current.state, MemberState::Serving);
    assert_eq!(weft_planner::accusations(&model.world()).len(), 2);
}

#[test]
fn r29_shards_in_custody_have_no_voice() {
    let mut model = Model::rested(7, 8, 4);
    model.delete_claim_and_pod(5);
    model.until("TakeEffect");
    model.tick();
    let view = model.record.view.clone().unwrap().view;
    let louder = view.seats.iter().filter(|seat| seat.shards.len() > 4 && seat.member != MemberId(6));
    let accusers: Vec<u32> = louder.map(|seat| seat.member.0).take(2).collect();
    let held: u16 = accusers.iter().map(|id| view.seat(MemberId(*id)).unwrap().shards.len()).sum();
    assert!(held > 9, "with what they keep for others they hold f + 1 shards");
    accuse(&mut model, &accusers, 6);
    model.tick();
    model.tick();
    assert_eq!(withheld(model.last.as_ref().unwrap()), ["R29: they own 8 shards, and 10 are needed"]);
    model.rest();
    assert_eq!(model.times("DeclareFaulty"), 0);
}

#[test]
fn r29_no_more_than_f_shards_are_given_up_by_accusations() {
    let mut model = Model::rested(7, 8, 4);
    for accused in [4, 5, 6] {
        accuse(&mut model, &[0, 1, 2, 3], accused);
    }
    model.until("DeclareFaulty");
    assert_eq!(model.times("DeclareFaulty"), 2);
    let plan = model.last.as_ref().unwrap();
    let budget = withheld(plan);
    assert!(budget.iter().any(|by| by.starts_with("budget: 12 shards would be missing")), "{budget:?}");
    // The third one's turn comes when the others' shards are whole elsewhere.
    model.rest();
    assert_eq!(model.times("DeclareFaulty"), 3);
    let members = &model.last.as_ref().unwrap().members;
    let numbers: Vec<u32> = members.iter().map(|member| member.current.number).collect();
    assert_eq!(numbers, [1, 1, 1, 1, 2, 2, 2]);
}

#[test]
fn r29_lateness_follows_the_unreachable_path() {
    let mut model = Model::rested(7, 8, 4);
    let late = |model: &mut Model, by: &[u32], seconds| {
        for id in by {
            let process = model.volumes.get_mut(&(MemberId(*id), 1)).unwrap();
            process.unanswered = vec![((MemberId(6), 1), Duration::from_secs(seconds))];
        }
    };
    // Liars of f shards, whatever they say; and anybody, of less time than silence is given.
    late(&mut model, &[0, 1], 10_000);
    late(&mut model, &[2, 3, 4, 5], 20);
    model.rest();
    assert!(model.done.is_empty(), "{:?}", model.done);
    late(&mut model, &[2], 31);
    model.until("DeclareLost");
    model.rest();
    assert_eq!((model.times("DeclareFaulty"), model.position()), (0, (2, 0)));
    assert_eq!(model.last.as_ref().unwrap().members[6].current.number, 2);
}
