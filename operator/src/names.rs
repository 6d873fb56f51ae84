//! The names of a committee's objects, all derived, so that whoever acts finds what another has made.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

pub use weft_crds::names::{
    COMMITTEE, COMPONENT, CONFIRM_REWIND, DECLARE_LOST, FLEET, GATEWAY_COMPONENT, INCARNATION, MEMBER,
    MEMBER_COMPONENT, OURS, TERM, authority, labels, member_claim, member_labels, origin, selector_text, spare_keys,
};

/// Annotation of pods and claims: the term of the newest leader that has revoked what was decided about them (R24).
pub const TOUCHED: &str = "weft.dev/touched-in-term";
/// Annotation of volumes: the reclaim policy that they had before the committee's made them outlive their claims.
pub const RECLAIM: &str = "weft.dev/reclaim-policy";
/// Annotation of pods: their number among the pods of their incarnation.
pub const ATTEMPT: &str = "weft.dev/attempt";
/// Annotation of pods: what the spec said of them when they were made.
pub const INPUTS: &str = "weft.dev/inputs";

/// gRPC of members.
pub const MEMBER_PORT: i32 = 7410;
/// Health, readiness and metrics of members and gateways.
pub const ADMIN_PORT: i32 = 7411;
/// The gateway's plain HTTP, where access is open.
pub const HTTP_PORT: i32 = 8080;
/// The gateway's HTTPS.
pub const HTTPS_PORT: i32 = 8443;

pub fn member_pod(committee: &str, member: u32, incarnation: u32, attempt: u32) -> String {
    format!("{committee}-{member}-{incarnation}-{attempt}")
}

pub fn member_tls(committee: &str, member: u32, incarnation: u32) -> String {
    format!("{committee}-{member}-{incarnation}-tls")
}

pub fn members_service(committee: &str) -> String {
    format!("{committee}-members")
}

/// The disruption budget over the members' pods.
pub fn member_budget(committee: &str) -> String {
    format!("{committee}-member")
}

/// The network policy of the members' pods.
pub fn member_policy(committee: &str) -> String {
    format!("{committee}-member")
}

/// The gateway's Deployment, Service, disruption budget, network policy, and Secret of tokens.
pub fn gateway(committee: &str) -> String {
    format!("{committee}-gateway")
}

pub fn gateway_tls(committee: &str) -> String {
    format!("{committee}-gateway-tls")
}

/// Labels by which a component's pods are selected; they never change.
pub fn selected(committee: &str, component: &str) -> BTreeMap<String, String> {
    [(COMMITTEE, committee), (COMPONENT, component)]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// The same as a selector.
pub fn selector(committee: &str, component: &str) -> LabelSelector {
    LabelSelector { match_labels: Some(selected(committee, component)), match_expressions: None }
}
