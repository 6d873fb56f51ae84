//! A Kubernetes in miniature: a scheduler, a provisioner of local volumes, and garbage collection.

use std::collections::{BTreeMap, BTreeSet};

use weft_protocol::MemberId;

use crate::{Claim, ClaimPhase, Node, Pod, PodPhase, Timestamp, Volume};

/// Nodes, pods and claims. What controllers and kubelets do happens in [`Cluster::settle`].
#[derive(Debug, Clone)]
pub struct Cluster {
    pub nodes: Vec<Node>,
    /// Whether a node has power.
    pub powered: BTreeMap<String, bool>,
    pub pods: Vec<Pod>,
    pub claims: Vec<Claim>,
    /// Nodes that take no new pods.
    pub cordoned: BTreeSet<String>,
    /// No volume can be made.
    pub full: bool,
    /// Pods made of such a spec never start.
    pub broken: BTreeSet<String>,
    serial: u64,
}

impl Cluster {
    /// Nodes `node-0…` in `zones` zones.
    pub fn new(nodes: u32, zones: u32) -> Self {
        let node = |at: u32| Node {
            name: format!("node-{at}"),
            zone: Some(format!("zone-{}", at % zones)),
            unready_since: None,
            gone_since: None,
            out_of_service: false,
            cordoned: false,
        };
        let nodes: Vec<Node> = (0..nodes).map(node).collect();
        let powered = nodes.iter().map(|node| (node.name.clone(), true)).collect();
        let (pods, claims, cordoned) = (Vec::new(), Vec::new(), BTreeSet::new());
        Self { nodes, powered, pods, claims, cordoned, full: false, broken: BTreeSet::new(), serial: 0 }
    }

    /// The nodes as an operator sees them.
    pub fn observed(&self) -> Vec<Node> {
        let see = |node: &Node| Node { cordoned: self.cordoned.contains(&node.name), ..node.clone() };
        self.nodes.iter().map(see).collect()
    }

    fn uid(&mut self) -> String {
        self.serial += 1;
        format!("uid-{}", self.serial)
    }

    pub fn create_claim(&mut self, member: MemberId, incarnation: u32) {
        if !self.claims.iter().any(|claim| (claim.member, claim.incarnation) == (member, incarnation)) {
            let uid = self.uid();
            self.claims.push(Claim {
                member,
                incarnation,
                origin: incarnation,
                uid,
                phase: ClaimPhase::Pending,
                terminating: false,
                volume: None,
                selected: None,
            });
        }
    }

    pub fn create_pod(
        &mut self,
        member: MemberId,
        incarnation: u32,
        attempt: u32,
        avoids: Vec<String>,
        inputs: String,
    ) {
        let uid = self.uid();
        let pod = Pod {
            member,
            incarnation,
            attempt,
            uid,
            phase: PodPhase::Pending,
            ready: false,
            terminating: false,
            node: None,
            waiting: None,
            avoids,
            inputs: Some(inputs),
        };
        let twin = |other: &Pod| (other.member, other.incarnation, other.attempt) == (member, incarnation, attempt);
        if !self.pods.iter().any(twin) {
            self.pods.push(pod);
        }
    }

    pub fn is_up(&self, node: &str) -> bool {
        self.powered.get(node).copied().unwrap_or(false)
            && self.nodes.iter().any(|known| known.name == node && known.gone_since.is_none())
    }

    /// The node on which a member's process runs, if one does.
    pub fn runs_on(&self, member: MemberId, incarnation: u32) -> Option<&str> {
        self.pods
            .iter()
            .filter(|pod| (pod.member, pod.incarnation) == (member, incarnation))
            .filter(|pod| pod.phase == PodPhase::Running && !pod.terminating)
            .filter_map(|pod| pod.node.as_deref())
            .find(|node| self.is_up(node))
    }

    pub fn cut(&mut self, name: &str, now: Timestamp) {
        self.powered.insert(name.to_owned(), false);
        self.node(name).unready_since.get_or_insert(now);
        self.call_pods(name, false);
    }

    /// Cuts the power of a node that Kubernetes goes on calling Ready.
    pub fn cut_quietly(&mut self, name: &str) {
        self.powered.insert(name.to_owned(), false);
    }

    pub fn restore(&mut self, name: &str) {
        self.powered.insert(name.to_owned(), true);
        self.node(name).unready_since = None;
        self.call_pods(name, true);
    }

    fn call_pods(&mut self, node: &str, ready: bool) {
        let running = self.pods.iter_mut().filter(|pod| pod.phase == PodPhase::Running);
        running.filter(|pod| pod.node.as_deref() == Some(node)).for_each(|pod| pod.ready = ready);
    }

