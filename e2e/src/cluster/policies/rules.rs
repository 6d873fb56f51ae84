//! From network policies to rules: for each machine those of the pods that are on it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt as _;

use super::blocks::Block;
use super::firewall::{DENIED, IN, OUT};
use super::select::selects;

/// What rules are made of.
#[derive(Clone, Debug, Default)]
pub(super) struct Objects {
    pub(super) policies: Vec<Arc<NetworkPolicy>>,
    pub(super) pods: Vec<Arc<Pod>>,
    pub(super) namespaces: Vec<Arc<Namespace>>,
}

/// One machine's rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rules {
    /// As iptables-restore takes them.
    pub(super) lines: Vec<String>,
    /// The addresses of which they say something.
    pub(super) guarded: BTreeSet<Ipv4Addr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Direction {
    Ingress,
    Egress,
}

/// A pod that has a network of its own, and its address there.
#[derive(Clone, Copy, Debug)]
struct Place<'a> {
    pod: &'a Pod,
    address: Ipv4Addr,
}

/// The rules of each machine, by its Node's name.
pub(super) fn translate(objects: &Objects) -> BTreeMap<String, Rules> {
    let places: Vec<Place<'_>> = objects.pods.iter().filter_map(|pod| Place::of(pod)).collect();
    // By address: a pod whose machine has lost its power may still be there by name when another one has its address.
    let mut passes: BTreeMap<(&str, Ipv4Addr, Direction), BTreeSet<String>> = BTreeMap::new();
    for place in &places {
        let Some(node) = place.pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) else { continue };
        let selecting = objects.policies.iter().filter_map(|policy| Some((policy, policy.spec.as_ref()?)));
        let selecting = selecting.filter(|(policy, spec)| {
            let selector = spec.pod_selector.clone().unwrap_or_default();
            policy.namespace() == place.pod.namespace() && selects(&selector, place.pod.labels())
        });
        for (policy, spec) in selecting {
            for direction in directions(spec) {
                let passes = passes.entry((node, place.address, direction)).or_default();
                let near = Near { objects, places: &places, namespace: policy.namespace().unwrap_or_default() };
                passes.extend(near.passes(spec, direction, place.pod));
            }
        }
    }
    let mut rules: BTreeMap<String, Rules> = BTreeMap::new();
    for ((node, address, direction), passes) in passes {
        let rules = rules.entry(node.to_owned()).or_default();
        let (chain, end) = match direction {
            Direction::Ingress => (IN, "-d"),
            Direction::Egress => (OUT, "-s"),
        };
        let begin = format!("-A {chain} {end} {address}/32");
        rules.lines.extend(passes.iter().map(|pass| format!("{begin}{pass} -j RETURN")));
        rules.lines.push(format!("{begin} -j {DENIED}"));
        rules.guarded.insert(address);
    }
    rules
}

impl<'a> Place<'a> {
    /// `None` of a pod that has no network of its own, or none any more, or none yet.
    fn of(pod: &'a Pod) -> Option<Self> {
        let (spec, status) = (pod.spec.as_ref()?, pod.status.as_ref()?);
        let ended = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
        let address = status.pod_ip.as_deref()?.parse().ok()?;
        (spec.host_network != Some(true) && !ended).then_some(Self { pod, address })
    }
}

/// The API server says which they are; what is silent is as its documentation has it.
fn directions(spec: &NetworkPolicySpec) -> Vec<Direction> {
    let egress = spec.egress.as_ref().is_some_and(|rules| !rules.is_empty());
    match &spec.policy_types {
        Some(types) => {
            let named = |name: &str| types.iter().any(|found| found == name);
            let both = [(Direction::Ingress, "Ingress"), (Direction::Egress, "Egress")];
            both.into_iter().filter(|(_, name)| named(name)).map(|(direction, _)| direction).collect()
        }
        None if egress => vec![Direction::Ingress, Direction::Egress],
        None => vec![Direction::Ingress],
    }
}

