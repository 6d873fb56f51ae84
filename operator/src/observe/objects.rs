//! Pods and claims, as facts for the planner.

use k8s_openapi::api::core::v1::{ContainerStatus, PersistentVolume, PersistentVolumeClaim, Pod};
use kube::ResourceExt;
use weft_planner::{Claim, ClaimPhase, PodPhase, Volume};
use weft_protocol::MemberId;

use crate::{act::shape, names, observe::nodes};

/// Annotation by which the scheduler tells provisioners where a volume is to be.
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";

/// Member and incarnation by labels; `None` for what others have made under the committee's label.
pub(super) fn which<K: ResourceExt>(object: &K) -> Option<(MemberId, u32)> {
    let number = |label| object.labels().get(label)?.parse::<u32>().ok();
    Some((MemberId(number(names::MEMBER)?), number(names::INCARNATION)?))
}

pub(super) fn pod(pod: &Pod) -> Option<weft_planner::Pod> {
    let (member, incarnation) = which(pod)?;
    let attempt = pod.annotations().get(names::ATTEMPT)?.parse().ok()?;
    let status = pod.status.as_ref();
    let phase = match status.and_then(|status| status.phase.as_deref()) {
        None | Some("Pending") => PodPhase::Pending,
        Some("Running") => PodPhase::Running,
        Some("Succeeded" | "Failed") => PodPhase::Ended,
        Some(_) => PodPhase::Unknown,
    };
    let ready = condition(pod, "Ready").is_some_and(|(status, _)| status == "True");
    Some(weft_planner::Pod {
        member,
        incarnation,
        attempt,
        uid: pod.uid().unwrap_or_default(),
        phase,
        ready,
        terminating: pod.metadata.deletion_timestamp.is_some(),
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        waiting: waiting(pod),
        avoids: shape::avoided(pod),
        inputs: pod.annotations().get(names::INPUTS).cloned(),
    })
}

/// Where a pod's process listens, once it has an address.
pub(super) fn address(pod: &Pod) -> Option<String> {
    let ip = pod.status.as_ref()?.pod_ip.as_deref().filter(|ip| !ip.is_empty())?;
    let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
    Some(format!("{host}:{}", names::MEMBER_PORT))
}

fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<(&'a str, Option<&'a str>)> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let found = conditions.iter().find(|condition| condition.type_ == kind)?;
    Some((&found.status, found.reason.as_deref()))
}

/// One word on why a pod doesn't run.
fn waiting(pod: &Pod) -> Option<String> {
    if let Some(("False", reason)) = condition(pod, "PodScheduled") {
        return Some(reason.unwrap_or("Unschedulable").to_owned());
    }
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    let reason = |status: &ContainerStatus| status.state.as_ref()?.waiting.as_ref()?.reason.clone();
    statuses.iter().find_map(reason)
}

pub(super) fn claim(claim: &PersistentVolumeClaim, volumes: &nodes::Volumes) -> Option<Claim> {
    let (member, incarnation) = which(claim)?;
    let origin = names::origin(&claim.name_any()).unwrap_or(incarnation);
    let phase = match claim.status.as_ref().and_then(|status| status.phase.as_deref()) {
        Some("Bound") => ClaimPhase::Bound,
        Some("Lost") => ClaimPhase::Lost,
        _ => ClaimPhase::Pending,
    };
    let name = claim.spec.as_ref().and_then(|spec| spec.volume_name.clone()).filter(|name| !name.is_empty());
    Some(Claim {
        member,
        incarnation,
        origin,
        uid: claim.uid().unwrap_or_default(),
        phase,
        terminating: claim.metadata.deletion_timestamp.is_some(),
        volume: name.map(|name| volume(name, volumes)),
        selected: claim.annotations().get(SELECTED_NODE).cloned(),
    })
}

fn volume(name: String, volumes: &nodes::Volumes) -> Volume {
    let found: Option<&PersistentVolume> = volumes.by_name.get(&name);
    Volume {
        uid: found.and_then(ResourceExt::uid).unwrap_or_default(),
        exists: found.is_some() || volumes.hidden.contains(&name),
        pinned_to: found.map(|found| nodes::pinned_to(found, &volumes.nodes)).unwrap_or_default(),
        name,
    }
}
