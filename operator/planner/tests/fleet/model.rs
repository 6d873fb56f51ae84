//! The operator's other half in miniature: it observes, records, orders and acts as a plan says, and checks at every
//! step what must never happen.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use weft_planner::{
    Act, Committee, EpochWish, Gateway, Heard, MemberOrder, Plan, PodPhase, Record, Rewind, Step, Timestamp, Truth,
    World, plan,
    testing::{self, Cluster},
};
use weft_protocol::{Authority, FleetId, MemberId, Seal, SealOrder, ShardSet, SignedView, SigningKey, TermClaim, View};
use weft_redstuff::{BlobId, Hash};

use crate::{
    checks,
    process::{BLOBS, Blobs, Order, Process},
};

pub(crate) const TICK: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub(crate) struct Model {
    pub(crate) now: Timestamp,
    pub(crate) committee: Committee,
    pub(crate) record: Record,
    pub(crate) cluster: Cluster,
    pub(crate) volumes: BTreeMap<(MemberId, u32), Process>,
    pub(crate) heard: BTreeMap<(MemberId, u32), Heard>,
    pub(crate) missed: BTreeMap<(MemberId, u32), Timestamp>,
    /// Orders go out with every so manieth tick.
    pub(crate) asks_every: u32,
    ticks: u32,
    pub(crate) blobs: u64,
    /// Blobs beside those of which too few slivers are left (R20).
    pub(crate) lost_blobs: BTreeSet<BlobId>,
    pub(crate) last: Option<Plan>,
    /// Acts done, by name.
    pub(crate) done: BTreeMap<&'static str, usize>,
    /// Those that make, delete or hand over an object, by act and object.
    pub(crate) touched: BTreeMap<(&'static str, String), usize>,
    /// Writes of the record, and acts.
    pub(crate) calls: usize,
    /// At which call the operator dies, and whether after it.
    pub(crate) dies: Option<(usize, bool)>,
    /// What the disruption budget over the members' pods says: how many must stay ready.
    pub(crate) min_available: u32,
    /// Epoch objects that users made.
    pub(crate) wished: Vec<EpochWish>,
    /// False: the operator reaches no member.
    pub(crate) hears: bool,
    /// Incarnations that took over an earlier one's volume.
    pub(crate) readmitted: Vec<(MemberId, u32)>,
    seals: Vec<Seal>,
    key: SigningKey,
    serial: u64,
}

/// What etcd held at one time.
pub(crate) struct Snapshot {
    record: Record,
    pods: Vec<weft_planner::Pod>,
    claims: Vec<weft_planner::Claim>,
}

impl Model {
    pub(crate) fn new(members: u32, nodes: u32, zones: u32) -> Self {
        Self::of(members, (255 / members).min(4) as u16, nodes, zones)
    }

    /// A committee whose members own so many shards each.
    pub(crate) fn of(members: u32, per_member: u16, nodes: u32, zones: u32) -> Self {
        let key = SigningKey::from_seed([7; 32]);
        let authority = Authority { views: key.public(), deletes: vec![SigningKey::from_seed([8; 32]).public()] };
        let committee = testing::committee(members, per_member, authority);
        Self {
            now: Timestamp(1_700_000_000_000),
            committee,
            record: Record { term: 1, ..Record::default() },
            cluster: Cluster::new(nodes, zones),
            volumes: BTreeMap::new(),
            heard: BTreeMap::new(),
            missed: BTreeMap::new(),
            asks_every: 1,
            ticks: 0,
            blobs: 0,
            lost_blobs: BTreeSet::new(),
            last: None,
            done: BTreeMap::new(),
            touched: BTreeMap::new(),
            calls: 0,
            dies: None,
            min_available: 0,
            wished: Vec::new(),
            hears: true,
            readmitted: Vec::new(),
            seals: Vec::new(),
            key,
            serial: 0,
        }
    }

    pub(crate) fn world(&self) -> World {
        let made = |wish: &EpochWish| self.record.epochs.iter().any(|epoch| epoch.number == wish.number);
        World {
            committee: self.committee.clone(),
            record: self.record.clone(),
            pods: self.cluster.pods.clone(),
            claims: self.cluster.claims.clone(),
            nodes: self.cluster.observed(),
            heard: self.heard.values().cloned().collect(),
            missed: self.missed.clone(),
            gateway: Gateway { wanted: 2, ready: 2, updated: 2 },
            wished: self.wished.iter().filter(|wish| !made(wish)).cloned().collect(),
        }
    }

    /// What etcd holds now.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let Cluster { pods, claims, .. } = &self.cluster;
        Snapshot { record: self.record.clone(), pods: pods.clone(), claims: claims.clone() }
    }

    /// The objects are set back; Kubernetes' part of them comes after the fleet again.
    pub(crate) fn restore_record(&mut self, snapshot: &Snapshot) {
        self.record = snapshot.record.clone();
        self.restart_operator();
    }

    /// Everything that etcd holds is set back.
    pub(crate) fn restore(&mut self, snapshot: &Snapshot) {
        self.cluster.pods.clone_from(&snapshot.pods);
        self.cluster.claims.clone_from(&snapshot.claims);
        self.restore_record(snapshot);
    }

    /// A leader's order to refuse the view for another.
    pub(crate) fn seal_order(&self, term: u64, successor: View) -> SealOrder {
        let view = successor.predecessor.expect("a successor has one").hash;
        SealOrder::sign(term, view, SignedView::sign(successor, &self.key), &self.key)
    }

    /// A term that members have taken, and the record doesn't know, is overtaken.
    fn overtake(&mut self) {
        let taken = self.running().iter().map(|who| self.volumes[who].fence.term()).max().unwrap_or(0);
        if taken > self.record.term {
            self.record.term = taken + 1;
            self.record.rewound = Some(Rewind { position: self.position(), term: self.record.term });
        }
    }

    /// Another leader: it has only the record.
    pub(crate) fn restart_operator(&mut self) {
        self.record.term += 1;
        self.heard.clear();
        self.missed.clear();
    }

    /// One reconciliation, and the time until the next.
    pub(crate) fn tick(&mut self) {
        let world = self.world();
        let planned = plan(&world, self.now);
        let shuffled = checks::shuffled(world, self.now.0 as u64);
        assert_eq!(planned, plan(&shuffled, self.now), "the same world gives the same plan, however it is listed");
        let wrong = checks::wrong(self, &planned);
        assert!(wrong.is_empty(), "{wrong:#?}");
        self.keep_budget(&planned);
        if !self.carry_out(&planned) {
            self.restart_operator();
        }
        self.last = Some(planned);
        self.pass();
    }

    /// Writes the disruption budget. Pods that have become ready since the last one must not have loosened it.
    fn keep_budget(&mut self, planned: &Plan) {
        let forbids = self.last.as_ref().is_some_and(|last| last.budget.evictable == 0);
        let ready = self.cluster.pods.iter().filter(|pod| pod.ready && !pod.terminating).count() as u32;
        assert!(!forbids || ready <= self.min_available, "{ready} are ready, and {} must be", self.min_available);
        self.min_available = planned.budget.min_available;
    }

    /// Evicts a member's pod if the budget allows it, as `kubectl drain` asks for. Whatever it allows, n − f shards are
    /// served without.
    pub(crate) fn evict(&mut self, member: u32) -> bool {
        let evicted = self.cluster.evict(MemberId(member), self.min_available);
        let served = checks::served(self).len();
        assert!(!evicted || served >= self.quorum(), "member {member} is evicted, and {served} shards are served");
        evicted
    }

    /// Returns whether the operator has lived through it.
    fn carry_out(&mut self, planned: &Plan) -> bool {
        let changes = planned.members != self.record.members || planned.steps.iter().any(|step| step.act.is_record());
        if changes && !self.call(|model| model.write(planned)) {
            return false;
        }
        self.order(planned);
        planned.steps.iter().filter(|step| !step.act.is_record()).all(|step| self.call(|model| model.act(step)))
    }

    /// A call of the API server. Returns whether the operator lives afterwards.
    fn call(&mut self, call: impl FnOnce(&mut Self)) -> bool {
        let (this, dies) = (self.calls, self.dies);
        self.calls += 1;
        if dies == Some((this, false)) {
            return false;
        }
        call(self);
        dies != Some((this, true))
    }

    fn pass(&mut self) {
        for volume in self.cluster.settle() {
            self.volumes.remove(&volume);
        }
        let lost = |who: &(MemberId, u32), claims: &[weft_planner::Claim]| {
            let claim = claims.iter().find(|claim| (claim.member, claim.incarnation) == *who);
            claim.and_then(|claim| claim.volume.as_ref()).is_none_or(|volume| !volume.exists)
        };
        let claims = &self.cluster.claims;
        self.volumes.retain(|who, _| !lost(who, claims));
        let Some(fleet) = self.record.fleet else { return self.advance() };
        for pod in &self.cluster.pods {
            let who = (pod.member, pod.incarnation);
            let runs = self.cluster.runs_on(who.0, who.1).is_some();
            if let Some(process) = self.volumes.get_mut(&who).filter(|process| runs && !process.is(who.1)) {
                self.serial += 1;
                process.readmit(who.1, self.serial, self.key.public());
                self.readmitted.push(who);
            }
            if runs && !self.volumes.contains_key(&who) {
                self.serial += 1;
                let process = Process::new(fleet, who.0, who.1, self.serial, self.key.public());
                self.volumes.insert(who, process);
            }
        }
        let (k1, sources, quorum) = (self.k1(), self.whole_shards().len(), self.quorum());
        let running: Vec<_> = self.running();
        for _ in 0..TICK.as_secs() {
            for who in &running {
                self.volumes.get_mut(who).expect("it runs").work((k1, quorum), sources);
            }
        }
        self.advance();
    }

    /// Views with one number are one view, wherever they are in effect (R5).
    fn check_views(&self) {
        let mut known: BTreeMap<(u64, u64), Hash> = BTreeMap::new();
        let newest = self.volumes.values().filter_map(|process| process.fence.newest());
        for view in newest.chain(&self.record.view).map(|signed| &signed.view) {
            let before = *known.entry(view.position()).or_insert_with(|| view.hash());
            assert_eq!(before, view.hash(), "two views {:?} are in effect", view.position());
        }
    }

    fn advance(&mut self) {
        self.check_views();
        self.now = self.now + TICK;
    }

    fn quorum(&self) -> u16 {
        self.committee.code.shards() - self.committee.code.fault_tolerance()
    }

    fn k1(&self) -> u16 {
        self.committee.code.shards() - 2 * self.committee.code.fault_tolerance()
    }

    fn running(&self) -> Vec<(MemberId, u32)> {
        self.volumes.keys().filter(|who| self.cluster.runs_on(who.0, who.1).is_some()).copied().collect()
    }

    /// Shards of which some volume that still exists has everything.
    pub(crate) fn whole_shards(&self) -> ShardSet {
        let held = self.volumes.values().flat_map(|process| process.held.iter());
        held.filter(|(_, missing)| **missing == 0).map(|(shard, _)| *shard).collect()
    }

    /// Whether an incarnation's volume is there, and nothing has decided that it goes.
    pub(crate) fn may_return(&self, who: (MemberId, u32)) -> bool {
        let claim = self.cluster.claims.iter().find(|claim| (claim.member, claim.incarnation) == who);
        self.volumes.contains_key(&who) && claim.is_some_and(|claim| !claim.terminating)
    }

    fn write(&mut self, planned: &Plan) {
        for step in planned.steps.iter().filter(|step| step.act.is_record()) {
            *self.done.entry(step.act.name()).or_default() += 1;
        }
        self.seals.extend(testing::record(&mut self.record, planned, FleetId([3; 16]), &self.key, self.now));
    }

    fn order(&mut self, planned: &Plan) {
        self.ticks += 1;
        let Some(fleet) = self.record.fleet else { return };
        if !self.ticks.is_multiple_of(self.asks_every) {
            return;
        }
        self.miss();
        if !self.hears {
            return;
        }
        self.overtake();
        let term = self.record.term;
        let first = self.record.view.as_ref().filter(|signed| signed.view.predecessor.is_none());
        let pending = self.record.pending.as_ref().zip(self.record.view.as_ref());
        let seal = pending.map(|(pending, view)| {
            let (successor, declaration) = (pending.view.clone(), pending.declaration.clone());
            SealOrder::declaring(term, view.view.hash(), successor, declaration, &self.key)
        });
        let reachable: Vec<MemberId> = self.running().into_iter().map(|who| who.0).collect();
        let blobs = Blobs { whole: self.blobs, lost: &self.lost_blobs };
        let running = self.running();
        for who in running {
            let orders: Option<&MemberOrder> =
                planned.orders.iter().find(|order| (order.member, order.incarnation) == who);
            let order = Order {
                claim: TermClaim::sign(fleet, term, &self.key),
                first,
                seal: seal.clone().filter(|_| orders.is_some_and(|order| order.seal)),
                seals: &self.seals,
                extras: orders,
            };
            let process = self.volumes.get_mut(&who).expect("it runs");
            if let Some(inventory) = process.obey(&order, blobs, reachable.clone()) {
                self.missed.remove(&who);
                self.heard.insert(who, Heard { member: who.0, incarnation: who.1, at: self.now, inventory });
            }
        }
    }

    /// Notes whom a call doesn't reach.
    fn miss(&mut self) {
        let asked = self.cluster.pods.iter().filter(|pod| pod.phase == PodPhase::Running && !pod.terminating);
        for who in asked.map(|pod| (pod.member, pod.incarnation)) {
            if !self.hears || self.cluster.runs_on(who.0, who.1).is_none() {
                self.missed.entry(who).or_insert(self.now);
            }
        }
    }

    fn act(&mut self, step: &Step) {
        *self.done.entry(step.act.name()).or_default() += 1;
        *self.touched.entry((step.act.name(), step.target.clone())).or_default() += 1;
        testing::carry_out(&step.act, &mut self.cluster, &mut self.record, self.now);
        // The volume goes with its claim.
        if let Act::InheritClaim { member, from, incarnation, .. } = &step.act
            && let Some(process) = self.volumes.remove(&(*member, *from))
        {
            self.volumes.insert((*member, *incarnation), process);
        }
    }

    /// Whether the last plan had nothing to do and said Ready.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.last.as_ref().is_some_and(|plan| plan.steps.is_empty() && plan.conditions.ready.status == Truth::True)
    }

    /// Runs until nothing is planned for two minutes and the committee is Ready.
    pub(crate) fn rest(&mut self) {
        let mut quiet = 0;
        for _ in 0..400 {
            self.tick();
            quiet = if self.is_at_rest() { quiet + 1 } else { 0 };
            if quiet == 24 {
                return;
            }
        }
        let plan = self.last.as_ref().expect("it ran");
        let steps: Vec<String> = plan.steps.iter().map(ToString::to_string).collect();
        panic!("never at rest: {steps:#?}, withheld {:#?}, {:#?}, {:#?}", plan.withheld, plan.conditions, plan.members);
    }

    /// A fleet at rest that keeps blobs.
    pub(crate) fn rested(members: u32, nodes: u32, zones: u32) -> Self {
        Self::new(members, nodes, zones).filled()
    }

    /// This new fleet at rest, and it keeps blobs.
    pub(crate) fn filled(mut self) -> Self {
        self.rest();
        self.blobs = BLOBS;
        self.rest();
        self.done.clear();
        self.touched.clear();
        self.calls = 0;
        self
    }

    /// Runs until an act has been done, within ten minutes.
    pub(crate) fn until(&mut self, act: &str) {
        for _ in 0..120 {
            if self.times(act) > 0 {
                return;
            }
            self.tick();
        }
        panic!("{act} never happens: {:#?}", self.last.as_ref().map(|plan| &plan.withheld));
    }

    pub(crate) fn times(&self, act: &str) -> usize {
        self.done.get(act).copied().unwrap_or(0)
    }

    pub(crate) fn position(&self) -> (u64, u64) {
        self.record.view.as_ref().map_or((0, 0), |signed| signed.view.position())
    }

    /// The node of a member's present pod.
    pub(crate) fn node_of(&self, member: u32) -> String {
        let pods = self.cluster.pods.iter().filter(|pod| pod.member == MemberId(member));
        pods.filter_map(|pod| pod.node.clone()).next_back().expect("the member runs")
    }

    pub(crate) fn members_on(&self, node: &str) -> Vec<u32> {
        let pods = self.cluster.pods.iter().filter(|pod| pod.node.as_deref() == Some(node));
        pods.map(|pod| pod.member.0).collect()
    }

    pub(crate) fn delete_claim_and_pod(&mut self, member: u32) {
        self.delete_pod(member);
        let claims = self.cluster.claims.iter_mut().filter(|claim| claim.member == MemberId(member));
        claims.for_each(|claim| claim.terminating = true);
    }

    pub(crate) fn delete_pod(&mut self, member: u32) {
        let pods = self.cluster.pods.iter_mut().filter(|pod| pod.member == MemberId(member));
        pods.for_each(|pod| pod.terminating = true);
    }

    /// The most shards of one member in the view in effect.
    pub(crate) fn largest_load(&self) -> u16 {
        let seats = self.record.view.iter().flat_map(|signed| signed.view.seats.iter());
        seats.map(|seat| seat.shards.len()).max().unwrap_or(0)
    }
}
