//! Terms and seals (R2, R4, R5): leaders of which each but the last is stale, and no status that would tell one of
//! the other.
//!
//! *In it:* leaders with a term each, who start in any order and never stop; claims, reports, orders and refusals that
//! arrive in any order, again and again, or never; a node that lies in its reports and refuses for everyone; changes one after
//! another, with a newcomer.
//! *Left out:* blobs; the status, as if it had forgotten everything but the terms (a leader that knows more is only
//! more careful); the volumes of nodes, whose fences are durable.

use stateright::{Model, Property};
use weft_protocol::SignedView;

use crate::{
    answers::{Answers, Memory, Order, Refusal, ViewNo},
    fleet::{FIRST, Holders, Node, SHARDS, bit, first_view, seated, successor},
};

pub(crate) const ONE_VIEW_A_NUMBER: &str = "two views with one number are never both in effect";

/// The node that lies.
const LIAR: Node = 0;
/// Nodes: four of the first view, and a newcomer.
const NODES: usize = SHARDS + 1;
/// The most leaders.
const LEADERS: usize = 4;
/// The most changes of the view.
const CHANGES: usize = 2;

/// What is broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// A new leader orders its own successor, whatever the nodes report (R4).
    NoContinuing,
    /// A leader doesn't wait for n − f shards' reports (R4).
    NoWaiting,
    /// A liar's word for the term of an order counts (R4).
    TermsUnsigned,
    /// Two leaders have one term: the status was set back.
    TermTwice,
    /// Refusals of several terms seal together (R5).
    TermsMixed,
}

pub(crate) struct Terms {
    fault: Fault,
    /// Each leader's.
    leaders: Vec<u8>,
    changes: usize,
    answers: Answers,
}

impl Terms {
    /// `leaders` with terms from 2 on; so many changes of the view.
    pub(crate) fn new(leaders: usize, changes: usize, fault: Fault) -> Self {
        let mut terms: Vec<u8> = (2..).take(leaders).collect();
        if fault == Fault::TermTwice {
            terms.insert(0, terms[0]);
            terms.pop();
        }
        assert!(leaders <= LEADERS && changes <= CHANGES);
        let views = views(&terms, changes);
        Self { fault, leaders: terms, changes, answers: Answers::new(views) }
    }

    /// The view that a leader makes where nodes report none.
    fn own(&self, base: ViewNo, leader: usize) -> Option<ViewNo> {
        let leaders = self.leaders.len() as ViewNo;
        let leader = leader as ViewNo;
        match base {
            0 => Some(1 + leader),
            // The maker of `base` has a term; a leader of a lower one makes nothing after it.
            base if base - 1 <= leader => Some(1 + leaders * base + leader),
            _ => None,
        }
    }

    /// Changes before a view.
    fn level(&self, view: ViewNo) -> usize {
        usize::from(view > 0) + usize::from(usize::from(view) > self.leaders.len())
    }
}

/// The first view; each leader's successor of it; each leader's successor of each of those.
fn views(terms: &[u8], changes: usize) -> Vec<SignedView> {
    let first = first_view();
    let mut views = vec![first.clone()];
    let make = |view: &SignedView, leader: usize, holders| successor(view, u64::from(terms[leader]), holders);
    for leader in 0..terms.len() {
        // Each leader replaces another node by the newcomer; the fourth none.
        let mut holders: Holders = FIRST;
        if leader < 3 {
            holders[leader + 1] = Some(SHARDS as Node);
        } else {
            holders[3] = None;
        }
        views.push(make(&first, leader, holders));
    }
    if changes > 1 {
        for maker in 0..terms.len() {
            for leader in 0..terms.len() {
                let base = views[1 + maker].clone();
                let mut holders: Holders = FIRST;
                holders[1 + maker.min(2)] = None;
                // Places of views that nobody may make are filled with the first.
                let lawful = leader >= maker;
                views.push(if lawful { make(&base, leader, holders) } else { first.clone() });
            }
        }
    }
    views
}

/// What a node reports to a leader whose term it took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Report {
    newest: Option<ViewNo>,
    refused: Option<(ViewNo, u8)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
