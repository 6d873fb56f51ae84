//! The registry (R5, R8–R10, R12–R14): one blob's certificate, receipts, tombstone and voids, while views change.
//!
//! *In it:* four members and a newcomer for each change; one liar, who acks, receipts and refuses for everyone, counts
//! as synced, replays any certificate and signs any lack; or no liar and a volume lost after another, each within f; a
//! stale gateway, which goes on with its put and its delete under every view; messages that arrive late, again, or
//! never.
//! *Left out:* the choice of the successor (the model of terms has it: one view a number); slivers, but that an ack
//! makes them and a tombstone or a void drops them; other blobs, which no rule relates to this one.

use stateright::{Model, Property};

use crate::{
    answers::{Answers, Memory, Order, Refusal, ViewNo},
    fleet::{FIRST, Node, Nodes, SHARDS, bit, first_view, nodes, seated, successor},
};

/// Views, at most.
const VIEWS: usize = 3;
/// Four members and a newcomer for each change.
const NODES: usize = SHARDS + VIEWS - 1;
/// n − 2f: slivers that a read takes.
const K1: u32 = 2;
/// f + 1: of as many shards' members one is honest.
const ONE_HONEST: u32 = 2;

/// What is broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// 201 before receipts of n − f shards (R8).
    AnsweredEarly,
    /// Receipts of a view that the member refuses (R5).
    ReceiptAfterRefusing,
    /// Sync from a holder that hasn't refused the view (R9).
    SyncBeforeRefusal,
    /// Members that refuse their newest view count for "not found" (R10).
    RefusingCount,
    /// A certificate that a synced member lacks is taken as it comes (R12).
    NoVoid,
    /// A void drops slivers that were acked under a later view, too (R12).
    VoidDropsAll,
    /// A member signs that it lacks a certificate while it has the blob by another (R12).
    LackOfOneCertificate,
    /// A tombstone is collected before every member is synced and has it (R14).
    CollectedEarly,
    /// An upload from before a tombstone is acked after its collection (R14).
    OldUploads,
    /// A member acks an upload before it is synced to the view before, and so may not know the tombstone (R13).
    AckBeforeSynced,
    /// A reader asks members of f + 1 shards for a tombstone.
    AskFew,
}

/// Where the walk begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// Under the first view.
    First,
    /// The blob is deleted, and the view changed; one member knows of neither yet.
    Deleted,
    /// The same, with everyone synced and the tombstone at everyone.
    Settled,
}

/// What a model contains.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope {
    pub(crate) changes: u8,
    pub(crate) liar: bool,
    /// The blob was acknowledged before the walk begins, and may be deleted.
    pub(crate) deletes: bool,
    pub(crate) start: Start,
    /// Certificates may become void; acks and slivers are told one by one.
    pub(crate) voids: bool,
    /// The last view under which the gateway puts.
    pub(crate) puts: u8,
}

pub(crate) struct Registry {
    scope: Scope,
    fault: Fault,
    answers: Answers,
}

/// What a node holds durably.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Here {
    memory: Memory,
    synced: Option<ViewNo>,
    /// Peers that it has reconciled with for the next view to be synced to.
    met: Nodes,
    /// The view of the certificate that it has.
    live: Option<ViewNo>,
    /// Certificates up to this view are void.
    void: Option<ViewNo>,
    tombstone: bool,
    /// The newest view when the tombstone came, or was last receipted.
    noted: ViewNo,
    /// It tells nobody of the tombstone any more.
    hidden: bool,
    /// It hid or collected the tombstone, or learned from peers that they have: it acks no put from before. All puts
    /// here are.
    horizon: bool,
    /// Peers that it has reconciled with, and that told so.
    horizons: Nodes,
    /// It has slivers, which it acked last under this view.
    slivers: Option<ViewNo>,
}

/// Nodes, for each view.
type PerView = [Nodes; VIEWS];

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct State {
    here: [Here; NODES],
    lost: Nodes,
    /// Who acked, receipted, receipted the tombstone, signed a lack, under each view; 0 once there are enough.
    acks: PerView,
    receipts: PerView,
    tombstones: PerView,
    lacks: PerView,
    /// The views of which there is a certificate, a 201, a 204, a void.
    certified: Views,
    acknowledged: Views,
    deleted: Views,
    void: Views,
    /// The tombstone is signed.
    deleting: bool,
    /// A 201 after a 204 of an earlier view, or with nobody left who has the tombstone.
    again: bool,
    /// A node has dropped its tombstone.
    collected: bool,
}

