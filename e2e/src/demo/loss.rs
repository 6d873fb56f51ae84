//! Taking something away from a fleet.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim};
use kube::api::DeleteParams;
use kube::{Api, ResourceExt};
use weft_crds::MemberStatus;

use super::DemoError;
use super::fleet::Fleet;
use super::milestones::Who;
use super::observe::{Snapshot, node_of};

/// What is to be taken away.
#[derive(Clone, Debug)]
pub struct Loss {
    /// The worker and its Node; `None` where one member's pod and claim go instead.
    pub worker: Option<(usize, String)>,
    /// The members that go.
    pub members: Vec<MemberStatus>,
    /// The gateways that go with them.
    pub gateways: Vec<String>,
    /// Whether an operator goes too.
    pub operator: bool,
}

impl Loss {
    /// A worker with as many members as the code bears the loss of; one that the operator is on only where there is no other. In
    /// a cluster that isn't ours, one member.
    pub async fn choose(fleet: &Fleet) -> Result<Self, DemoError> {
        let snapshot = fleet.observer().now();
        let Some(cluster) = fleet.stage().cluster() else {
            return Self::member(&snapshot);
        };
        let operators = fleet.operator_nodes().await?;
        let mut nodes: BTreeMap<&str, Vec<MemberStatus>> = BTreeMap::new();
        for member in snapshot.members() {
            if let Some(node) = member.current.node.as_deref() {
                nodes.entry(node).or_default().push(member.clone());
            }
        }
        let tolerance = snapshot.status().and_then(|status| status.encoding).map_or(0, |code| code.fault_tolerance);
        let chosen = nodes
            .into_iter()
            .filter(|(_, members)| shards(members) <= usize::from(tolerance))
            .max_by_key(|(node, members)| (!operators.iter().any(|operator| operator == node), members.len()));
        let (node, members) =
            chosen.ok_or_else(|| DemoError::Unfit(format!("no Node has members with {tolerance} shards or fewer")))?;
        let worker = cluster.worker_of_node(node);
        let worker = worker.ok_or_else(|| DemoError::Unfit(format!("{node} is none of the cluster's workers")))?;
        let gateways = snapshot.component("gateway").filter(|pod| node_of(pod) == Some(node));
        let gateways = gateways.map(ResourceExt::name_any).collect();
        let operator = operators.iter().any(|operator| operator == node);
        Ok(Self { worker: Some((worker, node.to_owned())), members, gateways, operator })
    }

    /// One member's pod and claim.
    pub fn member(snapshot: &Snapshot) -> Result<Self, DemoError> {
        let member = snapshot.members().last().cloned();
        let members = vec![member.ok_or_else(|| DemoError::Unfit("the committee has no members".to_owned()))?];
        Ok(Self { worker: None, members, gateways: Vec::new(), operator: false })
    }

    /// The incarnations that go.
    pub fn victims(&self) -> Vec<Who> {
        self.members.iter().map(|member| (member.id, member.current.number)).collect()
    }

    /// What it is, in words.
    pub fn told(&self) -> String {
        let members: Vec<String> = self.members.iter().map(|member| member.id.to_string()).collect();
        let shards = shards(&self.members);
        let plural = if members.len() == 1 { "member" } else { "members" };
        let members = format!("{plural} {} with {shards} shards", members.join(" and "));
        let Some((_, node)) = &self.worker else { return format!("pod and claim of {members}") };
        let gateways = match self.gateways.as_slice() {
            [] => "no gateway".to_owned(),
            names => format!("the gateway {}", names.join(", ")),
        };
        let operator = if self.operator { ", and the operator" } else { "" };
        format!("{node}: {members}, {gateways}{operator}")
    }

    /// Lets it happen: the worker's power is cut and its Node object stays; or the claim and the pod are deleted.
    pub async fn strike(&self, fleet: &Fleet) -> Result<(), DemoError> {
        if let Some((worker, _)) = self.worker {
            return fleet.stage().with_cluster(move |cluster| cluster.cut_power(worker)).await;
        }
        for member in &self.members {
            delete_claim(fleet, member).await?;
            delete_pod(fleet, member).await?;
        }
        Ok(())
    }

    /// Deletes a dead worker's volumes and its Node object, so that nothing can come back.
    pub async fn finish(&self, fleet: &Fleet) -> Result<(), DemoError> {
        let Some((worker, node)) = &self.worker else { return Ok(()) };
        let worker = *worker;
        fleet.stage().with_cluster(move |cluster| cluster.delete_volumes(worker)).await?;
        let api = Api::<Node>::all(fleet.stage().client().clone());
        let deleted = api.delete(node, &DeleteParams::default()).await;
        deleted.map(drop).map_err(DemoError::api(format!("delete the Node {node}")))
    }
}

/// Deletes a member's claim; it goes once no pod uses it.
pub async fn delete_claim(fleet: &Fleet, member: &MemberStatus) -> Result<(), DemoError> {
    let claim = member.claim.as_deref().unwrap_or_default();
    let api = Api::<PersistentVolumeClaim>::namespaced(fleet.stage().client().clone(), fleet.namespace());
    let deleted = api.delete(claim, &DeleteParams::default()).await;
    deleted.map(drop).map_err(DemoError::api(format!("delete the claim {claim}")))
}

/// Deletes a member's pod, with its grace period.
pub async fn delete_pod(fleet: &Fleet, member: &MemberStatus) -> Result<(), DemoError> {
    let pod = member.pod.as_deref().unwrap_or_default();
    let deleted = fleet.pods().delete(pod, &DeleteParams::default()).await;
    deleted.map(drop).map_err(DemoError::api(format!("delete the pod {pod}")))
}

/// How many shards go with these members.
fn shards(members: &[MemberStatus]) -> usize {
    members.iter().map(|member| member.shards.len() + member.custody.len()).sum()
}
