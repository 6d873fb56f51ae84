//! Any order of bearable misfortunes and changes of the spec ends in rest, and loses nothing. Every plan on the way is
//! looked at ([`crate::checks`]).

use proptest::prelude::*;
use weft_planner::EpochWish;
use weft_protocol::MemberId;

use crate::model::Model;

#[derive(Debug, Clone, Copy)]
enum Misfortune {
    PodDeleted(u32),
    ClaimDeleted(u32),
    NodeAway(u32, u32),
    NodeRemoved(u32),
    NodeDrained(u32, u32),
    OperatorDies,
    OperatorDeaf(u32),
    Paused(u32),
    Drain(u32),
    DrainNobody,
    Replace(u32),
    Members(u32),
    NewEpoch,
    Respecified(u32),
}

fn misfortune() -> impl Strategy<Value = Misfortune> {
    prop_oneof![
        (0..7_u32).prop_map(Misfortune::PodDeleted),
        (0..7_u32).prop_map(Misfortune::ClaimDeleted),
        (0..7_u32, 1..30_u32).prop_map(|(member, ticks)| Misfortune::NodeAway(member, ticks)),
        (0..7_u32).prop_map(Misfortune::NodeRemoved),
        (0..7_u32, 1..30_u32).prop_map(|(member, ticks)| Misfortune::NodeDrained(member, ticks)),
        Just(Misfortune::OperatorDies),
        (1..20_u32).prop_map(Misfortune::OperatorDeaf),
        (1..20_u32).prop_map(Misfortune::Paused),
        (0..7_u32).prop_map(Misfortune::Drain),
        Just(Misfortune::DrainNobody),
        (0..7_u32).prop_map(Misfortune::Replace),
        (7..10_u32).prop_map(Misfortune::Members),
        Just(Misfortune::NewEpoch),
        (0..3_u32).prop_map(Misfortune::Respecified),
    ]
}

/// Lets it happen. Losses for good come only when everything is whole, so that the code bears them.
fn happen(model: &mut Model, misfortune: Misfortune, losses: &mut u32) {
    let runs =
        |model: &Model, member: u32| model.cluster.pods.iter().any(|pod| pod.member.0 == member && pod.node.is_some());
    match misfortune {
        Misfortune::PodDeleted(member) => model.delete_pod(member),
        Misfortune::ClaimDeleted(member) if *losses < 2 => {
            *losses += 1;
            model.delete_claim_and_pod(member);
        }
        Misfortune::NodeAway(member, ticks) if *losses < 2 && runs(model, member) => {
            let node = model.node_of(member);
            *losses += 1;
            model.cluster.cut(&node, model.now);
            (0..ticks).for_each(|_| model.tick());
            model.cluster.restore(&node);
        }
        Misfortune::NodeRemoved(member) if *losses < 2 && runs(model, member) => {
            *losses += 1;
            let node = model.node_of(member);
            if model.members_on(&node).len() == 1
                && model.cluster.nodes.iter().filter(|n| n.gone_since.is_none()).count() > 8
            {
                model.cluster.remove(&node, model.now);
                model.cluster.lose_volumes(&node);
            }
        }
        Misfortune::NodeDrained(member, ticks) if *losses < 2 && runs(model, member) => {
            *losses += 1;
            let node = model.node_of(member);
            model.cluster.cordoned.insert(node.clone());
            for _ in 0..ticks {
                // Somebody else's drain goes on meanwhile.
                for other in model.members_on(&node) {
                    model.evict(other);
                }
                model.evict((member + 1) % 7);
                model.tick();
            }
            model.cluster.cordoned.clear();
        }
        Misfortune::OperatorDies => model.restart_operator(),
        Misfortune::OperatorDeaf(ticks) => {
            model.hears = false;
            (0..ticks).for_each(|_| model.tick());
            model.hears = true;
        }
        Misfortune::Paused(ticks) => {
            model.committee.paused = true;
            (0..ticks).for_each(|_| model.tick());
            model.committee.paused = false;
        }
        // A drained member's shards are others', who then lose more at once.
        Misfortune::Drain(member) if *losses < 2 && model.committee.drain.is_empty() => {
            *losses += 1;
            model.committee.drain.insert(MemberId(member));
        }
        Misfortune::DrainNobody => model.committee.drain.clear(),
        Misfortune::Replace(member) => {
            let current = model.record.members.iter().find(|known| known.id.0 == member).map(|known| &known.current);
            model.committee.replace.extend(current.map(|current| (MemberId(member), current.number)));
        }
        Misfortune::Members(members) => model.committee.members = members,
        Misfortune::Respecified(spec) if spec > 0 || *losses < 2 => {
            // Nothing starts with spec 0, so that the first to try it is away.
            *losses += u32::from(spec == 0);
            model.committee.inputs = format!("spec {spec}");
        }
        Misfortune::NewEpoch => {
            let number = model.position().0 + 1;
            model.wished = vec![EpochWish { number, owners: None, refused: None }];
        }
        Misfortune::ClaimDeleted(_)
        | Misfortune::NodeAway(..)
        | Misfortune::NodeRemoved(_)
        | Misfortune::NodeDrained(..)
        | Misfortune::Drain(_)
        | Misfortune::Respecified(_) => {
            model.committee.drain.clear();
            put_right(model);
            model.rest();
            *losses = 0;
        }
    }
}

/// Where nothing starts with the spec, another one comes.
fn put_right(model: &mut Model) {
    if model.cluster.broken.contains(&model.committee.inputs) {
        "spec 1".clone_into(&mut model.committee.inputs);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn the_fleet_comes_to_rest_after_anything_that_the_code_bears(
        script in proptest::collection::vec((misfortune(), 0..20_u32), 1..8),
    ) {
        let mut model = Model::rested(7, 12, 4);
        model.cluster.broken.insert("spec 0".to_owned());
        let mut losses = 0;
        for (misfortune, ticks) in script {
            happen(&mut model, misfortune, &mut losses);
            (0..ticks).for_each(|_| model.tick());
            prop_assert!(model.largest_load() <= 9);
            prop_assert!(model.whole_shards().len() >= 10, "blobs are lost");
        }
        model.committee.drain.clear();
        put_right(&mut model);
        model.rest();
        prop_assert_eq!(model.whole_shards().len(), 28);
        prop_assert_eq!(model.last.as_ref().unwrap().margin.read, 18);
        prop_assert_eq!(model.record.members.len(), model.committee.members as usize);
        prop_assert_eq!(model.largest_load(), 4);
    }
}