/// A bit for each view.
type Views = u8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Ack(Node, ViewNo),
    Receipt(Node, ViewNo),
    Refuse(Node),
    Install(Node),
    /// A node reconciles with another, to be synced.
    Sync(Node, Node),
    /// A node merges what another has, for no purpose.
    Pull(Node, Node),
    /// The liar, or somebody late, brings a certificate.
    Replay(Node, ViewNo),
    /// A node that isn't sure of a certificate takes it, since members with f + 1 shards have it.
    Spread(Node, ViewNo),
    Delete,
    Tombstone(Node, ViewNo),
    /// A node tells nobody of the tombstone any more, since everyone has it.
    Hide(Node),
    /// A node drops the tombstone that nobody tells any more.
    Forget(Node),
    /// A node tells of its tombstone again, since another has the blob.
    Tell(Node),
    Lack(Node, ViewNo),
    Void(Node, ViewNo),
    Lose(Node),
}

impl Registry {
    pub(crate) fn new(scope: Scope, fault: Fault) -> Self {
        let (mut views, mut holders) = (vec![first_view()], FIRST);
        for change in 0..usize::from(scope.changes) {
            holders[change + 1] = Some((SHARDS + change) as Node);
            views.push(successor(views.last().expect("the first"), 1, holders));
        }
        Self { scope, fault, answers: Answers::new(views) }
    }

    fn liar(&self) -> Nodes {
        Nodes::from(self.scope.liar)
    }

    fn views(&self) -> std::ops::RangeInclusive<ViewNo> {
        0..=self.scope.changes
    }

    fn seated(&self, view: ViewNo) -> Nodes {
        seated(&self.answers.view(view).view)
    }

    /// Nodes that act: neither liars nor lost.
    fn honest(&self, state: &State) -> impl Iterator<Item = Node> + use<> {
        let out = self.liar() | state.lost;
        (0..(SHARDS as u8 + self.scope.changes)).filter(move |node| out & bit(*node) == 0)
    }

    fn which(&self, state: &State, is: impl Fn(&Here) -> bool) -> Nodes {
        self.honest(state).filter(|node| is(&state.here[usize::from(*node)])).fold(0, |all, node| all | bit(node))
    }

    /// Whether a node gives acks and receipts for a view.
    fn permits(&self, here: &Here, view: ViewNo) -> bool {
        self.answers.permits(here.memory, view)
            || (self.fault == Fault::ReceiptAfterRefusing && here.memory.newest == Some(view))
    }

    fn in_effect(&self, state: &State, view: ViewNo) -> bool {
        let refusals = |sealed| {
            let refuse = self.which(state, |here| self.answers.refuses(here.memory, sealed)) | self.liar();
            // A lost node may have signed its refusal before.
            nodes((refuse | state.lost) & self.seated(sealed)).map(|node| Refusal { node, term: 1 }).collect()
        };
        view == 0 || self.answers.seals(view, refusals(view - 1))
    }

    /// The next view that a node wants to be synced to.
    fn to_sync(&self, node: Node, here: &Here) -> Option<ViewNo> {
        let first = node.saturating_sub(SHARDS as u8);
        let next = here.synced.map_or(first, |synced| synced + 1);
        (next <= self.scope.changes && self.answers.refuses(here.memory, next)).then_some(next)
    }

    /// Whether a node counts towards "not found" of a view: it is its newest, it is synced to the one before.
    fn counts(&self, node: Node, here: &Here, view: ViewNo) -> bool {
        let up = self.fault == Fault::RefusingCount || !self.answers.refuses(here.memory, view);
        let synced = view == 0 || here.synced.is_some_and(|synced| synced + 1 >= view);
        here.memory.newest == Some(view) && up && synced && self.seated(view) & bit(node) != 0
    }

    /// A certificate or tombstone comes to a node from a peer.
    fn take(&self, here: &mut Here, live: Option<ViewNo>, void: Option<ViewNo>, tombstone: bool) {
        here.void = here.void.max(void);
        if tombstone && !here.tombstone {
            (here.tombstone, here.slivers) = (true, None);
            here.noted = here.memory.newest.unwrap_or_default();
        }
        let Some(view) = live else { return self.drop(here) };
        let unsure = self.scope.voids && here.live.is_none() && here.synced >= Some(view);
        if !here.tombstone && (!unsure || self.fault == Fault::NoVoid) {
            here.live = here.live.max(Some(view));
        }
        self.drop(here);
    }

