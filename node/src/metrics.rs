//! What a member counts. Names follow the Prometheus conventions; label values are static.

use std::sync::atomic::AtomicI64;

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use weft_proto::v1::Activity;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Service {
    service: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    result: &'static str,
}

/// Gauges that are set when somebody looks.
#[derive(Debug, Default)]
struct Gauges {
    capacity_bytes: Gauge,
    available_bytes: Gauge,
    file_bytes: Gauge,
    held_bytes: Gauge,
    read_only: Gauge,
    read_failures: Gauge,
    sliver_bytes: Gauge,
    slivers: Gauge,
    missing_slivers: Gauge,
    missing_bytes: Gauge,
    blobs: Gauge,
    tombstones: Gauge,
    view_epoch: Gauge,
    view_revision: Gauge,
    healthy: Gauge,
    reachable: Gauge,
    unrecoverable: Gauge,
    invalid: Gauge,
}

/// What the gauges show, taken together.
#[derive(Debug, Clone, Copy, Default)]
pub struct Levels {
    /// Size of the volume's filesystem, as it is now: volumes may grow while they are used.
    pub capacity_bytes: u64,
    /// What new data may still take of it.
    pub available_bytes: u64,
    /// What the store's files take, and how much of that is held: the rest is given back.
    pub file_bytes: u64,
    pub held_bytes: u64,
    /// A write failed, so that none is taken any more.
    pub read_only: bool,
    /// Reads that the disk refused.
    pub read_failures: u64,
    pub sliver_bytes: u64,
    pub slivers: u64,
    pub missing_slivers: u64,
    pub missing_bytes: u64,
    pub blobs: u64,
    pub tombstones: u64,
    pub view: (u64, u64),
    pub healthy: bool,
    pub reachable: u64,
    pub unrecoverable: u64,
    pub invalid: u64,
}

/// A member's counters. Bytes are of payload: what was asked for, without framing.
#[derive(Debug, Default)]
pub struct Metrics {
    gauges: Gauges,
    repair_received: Family<Kind, Counter>,
    repair_discarded: Counter,
    rebuilt_bytes: Counter,
    rebuilt_slivers: Counter,
    migrate_received: Counter,
    copied_bytes: Counter,
    copied_slivers: Counter,
    received: Family<Service, Counter>,
    sent: Family<Service, Counter>,
    rotten: Counter,
    compared: Family<Outcome, Counter>,
    scrubbed: Counter,
    scrub_passes: Counter,
    scrub_passed: Gauge,
    expired: Counter,
    looks: Family<Outcome, Counter>,
    verdicts: Family<Outcome, Counter>,
    challenges_held: Family<Outcome, Counter>,
    challenges_answered: Family<Outcome, Counter>,
}

impl Metrics {
    /// Symbols that came from peers, bytes.
    pub fn symbols_received(&self, bytes: usize) {
        self.repair_received.get_or_create(&Kind { kind: "symbols" }).inc_by(bytes as u64);
        self.received("repair", bytes);
    }

    /// Stripe hashes and their paths that came from peers, bytes: of a blob whose slivers are rebuilt.
    pub fn hashes_received(&self, bytes: usize) {
        self.repair_received.get_or_create(&Kind { kind: "hashes" }).inc_by(bytes as u64);
        self.received("repair", bytes);
    }

    /// The same of a blob whose slivers are copied.
    pub fn hashes_copied(&self, bytes: usize) {
        self.migrate_received.inc_by(bytes as u64);
        self.received("repair", bytes);
    }

    /// Symbols that had come from peers, and from which no sliver could be rebuilt, bytes.
    pub(crate) fn symbols_discarded(&self, bytes: usize) {
        self.repair_discarded.inc_by(bytes as u64);
    }

    /// A sliver was rebuilt from symbols, matched its hash and is stored.
    pub fn sliver_rebuilt(&self, bytes: usize) {
        self.rebuilt_bytes.inc_by(bytes as u64);
        self.rebuilt_slivers.inc();
    }

    /// Slivers that came whole from their former holder, bytes.
    pub fn copy_received(&self, bytes: usize) {
        self.migrate_received.inc_by(bytes as u64);
        self.received("migrate", bytes);
    }

    /// A copied sliver matched its hash and is stored.
    pub fn sliver_copied(&self, bytes: usize) {
        self.copied_bytes.inc_by(bytes as u64);
        self.copied_slivers.inc();
    }

    /// Slivers, symbols or hashes that were sent to a peer, bytes.
    pub fn transfer_sent(&self, service: &'static str, bytes: usize) {
        self.sent(service, bytes);
    }