/// Of each rule who may be at the other end, and on which ports; whoever and whichever it is where it says none.
fn said(spec: &NetworkPolicySpec, direction: Direction) -> Vec<(&[NetworkPolicyPeer], &[NetworkPolicyPort])> {
    match direction {
        Direction::Ingress => {
            let rules = spec.ingress.iter().flatten();
            rules
                .map(|rule| (rule.from.as_deref().unwrap_or_default(), rule.ports.as_deref().unwrap_or_default()))
                .collect()
        }
        Direction::Egress => {
            let rules = spec.egress.iter().flatten();
            rules
                .map(|rule| (rule.to.as_deref().unwrap_or_default(), rule.ports.as_deref().unwrap_or_default()))
                .collect()
        }
    }
}

/// What a policy sees from its namespace.
struct Near<'a> {
    objects: &'a Objects,
    places: &'a [Place<'a>],
    namespace: String,
}

impl Near<'_> {
    /// What a policy lets pass from or to a pod that it selects: of each rule the end of a line that matches it.
    fn passes(&self, spec: &NetworkPolicySpec, direction: Direction, pod: &Pod) -> Vec<String> {
        let end = if direction == Direction::Ingress { "-s" } else { "-d" };
        let mut passes = Vec::new();
        for (peers, ports) in said(spec, direction) {
            let everybody = peers.is_empty().then(|| (String::new(), None));
            let peers = peers.iter().flat_map(|peer| self.peer(peer));
            let peers = peers.map(|(block, peer)| (format!(" {end} {block}"), peer));
            for (who, peer) in everybody.into_iter().chain(peers) {
                // A port by name is one of the pod that is connected to.
                let server = if direction == Direction::Ingress { Some(pod) } else { peer };
                let every = ports.is_empty().then(String::new);
                let ports = every.into_iter().chain(ports.iter().flat_map(|port| matches(port, server)));
                passes.extend(ports.map(|port| format!("{who}{port}")));
            }
        }
        passes
    }

    /// Whom one entry of a list of peers means: blocks of addresses, and the pod where it is one.
    fn peer(&self, peer: &NetworkPolicyPeer) -> Vec<(Block, Option<&Pod>)> {
        if let Some(block) = &peer.ip_block {
            let except: Vec<Block> = block.except.iter().flatten().filter_map(|text| text.parse().ok()).collect();
            let left = block.cidr.parse::<Block>().map_or_else(|()| Vec::new(), |block| block.without(&except));
            return left.into_iter().map(|block| (block, None)).collect();
        }
        let named = |place: &&Place<'_>| {
            let namespace = place.pod.namespace().unwrap_or_default();
            let Some(selector) = &peer.namespace_selector else { return namespace == self.namespace };
            let found = self.objects.namespaces.iter().find(|found| found.name_any() == namespace);
            found.is_some_and(|found| selects(selector, found.labels()))
        };
        let labelled = |place: &&Place<'_>| peer.pod_selector.as_ref().is_none_or(|it| selects(it, place.pod.labels()));
        let found = self.places.iter().filter(named).filter(labelled);
        found.map(|place| (Block::one(place.address), Some(place.pod))).collect()
    }
}

/// What matches a port; several where a name stands for several of a pod's, none where it has none of that name.
fn matches(port: &NetworkPolicyPort, server: Option<&Pod>) -> Vec<String> {
    let protocol = port.protocol.as_deref().unwrap_or("TCP");
    let lower = protocol.to_lowercase();
    match &port.port {
        None => vec![format!(" -p {lower}")],
        Some(IntOrString::Int(first)) => {
            let last = port.end_port.map(|last| format!(":{last}")).unwrap_or_default();
            vec![format!(" -p {lower} --dport {first}{last}")]
        }
        Some(IntOrString::String(name)) => {
            let containers = server.and_then(|pod| pod.spec.as_ref()).into_iter().flat_map(|spec| &spec.containers);
            let ports = containers.flat_map(|container| container.ports.iter().flatten()).filter(|port| {
                port.name.as_ref() == Some(name) && port.protocol.as_deref().unwrap_or("TCP") == protocol
            });
            ports.map(|port| format!(" -p {lower} --dport {}", port.container_port)).collect()
        }
    }
}

#[cfg(test)]
mod tests;