    /// What a tombstone or a void beats goes.
    fn drop(&self, here: &mut Here) {
        if here.tombstone || here.void >= here.live {
            here.live = None;
        }
        if here.void.is_some() && (here.void >= here.slivers || self.fault == Fault::VoidDropsAll) {
            here.slivers = None;
        }
    }

    fn sync(&self, state: &mut State, node: Node, peer: Node) -> Option<()> {
        let from = state.here[usize::from(peer)];
        let here = &mut state.here[usize::from(node)];
        let view = self.to_sync(node, here)?;
        let refuses = self.answers.refuses(from.memory, view) || self.fault == Fault::SyncBeforeRefusal;
        let recent = self.answers.syncs_from(view, from.synced);
        if !refuses || !recent {
            return None;
        }
        self.take(here, from.live, from.void, from.tombstone && !from.hidden);
        here.met |= bit(peer);
        here.horizons |= if from.horizon { bit(peer) } else { 0 };
        let own = if self.answers.syncs_from(view, here.synced) { bit(node) } else { 0 };
        if self.answers.suffice(view, here.met | own | self.liar()) {
            here.horizon |= here.horizons.count_ones() >= ONE_HONEST;
            (here.synced, here.met, here.horizons) = (Some(view), 0, 0);
        }
        Some(())
    }

    /// The view in which a node may go on with its tombstone, where `other` holds of all whom it seats: each has it for
    /// its newest, not refused, and is synced to the view before (R14).
    fn settled(&self, state: &State, here: &Here, other: impl Fn(&Here, ViewNo) -> bool) -> Option<ViewNo> {
        let newest = here.memory.newest.filter(|newest| *newest > 0)?;
        let is_settled = |here: &Here| {
            let current = here.memory.newest == Some(newest) && self.permits(here, newest);
            current && here.synced.is_some_and(|synced| synced + 1 >= newest) && other(here, newest)
        };
        let all = self.seated(newest) & !self.liar();
        (self.which(state, is_settled) & all == all && is_settled(here)).then_some(newest)
    }

    fn collect(&self, old: &State, here: &mut Here, action: Action) -> Option<()> {
        match action {
            Action::Hide(_) if self.fault == Fault::CollectedEarly => {
                (here.tombstone && old.deleted != 0).then_some(())?;
                (here.tombstone, here.horizon) = (false, true);
            }
            Action::Hide(_) => {
                let ready = |here: &Here, newest| here.tombstone && (here.hidden || here.noted < newest);
                self.settled(old, here, ready).filter(|_| !here.hidden)?;
                (here.hidden, here.horizon) = (true, true);
            }
            Action::Forget(_) => {
                let silent = |here: &Here, _| here.tombstone == here.hidden && here.live.is_none();
                self.settled(old, here, silent).filter(|_| here.hidden)?;
                (here.tombstone, here.hidden) = (false, false);
            }
            Action::Tell(_) => {
                let has = self.which(old, |other| other.live.is_some());
                (here.hidden && has != 0).then_some(())?;
                here.hidden = false;
            }
            _ => return None,
        }
        Some(())
    }

    /// Members of the view that has come furthest among a node's peers: what others have is never merged.
    fn is_fenced(&self, here: &Here, peer: Node) -> bool {
        let newest = here.memory.newest.unwrap_or_default();
        self.seated(newest) & bit(peer) == 0
    }

