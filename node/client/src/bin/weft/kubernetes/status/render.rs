//! The status as text.

use std::fmt::Write as _;

use jiff::Timestamp;
use weft_crds::{Incarnation, ListedBlobs, Margin, MemberState, MemberStatus, Missing, Survives};

use super::report::{Place, Report};
use crate::kubernetes::text::{age, bytes, columns, count, duration, ranges, table};

pub(super) fn render(report: &Report, now: Timestamp) -> String {
    let mut text = format!("{} in {}", report.committee, report.namespace);
    let serving = report.members.iter().filter(|member| member.current.state == MemberState::Serving).count();
    let _ = writeln!(text, ": {serving} of {} serve", count(report.wanted_members.into(), "member"));
    if report.paused {
        text += "It is paused: the operator only watches.\n";
    }
    if !report.up_to_date {
        text += "The operator hasn't looked at the newest spec yet.\n";
    }
    for (name, line) in facts(report) {
        let _ = writeln!(text, "{name:<9} {line}");
    }
    if !report.conditions.is_empty() {
        let mut conditions = table(&["CONDITION", "STATUS", "SINCE", "REASON", "MESSAGE"]);
        for condition in &report.conditions {
            let since = age(now, condition.last_transition_time.0);
            let (kind, status) = (&condition.type_, &condition.status);
            conditions.add_row([kind, status, &since, &condition.reason, &condition.message]);
        }
        let _ = write!(text, "\n{}", columns(conditions));
    }
    if !report.members.is_empty() {
        let _ = write!(text, "\n{}", members(&report.members, now));
    }
    text
}

fn facts(report: &Report) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    if let Some(epoch) = report.epoch {
        let mut line = epoch.current.to_string();
        if epoch.target != epoch.current {
            let _ = write!(line, ", {} is under way", epoch.target);
        }
        if let Some(Place { epoch, revision, in_effect }) = report.view {
            let _ = write!(line, "; view {epoch}.{revision}{}", if in_effect { "" } else { ", not yet in effect" });
        }
        if let Some(shards) = report.sealing {
            let _ = write!(line, "; the view before is being sealed: {} refuse it", count(shards.into(), "shard"));
        }
        facts.push(("Epoch", line));
    }
    let full = report.encoding.map(|code| {
        let factor = report.storage_factor.as_deref().map(|factor| format!("; stores {factor} bytes for each"));
        let (n, f) = (code.shards, code.fault_tolerance);
        facts.push(("Code", format!("{n} shards, any {f} may fail{}", factor.unwrap_or_default())));
        (2 * code.fault_tolerance, code.fault_tolerance)
    });
    if let Some(Margin { read, write }) = report.margin {
        let of = |full: Option<u16>| full.map(|full| format!(" of {full}")).unwrap_or_default();
        let (to_read, to_write) = (of(full.map(|full| full.0)), of(full.map(|full| full.1)));
        let mut line = format!("{read}{to_read} shards to read, {write}{to_write} to write");
        if let Some(Survives { members, zones }) = report.survives {
            let (members, zones) = (count(members.into(), "member"), count(zones.into(), "zone"));
            let _ = write!(line, "; survives {members} or {zones}");
        }
        facts.push(("Margin", line));
    }
    if let Some(Missing { slivers, bytes: missing }) = report.missing {
        let mut line = match slivers {
            0 => "nothing".to_owned(),
            _ => format!("{}, {}", count(slivers, "sliver"), bytes(missing)),
        };
        if let Some(repair) = report.repair {
            let (rate, left) = (bytes(repair.bytes_per_second), duration(repair.seconds_left));
            let _ = write!(line, "; {rate} a second are mended: about {left} more");
        } else if missing > 0 {
            line += "; how fast it is mended isn't known yet";
        }
        facts.push(("Missing", line));
    }
    if let Some(unrecoverable) = &report.unrecoverable {
        let what = ["is unrecoverable", "are unrecoverable"];
        facts.push(("Lost", listed(unrecoverable, what, "a volume that comes back may heal, weft rm ID gives up")));
    }
    if let Some(invalid) = &report.invalid {
        let what = ["was never sound, its writer lied", "were never sound, their writers lied"];
        facts.push(("Invalid", listed(invalid, what, "nobody reads them, weft rm ID clears up")));
    }
    facts
}

