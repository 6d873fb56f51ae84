//! One round: draw it, close its blobs, ask, open them again, judge the answer.

use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use weft_client::Traced;
use weft_proto::v1::{ChallengeReply, ChallengeRequest, CloseRequest, challenges_client::ChallengesClient};
use weft_protocol::{Entry, MemberId, Round, Seat, ShardSet, SignedView};
use weft_redstuff::BlobId;

use super::{
    choose,
    closings::MAX_CLOSED,
    judge::{self, Failure},
};
use crate::member::{Late, Member, MemberError};

/// How long a peer may take to close blobs, or to tell what it lacks.
const PROMPT: Duration = Duration::from_secs(2);

/// The least time for an answer: slow disks and busy machines are no cheaters.
const LEAST: Duration = Duration::from_secs(2);

/// The most: who fetches what it doesn't hold, by a gateway say, has no longer (R30).
const MOST: Duration = Duration::from_secs(10);

/// What came of a round.
#[derive(Debug)]
pub(super) enum Outcome {
    /// All pieces were proven.
    Passed { pieces: u64 },
    Failed {
        /// That were proven before.
        pieces: u64,
        failure: Box<Failure>,
    },
    /// No answer, or not in time: the next round asks for other pieces.
    Unanswered,
    /// It couldn't be held, or its answer not be judged: by another view, by deletes, by other rounds.
    PutOff,
    /// There is no blob to ask about.
    Nothing,
}

impl Outcome {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Passed { .. } => "passed",
            Self::Failed { failure, .. } => failure.fault.name(),
            Self::Unanswered => "unanswered",
            Self::PutOff => "put_off",
            Self::Nothing => "nothing",
        }
    }
}

/// Holds a round with the incarnation in `seat`.
pub(super) async fn hold(
    member: &Member,
    newest: &SignedView,
    seat: &Seat,
    interval: Duration,
) -> Result<Outcome, MemberError> {
    // Who isn't there is on the way to being unreachable by other means.
    if !member.reachable().contains(&seat.member) {
        return Ok(Outcome::PutOff);
    }
    let channel = member.channel_to((seat.member, seat.incarnation.number))?;
    let told = match tokio::time::timeout(PROMPT, choose::ask(member, newest, channel.clone())).await {
        Ok(Ok(Some(told))) => told,
        Ok(Ok(None)) => return Ok(Outcome::PutOff),
        Ok(Err(_)) | Err(_) => return Ok(Outcome::Unanswered),
    };
    let Some(round) = choose::round(member, newest, seat, &told)? else { return Ok(Outcome::Nothing) };
    let deadline = (interval / 4).clamp(LEAST, MOST);
    let closed = close(member, newest, &round, deadline + PROMPT).await;
    let outcome = if closed { challenge(member, seat, &round, channel, deadline).await } else { Ok(Outcome::PutOff) };
    open(member, &round).await;
    outcome
}

async fn challenge(
    member: &Member,
    seat: &Seat,
    round: &Round,
    channel: Traced,
    deadline: Duration,
) -> Result<Outcome, MemberError> {
    let mut client = ChallengesClient::new(channel).max_decoding_message_size(weft_proto::MAX_MESSAGE);
    let request = ChallengeRequest { round: round.encode().into() };
    match tokio::time::timeout(deadline, client.challenge(request)).await {
        Ok(Ok(reply)) => {
            let ChallengeReply { pieces, answer, gone } = reply.into_inner();
            if gone.is_empty() {
                judge::judge(member, seat, round, &pieces, &answer)
            } else {
                excuse(member, round, &gone).await
            }
        }
        Ok(Err(status)) if status.code() == tonic::Code::FailedPrecondition => Ok(Outcome::PutOff),
        Ok(Err(status)) => {
            tracing::debug!(member = %seat.member, %status, "challenge: no answer");
            Ok(Outcome::Unanswered)
        }
        Err(_) => Ok(Outcome::Unanswered),
    }
}

/// Blobs that have been deleted meanwhile are nobody's fault, where that is proven.
async fn excuse(member: &Member, round: &Round, gone: &[Bytes]) -> Result<Outcome, MemberError> {
    let Ok(entries) = gone.iter().take(Round::MAX_BLOBS).map(|entry| Entry::decode(entry)).collect() else {
        return Ok(Outcome::Unanswered);
    };
    member.merge(entries, Vec::new(), Late::Aside).await?;
    let live =
        |blob: &BlobId| -> Result<bool, MemberError> { Ok(member.entry(blob)?.is_some_and(|entry| entry.is_live())) };
    for blob in &round.blobs {
        if !live(blob)? {
            return Ok(Outcome::PutOff);
        }
    }
    Ok(Outcome::Unanswered)
}

/// Has all peers that can be reached close the round's blobs to the challenged. `false` when holders of more than f
/// shards won't: what they would serve is enough to get by.
async fn close(member: &Member, newest: &SignedView, round: &Round, length: Duration) -> bool {
    let (own, now) = (member.identity().member, member.env().clock.now());
    let length = length.min(MAX_CLOSED);
    if !member.closings().close(own, round.challenged.0, &round.blobs, length, now) {
        return false;
    }
    let peers = others(member, round);
    let answers = join_all(peers.iter().map(|peer| tell(member, *peer, round, length))).await;
    let refusing = peers.iter().zip(answers).filter(|(_, closed)| *closed == Some(false));
    let shards = refusing
        .filter_map(|(peer, _)| newest.view.seat(*peer))
        .fold(ShardSet::EMPTY, |all, seat| all.union(seat.shards));
    shards.len() <= newest.view.code.fault_tolerance()
}

async fn open(member: &Member, round: &Round) {
    let (own, now) = (member.identity().member, member.env().clock.now());
    member.closings().open(own, round.challenged.0, now);
    join_all(others(member, round).into_iter().map(|peer| tell(member, peer, round, Duration::ZERO))).await;
}

fn others(member: &Member, round: &Round) -> Vec<MemberId> {
    member.reachable().into_iter().filter(|peer| *peer != round.challenged.0).collect()
}

/// Tells a peer to close the round's blobs for so long, or to open them. `None` when it doesn't answer.
async fn tell(member: &Member, peer: MemberId, round: &Round, length: Duration) -> Option<bool> {
    let request = CloseRequest {
        challenged: round.challenged.0.0,
        blobs: round.blobs.iter().map(|blob| Bytes::copy_from_slice(blob.as_bytes())).collect(),
        for_ms: length.as_millis() as u32,
    };
    let mut client = ChallengesClient::new(member.peer_channel(peer).ok()?);
    let reply = tokio::time::timeout(PROMPT, client.close(request)).await.ok()?.ok()?;
    Some(reply.into_inner().closed)
}
