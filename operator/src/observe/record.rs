//! What status and the Epoch objects remember, as the planner's record.

use base64::{Engine, prelude::BASE64_STANDARD};
use thiserror::Error;
use weft_crds::{Epoch, Incarnation, MemberStatus, Successor, epoch_condition};
use weft_planner::{
    EpochPhase, EpochRecord, EpochWish, IncarnationRecord, MemberRecord, MemberState, Pending, Record, Rewind,
    Timestamp,
};
use weft_protocol::{Declaration, DecodeError, MemberId, Signature, SignedView, View};
use weft_redstuff::{Code, CodeError};

use crate::{env::instant, subject::Subject};

#[derive(Debug, Error)]
pub enum RecordError {
    #[error("understand {field} of status")]
    Field { field: &'static str, source: DecodeError },
    #[error("the recorded view {hash} has no {field}")]
    ViewWithout { hash: String, field: &'static str },
    #[error("read the recorded view {hash}: its {field} is not {encoding}")]
    ViewText { hash: String, field: &'static str, encoding: &'static str },
    #[error("read the recorded declaration: it is not base64")]
    Declaration,
    #[error("the recorded encoding")]
    Code(#[source] CodeError),
    #[error("view {successor} is recorded as pending, but not the one that it follows")]
    NothingSealed { successor: String },
}

/// Reads the record.
pub fn record(subject: &Subject, term: u64, epochs: &[Epoch]) -> Result<Record, RecordError> {
    let status = &subject.status;
    let newest = status.view.as_ref().map(view).transpose()?;
    let (view, pending) = match (newest, &status.view, &status.sealing) {
        (Some(newest), Some(recorded), _) if recorded.in_effect => (Some(newest), None),
        (Some(newest), _, Some(sealing)) => {
            let declaration = sealing.declaration.as_deref().map(declaration).transpose()?;
            let pending = Pending { view: newest, since: instant(sealing.since.0), declaration };
            (Some(self::view(&sealing.view)?), Some(pending))
        }
        (Some(newest), _, None) => {
            return Err(RecordError::NothingSealed { successor: newest.view.hash().to_string() });
        }
        (None, ..) => (None, None),
    };
    let code = |encoding: &weft_crds::Encoding| Code::new(encoding.shards, encoding.fault_tolerance);
    let mut epochs: Vec<_> = epochs.iter().filter_map(epoch).collect();
    epochs.sort_by_key(|epoch| epoch.number);
    Ok(Record {
        fleet: parse("fleetId", status.fleet_id.as_deref())?,
        code: status.encoding.as_ref().map(code).transpose().map_err(RecordError::Code)?,
        term,
        view,
        pending,
        adopted: false,
        rewound: status
            .rewound
            .as_ref()
            .map(|rewound| Rewind { position: (rewound.epoch, rewound.revision), term: rewound.term }),
        members: status.members.iter().map(member).collect::<Result<_, _>>()?,
        epochs,
    })
}

fn parse<T: std::str::FromStr<Err = DecodeError>>(
    field: &'static str,
    text: Option<&str>,
) -> Result<Option<T>, RecordError> {
    text.map(str::parse).transpose().map_err(|source| RecordError::Field { field, source })
}

/// A recorded view with its signature.
pub fn view(recorded: &weft_crds::View) -> Result<SignedView, RecordError> {
    let hash = || recorded.hash.clone();
    let without = |field| RecordError::ViewWithout { hash: hash(), field };
    let encoded = recorded.encoded.as_ref().ok_or_else(|| without("encoded bytes"))?;
    let bytes = BASE64_STANDARD.decode(encoded).map_err(|_| RecordError::ViewText {
        hash: hash(),
        field: "encoded bytes",
        encoding: "base64",
    })?;
    let mut signature = [0; 64];
    hex::decode_to_slice(recorded.signature.as_ref().ok_or_else(|| without("signature"))?, &mut signature)
        .map_err(|_| RecordError::ViewText { hash: hash(), field: "signature", encoding: "128 hexadecimal digits" })?;
    let view = View::decode(&bytes).map_err(|source| RecordError::Field { field: "view", source })?;
    Ok(SignedView { view, signature: Signature(signature) })
}

fn declaration(recorded: &str) -> Result<Declaration, RecordError> {
    let bytes = BASE64_STANDARD.decode(recorded).map_err(|_| RecordError::Declaration)?;
    Declaration::decode(&bytes).map_err(|source| RecordError::Field { field: "sealing.declaration", source })
}

fn member(status: &MemberStatus) -> Result<MemberRecord, RecordError> {
    let successor = |next: &Successor| incarnation(&next.next, next.inherits);
    Ok(MemberRecord {
        id: MemberId(status.id),
        current: incarnation(&status.current, None)?,
        successor: status.successor.as_ref().map(successor).transpose()?,
        shards: status.shards.clone(),
        custody: status.custody.clone(),
    })
}

fn incarnation(status: &Incarnation, inherits: Option<u32>) -> Result<IncarnationRecord, RecordError> {
    let Incarnation {
        number,
        attempt,
        state,
        reason,
        since,
        restarting,
        zone,
        node,
        claim_uid,
        volume_uid,
        volume_id,
        public_key,
    } = status.clone();
    Ok(IncarnationRecord {
        number,
        inherits,
        attempt,
        state: self::state(state),
        reason: reason.unwrap_or_default(),
        since: since.map_or(Timestamp(0), |since| instant(since.0)),
        restarting: restarting.map(|at| instant(at.0)),
        node,
        zone,
        claim_uid,
        volume_uid,
        volume: parse("an incarnation's volumeId", volume_id.as_deref())?,
        key: parse("an incarnation's publicKey", public_key.as_deref())?,
    })
}

fn state(state: weft_crds::MemberState) -> MemberState {
    match state {
        weft_crds::MemberState::Pending => MemberState::Pending,
        weft_crds::MemberState::Starting => MemberState::Starting,
        weft_crds::MemberState::Serving => MemberState::Serving,
        weft_crds::MemberState::Unreachable => MemberState::Unreachable,
        weft_crds::MemberState::Lost => MemberState::Lost,
        weft_crds::MemberState::Faulty => MemberState::Faulty,
        weft_crds::MemberState::Draining => MemberState::Draining,
        weft_crds::MemberState::Leaving => MemberState::Leaving,
        weft_crds::MemberState::Returned => MemberState::Returned,
    }
}

/// An Epoch object; `None` while its status isn't written.
fn epoch(epoch: &Epoch) -> Option<EpochRecord> {
    let status = epoch.status.as_ref()?;
    let flipped = |kind: &str| {
        let condition = status.conditions.iter().find(|condition| condition.type_ == kind)?;
        Some(instant(condition.last_transition_time.0))
    };
    let created = epoch.metadata.creation_timestamp.as_ref().map(|time| instant(time.0));
    let committed = status.committed_at.as_ref().map(|time| instant(time.0));
    let (phase, since) = match status.phase? {
        weft_crds::EpochPhase::Planned => (EpochPhase::Planned, created),
        weft_crds::EpochPhase::Migrating => (EpochPhase::Migrating, flipped(epoch_condition::ACCEPTED)),
        weft_crds::EpochPhase::Sealing => (EpochPhase::Sealing, flipped(epoch_condition::SEALED)),
        weft_crds::EpochPhase::Committed => (EpochPhase::Committed, committed),
        weft_crds::EpochPhase::Retired => (EpochPhase::Retired, committed),
        weft_crds::EpochPhase::Superseded => (EpochPhase::Superseded, created),
    };
    Some(EpochRecord {
        number: epoch.spec.number,
        phase,
        owners: status.owners.iter().copied().map(MemberId).collect(),
        members: status.members.iter().map(|member| (MemberId(member.id), member.incarnation)).collect(),
        since: since.or(created).unwrap_or(Timestamp(0)),
        chosen: epoch.spec.owners.as_ref().is_some_and(|wished| *wished == status.owners),
    })
}

/// Epoch objects that users made, and that the operator hasn't taken up.
pub fn wished(epochs: &[Epoch]) -> Vec<EpochWish> {
    let untouched = epochs.iter().filter(|epoch| epoch.status.as_ref().is_none_or(|status| status.phase.is_none()));
    let wish = |epoch: &Epoch| {
        let conditions = epoch.status.iter().flat_map(|status| &status.conditions);
        let refused = conditions.filter(|said| said.type_ == epoch_condition::ACCEPTED && said.status == "False");
        EpochWish {
            number: epoch.spec.number,
            owners: epoch.spec.owners.as_ref().map(|owners| owners.iter().copied().map(MemberId).collect()),
            refused: refused.map(|said| said.message.clone()).next(),
        }
    };
    untouched.filter(|epoch| epoch.metadata.deletion_timestamp.is_none()).map(wish).collect()
}
