//! Blobs that were certified here a moment ago, whose uploads may still be coming in.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use tokio::time::Instant;
use weft_protocol::ShardSet;
use weft_redstuff::BlobId;

/// For how long after its certificate a blob's upload may still be coming in (DESIGN §3): nobody rebuilds it before.
const UPLOAD_GRACE: Duration = Duration::from_secs(30);

/// What each brings, and since when. To mark one costs the same however many there are.
#[derive(Debug, Default)]
pub(super) struct Fresh {
    blobs: HashMap<BlobId, (Instant, ShardSet)>,
    /// In order of time; one that was marked again is there again.
    order: VecDeque<(Instant, BlobId)>,
}

impl Fresh {
    pub(super) fn mark(&mut self, blob: BlobId, shards: ShardSet, now: Instant) {
        while let Some((since, old)) = self.order.front().copied().filter(|(since, _)| !is_fresh(*since, now)) {
            self.order.pop_front();
            if self.blobs.get(&old).is_some_and(|(last, _)| *last == since) {
                self.blobs.remove(&old);
            }
        }
        self.blobs.insert(blob, (now, shards));
        self.order.push_back((now, blob));
    }

    /// The shards that the blob's upload may still be bringing.
    pub(super) fn get(&self, blob: &BlobId, now: Instant) -> ShardSet {
        let found = self.blobs.get(blob).filter(|(since, _)| is_fresh(*since, now));
        found.map_or(ShardSet::EMPTY, |(_, shards)| *shards)
    }

    pub(super) fn all(&self, of: impl Fn(&BlobId) -> bool, now: Instant) -> Vec<(BlobId, ShardSet)> {
        let some = self.blobs.iter().filter(|(blob, (since, _))| of(blob) && is_fresh(*since, now));
        some.map(|(blob, (_, shards))| (*blob, *shards)).collect()
    }
}

fn is_fresh(since: Instant, now: Instant) -> bool {
    now.duration_since(since) < UPLOAD_GRACE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_in_counts_for_its_time_and_is_forgotten_then() {
        let (mut fresh, start) = (Fresh::default(), Instant::now());
        let (blob, at) = (|n| BlobId([n; 32]), |seconds| start + Duration::from_secs(seconds));
        let shards: ShardSet = [1, 2].into_iter().collect();
        fresh.mark(blob(1), shards, at(0));
        fresh.mark(blob(2), shards, at(10));
        fresh.mark(blob(1), [3].into_iter().collect(), at(20));
        assert_eq!((fresh.get(&blob(1), at(29)), fresh.get(&blob(2), at(39))), ([3].into_iter().collect(), shards));
        assert_eq!((fresh.get(&blob(1), at(49)).len(), fresh.get(&blob(2), at(40)).len()), (1, 0));
        assert_eq!(fresh.all(|one| *one == blob(1), at(45)), [(blob(1), [3].into_iter().collect())]);
        fresh.mark(blob(3), shards, at(45));
        assert_eq!(
            (fresh.blobs.len(), fresh.order.len()),
            (2, 2),
            "the second one is gone, and the first's first time"
        );
        fresh.mark(blob(4), shards, at(100));
        assert_eq!((fresh.blobs.len(), fresh.order.len()), (1, 1));
    }
}
