//! What isn't served to a challenged member while a round is open (R28), and for how long anyone may ask for that.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;
use weft_protocol::{MemberId, Round};
use weft_redstuff::BlobId;

/// No closing lasts longer.
pub(crate) const MAX_CLOSED: Duration = Duration::from_secs(15);

/// After a closing, so many times its length must pass before the same blob can be closed to the same member again, and
/// before the same challenger can close anything to it: whoever lies, a repair gets through most of the time.
const REST: u32 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    /// A challenger closes to a challenged.
    Pair(MemberId, MemberId),
    /// A blob is closed to a challenged.
    Blob(MemberId, BlobId),
}

#[derive(Debug, Clone, Copy)]
struct Span {
    by: MemberId,
    since: Instant,
    until: Instant,
}

impl Span {
    fn rested(&self, now: Instant) -> bool {
        now >= self.until + self.until.duration_since(self.since) * REST
    }
}

/// What this member has closed, to whom, for whom.
#[derive(Debug, Default)]
pub(crate) struct Closings(HashMap<Key, Span>);

impl Closings {
    /// Closes blobs to a member. `false`, and nothing is closed, when the challenger may not.
    pub(crate) fn close(
        &mut self,
        by: MemberId,
        challenged: MemberId,
        blobs: &[BlobId],
        length: Duration,
        now: Instant,
    ) -> bool {
        self.0.retain(|_, span| !span.rested(now));
        let keys = || blobs.iter().map(|blob| Key::Blob(challenged, *blob)).chain([Key::Pair(by, challenged)]);
        let allowed = blobs.len() <= Round::MAX_BLOBS && length <= MAX_CLOSED && by != challenged;
        if !allowed || keys().any(|key| self.0.contains_key(&key)) {
            return false;
        }
        self.0.extend(keys().map(|key| (key, Span { by, since: now, until: now + length })));
        true
    }

    /// Ends what a challenger has closed to a member.
    pub(crate) fn open(&mut self, by: MemberId, challenged: MemberId, now: Instant) {
        for (key, span) in &mut self.0 {
            let (Key::Pair(_, to) | Key::Blob(to, _)) = key;
            if (span.by, *to) == (by, challenged) {
                span.until = span.until.min(now);
            }
        }
    }

    pub(crate) fn is_closed(&self, challenged: MemberId, blob: &BlobId, now: Instant) -> bool {
        self.0.get(&Key::Blob(challenged, *blob)).is_some_and(|span| now < span.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(4);
    const ACCUSED: MemberId = MemberId(9);

    fn blobs(ids: impl IntoIterator<Item = u8>) -> Vec<BlobId> {
        ids.into_iter().map(|id| BlobId([id; 32])).collect()
    }

    #[test]
    fn a_blob_is_closed_to_one_member_until_it_is_opened() {
        let (mut closings, now) = (Closings::default(), Instant::now());
        assert!(closings.close(MemberId(1), ACCUSED, &blobs([1, 2]), LONG, now));
        assert!(closings.is_closed(ACCUSED, &BlobId([2; 32]), now));
        assert!(!closings.is_closed(MemberId(8), &BlobId([2; 32]), now));
        assert!(!closings.is_closed(ACCUSED, &BlobId([3; 32]), now));
        assert!(!closings.is_closed(ACCUSED, &BlobId([1; 32]), now + LONG));
        // Only who closed it opens it.
        closings.open(MemberId(2), ACCUSED, now);
        assert!(closings.is_closed(ACCUSED, &BlobId([1; 32]), now));
        closings.open(MemberId(1), ACCUSED, now);
        assert!(!closings.is_closed(ACCUSED, &BlobId([1; 32]), now));
    }

    #[test]
    fn liars_that_take_turns_keep_no_blob_closed() {
        let (mut closings, start) = (Closings::default(), Instant::now());
        let step = Duration::from_millis(100);
        let (mut now, mut closed) = (start, 0);
        for turn in 0..1000 {
            let liar = MemberId(turn % 3);
            closings.close(liar, ACCUSED, &blobs([1]), MAX_CLOSED, now);
            closed += u32::from(closings.is_closed(ACCUSED, &BlobId([1; 32]), now));
            now += step;
        }
        assert!((1..=400).contains(&closed), "{closed} of 1000");
    }

    #[test]
    fn a_challenger_closes_neither_much_nor_for_long_nor_without_a_rest() {
        let (mut closings, now) = (Closings::default(), Instant::now());
        assert!(!closings.close(MemberId(1), ACCUSED, &blobs(0..9), LONG, now));
        assert!(!closings.close(MemberId(1), ACCUSED, &blobs([1]), MAX_CLOSED * 2, now));
        assert!(!closings.close(ACCUSED, ACCUSED, &blobs([1]), LONG, now));
        assert!(closings.close(MemberId(1), ACCUSED, &blobs([1]), LONG, now));
        assert!(!closings.close(MemberId(1), ACCUSED, &blobs([2]), LONG, now + LONG));
        assert!(closings.close(MemberId(1), ACCUSED, &blobs([2]), LONG, now + LONG * 4));
    }
}
