//! The small parts of a committee's spec, each with its defaults.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    duration::{self, DurationText},
    quantity::{self, QuantityText},
};

fn zone_key() -> String {
    "topology.kubernetes.io/zone".to_owned()
}

fn replicas() -> u32 {
    2
}

fn settle() -> DurationText {
    DurationText::new("1m")
}

fn retain_for() -> DurationText {
    DurationText::new("1h")
}

fn unreachable_after() -> DurationText {
    DurationText::new("10m")
}

fn challenge_interval() -> DurationText {
    DurationText::new("1h")
}

fn scrub_period() -> DurationText {
    DurationText::new("168h")
}

/// The volume of each member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Storage {
    /// The size of a member's volume: at least 1Gi; it never shrinks.
    #[x_kube(validation = Rule::new(quantity::at_least("1Gi"))
        .message("storage.size must be at least 1Gi"))]
    #[x_kube(validation = Rule::new(quantity::never_shrinks())
        .message("storage.size never shrinks"))]
    pub size: QuantityText,
    /// The storage class of new claims. Silent: the cluster's default.
    #[schemars(length(min = 1, max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class_name: Option<String>,
}

/// How members are spread: over zones first, then over hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Placement {
    /// The node label that names a zone.
    #[schemars(length(min = 1, max = 317))]
    #[serde(default = "zone_key")]
    pub zone_key: String,
    /// Whether a member may be placed where it spoils the spread.
    #[serde(default)]
    pub spread: Spread,
}

impl Default for Placement {
    fn default() -> Self {
        Self { zone_key: zone_key(), spread: Spread::default() }
    }
}

/// How strictly members are spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Spread {
    /// As evenly as the nodes at hand allow.
    #[default]
    Preferred,
    /// A member waits rather than spoil the spread.
    Required,
}

/// Who decides when members get a new image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Upgrade {
    /// The recorded image stays until the spec names another.
    #[default]
    Manual,
    /// A silent image follows the operator's.
    Automatic,
}

/// The HTTP service for those who don't link the client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Gateway {
    /// How many gateways run; 0 turns them off.
    #[schemars(range(min = 0, max = 1000))]
    #[serde(default = "replicas")]
    pub replicas: u32,
    /// Who may use it.
    #[serde(default)]
    pub access: Access,
    /// A Secret with `tls.crt` and `tls.key` for port 8443. Silent: a certificate of the committee's own CA.
    #[schemars(length(min = 1, max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_secret_name: Option<String>,
}

impl Default for Gateway {
    fn default() -> Self {
        Self { replicas: replicas(), access: Access::default(), tls_secret_name: None }
    }
}

/// Who may use the gateway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Access {
    /// Who has a token of the Secret `<committee>-gateway`, over TLS.
    #[default]
    Token,
    /// Anyone, also without TLS.
    Open,
}

/// Where certificates come from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// The cert-manager issuer that signs. Silent: the operator is the committee's CA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer_ref: Option<IssuerRef>,
}

/// A cert-manager issuer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct IssuerRef {
    /// Where the issuer lives.
    #[serde(default)]
    pub kind: IssuerKind,
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Where a cert-manager issuer lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum IssuerKind {
    /// In the committee's namespace.
    #[default]
    Issuer,
    /// In the cluster.
    ClusterIssuer,
}

/// When epochs change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(duration::not_below("interval", "settle"))
    .message("epochs.interval must be at least epochs.settle"))]
pub struct Epochs {
    /// The time between epochs. Silent: only when a change asks for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<DurationText>,
    /// How long changes are collected before an epoch begins: at least 10s.
    #[x_kube(validation = Rule::new(duration::at_least("10s")).message("epochs.settle must be at least 10s"))]
    #[serde(default = "settle")]
    pub settle: DurationText,
    /// How long an old owner keeps its copy after its successor has it.
    #[serde(default = "retain_for")]
    pub retain_for: DurationText,
}

impl Default for Epochs {
    fn default() -> Self {
        Self { interval: None, settle: settle(), retain_for: retain_for() }
    }
}

/// When and how fast losses are mended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Repair {
    /// How long a member may be silent before it counts as lost: at least 30s.
    #[x_kube(validation = Rule::new(duration::at_least("30s"))
        .message("repair.unreachableAfter must be at least 30s"))]
    #[serde(default = "unreachable_after")]
    pub unreachable_after: DurationText,
    /// The most bytes a second that a member spends on repair: at least 1Mi. Where several are at work on one Node, of this
    /// committee or others, each takes its part of it. Silent: no limit.
    #[x_kube(validation = Rule::new(quantity::at_least("1Mi"))
        .message("repair.maxBandwidthPerMember must be at least 1Mi"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bandwidth_per_member: Option<QuantityText>,
}

impl Default for Repair {
    fn default() -> Self {
        Self { unreachable_after: unreachable_after(), max_bandwidth_per_member: None }
    }
}

/// How often members prove to each other that they hold what they should.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Challenges {
    /// The time between rounds: at least 10s.
    #[x_kube(validation = Rule::new(duration::at_least("10s"))
        .message("challenges.interval must be at least 10s"))]
    #[serde(default = "challenge_interval")]
    pub interval: DurationText,
}

impl Default for Challenges {
    fn default() -> Self {
        Self { interval: challenge_interval() }
    }
}

/// How often members read again what they hold, so that what rots on their disks is found and mended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Scrub {
    /// The time in which a member reads everything once: at least 1h. What it takes of the disk follows from it.
    #[x_kube(validation = Rule::new(duration::at_least("1h"))
        .message("scrub.period must be at least 1h"))]
    #[serde(default = "scrub_period")]
    pub period: DurationText,
}

impl Default for Scrub {
    fn default() -> Self {
        Self { period: scrub_period() }
    }
}

/// An incarnation that shall be replaced. It has no effect on a later incarnation, so it may stay in the spec.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct Replacement {
    /// The member.
    #[schemars(range(min = 0, max = 65535))]
    pub member: u32,
    /// The incarnation that goes.
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub incarnation: u32,
}

/// What becomes of the data when the committee is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// Claims, volumes and the CA's Secret stay.
    #[default]
    Retain,
    /// They go with the committee.
    Delete,
}
