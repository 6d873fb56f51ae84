//! More than f shards lost while a view is being sealed (R7).
//!
//! *In it:* a leader that orders a successor; volumes that are destroyed, whatever they have signed by then; a person's
//! true word for that; another leader, or the same one under a higher term, that goes on; orders that arrive in any order,
//! again, or never.
//! *Left out:* liars (f faults and a loss beyond f are more than anything bears); blobs; all later views.

use stateright::{Model, Property};
use weft_protocol::{Declaration, Incarnation, MemberId, Seal, SignedView, Statement, View};

use crate::{
    answers::{Answers, Memory, Order, ViewNo},
    fleet::{FIRST, Node, SHARDS, first_view, operator, says, successor},
};

pub(crate) const ONE_SUCCESSOR: &str = "a view has one successor in effect";

/// The successor that was being sealed, and one that another leader would make of what is left.
const BEGUN: ViewNo = 1;
const OTHER: ViewNo = 2;
/// The terms of the leader that began, and of the one that goes on.
const TERMS: [u8; 2] = [2, 3];

/// What is broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Who goes on makes a successor of its own that declares the lost, when none of those left knows the first one in
    /// effect.
    Replaced,
}

pub(crate) struct Declared {
    fault: Fault,
    answers: Answers,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
struct Column {
    memory: Memory,
    /// A bit for each leader by whose order it signed a refusal.
    signed: u8,
    destroyed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct State {
    nodes: [Column; SHARDS],
    /// The second leader has begun; what is destroyed by then is declared.
    goes_on: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// A node gets a leader's order.
    Obey {
        leader: usize,
        node: Node,
    },
    Destroy(Node),
    /// The second leader begins, when more than f shards are destroyed.
    GoOn,
}

impl Declared {
    pub(crate) fn new(fault: Fault) -> Self {
        let first = first_view();
        let mut holders = FIRST;
        holders[3] = Some(SHARDS as Node);
        let begun = successor(&first, u64::from(TERMS[0]), holders);
        // Which two are lost makes no difference to what is found, as long as the views differ.
        let mut left = FIRST;
        (left[0], left[1]) = (None, None);
        let lost = vec![lost(&first.view, 0), lost(&first.view, 1)];
        let vacant: Vec<_> =
            first.view.seats.iter().filter(|seat| left.contains(&Some(seat.member.0 as Node))).cloned().collect();
        let (predecessor, term) = (Some(first.view.id()), u64::from(TERMS[1]));
        let other = View { revision: 1, predecessor, term, seats: vacant, declared: lost, ..first.view.clone() };
        let other = SignedView::sign(other, &operator());
        first.view.check_successor(&other).expect("a lawful view");
        Self { fault, answers: Answers::new(vec![first, begun, other]) }
    }

    /// What a leader orders.
    fn ordered(&self, leader: usize) -> ViewNo {
        if leader == 1 && self.fault == Fault::Replaced { OTHER } else { BEGUN }
    }

    /// Whether refusals by orders of one leader put a successor into effect, with what the second one declared.
    fn in_effect(&self, state: &State, view: ViewNo) -> bool {
        (0..TERMS.len()).filter(|leader| self.ordered(*leader) == view).any(|leader| {
            let signers = (0..).zip(&state.nodes).filter(|(_, column)| column.signed & (1 << leader) != 0);
            let signers = signers.map(|(node, _)| node).collect();
            let declared = if leader == 1 && view == BEGUN { destroyed(state) } else { Vec::new() };
            self.seals(view, TERMS[leader], signers, &declared)
        })
    }

    fn seals(&self, view: ViewNo, term: u8, signers: Vec<Node>, declared: &[Node]) -> bool {
        let (sealed, successor) = (self.answers.view(0), self.answers.view(view));
        let names = (&sealed.view, &successor.view);
        let lost = declared.iter().map(|node| lost(&sealed.view, *node)).collect();
        let declaration = Declaration::sign(u64::from(term), names, lost, &operator());
        let statement =
            Statement::Refusal { view: sealed.view.hash(), successor: successor.view.hash(), term: u64::from(term) };
        let refusals: Vec<_> = signers.into_iter().map(|node| says(node, statement.clone())).collect();
        let seal = Seal::gathered(sealed, successor, Some(&declaration).filter(|_| !declared.is_empty()), &refusals);
        seal.is_some_and(|seal| seal.check(&operator().public()).is_ok())
    }
}

fn lost(view: &View, node: Node) -> (MemberId, Incarnation) {
    let seat = view.seat(MemberId(u32::from(node))).expect("the first view seats it");
    (seat.member, seat.incarnation)
}

fn destroyed(state: &State) -> Vec<Node> {
    (0..).zip(&state.nodes).filter(|(_, column)| column.destroyed).map(|(node, _)| node).collect()
}

impl Model for Declared {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let seated = Column { memory: Memory { newest: Some(0), ..Memory::default() }, ..Column::default() };
        vec![State { nodes: [seated; SHARDS], goes_on: false }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let alive = (0..).zip(&state.nodes).filter(|(_, column)| !column.destroyed).map(|(node, _)| node);
        for node in alive {
            actions.push(Action::Obey { leader: 0, node });
            if state.goes_on {
                actions.push(Action::Obey { leader: 1, node });
            } else if node < 2 {
                actions.push(Action::Destroy(node));
            }
        }
        if !state.goes_on && destroyed(state).len() > 1 {
            actions.push(Action::GoOn);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Obey { leader, node } => {
                let column = &mut state.nodes[usize::from(node)];
                let order = Order { term: TERMS[leader], successor: self.ordered(leader) };
                column.memory = self.answers.refuse(column.memory, order)?;
                column.signed |= 1 << leader;
            }
            Action::Destroy(node) => state.nodes[usize::from(node)].destroyed = true,
            // None of those left knows of a successor in effect: only the lost could have gathered a seal.
            Action::GoOn => state.goes_on = true,
        }
        Some(state).filter(|state| state != last)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ONE_SUCCESSOR, |model: &Self, state: &State| {
                !(model.in_effect(state, BEGUN) && model.in_effect(state, OTHER))
            }),
            Property::sometimes("those who are left seal it", |model: &Self, state: &State| {
                let left = state.nodes.iter().filter(|column| !column.destroyed).count();
                left == 2 && [BEGUN, OTHER].into_iter().any(|view| model.in_effect(state, view))
            }),
            Property::sometimes("the lost have helped to seal it", |model: &Self, state: &State| {
                !state.goes_on && destroyed(state).len() == 2 && model.in_effect(state, BEGUN)
            }),
        ]
    }
}