    /// Counts what the last step added.
    fn settle(&self, state: &mut State) {
        for view in self.views() {
            let (at, of) = (usize::from(view), 1 << view);
            let enough = |by: Nodes| self.answers.suffice(view, by | self.liar());
            if enough(state.acks[at]) {
                (state.acks[at], state.certified) = (0, state.certified | of);
            }
            let early = self.fault == Fault::AnsweredEarly && state.receipts[at] != 0;
            if state.receipts[at] != 0 && (early || enough(state.receipts[at])) {
                state.receipts[at] = 0;
                // While somebody has the tombstone, it beats what was answered once more.
                let beaten = self.which(state, |here| here.tombstone) != 0;
                let before = state.deleted & (of - 1) != 0;
                state.again |= state.acknowledged & of == 0 && (before || (state.deleted != 0 && !beaten));
                state.acknowledged |= of;
            }
            if state.tombstones[at] != 0 && enough(state.tombstones[at]) {
                (state.tombstones[at], state.deleted) = (0, state.deleted | of);
            }
            let lack = state.lacks[at] | self.liar();
            let later = view..=self.scope.changes;
            let signed = later.into_iter().any(|of| (lack & self.seated(of)).count_ones() >= ONE_HONEST);
            if state.lacks[at] != 0 && signed {
                (state.lacks[at], state.void) = (0, state.void | of);
            }
        }
    }
}

impl Model for Registry {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut here = [Here::default(); NODES];
        here[..SHARDS].iter_mut().for_each(|here| here.memory.newest = Some(0));
        let none = [0; VIEWS];
        let blank = State {
            here,
            lost: 0,
            acks: none,
            receipts: none,
            tombstones: none,
            lacks: none,
            certified: if self.scope.voids { 0 } else { (1 << (self.scope.puts + 1)) - 1 },
            acknowledged: 0,
            deleted: 0,
            void: 0,
            deleting: false,
            again: false,
            collected: false,
        };
        if !self.scope.deletes {
            return vec![blank];
        }
        if self.scope.start != Start::First {
            let mut state = State { certified: 1, acknowledged: 1, deleted: 1, deleting: true, ..blank };
            let knowing = if self.scope.start == Start::Settled { 1..=SHARDS } else { 1..=SHARDS - 2 };
            for here in &mut state.here[knowing] {
                here.memory = self.answers.install(here.memory, 1);
                (here.synced, here.tombstone) = (Some(0), true);
            }
            return vec![state];
        }
        // Acknowledged by all but one, each of whom may be the one that wasn't reached.
        let missed = (0..SHARDS as Node).filter(|node| self.liar() & bit(*node) == 0);
        missed
            .map(|missed| {
                let mut state = State { certified: 1, acknowledged: 1, ..blank.clone() };
                for node in (0..SHARDS).filter(|node| *node != usize::from(missed)) {
                    (state.here[node].live, state.here[node].slivers) = (Some(0), Some(0));
                }
                state
            })
            .collect()
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let scope = self.scope;
        for node in self.honest(state) {
            let here = &state.here[usize::from(node)];
            actions.extend([Action::Refuse(node), Action::Install(node)]);
            let peers = || self.honest(state).filter(move |peer| *peer != node);
            if self.to_sync(node, here).is_some() {
                actions.extend(peers().map(|peer| Action::Sync(node, peer)));
            }
            for view in 0..=scope.puts {
                actions.push(Action::Receipt(node, view));
                if scope.voids {
                    actions.extend([Action::Ack(node, view), Action::Lack(node, view), Action::Void(node, view)]);
                    actions.push(Action::Spread(node, view));
                }
                if scope.voids || scope.deletes {
                    actions.push(Action::Replay(node, view));
                }
            }
            if scope.voids || scope.deletes {
                actions.extend(peers().map(|peer| Action::Pull(node, peer)));
            }
            if scope.deletes && state.deleting {
                actions.extend(self.views().map(|view| Action::Tombstone(node, view)));
                actions.extend([Action::Hide(node), Action::Forget(node), Action::Tell(node)]);
            }
            if !scope.liar {
                actions.push(Action::Lose(node));
            }
        }
        if scope.deletes && !state.deleting {
            actions.push(Action::Delete);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        self.step(&mut state, action)?;
        self.settle(&mut state);
        Some(state).filter(|state| state != last)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        crate::registry_properties::all()
    }
}