    /// Evicts a member's pod, as the API server does under a disruption budget: only while more than so many pods are
    /// ready. Returns whether it goes.
    pub fn evict(&mut self, member: MemberId, min_available: u32) -> bool {
        let healthy = self.pods.iter().filter(|pod| pod.ready && !pod.terminating).count() as u32;
        let pod = self.pods.iter_mut().find(|pod| pod.member == member && pod.ready && !pod.terminating);
        let evicted = pod.filter(|_| healthy > min_available);
        evicted.map(|pod| pod.terminating = true).is_some()
    }

    /// Takes a node and its volumes away for good; the claims stay.
    pub fn remove(&mut self, name: &str, now: Timestamp) {
        self.cut(name, now);
        self.node(name).gone_since.get_or_insert(now);
    }

    pub fn lose_volumes(&mut self, name: &str) {
        for claim in &mut self.claims {
            if let Some(volume) = claim.volume.as_mut().filter(|volume| volume.pinned_to == [name]) {
                volume.exists = false;
                claim.phase = ClaimPhase::Lost;
            }
        }
    }

    fn node(&mut self, name: &str) -> &mut Node {
        self.nodes.iter_mut().find(|node| node.name == name).expect("nodes keep their names")
    }

    /// What controllers and kubelets do in a while. Gives the volumes that went.
    pub fn settle(&mut self) -> Vec<(MemberId, u32)> {
        self.collect_pods();
        self.schedule();
        let used = |claim: &Claim, pods: &[Pod]| {
            pods.iter().any(|pod| (pod.member, pod.incarnation) == (claim.member, claim.incarnation))
        };
        let pods = &self.pods;
        let (gone, kept) = self.claims.drain(..).partition(|claim| claim.terminating && !used(claim, pods));
        self.claims = kept;
        let gone: Vec<Claim> = gone;
        gone.into_iter().map(|claim| (claim.member, claim.incarnation)).collect()
    }

    fn collect_pods(&mut self) {
        let nodes = &self.nodes;
        let gone = |name: &str| nodes.iter().any(|node| node.name == name && node.gone_since.is_some());
        let powered = &self.powered;
        self.pods.retain(|pod| match pod.node.as_deref() {
            Some(node) if gone(node) => false,
            Some(node) => !pod.terminating || !powered[node],
            None => !pod.terminating,
        });
    }

    fn schedule(&mut self) {
        for at in 0..self.pods.len() {
            let pod = self.pods[at].clone();
            let Some(claim) = self.claims.iter().position(|claim| {
                (claim.member, claim.incarnation) == (pod.member, pod.incarnation) && !claim.terminating
            }) else {
                continue;
            };
            if pod.phase != PodPhase::Pending {
                continue;
            }
            let pinned = self.claims[claim].volume.as_ref().map(|volume| volume.pinned_to[0].clone());
            let chosen = self.claims[claim].selected.clone().or_else(|| self.emptiest(&pod.avoids));
            let chosen = chosen.filter(|_| !self.full);
            let Some(node) = pinned.clone().or(chosen).filter(|node| self.takes_pods(node)) else {
                self.pods[at].waiting = Some("Unschedulable".to_owned());
                continue;
            };
            if pinned.is_none() {
                self.claims[claim].selected = Some(node.clone());
            }
            if !self.is_up(&node) {
                continue;
            }
            if pinned.is_none() {
                let uid = self.uid();
                let volume = Volume { name: uid.clone(), uid, exists: true, pinned_to: vec![node.clone()] };
                self.claims[claim].volume = Some(volume);
                self.claims[claim].phase = ClaimPhase::Bound;
            }
            if self.claims[claim].volume.as_ref().is_some_and(|volume| volume.exists) {
                let pod = &mut self.pods[at];
                if pod.inputs.as_ref().is_some_and(|inputs| self.broken.contains(inputs)) {
                    (pod.node, pod.waiting) = (Some(node), Some("ImagePullBackOff".to_owned()));
                    continue;
                }
                (pod.node, pod.phase, pod.ready, pod.waiting) = (Some(node), PodPhase::Running, true, None);
            }
        }
    }

    /// By what Kubernetes believes.
    fn takes_pods(&self, node: &str) -> bool {
        self.nodes.iter().any(|known| known.name == node && known.is_ready()) && !self.cordoned.contains(node)
    }

    fn emptiest(&self, avoids: &[String]) -> Option<String> {
        let pods_on = |node: &str| self.pods.iter().filter(|pod| pod.node.as_deref() == Some(node)).count();
        let zone = |node: &Node| -> usize {
            self.nodes.iter().filter(|other| other.zone == node.zone).map(|other| pods_on(&other.name)).sum()
        };
        let up = self.nodes.iter().filter(|node| self.takes_pods(&node.name) && !avoids.contains(&node.name));
        up.min_by_key(|node| (zone(node), pods_on(&node.name), node.name.clone())).map(|node| node.name.clone())
    }
}