/// `what` is said of one blob, and of many.
fn listed(ListedBlobs { blobs, ids }: &ListedBlobs, what: [&str; 2], then: &str) -> String {
    let what = what[usize::from(*blobs != 1)];
    let more = if *blobs > ids.len() as u64 { ", …" } else { "" };
    format!("{} {what}: {}{more}; {then}", count(*blobs, "blob"), ids.join(", "))
}

fn members(members: &[MemberStatus], now: Timestamp) -> String {
    let head = ["MEMBER", "STATE", "SINCE", "ZONE", "NODE", "POD", "SHARDS", "CUSTODY", "REASON"];
    let mut table = table(&head);
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let shards = |shards: &[u8]| match shards.len() {
        0 => "-".to_owned(),
        number => format!("{number} ({})", ranges(shards)),
    };
    let mut row = |id: u32, incarnation: &Incarnation, pod: &Option<String>, [owned, kept]: [&[u8]; 2]| {
        let Incarnation { number, state, reason, since, zone, node, .. } = incarnation;
        table.add_row([
            format!("{id}-{number}"),
            format!("{state:?}"),
            since.as_ref().map_or_else(|| "-".to_owned(), |since| age(now, since.0)),
            text(zone),
            text(node),
            text(pod),
            shards(owned),
            shards(kept),
            reason.clone().unwrap_or_default(),
        ]);
    };
    for member in members {
        row(member.id, &member.current, &member.pod, [&member.shards, &member.custody]);
        if let Some(successor) = &member.successor {
            row(member.id, &successor.next, &None, [&[], &[]]);
        }
    }
    columns(table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::{pace::Repair, testing};

    #[test]
    fn a_degraded_fleet_is_told_at_a_glance() {
        let repair = Some(Repair { bytes_per_second: 25 << 20, seconds_left: 61 });
        let text = render(&Report::new(testing::committee(), repair), testing::now());
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_healthy_fleet_is_told_without_conditions() {
        let mut committee = testing::committee();
        let status = committee.status.as_mut().unwrap();
        for condition in &mut status.conditions {
            let good = ["Available", "Ready", "CapacityForRepair"].contains(&condition.type_.as_str());
            condition.status = if good { "True" } else { "False" }.to_owned();
        }
        status.missing = Some(Missing::default());
        status.margin = Some(Margin { read: 18, write: 9 });
        status.members.retain(|member| member.current.state == MemberState::Serving);
        status.epoch = Some(weft_crds::EpochPointer { current: 4, target: 4 });
        insta::assert_snapshot!(render(&Report::new(committee, None), testing::now()));
    }

    #[test]
    fn listed_blobs_are_named() {
        let mut committee = testing::committee();
        let status = committee.status.as_mut().unwrap();
        status.unrecoverable = Some(ListedBlobs { blobs: 3, ids: vec!["aa11".to_owned(), "bb22".to_owned()] });
        status.invalid = Some(ListedBlobs { blobs: 1, ids: vec!["cc33".to_owned()] });
        let text = render(&Report::new(committee, None), testing::now());
        let line = text.lines().find(|line| line.starts_with("Lost")).unwrap();
        let told = "3 blobs are unrecoverable: aa11, bb22, …; a volume that comes back may heal, weft rm ID gives up";
        assert_eq!(line, format!("Lost      {told}"));
        let line = text.lines().find(|line| line.starts_with("Invalid")).unwrap();
        let told = "1 blob was never sound, its writer lied: cc33; nobody reads them, weft rm ID clears up";
        assert_eq!(line, format!("Invalid   {told}"));
    }

    #[test]
    fn a_committee_that_nobody_has_looked_at_is_told_too() {
        let mut committee = testing::committee();
        committee.status = None;
        let text = render(&Report::new(committee, None), testing::now());
        assert_eq!(text, "demo in team-a: 0 of 7 members serve\nThe operator hasn't looked at the newest spec yet.\n");
    }
}
