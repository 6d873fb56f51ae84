//! When blobs expire, in order of time: what a time floor ends is found without a scan (R15).

use std::collections::{BTreeMap, BTreeSet};

use weft_redstuff::BlobId;

/// The blobs with an expiry: live ones, and those whose slivers were acked before their certificate came.
#[derive(Debug, Default)]
pub(super) struct Expiries {
    of: BTreeMap<BlobId, u64>,
    in_order: BTreeSet<(u64, BlobId)>,
}

impl Expiries {
    pub(super) fn set(&mut self, blob: BlobId, expiry: u64) {
        self.remove(&blob);
        self.of.insert(blob, expiry);
        self.in_order.insert((expiry, blob));
    }

    pub(super) fn remove(&mut self, blob: &BlobId) {
        if let Some(expiry) = self.of.remove(blob) {
            self.in_order.remove(&(expiry, *blob));
        }
    }

    /// The first of those that end at `floor` or before.
    pub(super) fn due(&self, floor: u64, limit: usize) -> Vec<BlobId> {
        let due = self.in_order.iter().take_while(|(expiry, _)| *expiry <= floor);
        due.take(limit).map(|(_, blob)| *blob).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r15_what_is_due_comes_in_order_of_time() {
        let [one, two, three] = [1, 2, 3].map(|id| BlobId([id; 32]));
        let mut expiries = Expiries::default();
        for (blob, expiry) in [(one, 30), (two, 10), (three, 20)] {
            expiries.set(blob, expiry);
        }
        assert_eq!(expiries.due(9, 9), []);
        assert_eq!(expiries.due(20, 9), [two, three]);
        assert_eq!(expiries.due(30, 2), [two, three]);
        expiries.set(two, 40);
        expiries.remove(&three);
        expiries.remove(&three);
        assert_eq!(expiries.due(39, 9), [one]);
        assert_eq!(expiries.due(40, 9), [one, two]);
    }
}
