//! Scrub: everything that a member holds is read again and checked, once in a period, so that what rots is found, and mended
//! from its peers, while those still have theirs (DESIGN §3).
//!
//! A pass goes through the registry in the order of IDs. IDs are hashes, so that a pass is as far through the bytes as it is
//! through the IDs, and it is as far through the IDs as its time is through the period. After a standstill it catches up, at a
//! rate that leaves the disk to others. How far it is outlives the process.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use weft_redstuff::BlobId;
use weft_store::View;

use crate::member::{Member, MemberError, Pass, Scrubbed};

/// How often to look whether something is due.
const IDLE: Duration = Duration::from_secs(1);

/// How often it is recorded how far the pass is: so much is read twice after a crash.
const NOTED: Duration = Duration::from_secs(60);

/// The least bytes a second at which a pass that is late catches up; or else so many times what the period takes.
const CATCH_UP: f64 = 16e6;
const TIMES: f64 = 2.0;

/// Runs for the life of the process.
pub(crate) async fn run(member: Arc<Member>) {
    let since = member.env().clock.now();
    let mut scrub = Scrub { member: member.clone(), pass: None, recorded: None, since, readable: true };
    loop {
        let wait = scrub.turn().await.unwrap_or_else(|error| {
            tracing::warn!(%error, "scrub: what is held could not be read again; it is tried again");
            IDLE
        });
        member.env().clock.sleep(wait).await;
    }
}

struct Scrub {
    member: Arc<Member>,
    pass: Option<Pass>,
    /// The pass as it is on the volume, and since when.
    recorded: Option<Pass>,
    since: Instant,
    /// Whether the last sliver could be read.
    readable: bool,
}

impl Scrub {
    /// Reads the next stripe, if it is due. Gives how long to wait.
    async fn turn(&mut self) -> Result<Duration, MemberError> {
        let member = self.member.clone();
        let Some(period) = member.scrub_period().filter(|_| !member.is_read_only()) else { return Ok(IDLE) };
        let clock = &member.env().clock;
        let now = clock.unix_seconds();
        let mut pass = self.pass(now, period)?;
        let due = (now - pass.began) as f64 / period.as_secs_f64();
        let next = member.entry_ids(&[], pass.after, 1)?.0.pop();
        let (began, mut read) = (clock.now(), Scrubbed::default());
        let is_read = match next {
            Some((blob, kind)) if share(&blob) <= due => {
                if kind.is_live() {
                    read = self.read(&blob, pass.stripe(&blob)).await;
                }
                pass.go_on(blob, read);
                true
            }
            None if due >= 1.0 => {
                tracing::info!(seconds = now - pass.began, found = pass.found, "scrub: a pass is over");
                member.metrics().scrub_passed();
                pass = Pass::begin(now, Some(now));
                false
            }
            _ => false,
        };
        member.metrics().scrub_ended(pass.ended);
        self.pass = Some(pass);
        self.record().await?;
        if !is_read {
            return Ok(IDLE);
        }
        let rate = CATCH_UP.max(TIMES * member.store().view().totals().sliver_bytes as f64 / period.as_secs_f64());
        let least = Duration::from_secs_f64(read.bytes as f64 / rate);
        Ok(least.saturating_sub(clock.now().duration_since(began)))
    }

    /// What can't be read holds up nothing behind it: it is met again in the next pass.
    async fn read(&mut self, blob: &BlobId, stripe: u32) -> Scrubbed {
        self.member.scrub(blob, stripe, &mut self.readable).await.unwrap_or_else(|error| {
            tracing::warn!(%blob, stripe, %error, "scrub: what is held of the blob can't be read");
            Scrubbed::default()
        })
    }

    /// The pass that is under way. Where the clock was set back, it goes on where it is from now on.
    fn pass(&self, now: u64, period: Duration) -> Result<Pass, MemberError> {
        let pass = match self.pass {
            Some(pass) => pass,
            None => self.member.pass()?.unwrap_or_else(|| Pass::begin(now, None)),
        };
        if pass.began <= now {
            return Ok(pass);
        }
        let done = period.mul_f64(pass.after.as_ref().map_or(0.0, share));
        Ok(Pass { began: now.saturating_sub(done.as_secs()), ..pass })
    }

    /// Records how far the pass is, now and then.
    async fn record(&mut self) -> Result<(), MemberError> {
        let now = self.member.env().clock.now();
        let Some(pass) = self.pass.filter(|pass| self.recorded != Some(*pass)) else { return Ok(()) };
        if self.recorded.is_some() && now.duration_since(self.since) < NOTED {
            return Ok(());
        }
        self.member.record_pass(pass).await?;
        (self.recorded, self.since) = (Some(pass), now);
        Ok(())
    }
}

/// How far through all IDs one is, from 0 to 1.
fn share(blob: &BlobId) -> f64 {
    let first = u64::from_be_bytes(*blob.0.first_chunk().expect("an ID has 32 bytes"));
    first as f64 / u64::MAX as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_is_as_far_as_the_ids_are() {
        let id = |first: u8| BlobId([first; 32]);
        assert!(share(&id(0)) < 0.001 && share(&id(255)) > 0.999);
        assert!((share(&id(128)) - 0.5).abs() < 0.01);
    }
}