struct Column {
    memory: Memory,
    /// A bit for each leader and change whose order it signed a refusal for.
    signed: u8,
    /// To each leader.
    reports: [Option<Report>; LEADERS],
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct State {
    nodes: [Column; NODES],
    /// For each leader and change, the successor that it orders.
    ordered: [[Option<ViewNo>; CHANGES]; LEADERS],
    /// A term or a view went back.
    shrunk: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// A node takes a leader's term, and reports.
    Report { leader: usize, node: Node },
    /// A leader chooses a successor, and the liar's report counts among the others'.
    Choose { leader: usize, lie: Option<(ViewNo, u8)> },
    /// A node gets a leader's order.
    Obey { leader: usize, change: usize, node: Node },
    /// A node gets a seal.
    Install { node: Node, view: ViewNo },
}

impl Terms {
    /// Whether some refusals put a view into effect. Those of each term are tried alone, and all together.
    fn in_effect(&self, state: &State, view: ViewNo) -> bool {
        let change = self.level(view) - 1;
        let by = |leader: usize| {
            let signed = move |node| {
                node == LIAR || state.nodes[usize::from(node)].signed & 1 << (change * LEADERS + leader) != 0
            };
            let term = self.leaders[leader];
            let signers = (0..NODES as Node).filter(move |node| signed(*node) && self.seats(view, *node));
            signers.map(move |node| Refusal { node, term })
        };
        let leaders: Vec<usize> =
            (0..self.leaders.len()).filter(|leader| state.ordered[*leader][change] == Some(view)).collect();
        let mut all: Vec<Refusal> = leaders.iter().flat_map(|leader| by(*leader)).collect();
        if self.fault == Fault::TermsMixed {
            for refusal in &mut all {
                refusal.term = 1;
            }
        }
        self.answers.seals(view, all) || leaders.iter().any(|leader| self.answers.seals(view, by(*leader).collect()))
    }

    /// Whether a node holds shards of a view's predecessor.
    fn seats(&self, view: ViewNo, node: Node) -> bool {
        let sealed = self.answers.predecessor(view).expect("a successor");
        seated(&self.answers.view(sealed).view) & bit(node) != 0
    }

    /// The view for whose place a leader chooses, where n − f of its shards have reported.
    fn base(&self, state: &State, leader: usize) -> Option<ViewNo> {
        let reports = state.nodes.iter().filter_map(|column| column.reports[leader]);
        let base = reports.filter_map(|report| report.newest).max_by_key(|view| self.level(*view))?;
        let reported = (0..).zip(&state.nodes).filter(|(_, column)| column.reports[leader].is_some());
        let by = reported.fold(bit(LIAR), |by, (node, _)| by | bit(node));
        let enough = self.fault == Fault::NoWaiting || self.answers.suffice(base, by);
        let level = self.level(base);
        (enough && level < self.changes && state.ordered[leader][level].is_none()).then_some(base)
    }

    /// What the liar may report: any order that was given, and with a planted fault, under any term.
    fn lies(&self, state: &State, base: ViewNo, leader: usize) -> Vec<(ViewNo, u8)> {
        let mut lies = Vec::new();
        for (other, term) in self.leaders.iter().enumerate() {
            let Some(view) = state.ordered[other][self.level(base)] else { continue };
            if self.answers.predecessor(view) == Some(base) && *term <= self.leaders[leader] {
                let highest = if self.fault == Fault::TermsUnsigned { self.leaders[leader] } else { *term };
                lies.extend((*term..=highest).map(|term| (view, term)));
            }
        }
        lies
    }

    fn choose(&self, state: &State, leader: usize, lie: Option<(ViewNo, u8)>) -> Option<(usize, ViewNo)> {
        let base = self.base(state, leader)?;
        let honest = state.nodes.iter().filter_map(|column| column.reports[leader]);
        let refused = honest.filter(|report| report.newest == Some(base)).filter_map(|report| report.refused);
        let highest = refused.chain(lie).max_by_key(|(view, term)| (*term, *view));
        let view = match highest {
            Some((view, _)) if self.fault != Fault::NoContinuing => view,
            _ => self.own(base, leader)?,
        };
        Some((self.level(base), view))
    }

