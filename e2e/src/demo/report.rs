//! The table at the end, and the promises that it must bear out.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use comfy_table::{Table, presets};

use super::load::{Tally, total};
use super::meter::{Meter, Traffic};
use super::milestones::Milestones;
use super::narrate;

/// Repair may move at most so many bytes for each that was lost.
pub const MOST_MOVED: f64 = 1.10;
/// Operations a second that must go on throughout.
pub const LEAST_RATE: f64 = 20.0;

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Blobs that were stored, those of the load too.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of slivers on the members that were lost, shortly before.
    pub lost: u64,
    /// What members counted.
    pub counts: Counts,
    /// Bytes of slivers that Epochs say were copied and rebuilt for them.
    pub epochs: (u64, u64),
    /// When what came about.
    pub milestones: Milestones,
    /// What became of the load.
    pub tally: Tally,
    /// Blobs that were read at the end with other bytes, or not at all.
    pub different: u64,
}

/// What members counted from before the first put to after the last read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Bytes of slivers that were rebuilt from symbols.
    pub rebuilt: u64,
    /// Slivers that were.
    pub rebuilt_slivers: u64,
    /// Bytes of symbols and hashes that travelled for it.
    pub moved: u64,
    /// Those of them from which nothing could be rebuilt.
    pub discarded: u64,
    /// Bytes of slivers copied to new owners.
    pub migrated: u64,
    /// Bytes of slivers on all volumes at the end.
    pub stored: u64,
    /// Received by members.
    pub received: Traffic,
    /// Sent by members.
    pub sent: Traffic,
}

impl Counts {
    /// From a meter's last readings.
    pub fn of(meter: &Meter) -> Self {
        Self {
            rebuilt: meter.growth("weft_repair_rebuilt_bytes_total"),
            rebuilt_slivers: meter.growth("weft_repair_rebuilt_slivers_total"),
            moved: meter.growth("weft_repair_received_bytes_total"),
            discarded: meter.growth("weft_repair_discarded_bytes_total"),
            migrated: meter.growth("weft_migrate_copied_bytes_total"),
            stored: meter.level("weft_store_sliver_bytes"),
            received: meter.received(),
            sent: meter.sent(),
        }
    }

    /// Bytes moved for each byte rebuilt; `None` where nothing was.
    pub fn ratio(&self) -> Option<f64> {
        (self.rebuilt > 0).then(|| self.moved as f64 / self.rebuilt as f64)
    }
}

impl Report {
    /// The promises that this run broke, in words.
    pub fn broken(&self) -> Vec<String> {
        let mut broken = Vec::new();
        match self.counts.ratio() {
            Some(ratio) if ratio > MOST_MOVED => {
                broken.push(format!("repair moved {ratio:.3} bytes for each that was lost, more than {MOST_MOVED:.2}"));
            }
            Some(_) => {}
            None => broken.push("nothing was rebuilt".to_owned()),
        }
        for (what, kinds) in [("reads", &self.tally.failed_reads), ("writes", &self.tally.failed_writes)] {
            if total(kinds) > 0 {
                broken.push(format!("{} {what} failed: {}", total(kinds), told(kinds)));
            }
        }
        if self.tally.different + self.different > 0 {
            broken.push(format!("{} blobs came back different or not at all", self.tally.different + self.different));
        }
        if self.tally.rate() < LEAST_RATE {
            broken.push(format!("{:.1} operations a second, fewer than {LEAST_RATE}", self.tally.rate()));
        }
        for (what, reached) in [
            ("nobody noticed the loss", self.milestones.noticed),
            ("nobody took the lost shards", self.milestones.custody),
            ("full redundancy did not come back", self.milestones.whole),
            ("no replacement became an owner", self.milestones.committed),
        ] {
            if reached.is_none() {
                broken.push(what.to_owned());
            }
        }
        broken
    }

