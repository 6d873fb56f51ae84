//! How fast repair goes: within the ordered budget, and giving way to what gateways ask for.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::Instant;

use super::Member;

/// They ask for nothing any more when nothing came for so long.
const QUIET: Duration = Duration::from_secs(1);

/// Between two looks whether they do.
const LOOK: Duration = Duration::from_millis(100);

/// The longest rest for their sake: what took longer waited for others, mostly.
const LONGEST: Duration = Duration::from_secs(5);

/// Whether repair isn't put off for them (R21): blobs lack more than two thirds of what they can do without.
pub(crate) const fn is_urgent(lacking: u16, f: u16) -> bool {
    3 * lacking as u32 > 2 * f as u32
}

/// Requests of gateways for blobs, as they come.
#[derive(Debug, Default)]
pub(crate) struct Foreground(AtomicU64);

impl Foreground {
    pub(crate) fn note(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A piece of work: when it began, and what gateways had asked for by then.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    began: Instant,
    asked: u64,
}

impl Member {
    pub(crate) fn foreground(&self) -> &Foreground {
        &self.foreground
    }

    /// Begins a piece of work that is to be paced.
    pub(crate) fn begin_pace(&self) -> Pace {
        Pace { began: self.env.clock.now(), asked: self.foreground.count() }
    }

    /// Whether gateways have asked for anything since.
    pub(crate) fn is_busy_since(&self, pace: Pace) -> bool {
        self.foreground.count() != pace.asked
    }

    /// Waits until the `bytes` that the work received are within the ordered budget. Where gateways asked for something
    /// meanwhile, also until it has taken no more than one part of the time in `parts`, or they have stopped.
    pub(crate) async fn keep_pace(&self, pace: Pace, bytes: u64, parts: u32) {
        let clock = &self.env.clock;
        let worked = clock.now().duration_since(pace.began);
        if parts > 1 && self.is_busy_since(pace) {
            self.give_way(clock.now() + (worked * (parts - 1)).min(LONGEST)).await;
        }
        let limit = self.repair_limit.load(Ordering::Relaxed);
        if limit > 0 {
            let due = pace.began + Duration::from_secs_f64(bytes as f64 / limit as f64);
            clock.sleep(due.duration_since(clock.now())).await;
        }
    }

    async fn give_way(&self, until: Instant) {
        let clock = &self.env.clock;
        let (mut asked, mut last) = (self.foreground.count(), clock.now());
        loop {
            let now = clock.now();
            let count = self.foreground.count();
            if count != asked {
                (asked, last) = (count, now);
            }
            if now >= until || now.duration_since(last) >= QUIET {
                return;
            }
            clock.sleep(LOOK.min(until.duration_since(now))).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use futures::future::{BoxFuture, FutureExt};
    use tonic::transport::Channel;
    use weft_client::{ConnectError, Connector};
    use weft_protocol::{FleetId, MemberId, SigningKey};
    use weft_store::{Options, Store, Writer, fake::FakeDisk};

    use super::*;
    use crate::{
        env::{Clock, Env, HostEntropy},
        member::{Opened, WhoAmI},
    };

    /// Time that passes where somebody sleeps, and what happens meanwhile.
    #[derive(Debug)]
    struct Passing {
        began: Instant,
        passed: Mutex<Duration>,
        asks: Mutex<Option<(Arc<Member>, Duration)>>,
    }

    impl Clock for Passing {
        fn now(&self) -> Instant {
            self.began + *self.passed.lock().unwrap()
        }

        fn unix_seconds(&self) -> u64 {
            0
        }

        fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
            let mut passed = self.passed.lock().unwrap();
            *passed += duration;
            if let Some((member, until)) = &*self.asks.lock().unwrap()
                && *passed <= *until
            {
                member.foreground().note();
            }
            async {}.boxed()
        }
    }

    #[derive(Debug)]
    struct Nobody;

    impl Connector for Nobody {
        fn channel(&self, _: &str) -> Result<Channel, ConnectError> {
            unreachable!("nobody is called")
        }

        fn resolve<'a>(&'a self, _: &'a str) -> BoxFuture<'a, std::io::Result<Vec<String>>> {
            unreachable!("nobody is called")
        }
    }

    async fn member(clock: Arc<Passing>) -> Arc<Member> {
        let options = Options { writer: Writer::Inline, reserve_bytes: 0, ..Options::default() };
        let store = Store::open(Arc::new(FakeDisk::new(1)), &options).unwrap();
        let trust = SigningKey::from_seed([1; 32]).public();
        let who = WhoAmI { fleet: FleetId([7; 16]), member: MemberId(0), incarnation: 1, readmit: None, trust };
        let keep_tombstones = Duration::ZERO;
        let env = Env { clock, entropy: Arc::new(HostEntropy), connector: Arc::new(Nobody), keep_tombstones };
        let Opened::Ours(member) = Member::open(store, who, env).await.unwrap() else { panic!("a new volume") };
        member
    }

    #[tokio::test]
    async fn repair_gives_way_while_gateways_ask_and_no_longer() {
        let clock = Arc::new(Passing { began: Instant::now(), passed: Mutex::default(), asks: Mutex::default() });
        let member = member(clock.clone()).await;
        let passed = || *clock.passed.lock().unwrap();
        // How long it rests behind work that took a while, and during which so much was asked for.
        let rests = async |worked: Duration, asked: u32, bytes: u64| {
            let pace = member.begin_pace();
            *clock.passed.lock().unwrap() += worked;
            (0..asked).for_each(|_| member.foreground().note());
            assert_eq!(member.is_busy_since(pace), asked > 0);
            let before = passed();
            member.keep_pace(pace, bytes, 8).await;
            passed().saturating_sub(before)
        };
        let second = Duration::from_secs(1);
        assert_eq!(rests(second, 0, 1 << 30).await, Duration::ZERO, "nobody asks, and there is no budget");
        assert_eq!(rests(second, 3, 0).await, QUIET, "they have stopped");
        *clock.asks.lock().unwrap() = Some((member.clone(), passed() + 100 * second));
        assert_eq!(rests(second / 2, 3, 0).await, second / 2 * 7);
        assert_eq!(rests(second * 20, 3, 0).await, LONGEST);
        let stop = passed() + second + second / 2;
        *clock.asks.lock().unwrap() = Some((member.clone(), stop));
        assert_eq!(rests(second, 1, 0).await, second / 2 + QUIET);
        member.repair_limit.store(1 << 20, Ordering::Relaxed);
        assert_eq!(rests(second, 0, 3 << 20).await, second * 2, "of three seconds one is over");
        assert_eq!(rests(second, 0, 0).await, Duration::ZERO);
        member.repair_limit.store(0, Ordering::Relaxed);
        let pace = member.begin_pace();
        member.foreground().note();
        let before = passed();
        member.keep_pace(pace, 1 << 30, 1).await;
        assert_eq!(passed(), before, "it gives way to nobody");
    }

    #[test]
    fn r21_what_has_little_left_to_lose_is_urgent() {
        // Of seven members with four shards each f is 9: one that is lost can wait, two can't.
        assert_eq!([4, 8].map(|lacking| is_urgent(lacking, 9)), [false, true]);
        assert_eq!([0, 1].map(|lacking| is_urgent(lacking, 1)), [false, true]);
        assert_eq!([22, 23].map(|lacking| is_urgent(lacking, 33)), [false, true]);
    }
}