    /// Payload that came in.
    pub fn received(&self, service: &'static str, bytes: usize) {
        self.received.get_or_create(&Service { service }).inc_by(bytes as u64);
    }

    /// Payload that went out.
    pub fn sent(&self, service: &'static str, bytes: usize) {
        self.sent.get_or_create(&Service { service }).inc_by(bytes as u64);
    }

    /// A sliver on disk wasn't what was written.
    pub fn sliver_rotten(&self) {
        self.rotten.inc();
    }

    /// It was found how a peer's registry differs; `result` tells by what.
    pub(crate) fn registry_compared(&self, result: &'static str) {
        self.compared.get_or_create(&Outcome { result }).inc();
    }

    /// The scrub has read so many bytes.
    pub(crate) fn scrubbed(&self, bytes: u64) {
        self.scrubbed.inc_by(bytes);
    }

    /// The scrub was through.
    pub(crate) fn scrub_passed(&self) {
        self.scrub_passes.inc();
    }

    /// When it was through last, in seconds since 1970.
    pub(crate) fn scrub_ended(&self, at: Option<u64>) {
        self.scrub_passed.set(at.unwrap_or_default() as i64);
    }

    /// Live blobs went by the time floor (R15).
    pub(crate) fn blobs_expired(&self, blobs: u64) {
        self.expired.inc_by(blobs);
    }

    /// Everybody was asked what is left of a blob whose repair failed; `result` is one of a few words.
    pub(crate) fn looked(&self, result: &'static str) {
        self.looks.get_or_create(&Outcome { result }).inc();
    }

    /// A verdict on a blob's writer was looked into (R19); `result` is one of a few words.
    pub(crate) fn verdict_looked_into(&self, result: &'static str) {
        self.verdicts.get_or_create(&Outcome { result }).inc();
    }

    /// A round of challenges that this member held is over; `result` is one of a few words.
    pub(crate) fn challenge_held(&self, result: &'static str) {
        self.challenges_held.get_or_create(&Outcome { result }).inc();
    }

    /// This member answered a round, with all its pieces or without.
    pub(crate) fn challenge_answered(&self, whole: bool) {
        self.challenges_answered.get_or_create(&Outcome { result: if whole { "proven" } else { "lacks" } }).inc();
    }

    /// Bytes that repair and migration received since the start.
    pub fn repair_bytes(&self) -> u64 {
        let kind = |kind| self.repair_received.get_or_create(&Kind { kind }).get();
        kind("symbols") + kind("hashes") + self.migrate_received.get()
    }

    pub(crate) fn repair(&self) -> Activity {
        let kind = |kind| self.repair_received.get_or_create(&Kind { kind }).get();
        Activity {
            bytes_received: kind("symbols") + kind("hashes"),
            bytes_rebuilt: self.rebuilt_bytes.get(),
            slivers_rebuilt: self.rebuilt_slivers.get(),
            bytes_copied: 0,
            slivers_copied: 0,
        }
    }

    pub(crate) fn migration(&self) -> Activity {
        Activity {
            bytes_received: self.migrate_received.get(),
            bytes_rebuilt: 0,
            slivers_rebuilt: 0,
            bytes_copied: self.copied_bytes.get(),
            slivers_copied: self.copied_slivers.get(),
        }
    }

    /// The text that Prometheus scrapes.
    pub fn render(&self, levels: &Levels) -> String {
        self.set(levels);
        let mut registry = Registry::with_prefix("weft");
        self.register_gauges(&mut registry);
        self.register_counters(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).expect("a String takes any text");
        text
    }

    fn set(&self, levels: &Levels) {
        let Gauges {
            capacity_bytes,
            available_bytes,
            file_bytes,
            held_bytes,
            read_only,
            read_failures,
            sliver_bytes,
            slivers,
            missing_slivers,
            missing_bytes,
            blobs,
            tombstones,
            view_epoch,
            view_revision,
            healthy,
            reachable,
            unrecoverable,
            invalid,
        } = &self.gauges;
        capacity_bytes.set(levels.capacity_bytes as i64);
        available_bytes.set(levels.available_bytes as i64);
        file_bytes.set(levels.file_bytes as i64);
        held_bytes.set(levels.held_bytes as i64);
        read_only.set(i64::from(levels.read_only));
        read_failures.set(levels.read_failures as i64);
        sliver_bytes.set(levels.sliver_bytes as i64);
        slivers.set(levels.slivers as i64);
        missing_slivers.set(levels.missing_slivers as i64);
        missing_bytes.set(levels.missing_bytes as i64);
        blobs.set(levels.blobs as i64);
        tombstones.set(levels.tombstones as i64);
        view_epoch.set(levels.view.0 as i64);
        view_revision.set(levels.view.1 as i64);
        healthy.set(i64::from(levels.healthy));
        reachable.set(levels.reachable as i64);
        unrecoverable.set(levels.unrecoverable as i64);
        invalid.set(levels.invalid as i64);
    }

