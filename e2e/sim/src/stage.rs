//! What the parts of a simulation share: the cluster's objects, the operator's record, the volumes, the running members.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    sync::{Arc, PoisonError},
    time::Duration,
};

use weft_node::member::Member;
use weft_planner::{
    Committee, EpochPhase, Gateway, Plan, Record, Truth, World,
    testing::{self, Cluster},
};
use weft_protocol::{Authority, FleetId, MemberId, ShardSet, SignedView, SigningKey};
use weft_redstuff::{Hash, Layout};
use weft_store::fake::FakeDisk;

use super::{
    Bug,
    cheat::Cheat,
    dice::Dice,
    env::unix,
    ledger::{Account, Books},
    net::{Endpoints, PORT},
    trace::Trace,
};

pub(super) const FLEET: FleetId = FleetId([9; 16]);

/// An incarnation: member and number.
pub(super) type Who = (MemberId, u32);

pub(super) type Shared = Rc<RefCell<Stage>>;

/// The host that an incarnation's process runs on.
pub(super) fn host_of(who: Who) -> String {
    format!("m{}-{}", who.0.0, who.1)
}

pub(super) fn address_of(who: Who) -> String {
    format!("{}:{PORT}", host_of(who))
}

pub(super) struct Stage {
    pub(super) seed: u64,
    pub(super) bug: Option<Bug>,
    pub(super) trace: Trace,
    pub(super) books: Books,
    pub(super) committee: Committee,
    pub(super) record: Record,
    pub(super) cluster: Cluster,
    /// The operator's key for views, and the gateways' for deletes.
    pub(super) key: SigningKey,
    pub(super) deletes: SigningKey,
    pub(super) volumes: BTreeMap<Who, FakeDisk>,
    pub(super) members: BTreeMap<Who, Arc<Member>>,
    /// How often each process was started.
    pub(super) starts: BTreeMap<Who, u64>,
    /// Who cheats, or did.
    pub(super) cheaters: BTreeMap<Who, Cheat>,
    /// Copies that were ordered to go: whose, under which view, of which shards.
    pub(super) dropped: BTreeSet<(Who, Hash, ShardSet)>,
    /// When each epoch began.
    pub(super) epochs: BTreeMap<u64, Duration>,
    pub(super) endpoints: Endpoints,
    pub(super) last: Option<Plan>,
    /// Since when there has been nothing to do.
    pub(super) rests_since: Option<Duration>,
    /// What was found wrong; the first is what is told.
    pub(super) wrong: Vec<String>,
    /// The time at the last look.
    pub(super) now: Duration,
    disks: u64,
}

impl Stage {
    pub(super) fn new(seed: u64, bug: Option<Bug>, trace: Trace, books: Books) -> Self {
        let mut dice = Dice::new(seed, "committee");
        let sizes: [(u32, u16); 5] = [(4, 2), (4, 4), (7, 1), (7, 2), (7, 4)];
        let (members, per_member) = *dice.pick(&sizes).unwrap_or(&sizes[0]);
        let (key, deletes) = (SigningKey::from_seed([100; 32]), SigningKey::from_seed([101; 32]));
        let authority = Authority { views: key.public(), deletes: vec![deletes.public()] };
        let mut committee = testing::committee(members, per_member, authority);
        committee.retain_for = Duration::from_secs(20);
        committee.unreachable_after = Duration::from_secs(30);
        Self {
            seed,
            bug,
            trace,
            books,
            cluster: Cluster::new(members + 3, 4),
            committee,
            record: Record::default(),
            key,
            deletes,
            volumes: BTreeMap::new(),
            members: BTreeMap::new(),
            starts: BTreeMap::new(),
            cheaters: BTreeMap::new(),
            dropped: BTreeSet::new(),
            epochs: BTreeMap::new(),
            endpoints: Endpoints::default(),
            last: None,
            rests_since: None,
            wrong: Vec::new(),
            now: Duration::ZERO,
            disks: 0,
        }
    }

    /// The world before anybody was asked.
    pub(super) fn world(&self) -> World {
        World {
            committee: self.committee.clone(),
            record: self.record.clone(),
            pods: self.cluster.pods.clone(),
            claims: self.cluster.claims.clone(),
            nodes: self.cluster.observed(),
            heard: Vec::new(),
            missed: BTreeMap::new(),
            wished: Vec::new(),
            gateway: Gateway { wanted: 1, ready: 1, updated: 1 },
        }
    }

    /// The incarnations whose processes should run: their pods are bound to nodes with power.
    pub(super) fn wanted(&self) -> Vec<Who> {
        let pods = self.cluster.pods.iter().map(|pod| (pod.member, pod.incarnation));
        let mut wanted: Vec<Who> = pods.filter(|who| self.cluster.runs_on(who.0, who.1).is_some()).collect();
        wanted.sort_unstable();
        wanted.dedup();
        wanted
    }