impl Registry {
    fn step(&self, state: &mut State, action: Action) -> Option<()> {
        let old = state.clone();
        match action {
            Action::Ack(node, view) => {
                let here = state.at(node);
                let refused = here.tombstone || (here.horizon && self.fault != Fault::OldUploads);
                let unsynced = view > 0 && here.synced.is_none_or(|synced| synced + 1 < view);
                let refused = refused || (unsynced && self.fault != Fault::AckBeforeSynced);
                if !self.permits(here, view) || refused || self.seated(view) & bit(node) == 0 {
                    return None;
                }
                here.slivers = here.slivers.max(Some(view));
                state.acks[usize::from(view)] |= if old.certified & 1 << view == 0 { bit(node) } else { 0 };
            }
            Action::Receipt(node, view) => {
                let here = state.at(node);
                let certified = old.certified & 1 << view != 0;
                if !certified || !self.permits(here, view) || here.tombstone || here.void >= Some(view) {
                    return None;
                }
                here.live = here.live.max(Some(view));
                state.receipts[usize::from(view)] |= if old.acknowledged & 1 << view == 0 { bit(node) } else { 0 };
            }
            Action::Refuse(node) => {
                let here = state.at(node);
                let successor = here.memory.newest? + 1;
                if successor > self.scope.changes || self.seated(successor - 1) & bit(node) == 0 {
                    return None;
                }
                here.memory = self.answers.refuse(here.memory, Order { term: 1, successor })?;
            }
            Action::Install(node) => {
                let view = (1..=self.scope.changes).rev().find(|view| self.in_effect(&old, *view))?;
                // In order, or from nowhere: a node that was away learns one view after another.
                let next = state.at(node).memory.newest.map_or(node.saturating_sub(3).max(1), |newest| newest + 1);
                state.at(node).memory = self.answers.install(state.at(node).memory, next.min(view));
            }
            Action::Sync(node, peer) => self.sync(state, node, peer)?,
            Action::Pull(node, peer) => {
                let from = old.here[usize::from(peer)];
                if self.is_fenced(state.at(node), peer) {
                    return None;
                }
                self.take(state.at(node), from.live, from.void, from.tombstone && !from.hidden);
            }
            Action::Replay(node, view) => {
                (self.scope.liar && old.certified & 1 << view != 0).then_some(())?;
                state.at(node).memory.newest?;
                self.take(state.at(node), Some(view), None, false);
            }
            Action::Spread(node, view) => {
                let has = self.which(&old, |here| here.live == Some(view)) | self.liar();
                let newest = state.at(node).memory.newest?;
                let unsure =
                    state.at(node).live.is_none() && !state.at(node).tombstone && state.at(node).void < Some(view);
                if !unsure || has == self.liar() || (has & self.seated(newest)).count_ones() < ONE_HONEST {
                    return None;
                }
                state.at(node).live = Some(view);
            }
            Action::Delete => state.deleting = true,
            Action::Tombstone(node, view) => {
                // Without the repeated deletes the fault is met sooner.
                let repeated = old.deleted & ((1 << view) - 1) != 0 && self.fault == Fault::NoVoid;
                if !self.permits(state.at(node), view) || self.seated(view) & bit(node) == 0 || repeated {
                    return None;
                }
                self.take(state.at(node), None, None, true);
                (state.at(node).noted, state.at(node).hidden) = (view, false);
                state.tombstones[usize::from(view)] |= if old.deleted & 1 << view == 0 { bit(node) } else { 0 };
            }
            Action::Hide(node) | Action::Forget(node) | Action::Tell(node) => {
                self.collect(&old, state.at(node), action)?;
                state.collected |= old.here[usize::from(node)].tombstone && !state.at(node).tombstone;
            }
            Action::Lack(node, view) => {
                let here = state.at(node);
                let has = here.live.is_some() && self.fault != Fault::LackOfOneCertificate;
                // Of a certificate that turned up late, or of a blob that somebody has acked and never heard of again.
                if here.synced < Some(view) || has || here.live >= Some(view) {
                    return None;
                }
                if (here.tombstone && !here.hidden) || old.void & 1 << view != 0 {
                    return None;
                }
                state.lacks[usize::from(view)] |= bit(node);
            }
            Action::Void(node, view) => {
                (old.void & 1 << view != 0).then_some(())?;
                state.at(node).memory.newest?;
                self.take(state.at(node), None, Some(view), false);
            }
            Action::Lose(node) => self.lose(state, node)?,
        }
        Some(())
    }

    /// A volume is lost: the next one that a view replaces, once everybody has made good the last (f = 1).
    fn lose(&self, state: &mut State, node: Node) -> Option<()> {
        let old = state.clone();
        let newest = self.views().rev().find(|view| self.in_effect(&old, *view))?;
        let healthy = self.honest(&old).filter(|node| self.counts(*node, &old.here[usize::from(*node)], newest));
        let whole = healthy.fold(0, |all, node| all | bit(node)) | bit(node);
        let next_to_go = node == newest + 1 && newest < self.scope.changes;
        if !next_to_go || whole & self.seated(newest) != self.seated(newest) {
            return None;
        }
        state.lost |= bit(node);
        // What it signed stays true; what it held is gone.
        state.here[usize::from(node)] = Here::default();
        Some(())
    }

