//! The host's clock, which tests set forward.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use futures::future::BoxFuture;
use tokio::time::Instant;
use weft_node::env::{Clock, HostClock};
use weft_store::{Room, View};

use super::{Fleet, eventually};

/// By how many seconds it is ahead.
#[derive(Debug, Default)]
pub(crate) struct TestClock(AtomicU64);

impl TestClock {
    pub(crate) fn pass(&self, time: Duration) {
        self.0.fetch_add(time.as_secs(), Ordering::Relaxed);
    }

    fn ahead(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Clock for TestClock {
    fn now(&self) -> Instant {
        HostClock.now() + Duration::from_secs(self.ahead())
    }

    fn unix_seconds(&self) -> u64 {
        HostClock.unix_seconds() + self.ahead()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        HostClock.sleep(duration)
    }
}

impl Fleet {
    /// Sets the clock forward, an hour at a time and once more, and waits each time until every running member has tidied
    /// up: has looked for sessions that nobody finished. Then it looks for what else may go, and has done so the next time.
    pub(crate) async fn hours_pass(&self, hours: u8) {
        for hour in 0..=hours {
            self.tidy_up_after(Duration::from_secs(3600), hour).await;
        }
    }

    /// Sets the clock forward by minutes at least, and waits until every running member has begun to tidy up. `session`
    /// is none that is open.
    pub(crate) async fn tidy_up_after(&self, time: Duration, session: u8) {
        for (_, member) in self.members() {
            let open = member.store().write(Room::Reserved, move |tx| tx.open_upload(&[session; 16], 0, &[]).map(drop));
            open.await.expect("the store takes a session");
        }
        self.clock.pass(time);
        for (id, member) in self.members() {
            eventually(&format!("member {id} drops the old session"), || async {
                member.store().view().upload(&[session; 16]).expect("the store reads").is_none()
            })
            .await;
        }
    }
}
