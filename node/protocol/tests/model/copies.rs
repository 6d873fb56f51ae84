//! Copies (R2, R6, R11, R20–R25): the slivers of one acknowledged blob, while volumes are lost and shards move.
//!
//! *In it:* n = 4, f = 1 or n = 7, f = 2; a shard a member at first, and newcomers; a blob that was certified by any
//! n − f shards' holders; a liar, whose slivers count for nothing, or volumes lost, so many that with what is lacking
//! there are never more than f shards missing (the loss of more is R7's); custody by any member that has room, vacancy
//! where none has; replacement; old incarnations that are away, and return with their slivers; copies dropped.
//! *Left out:* sealing (a change of the view is one step: the model of terms has it), the registry (every member knows
//! the blob: the model of the registry has it), other blobs, budgets and time.

use stateright::{Model, Property};

/// The most shards, and the most nodes: members and newcomers.
const SHARDS: usize = 7;
const NODES: usize = SHARDS + 2;

pub(crate) const READABLE: &str = "an acknowledged blob can be read";

/// What is broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// A copy goes when its shard has a new owner, who may not have it yet (R23).
    DropBeforeProof,
}

pub(crate) struct Copies {
    pub(crate) shards: usize,
    pub(crate) newcomers: usize,
    /// Volumes lost, at most.
    pub(crate) losses: u8,
    pub(crate) liar: bool,
    pub(crate) fault: Fault,
}

/// A set of shards or nodes, a bit each.
type Set = u16;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct State {
    /// Which node the newest view gives each shard; `None` where it is vacant.
    holder: [Option<u8>; SHARDS],
    /// The shards whose slivers each node has.
    has: [Set; NODES],
    /// Nodes whose volumes are gone.
    lost: Set,
    /// Nodes that don't answer, and have what they had.
    away: Set,
    losses: u8,
    /// Shards that a fault took, and that no holder has again: never more than f.
    faulted: Set,
    /// Shards that the put didn't reach, of which no margin tells yet (R22).
    fresh: Set,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Lose(usize),
    Leave(usize),
    Return(usize),
    /// A new view gives a shard to a node, or to nobody.
    Move(usize, Option<u8>),
    /// A holder rebuilds or copies its shard's slivers.
    Rebuild(usize),
    Drop(usize, usize),
}

impl Copies {
    fn f(&self) -> usize {
        (self.shards - 1) / 3
    }

    fn k1(&self) -> usize {
        self.shards - 2 * self.f()
    }

    fn is_liar(&self, node: usize) -> bool {
        self.liar && node == 0
    }

    fn nodes(&self) -> std::ops::Range<usize> {
        0..self.shards + self.newcomers
    }

    /// Whether the view's holder of a shard has its slivers, and serves them.
    fn is_held(&self, state: &State, shard: usize) -> bool {
        state.holder[shard].is_some_and(|node| self.serves(state, usize::from(node)) & 1 << shard != 0)
    }

    /// What a node serves, to readers and to repair.
    fn serves(&self, state: &State, node: usize) -> Set {
        let gone = (state.lost | state.away) & 1 << node != 0 || self.is_liar(node);
        if gone { 0 } else { state.has[node] }
    }

    /// Whether the operator believes that a shard's holder has its slivers: a liar says so, and of what the put didn't
    /// reach nobody knows yet.
    fn seems_held(&self, state: &State, shard: usize) -> bool {
        let liars = state.holder[shard].is_some_and(|node| self.is_liar(usize::from(node)));
        let present = state.holder[shard].is_some_and(|node| (state.lost | state.away) & 1 << node == 0);
        liars || self.is_held(state, shard) || (present && state.fresh & 1 << shard != 0)
    }

    /// L: shards that their holders lack, by what the operator knows (R6).
    fn lacking(&self, state: &State) -> usize {
        (0..self.shards).filter(|shard| !self.seems_held(state, *shard)).count()
    }

    /// Shards of which somebody serves the slivers, spare copies too.
    fn served(&self, state: &State) -> usize {
        self.nodes().fold(0, |all, node| all | self.serves(state, node)).count_ones() as usize
    }

    fn held_by(state: &State, node: usize) -> usize {
        state.holder.iter().filter(|holder| **holder == Some(node as u8)).count()
    }

    /// Whether a new view may give a shard to a node, or to nobody (R2, R6).
    fn may_move(&self, state: &State, shard: usize, to: Option<u8>) -> bool {
        let from = state.holder[shard];
        let present = |node: u8| (state.lost | state.away) & 1 << node == 0;
        if from == to || to.is_some_and(|node| !present(node)) || (to.is_none() && from.is_some_and(present)) {
            return false;
        }
        if to.is_some_and(|node| Self::held_by(state, usize::from(node)) >= self.f()) {
            return false;
        }
        let moves_lacking = !self.seems_held(state, shard);
        moves_lacking || self.lacking(state) < self.f()
    }