    fn register_gauges(&self, registry: &mut Registry) {
        let gauges: [(&str, &str, &Gauge<i64, AtomicI64>); 18] = [
            ("store_capacity_bytes", "Size of the volume's filesystem", &self.gauges.capacity_bytes),
            ("store_available_bytes", "What new data may still take of the volume", &self.gauges.available_bytes),
            ("store_file_bytes", "What the store's files take", &self.gauges.file_bytes),
            ("store_held_bytes", "Of those, what is held; the rest is given back", &self.gauges.held_bytes),
            ("store_read_only", "1 since a write or fsync failed: none is taken any more", &self.gauges.read_only),
            ("store_read_failures", "Reads that the disk refused", &self.gauges.read_failures),
            ("store_sliver_bytes", "Bytes of slivers on the volume", &self.gauges.sliver_bytes),
            ("store_slivers", "Slivers on the volume", &self.gauges.slivers),
            ("missing_slivers", "Slivers that this member must hold and doesn't", &self.gauges.missing_slivers),
            ("missing_bytes", "Bytes of slivers that this member must hold and doesn't", &self.gauges.missing_bytes),
            ("registry_blobs", "Blobs in the registry", &self.gauges.blobs),
            ("registry_tombstones", "Tombstones in the registry", &self.gauges.tombstones),
            ("view_epoch", "Epoch of the newest view", &self.gauges.view_epoch),
            ("view_revision", "Revision of the newest view", &self.gauges.view_revision),
            ("member_healthy", "1 while the member takes writes", &self.gauges.healthy),
            ("peers_reachable", "Peers that answered the last round", &self.gauges.reachable),
            ("unrecoverable_blobs", "Blobs found to be unrecoverable", &self.gauges.unrecoverable),
            ("invalid_blobs", "Blobs whose writers were proven to have lied", &self.gauges.invalid),
        ];
        for (name, help, gauge) in gauges {
            registry.register(name, help, gauge.clone());
        }
    }

    fn register_counters(&self, registry: &mut Registry) {
        let counters = [
            ("repair_rebuilt_bytes", "Bytes of slivers rebuilt from symbols", &self.rebuilt_bytes),
            ("repair_discarded_bytes", "Bytes of symbols received in vain", &self.repair_discarded),
            ("repair_rebuilt_slivers", "Slivers rebuilt from symbols", &self.rebuilt_slivers),
            ("migrate_received_bytes", "Bytes of whole slivers and their hashes received", &self.migrate_received),
            ("migrate_copied_bytes", "Bytes of whole slivers stored", &self.copied_bytes),
            ("migrate_copied_slivers", "Whole slivers stored", &self.copied_slivers),
            ("store_rotten_slivers", "Slivers found rotten on disk", &self.rotten),
            ("registry_expired_blobs", "Blobs that went by the fleet's time", &self.expired),
            ("scrub_read_bytes", "Bytes of slivers that the scrub has read", &self.scrubbed),
            ("scrub_passes", "Times that the scrub was through everything", &self.scrub_passes),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        registry.register("repair_received_bytes", "Bytes received for repair", self.repair_received.clone());
        registry.register("registry_comparisons", "Registries of peers that differed", self.compared.clone());
        registry.register("verdicts", "Verdicts on writers that were looked into", self.verdicts.clone());
        registry.register("repair_looks", "Looks for what is left of a blob", self.looks.clone());
        let passed = ("scrub_passed_timestamp_seconds", "When the scrub was through last; 0: never yet");
        registry.register(passed.0, passed.1, self.scrub_passed.clone());
        let (held, answered) = (self.challenges_held.clone(), self.challenges_answered.clone());
        registry.register("challenge_rounds", "Rounds of challenges held with peers", held);
        registry.register("challenge_answers", "Rounds of challenges answered", answered);
        registry.register("rpc_received_bytes", "Payload received, by service", self.received.clone());
        registry.register("rpc_sent_bytes", "Payload sent, by service", self.sent.clone());
    }
}
