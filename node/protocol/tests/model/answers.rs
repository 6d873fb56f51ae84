//! What the crate's own values answer: fences, seals and tallies, with real signatures. Each distinct question is
//! asked once and its answer remembered, so that a walk through millions of states costs thousands of signatures.

use std::{
    collections::HashMap,
    hash::Hash as StdHash,
    sync::{Mutex, RwLock},
};

use weft_protocol::{Fence, Receipts, Seal, SealOrder, SignedView, Statement, Subject, SyncTally, TermClaim};
use weft_redstuff::{BlobId, Hash};

use crate::fleet::{FLEET, Node, Nodes, nodes, operator, says, seated};

/// A view's place among those that a model knows.
pub(crate) type ViewNo = u8;

/// A fence in small: what its decisions depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Memory {
    pub(crate) term: u8,
    pub(crate) newest: Option<ViewNo>,
    /// The successor for which the newest view is refused, and the term of that order.
    pub(crate) refused: Option<(ViewNo, u8)>,
}

/// A leader's order to refuse the successor's predecessor for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Order {
    pub(crate) term: u8,
    pub(crate) successor: ViewNo,
}

/// One signed refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Refusal {
    pub(crate) node: Node,
    pub(crate) term: u8,
}

/// Answers of a kind, remembered.
struct Memo<Q, A>(RwLock<HashMap<Q, A>>);

impl<Q: Clone + Eq + StdHash, A: Clone> Memo<Q, A> {
    fn new() -> Self {
        Self(RwLock::default())
    }

    fn ask(&self, question: &Q, answer: impl FnOnce() -> A) -> A {
        if let Some(known) = self.0.read().expect("no reader panics").get(question) {
            return known.clone();
        }
        let answer = answer();
        self.0.write().expect("no writer panics").insert(question.clone(), answer.clone());
        answer
    }
}

pub(crate) struct Answers {
    views: Vec<SignedView>,
    predecessors: Vec<Option<ViewNo>>,
    fences: Mutex<HashMap<Memory, Fence>>,
    claims: Memo<(Memory, u8), Option<Memory>>,
    orders: Memo<(Memory, Order), Option<Memory>>,
    installs: Memo<(Memory, ViewNo), Memory>,
    permits: Memo<(Memory, ViewNo), bool>,
    refuses: Memo<(Memory, ViewNo), bool>,
    seals: Memo<(ViewNo, Vec<Refusal>), bool>,
    receipts: Memo<(ViewNo, Nodes), bool>,
    standings: Memo<(ViewNo, Option<ViewNo>), bool>,
}

impl Answers {
    /// `views` begin with the first view; each has its predecessor among those before it.
    pub(crate) fn new(views: Vec<SignedView>) -> Self {
        let (none, mut first) = (Fence::new(FLEET, operator().public()), Fence::new(FLEET, operator().public()));
        first.begin(views[0].clone()).expect("an empty volume takes the first view");
        let seated = Memory { newest: Some(0), ..Memory::default() };
        let predecessors = views.iter().map(|view| number(&views, &view.view.predecessor?.hash)).collect();
        Self {
            views,
            predecessors,
            fences: Mutex::new([(Memory::default(), none), (seated, first)].into()),
            claims: Memo::new(),
            orders: Memo::new(),
            installs: Memo::new(),
            permits: Memo::new(),
            refuses: Memo::new(),
            seals: Memo::new(),
            receipts: Memo::new(),
            standings: Memo::new(),
        }
    }

    pub(crate) fn views(&self) -> ViewNo {
        self.views.len() as ViewNo
    }

    pub(crate) fn view(&self, view: ViewNo) -> &SignedView {
        &self.views[usize::from(view)]
    }

    pub(crate) fn predecessor(&self, view: ViewNo) -> Option<ViewNo> {
        self.predecessors[usize::from(view)]
    }

    fn fence(&self, memory: Memory) -> Fence {
        self.fences.lock().expect("nobody panics")[&memory].clone()
    }

    /// The small form of a fence, which is kept for what it is asked next.
    fn keep(&self, fence: Fence) -> Memory {
        let number = |view: &SignedView| number(&self.views, &view.view.hash()).expect("models know their views");
        let refused = match (fence.successor(), fence.refusal()) {
            (Some(successor), Some(Statement::Refusal { term, .. })) => Some((number(successor), term as u8)),
            _ => None,
        };
        let memory = Memory { term: fence.term() as u8, newest: fence.newest().map(number), refused };
        self.fences.lock().expect("nobody panics").entry(memory).or_insert(fence);
        memory
    }

