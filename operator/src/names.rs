//! The names of a committee's objects, all derived, so that whoever acts finds what another has made.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// Label of everything that belongs to a committee.
pub const COMMITTEE: &str = "weft.dev/committee";
/// Label of members' pods, claims and Secrets: the member's number.
pub const MEMBER: &str = "weft.dev/member";
/// Label of members' pods, claims and Secrets: the incarnation's number.
pub const INCARNATION: &str = "weft.dev/incarnation";
/// Label that tells members from gateways.
pub const COMPONENT: &str = "app.kubernetes.io/component";
/// Annotation of claims and of the CA's Secret: the fleet whose data they keep.
pub const FLEET: &str = "weft.dev/fleet";
/// Annotation of the CA's Secret: the newest term, so that it outlives the committee with the keys (R4). Also of the
/// members' disruption budget: that of the leader that wrote it last.
pub const TERM: &str = "weft.dev/term";
/// Annotation of pods and claims: the term of the newest leader that has revoked what was decided about them (R24).
pub const TOUCHED: &str = "weft.dev/touched-in-term";
/// Annotation of committees, written by a person: the view whose rewind is confirmed (R26).
pub const CONFIRM_REWIND: &str = "weft.dev/confirm-rewind";
/// Annotation of a committee: the incarnations that a person declares lost, `3-1,4-1` (R7).
pub const DECLARE_LOST: &str = "weft.dev/declare-lost";
/// Annotation of volumes: the reclaim policy that they had before the committee's made them outlive their claims.
pub const RECLAIM: &str = "weft.dev/reclaim-policy";
/// Annotation of pods: their number among the pods of their incarnation.
pub const ATTEMPT: &str = "weft.dev/attempt";
/// Annotation of pods: what the spec said of them when they were made.
pub const INPUTS: &str = "weft.dev/inputs";

pub const MEMBER_COMPONENT: &str = "member";
pub const GATEWAY_COMPONENT: &str = "gateway";

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

/// The incarnation that a claim was made for, by its name: a later one may have inherited it (R25).
pub fn origin(claim: &str) -> Option<u32> {
    claim.rsplit_once('-')?.1.parse().ok()
}

/// The name of the claim that is made for an incarnation, which is its pods' host name as well.
pub fn member_claim(committee: &str, member: u32, incarnation: u32) -> String {
    format!("{committee}-{member}-{incarnation}")
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

/// The gateway's Deployment, Service, disruption budget, and Secret of tokens.
pub fn gateway(committee: &str) -> String {
    format!("{committee}-gateway")
}

pub fn gateway_tls(committee: &str) -> String {
    format!("{committee}-gateway-tls")
}

pub fn authority(committee: &str) -> String {
    format!("{committee}-ca")
}

/// Labels of everything of a committee's.
pub fn labels(committee: &str) -> BTreeMap<String, String> {
    [
        (COMMITTEE, committee),
        ("app.kubernetes.io/name", "weft"),
        ("app.kubernetes.io/instance", committee),
        ("app.kubernetes.io/managed-by", "weft-operator"),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect()
}

/// Labels of a member's objects.
pub fn member_labels(committee: &str, member: u32, incarnation: u32) -> BTreeMap<String, String> {
    let mut labels = labels(committee);
    labels.insert(COMPONENT.to_owned(), MEMBER_COMPONENT.to_owned());
    labels.insert(MEMBER.to_owned(), member.to_string());
    labels.insert(INCARNATION.to_owned(), incarnation.to_string());
    labels
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

/// The same as text, for lists and `status.selector`.
pub fn selector_text(committee: &str, component: &str) -> String {
    format!("{COMMITTEE}={committee},{COMPONENT}={component}")
}
