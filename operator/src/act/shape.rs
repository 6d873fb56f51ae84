//! What the pods of members and gateways have in common: they run under the `restricted` pod security standard.

use k8s_openapi::{
    api::core::v1::{
        Affinity, Capabilities, EnvVar, HTTPGetAction, NodeAffinity, NodeSelector, NodeSelectorRequirement,
        NodeSelectorTerm, Pod, PodSecurityContext, Probe, SeccompProfile, SecretVolumeSource, SecurityContext,
        Toleration, TopologySpreadConstraint, Volume, VolumeMount,
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use weft_crds::{Placement, Spread, Tracing};

use crate::names;

/// The field by which Nodes are told apart.
const NODE_NAME: &str = "metadata.name";

/// The user and group that the images run as.
const USER: i64 = 65532;

pub fn pod_security() -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(USER),
        run_as_group: Some(USER),
        fs_group: Some(USER),
        fs_group_change_policy: Some("OnRootMismatch".to_owned()),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }),
        ..PodSecurityContext::default()
    }
}

pub fn container_security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
        ..SecurityContext::default()
    }
}

pub fn env(name: &str, value: impl Into<String>) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value.into()), value_from: None }
}

/// Has a process export spans as the spec says: the variables of OpenTelemetry.
pub fn spans(tracing: Option<&Tracing>) -> Vec<EnvVar> {
    let Some(Tracing { endpoint, sampling_rate_per_million }) = tracing else { return Vec::new() };
    let mut told = vec![env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", endpoint)];
    if let Some(rate) = sampling_rate_per_million {
        told.push(env("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"));
        told.push(env("OTEL_TRACES_SAMPLER_ARG", (f64::from(*rate) / 1e6).to_string()));
    }
    told
}

/// Asks a path of the admin port every `period` seconds.
pub fn probe(path: &str, period: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::Int(names::ADMIN_PORT),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period),
        timeout_seconds: Some(5),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}

/// A Secret as a volume that only the process's group may read.
pub fn secret_volume(name: &str, secret: &str) -> Volume {
    Volume {
        name: name.to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(secret.to_owned()),
            default_mode: Some(0o440),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    }
}

pub fn mount(name: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: Some(read_only),
        ..VolumeMount::default()
    }
}

/// Tolerates nodes that went silent, for `seconds` or without limit. Only eviction is tolerated: nothing new shall be
/// placed on such a node.
pub fn tolerate_silence(seconds: Option<i64>) -> Vec<Toleration> {
    ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"]
        .into_iter()
        .map(|key| Toleration {
            key: Some(key.to_owned()),
            operator: Some("Exists".to_owned()),
            effect: Some("NoExecute".to_owned()),
            toleration_seconds: seconds,
            value: None,
        })
        .collect()
}

/// Keeps a pod off these Nodes.
pub fn avoid(nodes: &[String]) -> Option<Affinity> {
    let rule = |name: &String| NodeSelectorRequirement {
        key: NODE_NAME.to_owned(),
        operator: "NotIn".to_owned(),
        values: Some(vec![name.clone()]),
    };
    // The API server takes one value a rule of this kind.
    let term = NodeSelectorTerm { match_fields: Some(nodes.iter().map(rule).collect()), match_expressions: None };
    (!nodes.is_empty()).then(|| Affinity {
        node_affinity: Some(NodeAffinity {
            required_during_scheduling_ignored_during_execution: Some(NodeSelector { node_selector_terms: vec![term] }),
            ..NodeAffinity::default()
        }),
        ..Affinity::default()
    })
}

/// The Nodes that a pod keeps off, sorted.
pub fn avoided(pod: &Pod) -> Vec<String> {
    let affinity = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref()?.node_affinity.as_ref());
    let required = affinity.and_then(|node| node.required_during_scheduling_ignored_during_execution.as_ref());
    let rules = required.into_iter().flat_map(|required| &required.node_selector_terms);
    let rules = rules.flat_map(|term| term.match_fields.iter().flatten());
    let names = rules.filter(|rule| rule.key == NODE_NAME && rule.operator == "NotIn");
    let mut names: Vec<String> = names.flat_map(|rule| rule.values.iter().flatten().cloned()).collect();
    names.sort_unstable();
    names
}

/// Spreads a component's pods over zones, then over hosts.
pub fn spread(committee: &str, component: &str, placement: &Placement) -> Vec<TopologySpreadConstraint> {
    let unsatisfiable = match placement.spread {
        Spread::Preferred => "ScheduleAnyway",
        Spread::Required => "DoNotSchedule",
    };
    [placement.zone_key.as_str(), "kubernetes.io/hostname"]
        .into_iter()
        .map(|key| TopologySpreadConstraint {
            max_skew: 1,
            topology_key: key.to_owned(),
            when_unsatisfiable: unsatisfiable.to_owned(),
            label_selector: Some(names::selector(committee, component)),
            ..TopologySpreadConstraint::default()
        })
        .collect()
}
