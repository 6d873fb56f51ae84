//! The operator's other half in miniature: it observes, records, orders and acts as a plan says, and checks at every
//! step what must never happen.

use std::{collections::BTreeMap, time::Duration};

use weft_planner::{
    Act, Committee, EpochWish, Gateway, Heard, MemberOrder, Plan, PodPhase, Record, Timestamp, Truth, World, plan,
    testing::{self, Cluster},
};
use weft_protocol::{Authority, FleetId, MemberId, Seal, SealOrder, ShardSet, SignedView, SigningKey, TermClaim, View};

use crate::process::{BLOBS, Order, Process};

pub(crate) const TICK: Duration = Duration::from_secs(5);

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
    pub(crate) last: Option<Plan>,
    /// Acts done, by name.
    pub(crate) done: BTreeMap<&'static str, usize>,
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
        let key = SigningKey::from_seed([7; 32]);
        let authority = Authority { views: key.public(), deletes: vec![SigningKey::from_seed([8; 32]).public()] };
        let committee = testing::committee(members, (255 / members).min(4) as u16, authority);
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
            last: None,
            done: BTreeMap::new(),
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
            nodes: self.cluster.nodes.clone(),
            heard: self.heard.values().cloned().collect(),
            missed: self.missed.clone(),
            gateway: Gateway { wanted: 2, ready: 2 },
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
            let position = self.position();
            self.record.rewound.get_or_insert(position);
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
        assert_eq!(planned, plan(&world, self.now), "the same world gives the same plan");
        self.check(&planned);
        self.write(&planned);
        self.order(&planned);
        self.act(&planned);
        self.last = Some(planned);
        self.pass();
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
        let (k1, sources) = (self.k1(), self.whole_shards().len());
        let running: Vec<_> = self.running();
        for _ in 0..TICK.as_secs() {
            for who in &running {
                self.volumes.get_mut(who).expect("it runs").work(k1, sources);
            }
        }
        self.advance();
    }

    fn advance(&mut self) {
        self.now = self.now + TICK;
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

    fn check(&self, planned: &Plan) {
        let is_loss = |act: &&Act| matches!(act, Act::DeclareLost { .. } | Act::DeclareFaulty { .. });
        let lost: Vec<&Act> = planned.steps.iter().map(|step| &step.act).filter(is_loss).collect();
        let view = self.record.view.as_ref().map(|signed| &signed.view);
        if let Some(view) = view {
            let guessed = lost.iter().filter_map(|act| match act {
                Act::DeclareLost { member, incarnation } | Act::DeclareFaulty { member, incarnation }
                    if self.may_return((*member, *incarnation)) =>
                {
                    view.seat(*member).filter(|seat| seat.incarnation.number == *incarnation)
                }
                _ => None,
            });
            let shards: u16 = guessed.map(|seat| seat.shards.len()).sum();
            assert!(shards <= view.code.fault_tolerance(), "{shards} shards are given up by guesses");
        }
        for step in &planned.steps {
            assert!(!step.reason.is_empty() && !step.target.is_empty());
            if let Act::DestroyClaim { member, incarnation, .. } = &step.act {
                let named = |view: &SignedView| {
                    view.view.seat(*member).is_some_and(|seat| seat.incarnation.number == *incarnation)
                };
                assert!(!self.record.view.iter().any(named), "a holder's claim is destroyed");
                assert!(!self.record.pending.iter().any(|pending| named(&pending.view)));
            }
        }
    }

    /// Whether an incarnation's volume is there, and nothing has decided that it goes.
    fn may_return(&self, who: (MemberId, u32)) -> bool {
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
        let seal =
            pending.map(|(pending, view)| SealOrder::sign(term, view.view.hash(), pending.view.clone(), &self.key));
        let reachable: Vec<MemberId> = self.running().into_iter().map(|who| who.0).collect();
        for who in self.running() {
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
            if let Some(inventory) = process.obey(&order, self.blobs, reachable.clone()) {
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

    fn act(&mut self, planned: &Plan) {
        for step in planned.steps.iter().filter(|step| !step.act.is_record()) {
            *self.done.entry(step.act.name()).or_default() += 1;
            testing::carry_out(&step.act, &mut self.cluster, &mut self.record, self.now);
            // The volume goes with its claim.
            if let Act::InheritClaim { member, from, incarnation, .. } = &step.act
                && let Some(process) = self.volumes.remove(&(*member, *from))
            {
                self.volumes.insert((*member, *incarnation), process);
            }
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
        let mut model = Self::new(members, nodes, zones);
        model.rest();
        model.blobs = BLOBS;
        model.rest();
        model.done.clear();
        model
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
