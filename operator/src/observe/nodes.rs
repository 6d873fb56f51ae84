//! Nodes and volumes, as facts for the planner. What the stores lack is asked for live: a store that lags must not
//! look like a loss.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use k8s_openapi::api::core::v1::{
    Node, NodeSelectorRequirement, NodeSelectorTerm, PersistentVolume, PersistentVolumeClaim,
};
use kube::{Api, Client, Resource, ResourceExt, core::ClusterResourceScope, runtime::reflector::Store};
use serde::de::DeserializeOwned;
use weft_planner::Timestamp;

use crate::{
    api::{self, ApiError},
    env::instant,
    refusals::{Refusals, Want},
    session::Session,
};

/// The act of reading what a watch doesn't tell.
pub const READ: &str = "Read";

/// What is kept of the cluster, by watches.
#[derive(Clone, Debug)]
pub struct Stores {
    pub nodes: Store<Node>,
    pub volumes: Store<PersistentVolume>,
    /// How often something in them has changed that a plan may be made by.
    pub news: News,
}

impl Stores {
    /// Stands for all Nodes, as far as a plan is made by them.
    pub fn nodes_digest(&self) -> u64 {
        let news = self.news.count();
        let mut made = self.news.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        match *made {
            Some((as_of, digest)) if as_of == news => digest,
            _ => made.insert((news, digest(&self.nodes.state()))).1,
        }
    }
}

/// Stands for these Nodes, in whatever order.
pub fn digest(nodes: &[Arc<Node>]) -> u64 {
    let facts: BTreeMap<_, _> = nodes.iter().map(|node| (node.name_any(), node.facts())).collect();
    let mut hasher = DefaultHasher::new();
    facts.hash(&mut hasher);
    hasher.finish()
}

/// A count that only grows.
#[derive(Clone, Debug, Default)]
pub struct News {
    count: Arc<AtomicU64>,
    /// The digest of all Nodes, and the count as of which it was made.
    nodes: Arc<Mutex<Option<(u64, u64)>>>,
}

