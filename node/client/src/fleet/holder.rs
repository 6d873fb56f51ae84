//! A member and how to reach it.

use std::{
    future::Future,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tonic::{Code, Response, Status, transport::Channel};
use weft_proto::{
    MAX_MESSAGE,
    v1::{reads_client::ReadsClient, writes_client::WritesClient},
};
use weft_protocol::{MemberId, ShardSet};

use crate::Traced;

/// How long a member that failed is asked after the others.
const SUSPICION: Duration = Duration::from_secs(5);
/// How recently a member must have answered to count as there.
const RECENT: Duration = Duration::from_secs(6);

/// When a member answered last, and when it failed to.
#[derive(Debug, Default)]
pub(crate) struct Health(Mutex<Seen>);

#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    answered: Option<Instant>,
    failed: Option<Instant>,
}

impl Health {
    pub(crate) fn record(&self, reached: bool) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Some(Instant::now());
        if reached { seen.answered = now } else { seen.failed = now }
    }

    fn seen(&self) -> Seen {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An incarnation of a member whose address is known.
#[derive(Debug)]
pub struct Holder {
    member: MemberId,
    incarnation: u32,
    shards: ShardSet,
    channel: Traced,
    health: std::sync::Arc<Health>,
}

impl Holder {
    /// `shards` are none of a member that the newest view doesn't seat.
    pub(crate) fn new(
        (member, incarnation): (MemberId, u32),
        shards: ShardSet,
        channel: Channel,
        health: std::sync::Arc<Health>,
    ) -> Self {
        Self { member, incarnation, shards, channel: channel.into(), health }
    }

    pub fn incarnation(&self) -> u32 {
        self.incarnation
    }

    pub fn member(&self) -> MemberId {
        self.member
    }

    /// The shards that the view gives it.
    pub fn shards(&self) -> ShardSet {
        self.shards
    }

    /// Whether it failed lately and hasn't answered since.
    pub fn is_suspect(&self) -> bool {
        let Seen { answered, failed } = self.health.seen();
        failed.is_some_and(|failed| failed.elapsed() < SUSPICION && answered.is_none_or(|answered| answered < failed))
    }

    /// Whether it answered within the last seconds, and hasn't failed since.
    pub fn answers(&self) -> bool {
        self.health.seen().answered.is_some_and(|answered| answered.elapsed() < RECENT) && !self.is_suspect()
    }

    pub(crate) fn answered_since(&self, moment: Instant) -> bool {
        self.health.seen().answered.is_some_and(|answered| answered >= moment)
    }

    pub(crate) fn reads(&self) -> ReadsClient<Traced> {
        ReadsClient::new(self.channel.clone())
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE)
    }

    pub(crate) fn writes(&self) -> WritesClient<Traced> {
        WritesClient::new(self.channel.clone())
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE)
    }

    /// Waits for an answer for at most `limit`, and remembers whether the member could be reached.
    pub(crate) async fn call<T>(
        &self,
        limit: Duration,
        request: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Status> {
        let answer = tokio::time::timeout(limit, request)
            .await
            .unwrap_or_else(|_| Err(Status::deadline_exceeded(format!("no answer within {limit:?}"))));
        self.health.record(answer.as_ref().err().is_none_or(reached));
        answer.map(Response::into_inner)
    }
}

/// Whether a status comes from a member that serves. Failures of the connection have a cause on this side, or one of
/// these codes.
pub(crate) fn reached(status: &Status) -> bool {
    let lost = matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded | Code::Unknown | Code::Cancelled);
    !lost && std::error::Error::source(status).is_none()
}

/// Whether a member says that it has no room. HTTP/2 calls a connection that was overwhelmed by the same code.
pub(crate) fn has_no_room(status: &Status) -> bool {
    status.code() == Code::ResourceExhausted && reached(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_member_says_that_it_has_no_room() {
        let mut status = Status::resource_exhausted("the volume is full");
        assert!(has_no_room(&status));
        status.set_source(std::sync::Arc::new(std::io::Error::other("too many resets")));
        assert!(!has_no_room(&status));
    }
}
