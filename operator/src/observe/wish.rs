//! The spec, with its defaults filled in.

use std::{collections::BTreeSet, time::Duration};

use thiserror::Error;
use weft_crds::{DurationError, QuantityError, TimeOfDayError};
use weft_planner::{Committee, MaintenanceWindow, Spread};
use weft_protocol::{Authority, DecodeError, MemberId};
use weft_redstuff::{Code, CodeError};

use crate::{names, subject::Subject};

#[derive(Debug, Error)]
pub enum WishError {
    #[error("understand the encoding")]
    Code(#[source] CodeError),
    #[error("understand spec.fleetId")]
    Fleet(#[source] DecodeError),
    #[error("understand spec.{field}")]
    Duration { field: &'static str, source: DurationError },
    #[error("understand {annotation}: {entry:?} is not MEMBER-INCARNATION, such as 3-1", annotation = names::DECLARE_LOST)]
    DeclareLost { entry: String },
    #[error("understand spec.maintenanceWindows")]
    TimeOfDay(#[from] TimeOfDayError),
    #[error("understand spec.repair.maxBandwidthPerMember")]
    Bandwidth(#[source] QuantityError),
}

/// What the committee shall be. `authority`: its keys, once they are made.
pub fn committee(subject: &Subject, authority: Option<Authority>) -> Result<Committee, WishError> {
    let spec = &subject.spec;
    let encoding = subject.status.encoding.unwrap_or_else(|| spec.encoding());
    let duration = |field, text: &weft_crds::DurationText| -> Result<Duration, WishError> {
        text.get().map_err(|source| WishError::Duration { field, source })
    };
    Ok(Committee {
        namespace: subject.namespace.name.clone(),
        name: subject.name.clone(),
        generation: subject.generation,
        members: spec.members,
        code: Code::new(encoding.shards, encoding.fault_tolerance).map_err(WishError::Code)?,
        fleet: spec.fleet_id.as_deref().map(str::parse).transpose().map_err(WishError::Fleet)?,
        authority,
        unreachable_after: duration("repair.unreachableAfter", &spec.repair.unreachable_after)?,
        settle: duration("epochs.settle", &spec.epochs.settle)?,
        interval: spec.epochs.interval.as_ref().map(|text| duration("epochs.interval", text)).transpose()?,
        retain_for: duration("epochs.retainFor", &spec.epochs.retain_for)?,
        drain: spec.drain.iter().copied().map(MemberId).collect(),
        replace: spec.replace.iter().map(|wish| (MemberId(wish.member), wish.incarnation)).collect(),
        declared_lost: declared_lost(subject)?,
        spread: match spec.placement.spread {
            weft_crds::Spread::Preferred => Spread::Preferred,
            weft_crds::Spread::Required => Spread::Required,
        },
        inputs: subject.inputs(),
        maintenance: spec.maintenance_windows.iter().map(maintenance).collect::<Result<_, _>>()?,
        paused: spec.paused,
        deleting: subject.deleting,
        confirmed_rewind: subject.confirmed_rewind(),
    })
}

fn maintenance(window: &weft_crds::MaintenanceWindow) -> Result<MaintenanceWindow, WishError> {
    let duration = window.duration.get();
    let mut days = [window.days.is_empty(); 7];
    window.days.iter().for_each(|day| days[*day as usize] = true);
    Ok(MaintenanceWindow {
        days,
        start: window.start.get()?,
        duration: duration.map_err(|source| WishError::Duration { field: "maintenanceWindows[].duration", source })?,
    })
}

/// The time between two rounds of challenges with one peer (R28).
pub fn challenges(subject: &Subject) -> Result<Duration, WishError> {
    let interval = subject.spec.challenges.interval.get();
    interval.map_err(|source| WishError::Duration { field: "challenges.interval", source })
}

/// The time in which a member reads everything that it holds once.
pub fn scrub(subject: &Subject) -> Result<Duration, WishError> {
    let period = subject.spec.scrub.period.get();
    period.map_err(|source| WishError::Duration { field: "scrub.period", source })
}

/// The incarnations that a person declares lost: `weft.dev/declare-lost: "3-1,4-1"` (R7).
fn declared_lost(subject: &Subject) -> Result<BTreeSet<(MemberId, u32)>, WishError> {
    let Some(text) = subject.annotation(names::DECLARE_LOST) else { return Ok(BTreeSet::new()) };
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let parse = |entry: &str| {
        let (member, incarnation) = entry.split_once('-')?;
        Some((MemberId(member.parse().ok()?), incarnation.parse().ok()?))
    };
    entries.map(|entry| parse(entry).ok_or_else(|| WishError::DeclareLost { entry: entry.to_owned() })).collect()
}

/// The most bytes a second that a member spends on repair; 0: no limit.
pub fn bandwidth(subject: &Subject) -> Result<u64, WishError> {
    let limit = subject.spec.repair.max_bandwidth_per_member.as_ref();
    Ok(limit.map(weft_crds::QuantityText::bytes).transpose().map_err(WishError::Bandwidth)?.unwrap_or_default())
}
