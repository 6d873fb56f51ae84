//! `StorageCommittee`: a fleet of storage nodes and the blobs that it keeps.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::{
    encoding::{Encoding, EncodingSpec},
    maintenance::MaintenanceWindow,
    policies::{
        Challenges, DeletionPolicy, Epochs, Gateway, Placement, Repair, Replacement, Scrub, Storage, Tls, Upgrade,
    },
    status::StorageCommitteeStatus,
    template::MemberTemplate,
    tracing::Tracing,
};

// Rules that compare spec with status stand at the root and are silent while that part of the spec doesn't change: else
// they would refuse writes of the status as well. A rule on an optional field isn't asked when the field is added, so
// what is frozen is guarded one level up.

/// What a committee shall be.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "weft.dev",
    version = "v1alpha1",
    kind = "StorageCommittee",
    plural = "storagecommittees",
    namespaced,
    doc = "A fleet of storage nodes that keeps blobs in a two-dimensional code, mends itself, and survives lost members and zones.",
    status = "StorageCommitteeStatus",
    derive = "PartialEq",
    shortname = "wsc",
    category = "weft",
    scale(
        spec_replicas_path = ".spec.members",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether the spec is fulfilled, with full redundancy"
    ),
    printcolumn(name = "Members", type_ = "integer", json_path = ".status.replicas", description = "Members that have a pod"),
    printcolumn(
        name = "Margin",
        type_ = "integer",
        json_path = ".status.margin.read",
        description = "Shards that may still go before the worst blob can't be read"
    ),
    printcolumn(
        name = "Missing",
        type_ = "integer",
        json_path = ".status.missing.slivers",
        description = "Slivers that holders still lack"
    ),
    printcolumn(name = "Epoch", type_ = "integer", json_path = ".status.epoch.current", description = "The epoch in effect"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("metadata.name must be a DNS label that begins with a letter, of at most 40 characters"),
    validation = Rule::new("self.spec.members == oldSelf.spec.members || !has(self.status) || !has(self.status.encoding) || self.spec.members <= self.status.encoding.shards")
        .message("spec.members must not exceed the recorded status.encoding.shards"),
    validation = Rule::new("self.spec.members == oldSelf.spec.members || !has(self.status) || !has(self.status.encoding) || self.spec.members * self.status.encoding.faultTolerance >= self.status.encoding.shards")
        .message("spec.members times the recorded faultTolerance must be at least the recorded shards, or a member would hold too many"),
    validation = Rule::new("!has(self.status) || !has(self.status.encoding) || !has(self.spec.encoding) || (has(oldSelf.spec.encoding) && self.spec.encoding == oldSelf.spec.encoding) || ((!has(self.spec.encoding.shards) || self.spec.encoding.shards == self.status.encoding.shards) && (!has(self.spec.encoding.faultTolerance) || self.spec.encoding.faultTolerance == self.status.encoding.faultTolerance))")
        .message("spec.encoding is frozen: it must equal the recorded status.encoding"),
    validation = Rule::new("!has(self.status) || !has(self.status.fleetId) || !has(self.spec.fleetId) || (has(oldSelf.spec.fleetId) && self.spec.fleetId == oldSelf.spec.fleetId) || self.spec.fleetId == self.status.fleetId")
        .message("spec.fleetId is frozen: it must equal the recorded status.fleetId")
)]
#[x_kube(validation = Rule::new("!has(oldSelf.fleetId) || (has(self.fleetId) && self.fleetId == oldSelf.fleetId)")
    .message("spec.fleetId is frozen once set"))]
#[x_kube(validation = Rule::new("!has(self.encoding) || !has(self.encoding.shards) || self.members <= self.encoding.shards")
    .message("spec.members must not exceed encoding.shards"))]
#[x_kube(validation = Rule::new("!has(self.encoding) || !has(self.encoding.shards) || self.members * (has(self.encoding.faultTolerance) ? self.encoding.faultTolerance : (self.encoding.shards - 1) / 3) >= self.encoding.shards")
    .message("spec.members times encoding.faultTolerance must be at least encoding.shards, or a member would hold too many"))]
pub struct StorageCommitteeSpec {
    /// How many storage nodes: 4 to 255, at most the recorded shards.
    #[schemars(range(min = 4, max = 255))]
    pub members: u32,
    /// The code. Frozen once recorded in status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<EncodingSpec>,
    /// Each member's volume.
    pub storage: Storage,
    /// How members are spread.
    #[serde(default)]
    pub placement: Placement,
    /// The image of members and gateways. Silent: the operator's, recorded when the committee is made.
    #[schemars(length(min = 1, max = 512))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Who decides when members get a new image.
    #[serde(default)]
    pub upgrade: Upgrade,
    /// How members' pods differ from the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<MemberTemplate>,
    /// Who is told which requests gateways and members answer, and how. Silent: nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracing: Option<Tracing>,
    /// The HTTP service.
    #[serde(default)]
    pub gateway: Gateway,
    /// Where certificates come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// When epochs change.
    #[serde(default)]
    pub epochs: Epochs,
    /// When and how fast losses are mended.
    #[serde(default)]
    pub repair: Repair,
    /// How often members prove what they hold.
    #[serde(default)]
    pub challenges: Challenges,
    /// How often members read again what they hold.
    #[serde(default)]
    pub scrub: Scrub,
    /// Members that shall hold no shard on the volume that they have now.
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(max = 255), inner(range(min = 0, max = 65535)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drain: Vec<u32>,
    /// Incarnations that shall be replaced.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["member".to_owned()]))]
    #[schemars(length(max = 255))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replace: Vec<Replacement>,
    /// When members that serve may be restarted with another spec, and epochs begin for no other reason than
    /// `epochs.interval`. Empty: at any time. Losses are mended, and what the spec asks for by name is done, at any time;
    /// gateways have no data, and follow the spec at once.
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub maintenance_windows: Vec<MaintenanceWindow>,
    /// Whether the operator only watches.
    #[serde(default)]
    pub paused: bool,
    /// The fleet to adopt, in hexadecimal. Silent: a new one. Frozen once set.
    #[schemars(regex(pattern = r"^[0-9a-f]{32}$"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet_id: Option<String>,
    /// What becomes of the data when the committee is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

impl StorageCommitteeSpec {
    /// The code that this spec asks for, silent parts chosen. What status has recorded wins over it.
    pub fn encoding(&self) -> Encoding {
        self.encoding.unwrap_or_default().resolve(self.members)
    }
}

impl StorageCommittee {
    /// The code: recorded, or what it will be recorded as.
    pub fn encoding(&self) -> Encoding {
        self.status.as_ref().and_then(|status| status.encoding).unwrap_or_else(|| self.spec.encoding())
    }
}