impl News {
    pub fn add(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

/// What of an object a plan may be made by.
pub trait Facts {
    type Facts: PartialEq + Hash + Send;

    fn facts(&self) -> Self::Facts;
}

impl Facts for Node {
    /// Volumes are pinned by labels, and zones are told by them.
    type Facts = (BTreeMap<String, String>, weft_planner::Node);

    fn facts(&self) -> Self::Facts {
        (self.labels().clone(), fact(self, ""))
    }
}

impl Facts for PersistentVolume {
    /// Nothing in it changes as often as to be left out.
    type Facts = Option<String>;

    fn facts(&self) -> Self::Facts {
        self.resource_version()
    }
}

/// The volumes that claims name, and the Nodes that they may be pinned to.
#[derive(Debug, Default)]
pub struct Volumes {
    pub by_name: BTreeMap<String, PersistentVolume>,
    /// Those that this operator may not see: of them nothing is known.
    pub hidden: BTreeSet<String>,
    pub nodes: Vec<Arc<Node>>,
}

/// Reads an object of the cluster's own. Where this operator may not, what it would be known by is left to deadlines, which
/// is told. `None`: it may not; `Some(None)`: there is none.
async fn read<K>(
    client: &Client,
    name: &str,
    reason: &str,
    refusals: &mut Refusals,
    now: Timestamp,
) -> Result<Option<Option<K>>, ApiError>
where
    K: Resource<Scope = ClusterResourceScope, DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
{
    let read = Api::<K>::all(client.clone()).get_opt(name).await.map_err(api::error::<K>("get", name));
    refusals.note(Want::to_see(READ, &format!("{} {name}", K::kind(&())), reason), read, now)
}

/// Reads the volumes that claims name.
pub async fn volumes(
    client: &Client,
    stores: &Stores,
    claims: &[PersistentVolumeClaim],
    refusals: &mut Refusals,
    now: Timestamp,
) -> Result<Volumes, ApiError> {
    let (mut by_name, mut hidden) = (BTreeMap::new(), BTreeSet::new());
    for claim in claims {
        let Some(name) = claim.spec.as_ref().and_then(|spec| spec.volume_name.clone()) else { continue };
        if name.is_empty() {
            continue;
        }
        let kept = stores.volumes.find(|volume| volume.name_any() == name).map(|volume| (*volume).clone());
        let found = match kept {
            Some(volume) => Some(Some(volume)),
            None => read(client, &name, "a lost volume is noticed by it", refusals, now).await?,
        };
        match found {
            Some(found) => by_name.extend(found.map(|volume| (name, volume))),
            None => drop(hidden.insert(name)),
        }
    }
    Ok(Volumes { by_name, hidden, nodes: stores.nodes.state() })
}

/// The Nodes that a volume is pinned to, gone ones too; none: it can be attached anywhere.
pub fn pinned_to(volume: &PersistentVolume, nodes: &[Arc<Node>]) -> Vec<String> {
    let affinity = volume.spec.as_ref().and_then(|spec| spec.node_affinity.as_ref()?.required.as_ref());
    let Some(required) = affinity else { return Vec::new() };
    if nodes.is_empty() {
        // No Node is seen, so that nothing tells whether a host's has another name, or is gone.
        return Vec::new();
    }
    let mut names = BTreeSet::new();
    for term in &required.node_selector_terms {
        names.extend(nodes.iter().filter(|node| matches(term, node)).map(|node| node.name_any()));
        // A local volume names its host; the Node of that host may be gone.
        let fields = term.match_fields.iter().flatten().filter(|field| field.key == "metadata.name");
        let labels = term.match_expressions.iter().flatten().filter(|label| label.key == "kubernetes.io/hostname");
        for host in
            fields.chain(labels).filter(|rule| rule.operator == "In").flat_map(|rule| rule.values.iter().flatten())
        {
            let known = nodes.iter().any(|node| node.labels().get("kubernetes.io/hostname") == Some(host));
            if !known {
                names.insert(host.clone());
            }
        }
    }
    names.into_iter().collect()
}

fn matches(term: &NodeSelectorTerm, node: &Node) -> bool {
    let label = |key: &str| node.labels().get(key).cloned();
    let field = |key: &str| (key == "metadata.name").then(|| node.name_any());
    let mut rules = term.match_expressions.iter().flatten().map(|rule| holds(rule, label(&rule.key).as_ref()));
    let mut fields = term.match_fields.iter().flatten().map(|rule| holds(rule, field(&rule.key).as_ref()));
    rules.all(|holds| holds) && fields.all(|holds| holds)
}

fn holds(rule: &NodeSelectorRequirement, value: Option<&String>) -> bool {
    let named = value.is_some_and(|value| rule.values.iter().flatten().any(|other| other == value));
    let number = |text: Option<&String>| text.and_then(|text| text.parse::<i64>().ok());
    let bound = number(rule.values.as_ref().and_then(|values| values.first()));
    match rule.operator.as_str() {
        "In" => named,
        "NotIn" => !named,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => number(value).zip(bound).is_some_and(|(value, bound)| value > bound),
        "Lt" => number(value).zip(bound).is_some_and(|(value, bound)| value < bound),
        _ => false,
    }
}

/// The Nodes that are there, sorted.
pub fn present(nodes: &[Arc<Node>], zone_key: &str) -> Vec<weft_planner::Node> {
    let mut facts: Vec<_> = nodes.iter().map(|node| fact(node, zone_key)).collect();
    facts.sort_by(|a, b| a.name.cmp(&b.name));
    facts
}

/// Those Nodes, and those of `named` that are gone. The session remembers since when.
pub async fn nodes(
    client: &Client,
    nodes: &[Arc<Node>],
    zone_key: &str,
    named: BTreeSet<String>,
    session: &mut Session,
    now: Timestamp,
) -> Result<Vec<weft_planner::Node>, ApiError> {
    let gone = &mut session.gone_nodes;
    let mut facts = present(nodes, zone_key);
    let present: BTreeSet<String> = facts.iter().map(|node| node.name.clone()).collect();
    gone.retain(|name, _| named.contains(name) && !present.contains(name));
    for name in named.difference(&present) {
        match read(client, name, "a lost Node is noticed by it", &mut session.refusals, now).await? {
            None => drop(gone.remove(name)),
            Some(Some(node)) => {
                gone.remove(name);
                facts.push(fact(&node, zone_key));
            }
            Some(None) => facts.push(weft_planner::Node {
                name: name.clone(),
                zone: None,
                unready_since: None,
                gone_since: Some(*gone.entry(name.clone()).or_insert(now)),
                out_of_service: false,
                cordoned: false,
            }),
        }
    }
    facts.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(facts)
}

fn fact(node: &Node, zone_key: &str) -> weft_planner::Node {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions.into_iter().flatten().find(|condition| condition.type_ == "Ready");
    let since = |time: Option<&k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>| {
        time.map_or(Timestamp(0), |time| instant(time.0))
    };
    let unready_since = match ready {
        Some(condition) if condition.status == "True" => None,
        Some(condition) => Some(since(condition.last_transition_time.as_ref())),
        None => Some(since(node.metadata.creation_timestamp.as_ref())),
    };
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    weft_planner::Node {
        name: node.name_any(),
        zone: node.labels().get(zone_key).cloned(),
        unready_since,
        gone_since: None,
        out_of_service: taints.into_iter().flatten().any(|taint| taint.key == "node.kubernetes.io/out-of-service"),
        cordoned: node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or_default(),
    }
}
