//! What a member's pod may be told: deliberately not a pod spec.

use k8s_openapi::{
    api::core::v1::{ResourceRequirements, Toleration},
    apimachinery::pkg::api::resource::Quantity,
};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::quantity::{QuantityText, request_within_limit};

const DEFAULT_CPU_REQUEST: &str = "100m";
const DEFAULT_MEMORY_REQUEST: &str = "256Mi";
const DEFAULT_MEMORY_LIMIT: &str = "1Gi";

/// How members' pods differ from the default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemberTemplate {
    /// Requests and limits of a member. Silent: requests of 100m CPU and 256Mi memory, a limit of 1Gi memory and
    /// none on CPU. Buffers follow the memory limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Tolerations, beside those for not-ready and unreachable nodes that members always have.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
}

/// What a member asks for and what it may use at most.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new(request_within_limit("memory"))
    .message("resources.requests.memory must not exceed resources.limits.memory"))]
#[x_kube(validation = Rule::new(request_within_limit("cpu"))
    .message("resources.requests.cpu must not exceed resources.limits.cpu"))]
pub struct Resources {
    /// What the scheduler sets aside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<Amounts>,
    /// What may be used at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Amounts>,
}

/// CPU and memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct Amounts {
    /// Processor time, in cores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<QuantityText>,
    /// Memory, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<QuantityText>,
}

impl MemberTemplate {
    /// A member's resources, silent parts chosen. A request above the default limit raises that limit; a limit below
    /// the default request lowers that request.
    pub fn requirements(&self) -> ResourceRequirements {
        let said = self.resources.clone().unwrap_or_default();
        let (requests, limits) = (said.requests.unwrap_or_default(), said.limits.unwrap_or_default());
        let smaller = |a: QuantityText, b: &QuantityText| if exceeds(&a, b) { b.clone() } else { a };
        let memory_request = requests.memory.clone().unwrap_or_else(|| {
            let default = QuantityText::new(DEFAULT_MEMORY_REQUEST);
            limits.memory.as_ref().map_or(default.clone(), |limit| smaller(default, limit))
        });
        let memory_limit = limits.memory.unwrap_or_else(|| {
            let default = QuantityText::new(DEFAULT_MEMORY_LIMIT);
            if exceeds(&memory_request, &default) { memory_request.clone() } else { default }
        });
        let cpu_request = requests.cpu.or_else(|| limits.cpu.clone());
        let cpu_request = cpu_request.unwrap_or_else(|| QuantityText::new(DEFAULT_CPU_REQUEST));
        let map = |cpu: Option<QuantityText>, memory: QuantityText| {
            let cpu = cpu.map(|cpu| ("cpu".to_owned(), cpu.to_quantity()));
            cpu.into_iter().chain([("memory".to_owned(), Quantity(memory.to_string()))]).collect()
        };
        ResourceRequirements {
            requests: Some(map(Some(cpu_request), memory_request)),
            limits: Some(map(limits.cpu, memory_limit)),
            claims: None,
        }
    }
}

/// Whether both are quantities and `a` is the larger; for what is no quantity the API server has the last word.
fn exceeds(a: &QuantityText, b: &QuantityText) -> bool {
    a.bytes().is_ok_and(|a| b.bytes().is_ok_and(|b| a > b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(yaml: &str) -> serde_json::Value {
        let template: MemberTemplate = serde_yaml::from_str(yaml).expect("a template");
        serde_json::to_value(template.requirements()).expect("plain data")
    }

    #[test]
    fn a_silent_template_gets_the_defaults() {
        let expected = serde_json::json!({"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}});
        assert_eq!(resolved("{}"), expected);
    }

    #[test]
    fn what_is_said_never_contradicts_what_is_chosen() {
        let large = resolved("{resources: {requests: {cpu: 1, memory: 2Gi}}}");
        let expected = serde_json::json!({"requests": {"cpu": "1", "memory": "2Gi"}, "limits": {"memory": "2Gi"}});
        assert_eq!(large, expected);
        let small = resolved("{resources: {limits: {cpu: 50m, memory: 64Mi}}}");
        let both = serde_json::json!({"cpu": "50m", "memory": "64Mi"});
        assert_eq!(small, serde_json::json!({"requests": both, "limits": both}));
    }
}