    /// The same state with its honest nodes in order: with one change they differ in nothing but their names.
    fn normal(&self, mut state: State) -> State {
        for leader in 0..self.leaders.len() {
            if state.ordered[leader][self.changes - 1].is_some() {
                for column in &mut state.nodes {
                    column.reports[leader] = None;
                }
            }
        }
        if self.changes == 1 {
            state.nodes[1..SHARDS].sort_unstable();
        }
        state
    }
}

impl Model for Terms {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut nodes = [Column::default(); NODES];
        for column in &mut nodes[..SHARDS] {
            column.memory.newest = Some(0);
        }
        vec![State { nodes, ordered: [[None; CHANGES]; LEADERS], shrunk: false }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let honest = 1..if self.changes > 1 { NODES as Node } else { SHARDS as Node };
        for leader in 0..self.leaders.len() {
            actions.extend(honest.clone().map(|node| Action::Report { leader, node }));
            if let Some(base) = self.base(state, leader) {
                actions.push(Action::Choose { leader, lie: None });
                let lies = self.lies(state, base, leader).into_iter();
                actions.extend(lies.map(|lie| Action::Choose { leader, lie: Some(lie) }));
            }
            for change in 0..self.changes {
                if state.ordered[leader][change].is_some() {
                    actions.extend(honest.clone().map(|node| Action::Obey { leader, change, node }));
                }
            }
        }
        if self.changes > 1 {
            for view in (1..self.answers.views()).filter(|view| self.answers.predecessor(*view).is_some()) {
                if self.in_effect(state, view) {
                    actions.extend(honest.clone().map(|node| Action::Install { node, view }));
                }
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        let change_of = |node: Node, memory: Memory, state: &mut State| {
            let before = state.nodes[usize::from(node)].memory;
            let position = |memory: &Memory| memory.newest.map(|view| self.answers.view(view).view.position());
            state.shrunk |= memory.term < before.term || position(&memory) < position(&before);
            state.nodes[usize::from(node)].memory = memory;
        };
        match action {
            Action::Report { leader, node } => {
                let column = &last.nodes[usize::from(node)];
                let memory = self.answers.claim(column.memory, self.leaders[leader])?;
                change_of(node, memory, &mut state);
                if state.ordered[leader][self.changes - 1].is_none() {
                    let report = Report { newest: memory.newest, refused: memory.refused };
                    state.nodes[usize::from(node)].reports[leader] = Some(report);
                }
            }
            Action::Choose { leader, lie } => {
                let (change, view) = self.choose(last, leader, lie)?;
                state.ordered[leader][change] = Some(view);
            }
            Action::Obey { leader, change, node } => {
                let order = Order { term: self.leaders[leader], successor: last.ordered[leader][change]? };
                let memory = self.answers.refuse(last.nodes[usize::from(node)].memory, order)?;
                change_of(node, memory, &mut state);
                state.nodes[usize::from(node)].signed |= 1 << (change * LEADERS + leader);
            }
            Action::Install { node, view } => {
                let memory = self.answers.install(last.nodes[usize::from(node)].memory, view);
                change_of(node, memory, &mut state);
            }
        }
        Some(self.normal(state)).filter(|state| state != last)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ONE_VIEW_A_NUMBER, |model: &Self, state: &State| {
                let views = 1..model.answers.views();
                let lawful = views.filter(|view| model.answers.predecessor(*view).is_some());
                let mut numbers: Vec<_> = lawful
                    .filter(|view| model.in_effect(state, *view))
                    .map(|view| model.answers.view(view).view.position())
                    .collect();
                let all = numbers.len();
                numbers.dedup();
                numbers.len() == all
            }),
            Property::always("terms and views only grow", |_, state: &State| !state.shrunk),
            Property::sometimes("a leader continues what another began", |model: &Self, state: &State| {
                (1..model.leaders.len()).any(|leader| {
                    let before = &state.ordered[..leader];
                    state.ordered[leader][0].is_some_and(|view| before.iter().any(|ordered| ordered[0] == Some(view)))
                })
            }),
            Property::sometimes("the last change is in effect", |model: &Self, state: &State| {
                (1..model.answers.views())
                    .filter(|view| model.answers.predecessor(*view).is_some() && model.level(*view) == model.changes)
                    .any(|view| model.in_effect(state, view))
            }),
        ]
    }
}
