//! Walking through a model's states.

use std::{
    collections::BTreeSet,
    fmt::{Debug, Write},
    hash::Hash,
};

use stateright::{Checker, Expectation, HasDiscoveries, Model};

/// Visits every state, shortest ways first: all that must hold does, and what should be possible is.
pub(crate) fn holds<M>(name: &str, model: M)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync,
    M::Action: Clone + Debug + PartialEq,
{
    let checker = model.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let (states, depth) = (checker.unique_state_count(), checker.max_depth());
    println!("{name}: {states} states, all of them; the furthest is {depth} steps away");
    whole(name, &checker);
    checker.assert_properties();
}

fn whole<M>(name: &str, checker: &impl Checker<M>)
where
    M: Model,
    M::State: Clone + Debug + Hash + PartialEq,
    M::Action: Clone + Debug + PartialEq,
{
    for (property, path) in checker.discoveries() {
        let is_failure = checker.model().property(property).expectation.discovery_is_failure();
        assert!(!is_failure, "{name}: \"{property}\" is broken by:\n{}", told(&path.into_actions()));
    }
}

/// Visits every state that is less than `depth` steps away: all that must hold does.
pub(crate) fn near<M>(name: &str, model: M, depth: usize)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync,
    M::Action: Clone + Debug + PartialEq,
{
    let builder = model.checker().finish_when(HasDiscoveries::AnyFailures).target_max_depth(depth);
    let checker = builder.spawn_bfs().join();
    println!("{name}: {} states, all within {depth} steps", checker.unique_state_count());
    whole(name, &checker);
}

/// Takes `steps` steps at random, the same each time: walks of at most `length` steps, each from the beginning.
pub(crate) fn samples<M: Model>(name: &str, model: &M, steps: usize, length: usize)
where
    M::State: Clone,
    M::Action: Clone + Debug,
{
    let (mut random, mut seen, mut left) = (Random(1), BTreeSet::new(), steps);
    while left > 0 {
        let starts = model.init_states();
        let (mut state, mut way) = (starts[random.below(starts.len())].clone(), Vec::new());
        while left > 0 && way.len() < length {
            left -= 1;
            let Some((action, next)) = random.step(model, &state) else { break };
            state = next;
            way.push(action);
            for property in model.properties() {
                let met = (property.condition)(model, &state);
                match property.expectation {
                    Expectation::Always => assert!(met, "{name}: \"{}\" is broken by:\n{}", property.name, told(&way)),
                    Expectation::Sometimes if met => drop(seen.insert(property.name)),
                    Expectation::Sometimes | Expectation::Eventually => {}
                }
            }
        }
    }
    println!("{name}: {steps} steps at random, in walks of at most {length}");
    for property in model.properties().iter().filter(|property| property.expectation == Expectation::Sometimes) {
        assert!(seen.contains(property.name), "{name}: never seen that {}", property.name);
    }
}

/// A planted fault is found: it breaks `property`.
pub(crate) fn finds<M>(model: M, property: &'static str)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync,
    M::Action: Clone + Debug + PartialEq,
{
    let checker = model.checker().finish_when(HasDiscoveries::AnyOf([property].into())).spawn_bfs().join();
    let path = checker.discovery(property).unwrap_or_else(|| panic!("\"{property}\" is never broken"));
    let actions = path.into_actions();
    println!("\"{property}\" is broken in {} steps:\n{}", actions.len(), told(&actions));
}

/// A planted fault is found in walks at random: it breaks `property`. For what lies too deep to visit all before it.
pub(crate) fn stumbles<M: Model>(model: &M, property: &'static str, length: usize)
where
    M::State: Clone,
    M::Action: Clone + Debug,
{
    let (mut random, broken) = (Random(1), model.property(property));
    for _ in 0..40_000 {
        let starts = model.init_states();
        let (mut state, mut way) = (starts[random.below(starts.len())].clone(), Vec::new());
        while way.len() < length {
            let Some((action, next)) = random.step(model, &state) else { break };
            state = next;
            way.push(action);
            if !(broken.condition)(model, &state) {
                println!("\"{property}\" is broken in {} steps:\n{}", way.len(), told(&way));
                return;
            }
        }
    }
    panic!("\"{property}\" is never broken");
}

fn told<A: Debug>(actions: &[A]) -> String {
    actions.iter().fold(String::new(), |mut text, action| {
        writeln!(text, "  {action:?}").expect("a string takes all");
        text
    })
}

/// Numbers that look random: splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }

    /// Some step from a state; `None` where there is none.
    fn step<M: Model>(&mut self, model: &M, state: &M::State) -> Option<(M::Action, M::State)>
    where
        M::Action: Clone,
    {
        let mut actions = Vec::new();
        model.actions(state, &mut actions);
        while !actions.is_empty() {
            let action = actions.swap_remove(self.below(actions.len()));
            if let Some(next) = model.next_state(state, action.clone()) {
                return Some((action, next));
            }
        }
        None
    }
}
