//! The types of the conditions that are reported.

/// Conditions of a `StorageCommittee`.
pub mod committee_condition {
    /// Reads and writes through the gateway succeed now.
    pub const AVAILABLE: &str = "Available";
    /// The spec is fulfilled at this generation, with full redundancy.
    pub const READY: &str = "Ready";
    /// Work towards the spec goes on.
    pub const PROGRESSING: &str = "Progressing";
    /// Some blob is below its full margin.
    pub const DEGRADED: &str = "Degraded";
    /// Waits for a person; the reason says for what.
    pub const STALLED: &str = "Stalled";
    /// The objects were set back, and nobody has confirmed them.
    pub const CONTROL_PLANE_REWOUND: &str = "ControlPlaneRewound";
    /// The operator comes with another image than members run, and nobody has said that they shall.
    pub const UPGRADE_AVAILABLE: &str = "UpgradeAvailable";
    /// The largest member's shards would fit on the survivors.
    pub const CAPACITY_FOR_REPAIR: &str = "CapacityForRepair";
}

/// Conditions of an `Epoch`.
pub mod epoch_condition {
    /// The spec makes sense for its committee.
    pub const ACCEPTED: &str = "Accepted";
    /// The view before this epoch is sealed.
    pub const SEALED: &str = "Sealed";
    /// Every new owner is synced and whole.
    pub const COMMITTED: &str = "Committed";
}
