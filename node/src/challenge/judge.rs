//! Judging an answer against the commitments (R28), and what an accusation says (R29).

use bytes::Bytes;
use weft_proto::v1::ChallengePiece;
use weft_protocol::{Accusation, Course, Entry, Fault, Incarnation, MemberId, Round, Seat, Signed, Statement};
use weft_redstuff::{BlobId, Hash, Layout};

use super::round::Outcome;
use crate::member::{Member, MemberError};

/// What an answer failed on.
#[derive(Debug)]
pub(super) struct Failure {
    round: Hash,
    began: u64,
    pub(super) blob: BlobId,
    pub(super) fault: Fault,
    answer: Option<Signed>,
}

pub(super) fn judge(
    member: &Member,
    seat: &Seat,
    round: &Round,
    pieces: &[ChallengePiece],
    answer: &Bytes,
) -> Result<Outcome, MemberError> {
    let layouts = round.blobs.iter().map(|blob| layout(member, blob)).collect::<Result<Vec<_>, _>>()?;
    let layout =
        |blob: &BlobId| round.blobs.iter().zip(&layouts).find(|(known, _)| *known == blob).and_then(|(_, l)| *l);
    // Deleted here, meanwhile.
    let Some(mut course) = Course::new(round, layout) else { return Ok(Outcome::PutOff) };
    let digest = round.digest();
    let answer = Signed::decode(answer).ok().filter(|answer| {
        let of_round = matches!(&answer.statement, Statement::Answer { round, .. } if *round == digest);
        of_round && answer.verify(member.identity().fleet, seat).is_ok()
    });
    let failed = |pieces, blob, fault, answer| {
        let failure = Failure { round: digest, began: round.began, blob, fault, answer };
        Ok(Outcome::Failed { pieces, failure: Box::new(failure) })
    };
    let mut proven = 0;
    for piece in pieces.iter().take(round.pieces as usize) {
        let place = course.place();
        let hashes = member.stripe_hashes(&place.blob, place.stripe)?;
        let Some(sliver) = hashes.and_then(|(_, hashes)| hashes.get(place.axis, place.index)) else {
            return Ok(Outcome::PutOff);
        };
        let path: Option<Vec<Hash>> = piece.path.iter().map(|hash| Hash::from_slice(hash)).collect();
        if !path.is_some_and(|path| course.check(&sliver, &piece.data, &path)) {
            return failed(proven, place.blob, Fault::Wrong, answer);
        }
        proven += 1;
    }
    let next = course.place().blob;
    match answer.as_ref().map(|answer| &answer.statement) {
        Some(Statement::Answer { state, lacks: None, .. })
            if *state == course.state() && proven == u64::from(round.pieces) =>
        {
            Ok(Outcome::Passed { pieces: proven })
        }
        Some(Statement::Answer { state, lacks: Some(lacks), .. })
            if *state == course.state() && *lacks == next && proven < u64::from(round.pieces) =>
        {
            failed(proven, next, Fault::Lacks, answer)
        }
        _ => failed(proven, next, Fault::Wrong, answer),
    }
}

fn layout(member: &Member, blob: &BlobId) -> Result<Option<Layout>, MemberError> {
    Ok(match member.entry(blob)? {
        Some(Entry::Live { metadata, .. }) => Some(metadata.layout),
        _ => None,
    })
}

pub(super) fn accusation(
    member: &Member,
    (accused, incarnation): (MemberId, Incarnation),
    failure: Failure,
) -> Accusation {
    let Failure { round, began, blob, fault, answer } = failure;
    let statement = Statement::Accusation { accused, incarnation, blob, began, round, fault };
    Accusation { statement: member.sign_now(statement), answer }
}