    /// Whether a spare copy may go (R23).
    fn may_drop(&self, state: &State, node: usize, shard: usize) -> bool {
        let spare = state.has[node] & 1 << shard != 0 && state.holder[shard] != Some(node as u8);
        let there = (state.lost | state.away) & 1 << node == 0 && !self.is_liar(node);
        let proven = match self.fault {
            Fault::DropBeforeProof => state.holder[shard].is_some(),
            Fault::None => self.is_held(state, shard) && self.lacking(state) == 0,
        };
        spare && there && proven
    }

    /// What a fault of a node takes, where that leaves no more than f shards faulted.
    fn faulted(&self, state: &State, node: usize) -> Option<Set> {
        let mut after = state.clone();
        after.away |= 1 << node;
        let takes = |shard: usize| state.holder[shard] == Some(node as u8) || state.has[node] & 1 << shard != 0;
        let taken = (0..self.shards).filter(|shard| takes(*shard) && !self.is_held(&after, *shard));
        let faulted = taken.fold(state.faulted, |all, shard| all | 1 << shard);
        (faulted.count_ones() as usize <= self.f()).then_some(faulted)
    }
}

impl Model for Copies {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut state = State {
            holder: [None; SHARDS],
            has: [0; NODES],
            lost: 0,
            away: 0,
            losses: 0,
            faulted: Set::from(self.liar),
            fresh: 0,
        };
        for shard in 0..self.shards {
            (state.holder[shard], state.has[shard]) = (Some(shard as u8), 1 << shard);
        }
        // All hold it, or any f of them were not reached.
        let unreached = (0..1_u16 << self.shards).filter(|set| [0, self.f() as u32].contains(&set.count_ones()));
        unreached
            .map(|unreached| {
                let mut state = state.clone();
                for shard in (0..self.shards).filter(|shard| unreached & 1 << shard != 0) {
                    state.has[shard] = 0;
                }
                state.fresh = unreached;
                state
            })
            .collect()
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for node in self.nodes() {
            actions.extend([Action::Lose(node), Action::Leave(node), Action::Return(node)]);
            let shards = (0..self.shards).filter(|shard| state.has[node] & 1 << shard != 0);
            actions.extend(shards.map(|shard| Action::Drop(node, shard)));
        }
        for shard in 0..self.shards {
            actions.push(Action::Rebuild(shard));
            actions.push(Action::Move(shard, None));
            actions.extend(self.nodes().map(|node| Action::Move(shard, Some(node as u8))));
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Lose(node) => {
                let may = last.losses < self.losses && last.lost & 1 << node == 0 && !self.is_liar(node);
                state.faulted = self.faulted(last, node).filter(|_| may)?;
                (state.lost, state.losses) = (last.lost | 1 << node, last.losses + 1);
                state.has[node] = 0;
                state.away &= !(1 << node);
            }
            Action::Leave(node) => {
                let may = last.losses < self.losses && (last.lost | last.away) & 1 << node == 0 && !self.is_liar(node);
                state.faulted = self.faulted(last, node).filter(|_| may)?;
                (state.away, state.losses) = (last.away | 1 << node, last.losses + 1);
            }
            Action::Return(node) => {
                // It serves what it has, whatever the view says of it by now (R25).
                (last.away & 1 << node != 0).then_some(())?;
                state.away &= !(1 << node);
            }
            Action::Move(shard, to) => {
                self.may_move(last, shard, to).then_some(())?;
                state.holder[shard] = to;
                state.fresh &= !(1 << shard);
            }
            Action::Rebuild(shard) => {
                let node = usize::from(last.holder[shard]?);
                let spare = self.nodes().any(|node| self.serves(last, node) & 1 << shard != 0);
                let may = (last.lost | last.away) & 1 << node == 0 && !self.is_liar(node);
                (may && (spare || self.served(last) >= self.k1())).then_some(())?;
                state.has[node] |= 1 << shard;
                state.fresh &= !(1 << shard);
            }
            Action::Drop(node, shard) => {
                self.may_drop(last, node, shard).then_some(())?;
                state.has[node] &= !(1 << shard);
            }
        }
        let held = (0..self.shards).filter(|shard| self.is_held(&state, *shard));
        state.faulted &= !held.fold(0, |all, shard| all | 1 << shard);
        Some(state).filter(|state| state != last)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(READABLE, |model: &Self, state: &State| model.served(state) >= model.k1()),
            Property::sometimes("whole again after every loss", |model: &Self, state: &State| {
                let liar = |shard: usize| state.holder[shard] == Some(0) && model.liar;
                let whole = (0..model.shards).all(|shard| liar(shard) || model.is_held(state, shard));
                state.losses == model.losses && whole
            }),
            Property::sometimes("a copy is dropped after its shard moved", |model: &Self, state: &State| {
                let moved = |shard: usize| state.holder[shard] != Some(shard as u8) && state.has[shard] == 0;
                (0..model.shards).any(|shard| moved(shard) && state.lost & 1 << shard == 0)
            }),
        ]
    }
}