    /// Takes a leader's term; `None` if the fence refuses it (R4).
    pub(crate) fn claim(&self, memory: Memory, term: u8) -> Option<Memory> {
        self.claims.ask(&(memory, term), || {
            let mut fence = self.fence(memory);
            fence.claim(&TermClaim::sign(FLEET, u64::from(term), &operator())).ok()?;
            Some(self.keep(fence))
        })
    }

    /// Refuses a view by a leader's order; `None` if the fence doesn't (R5).
    pub(crate) fn refuse(&self, memory: Memory, order: Order) -> Option<Memory> {
        self.orders.ask(&(memory, order), || {
            let mut fence = self.fence(memory);
            let successor = self.view(order.successor).clone();
            let view = successor.view.predecessor.expect("only successors are ordered").hash;
            fence.refuse(&SealOrder::sign(u64::from(order.term), view, successor, &operator())).ok()?;
            Some(self.keep(fence))
        })
    }

    /// Learns that a view is in effect. Whose refusals prove it makes no difference to what follows.
    pub(crate) fn install(&self, memory: Memory, successor: ViewNo) -> Memory {
        self.installs.ask(&(memory, successor), || {
            let mut fence = self.fence(memory);
            let sealed = self.predecessor(successor).expect("only successors are installed");
            let refusals: Vec<_> =
                nodes(seated(&self.view(sealed).view)).map(|node| Refusal { node, term: 1 }).collect();
            fence.install(self.seal(successor, &refusals)).expect("all refusals of one term are a seal");
            self.keep(fence)
        })
    }

    /// Whether acks, receipts and deletes are given for a view (R5).
    pub(crate) fn permits(&self, memory: Memory, view: ViewNo) -> bool {
        self.permits.ask(&(memory, view), || self.fence(memory).permit(&self.view(view).view.hash()).is_ok())
    }

    /// Whether a view gets no acks or receipts any more (R5).
    pub(crate) fn refuses(&self, memory: Memory, view: ViewNo) -> bool {
        self.refuses.ask(&(memory, view), || self.fence(memory).refuses(&self.view(view).view.id()))
    }

    fn seal(&self, successor: ViewNo, refusals: &[Refusal]) -> Seal {
        let sealed = self.view(self.predecessor(successor).expect("only successors seal"));
        let successor = self.view(successor);
        let refusals = refusals.iter().map(|refusal| {
            let term = u64::from(refusal.term);
            says(refusal.node, Statement::Refusal { view: sealed.view.hash(), successor: successor.view.hash(), term })
        });
        Seal { refusals: refusals.collect(), sealed: sealed.clone(), successor: successor.clone(), declaration: None }
    }

    /// Whether these refusals put the successor into effect (R5).
    pub(crate) fn seals(&self, successor: ViewNo, refusals: Vec<Refusal>) -> bool {
        let question = (successor, refusals);
        self.seals.ask(&question, || self.seal(successor, &question.1).check(&operator().public()).is_ok())
    }

    /// Whether receipts of these nodes suffice for an answer (R8, R13): those that the view doesn't seat don't count.
    pub(crate) fn suffice(&self, view: ViewNo, of: Nodes) -> bool {
        self.receipts.ask(&(view, of), || {
            let (view, subject) = (&self.view(view).view, Subject::Certificate(BlobId([1; 32])));
            let mut receipts = Receipts::new(view, subject);
            for node in nodes(of & seated(view)) {
                let receipt = says(node, Statement::Receipt { view: view.hash(), subject });
                receipts.add(&receipt).expect("a seated node's receipt counts");
            }
            receipts.suffice()
        })
    }

    /// Whether a node that is synced to `synced` and refuses `view` counts for who wants to be synced to `view` (R9).
    pub(crate) fn syncs_from(&self, view: ViewNo, synced: Option<ViewNo>) -> bool {
        self.standings.ask(&(view, synced), || {
            let synced = synced.map(|synced| self.view(synced).view.id());
            let view = &self.view(view).view;
            let standing = Statement::Standing { view: view.hash(), synced, registry: Hash::of(b"registry") };
            let node = view.seats[0].member.0 as Node;
            SyncTally::new(view, &[]).add(&says(node, standing)).is_ok()
        })
    }
}

fn number(views: &[SignedView], hash: &Hash) -> Option<ViewNo> {
    views.iter().position(|view| view.view.hash() == *hash).map(|at| at as ViewNo)
}