    /// Whether a reader who asks under a view may be told that nobody knows the blob.
    pub(crate) fn not_found(&self, state: &State, view: ViewNo) -> bool {
        let unknown = self.honest(state).filter(|node| {
            let here = &state.here[usize::from(*node)];
            here.live.is_none() && !here.tombstone && self.counts(*node, here, view)
        });
        self.answers.suffice(view, unknown.fold(self.liar(), |all, node| all | bit(node)))
    }

    /// Whether a reader who asks under a view may get the blob's content.
    pub(crate) fn readable(&self, state: &State, view: ViewNo) -> bool {
        let without = self.honest(state).filter(|node| {
            let here = &state.here[usize::from(*node)];
            !here.tombstone && self.counts(*node, here, view)
        });
        let without = without.fold(self.liar(), |all, node| all | bit(node));
        let few = self.fault == Fault::AskFew && (without & self.seated(view)).count_ones() >= ONE_HONEST;
        let content = self.which(state, |here| here.slivers.is_some()) | self.liar();
        (few || self.answers.suffice(view, without)) && (content & self.seated(view)).count_ones() >= K1
    }

    /// Whether a synced member lacks what was acknowledged.
    pub(crate) fn forgets(&self, state: &State) -> bool {
        let lacks = |view: ViewNo| {
            let of = self.which(state, |here| here.synced >= Some(view) && here.live.is_none() && !here.tombstone);
            state.acknowledged & 1 << view != 0 && of != 0
        };
        !state.deleting && self.views().any(lacks)
    }

    /// Whether a synced member lists a deleted blob, and no void can end that.
    pub(crate) fn haunted(&self, state: &State) -> bool {
        let deleted = self.views().find(|view| state.deleted & 1 << view != 0);
        let Some(deleted) = deleted else { return false };
        let has = self.which(state, |here| here.synced >= Some(deleted) && here.live.is_some());
        let lacks = |view: ViewNo| {
            let lack = self.which(state, |here| here.synced >= Some(view) && here.live.is_none() && !here.tombstone);
            let tombstone = self.which(state, |here| here.tombstone);
            tombstone != 0 || state.void & 1 << view != 0 || (lack | self.liar()).count_ones() >= ONE_HONEST
        };
        nodes(has).any(|node| !lacks(state.here[usize::from(node)].live.expect("it has it")))
    }

    /// Whether too few slivers are left of an acknowledged blob.
    pub(crate) fn spoilt(&self, state: &State) -> bool {
        let left = self.which(state, |here| here.slivers.is_some()).count_ones();
        self.scope.voids && !state.deleting && state.acknowledged != 0 && left < K1
    }

    pub(crate) fn last(&self) -> ViewNo {
        self.scope.changes
    }

    pub(crate) fn has_deletes(&self) -> bool {
        self.scope.deletes
    }

    pub(crate) fn has_voids(&self) -> bool {
        self.scope.voids
    }

    pub(crate) fn everyone_synced(&self, state: &State) -> bool {
        let before = self.scope.changes - 1;
        self.which(state, |here| here.synced >= Some(before)) & self.seated(self.scope.changes) & !self.liar()
            == self.seated(self.scope.changes) & !self.liar()
    }
}

impl State {
    fn at(&mut self, node: Node) -> &mut Here {
        &mut self.here[usize::from(node)]
    }

    pub(crate) fn is_acknowledged(&self) -> bool {
        self.acknowledged != 0
    }

    pub(crate) fn acknowledged_in(&self, view: ViewNo) -> bool {
        self.acknowledged & 1 << view != 0
    }

    pub(crate) fn is_deleting(&self) -> bool {
        self.deleting
    }

    pub(crate) fn is_deleted(&self) -> bool {
        self.deleted != 0
    }

    pub(crate) fn is_void(&self, view: ViewNo) -> bool {
        self.void & 1 << view != 0
    }

    pub(crate) fn is_again(&self) -> bool {
        self.again
    }

    pub(crate) fn is_collected(&self) -> bool {
        self.collected
    }
}