    /// The volume of an incarnation, empty when it is new.
    pub(super) fn volume(&mut self, who: Who) -> FakeDisk {
        let Self { seed, disks, cheaters, .. } = self;
        let seed = *seed;
        let fresh = || {
            // It may have the number of a cheater that is gone.
            cheaters.remove(&who);
            *disks += 1;
            FakeDisk::new(Dice::new(seed, &format!("disk {disks}")).next())
        };
        self.volumes.entry(who).or_insert_with(fresh).clone()
    }

    /// The incarnation whose volume is to be admitted again as this one's (R25).
    pub(super) fn readmits(&self, who: Who) -> Option<u32> {
        let claim = self.cluster.claims.iter().find(|claim| (claim.member, claim.incarnation) == who);
        claim.map(|claim| claim.origin).filter(|origin| *origin != who.1)
    }

    /// The volume goes with its claim.
    pub(super) fn inherit(&mut self, member: MemberId, from: u32, incarnation: u32) {
        if let Some(disk) = self.volumes.remove(&(member, from)) {
            let (from, to) = (host_of((member, from)), host_of((member, incarnation)));
            self.trace.event(self.now, "return", format_args!("the volume of {from} becomes that of {to} (R25)"));
            self.volumes.insert((member, incarnation), disk);
        }
    }

    /// Lets controllers and kubelets work, and forgets volumes that went.
    pub(super) fn settle(&mut self) {
        for gone in self.cluster.settle() {
            self.volumes.remove(&gone);
        }
        let claims = &self.cluster.claims;
        self.volumes.retain(|who, _| {
            let claim = claims.iter().find(|claim| (claim.member, claim.incarnation) == *who);
            claim.and_then(|claim| claim.volume.as_ref()).is_some_and(|volume| volume.exists)
        });
        let running = self.wanted().into_iter().map(address_of).collect();
        *self.endpoints.lock().unwrap_or_else(PoisonError::into_inner) = running;
    }

    /// Notes what must never happen.
    pub(super) fn violation(&mut self, what: String) {
        self.trace.event(self.now, "WRONG", format_args!("{what}"));
        self.wrong.push(what);
    }

    /// Whether there are blobs of which too little is left.
    pub(super) fn has_lost(&self) -> bool {
        self.books.borrow().lost(unix(self.now)).next().is_some()
    }

    /// Whether the last plan had nothing to do, and the committee is Ready, but for blobs of which too little is left.
    pub(super) fn is_at_rest(&self) -> bool {
        let lost = self.has_lost();
        self.last.as_ref().is_some_and(|plan| {
            let ready = &plan.conditions.ready;
            plan.steps.is_empty() && (ready.status == Truth::True || (lost && ready.reason == "Unrecoverable"))
        })
    }

    pub(super) fn view(&self) -> Option<&SignedView> {
        self.record.view.as_ref()
    }

    /// Whether every member that the view names is there, whole and healthy.
    pub(super) fn is_whole(&self) -> bool {
        let Some(view) = self.view() else { return false };
        view.view.vacant().is_empty()
            && view.view.seats.iter().all(|seat| {
                let member = self.members.get(&(seat.member, seat.incarnation.number));
                member.is_some_and(|member| is_whole(member, view))
            })
    }

    /// Cheaters that the view still seats.
    pub(super) fn seated_cheaters(&self) -> Vec<Who> {
        let seats = self.view().map(|view| view.view.seats.as_slice()).unwrap_or_default();
        let seats = seats.iter().map(|seat| (seat.member, seat.incarnation.number));
        seats.filter(|who| self.cheaters.contains_key(who)).collect()
    }

    /// Cheaters that are to be found and aren't: inline blobs lie in the registry, so of them nothing can be withheld.
    pub(super) fn unfound_cheaters(&self) -> Vec<Who> {
        let inline = Layout::max_inline_length(self.committee.code);
        let books = self.books.borrow();
        // Nobody is asked for what ends soon (R28).
        let is_asked = |account: &Account| account.expiry.is_none() && account.content.len() as u64 > inline;
        let provable = books.living(unix(self.now)).any(|(_, account)| is_asked(account));
        if provable { self.seated_cheaters() } else { Vec::new() }
    }

    /// Lets cheaters cheat.
    pub(super) fn cheat(&self) {
        for (who, cheat) in &self.cheaters {
            if let Some(member) = self.members.get(who) {
                cheat.go_on(member);
            }
        }
    }

    /// Whether an epoch is on its way.
    pub(super) fn moves(&self) -> bool {
        let over = |phase| matches!(phase, EpochPhase::Retired | EpochPhase::Superseded);
        self.record.pending.is_some() || self.record.epochs.iter().any(|epoch| !over(epoch.phase))
    }
}

fn is_whole(member: &Member, view: &SignedView) -> bool {
    member.newest().is_some_and(|newest| *newest == *view)
        && member.counts()
        && member.levels().is_ok_and(|levels| levels.healthy && levels.missing_slivers == 0)
}
