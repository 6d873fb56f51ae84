//! Network policies: who may reach a committee's pods, and whom these may reach. Everything between them is under mutual TLS in
//! any case; this keeps strangers from knocking, and a member that was taken over from going anywhere else.
//!
//! ```text
//! operators, gateways, members ──▶ members' gRPC        everybody ──▶ gateways' HTTPS (and HTTP, where access is open)
//! gateways ──▶ DNS                                      everybody ──▶ health and metrics, which tell nothing of the data
//! gateways, members ──▶ the collector's port (and DNS), where `spec.tracing` names one
//! ```
//!
//! Nothing else, in either direction: members know their peers by addresses that the operator tells them, so they need no
//! DNS for them; nobody needs the API server.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::networking::v1::{
        NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
        NetworkPolicySpec,
    },
    apimachinery::pkg::{
        apis::meta::v1::{LabelSelector, ObjectMeta},
        util::intstr::IntOrString,
    },
};
use kube::ResourceExt;
use weft_crds::{Access, Tracing};
use weft_planner::Timestamp;

use crate::{
    api::ApiError,
    names,
    refusals::{Refusals, Want},
    subject::Subject,
};

/// The label by which Kubernetes names every namespace.
const NAMESPACE: &str = "kubernetes.io/metadata.name";
/// DNS, and where its pods listen on `OpenShift`: policies are about pods' ports, whatever their Service's is.
const DNS_PORTS: [i32; 2] = [53, 5353];

/// Operators' pods: the only ones outside of a committee whom its members let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operators {
    pub namespace: String,
    pub labels: BTreeMap<String, String>,
}

/// Makes the committee's policies what they should be, also where others have changed them. Without `operators` there shall be
/// none, and those that were made go. One that is refused keeps nothing else waiting.
pub async fn keep(
    subject: &Subject,
    operators: Option<&Operators>,
    refusals: &mut Refusals,
    now: Timestamp,
) -> Result<(), ApiError> {
    let listed = subject.namespace.list(&format!("{}={}", names::COMMITTEE, subject.name)).await;
    let want = match operators {
        Some(_) => Want::of_spec("Keep", "NetworkPolicies", "strangers are kept off by them"),
        None => Want::to_see("Read", "NetworkPolicies", "there shall be none"),
    };
    let Some(stored) = refusals.note::<Vec<NetworkPolicy>>(want, listed, now)? else { return Ok(()) };
    let wanted = operators.map(|operators| [members(subject, operators), gateways(subject)]);
    let wanted = wanted.as_ref().map_or(&[][..], |wanted| &wanted[..]);
    for policy in wanted {
        if stored.iter().any(|stored| is_as(stored, policy)) {
            continue;
        }
        let target = format!("NetworkPolicy {}", policy.name_any());
        let applied = subject.namespace.apply(policy).await;
        refusals.note(Want::of_spec("Keep", &target, "strangers are kept off by it"), applied, now)?;
    }
    let ours = |stored: &&NetworkPolicy| stored.owner_references().iter().any(|owner| owner.uid == subject.uid);
    for policy in stored.iter().filter(ours) {
        if wanted.iter().any(|wanted| wanted.name_any() == policy.name_any()) {
            continue;
        }
        let target = format!("NetworkPolicy {}", policy.name_any());
        let deleted = subject.namespace.delete_as_read(policy).await;
        refusals.note(Want::of_spec("Keep", &target, "there shall be none"), deleted, now)?;
    }
    Ok(())
}

/// Whether a stored policy is one that is wanted: what others have noted on it stays.
fn is_as(stored: &NetworkPolicy, wanted: &NetworkPolicy) -> bool {
    let labelled = wanted.labels().iter().all(|(key, value)| stored.labels().get(key) == Some(value));
    let owned = wanted.owner_references().iter().all(|owner| stored.owner_references().contains(owner));
    stored.name_any() == wanted.name_any() && stored.spec == wanted.spec && labelled && owned
}