    fn rows(&self) -> Vec<(&'static str, String)> {
        let Self { blobs, bytes, lost, counts, epochs, milestones, tally, different } = self;
        let size = |bytes: u64| format!("{} ({bytes} B)", narrate::bytes(bytes));
        let ratio = counts.ratio().map_or("nothing was rebuilt".to_owned(), |ratio| format!("{ratio:.3}"));
        let latency = [0.5, 0.99, 1.0].map(|share| format!("{} ms", tally.within(share).as_millis())).join(", ");
        vec![
            ("blobs stored", format!("{blobs} with {}", size(*bytes))),
            ("slivers on volumes", size(counts.stored)),
            ("bytes lost", size(*lost)),
            ("bytes rebuilt", format!("{} in {} slivers", size(counts.rebuilt), counts.rebuilt_slivers)),
            ("bytes moved to repair", size(counts.moved)),
            ("moved / rebuilt", format!("{ratio} (at most {MOST_MOVED:.2})")),
            ("bytes migrated", size(counts.migrated)),
            ("for epochs, copied / rebuilt", format!("{} / {}", size(epochs.0), size(epochs.1))),
            ("received, told / interfaces", traffic(counts.received)),
            ("sent, told / interfaces", traffic(counts.sent)),
            ("lowest read margin", format!("{} shards", milestones.lowest_margin)),
            ("most slivers missing", milestones.most_missing.to_string()),
            ("to notice", seconds(milestones.noticed)),
            ("to be called lost", seconds(milestones.lost)),
            ("to custody", seconds(milestones.custody)),
            ("to full redundancy", seconds(milestones.whole)),
            ("to the replacement owning", seconds(milestones.committed)),
            ("to the old epoch retired", seconds(milestones.retired)),
            ("to Ready again", seconds(milestones.ready)),
            ("operations", format!("{} ({:.1} a second)", tally.operations(), tally.rate())),
            ("answered, half / 99 % / all", latency),
            ("failed reads", failed(&tally.failed_reads)),
            ("failed writes", failed(&tally.failed_writes)),
            ("blobs different", (tally.different + different).to_string()),
        ]
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(presets::UTF8_BORDERS_ONLY);
        for (what, value) in self.rows() {
            table.add_row([what.to_owned(), value]);
        }
        write!(formatter, "{table}")
    }
}

fn traffic(traffic: Traffic) -> String {
    if traffic.carried == 0 {
        return format!("{} / not asked", narrate::bytes(traffic.accounted));
    }
    let (told, carried) = (narrate::bytes(traffic.accounted), narrate::bytes(traffic.carried));
    format!("{told} / {carried} ({:+.1} %)", traffic.difference())
}

fn seconds(reached: Option<Duration>) -> String {
    reached.map_or("never".to_owned(), |time| format!("{:.1} s", time.as_secs_f64()))
}

fn failed(kinds: &BTreeMap<String, u64>) -> String {
    if kinds.is_empty() { "0".to_owned() } else { format!("{}: {}", total(kinds), told(kinds)) }
}

fn told(kinds: &BTreeMap<String, u64>) -> String {
    kinds.iter().map(|(kind, count)| format!("{count} × {kind}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> Report {
        let at = Some(Duration::from_secs(1));
        let milestones = Milestones { noticed: at, custody: at, whole: at, committed: at, ..Milestones::default() };
        let tally = Tally { reads: 100, lasted: Duration::from_secs(4), ..Tally::default() };
        let counts = Counts { rebuilt: 1000, moved: 1050, ..Counts::default() };
        Report { counts, milestones, tally, ..Report::default() }
    }

    #[test]
    fn a_good_run_breaks_no_promise() {
        assert_eq!(kept().broken(), Vec::<String>::new());
        assert!(kept().to_string().contains("1.050 (at most 1.10)"), "{}", kept());
    }

    #[test]
    fn each_broken_promise_is_named() {
        let mut report = kept();
        report.counts.moved = 1200;
        report.tally.failed_reads.insert("timeout".to_owned(), 2);
        report.different = 1;
        report.tally.lasted = Duration::from_secs(50);
        report.milestones.whole = None;
        let broken = report.broken().join("\n");
        for word in ["1.200 bytes", "2 reads failed: 2 × timeout", "1 blobs came back", "2.0 operations", "redundancy"]
        {
            assert!(broken.contains(word), "{word}: {broken}");
        }
    }
}