fn members(subject: &Subject, operators: &Operators) -> NetworkPolicy {
    let operator = NetworkPolicyPeer {
        namespace_selector: Some(labelled([(NAMESPACE.to_owned(), operators.namespace.clone())].into())),
        pod_selector: Some(labelled(operators.labels.clone())),
        ip_block: None,
    };
    let callers = vec![own(subject, names::MEMBER_COMPONENT), own(subject, names::GATEWAY_COMPONENT), operator];
    let ingress = vec![
        NetworkPolicyIngressRule { from: Some(callers), ports: Some(vec![tcp(names::MEMBER_PORT)]) },
        NetworkPolicyIngressRule { from: None, ports: Some(vec![tcp(names::ADMIN_PORT)]) },
    ];
    let mut egress = vec![to_members(subject)];
    if let Some(tracing) = &subject.spec.tracing {
        egress.extend(tracing.is_named().then(to_dns));
        egress.extend(to_collector(tracing));
    }
    let name = names::member_policy(&subject.name);
    policy(subject, name, names::MEMBER_COMPONENT, ingress, egress)
}

fn gateways(subject: &Subject) -> NetworkPolicy {
    let mut ports = vec![tcp(names::HTTPS_PORT), tcp(names::ADMIN_PORT)];
    match subject.spec.gateway.access {
        Access::Token => {}
        Access::Open => ports.push(tcp(names::HTTP_PORT)),
    }
    let ingress = vec![NetworkPolicyIngressRule { from: None, ports: Some(ports) }];
    let mut egress = vec![to_members(subject), to_dns()];
    egress.extend(subject.spec.tracing.as_ref().and_then(to_collector));
    let name = names::gateway(&subject.name);
    policy(subject, name, names::GATEWAY_COMPONENT, ingress, egress)
}

/// Of a component's pods in both directions: what no rule lets pass is denied. Each field is said, so that applying it puts
/// right whatever others have made of it.
fn policy(
    subject: &Subject,
    name: String,
    component: &str,
    ingress: Vec<NetworkPolicyIngressRule>,
    egress: Vec<NetworkPolicyEgressRule>,
) -> NetworkPolicy {
    NetworkPolicy {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(subject.namespace.name.clone()),
            labels: Some(names::labels(&subject.name)),
            owner_references: Some(vec![subject.owner()]),
            ..ObjectMeta::default()
        },
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(names::selector(&subject.name, component)),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ingress: Some(ingress),
            egress: Some(egress),
        }),
    }
}

fn to_members(subject: &Subject) -> NetworkPolicyEgressRule {
    NetworkPolicyEgressRule {
        to: Some(vec![own(subject, names::MEMBER_COMPONENT)]),
        ports: Some(vec![tcp(names::MEMBER_PORT)]),
    }
}

/// To anybody: names may be resolved by pods, by something on the Node, or outside of the cluster.
fn to_dns() -> NetworkPolicyEgressRule {
    let ports = DNS_PORTS.into_iter().flat_map(|number| [port("UDP", number), port("TCP", number)]);
    NetworkPolicyEgressRule { to: None, ports: Some(ports.collect()) }
}

/// To anybody too: no policy can select by name.
fn to_collector(tracing: &Tracing) -> Option<NetworkPolicyEgressRule> {
    let ports = Some(vec![tcp(tracing.port()?.into())]);
    Some(NetworkPolicyEgressRule { to: None, ports })
}

/// A component's pods of this very committee: without a selector of namespaces, its own alone is meant.
fn own(subject: &Subject, component: &str) -> NetworkPolicyPeer {
    let pod_selector = Some(names::selector(&subject.name, component));
    NetworkPolicyPeer { pod_selector, namespace_selector: None, ip_block: None }
}

fn labelled(labels: BTreeMap<String, String>) -> LabelSelector {
    LabelSelector { match_labels: Some(labels), match_expressions: None }
}

fn tcp(number: i32) -> NetworkPolicyPort {
    port("TCP", number)
}

fn port(protocol: &str, number: i32) -> NetworkPolicyPort {
    NetworkPolicyPort { protocol: Some(protocol.to_owned()), port: Some(IntOrString::Int(number)), end_port: None }
}
