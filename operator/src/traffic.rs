//! Who repairs on which Node. `repair.maxBandwidthPerMember` is meant for the machine as well: members that are at work on one
//! Node share what one of them may take there, whichever committees they are of.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use weft_planner::{ANSWER_HOLDS, Heard, Pod, Timestamp};

use crate::session::Incarnation;

/// Namespace and name of a committee.
type Name = (String, String);

/// What each incarnation of a committee may spend on repair, in bytes a second; 0: there is no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shares {
    limit: u64,
    of: BTreeMap<Incarnation, u64>,
}

impl Shares {
    pub fn of(&self, incarnation: Incarnation) -> u64 {
        self.of.get(&incarnation).copied().unwrap_or(self.limit)
    }
}

/// An incarnation that has a pod on a Node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence<'a> {
    pub incarnation: Incarnation,
    pub node: &'a str,
    /// As it told last, it has something to rebuild or to copy.
    pub works: bool,
}

/// Where a committee's incarnations are, and what they told lately.
pub fn presences<'a>(
    pods: impl Iterator<Item = &'a Pod>,
    heard: &BTreeMap<Incarnation, Heard>,
    now: Timestamp,
) -> Vec<Presence<'a>> {
    let works = |incarnation| {
        let lately = heard.get(&incarnation).filter(|heard| now - heard.at <= ANSWER_HOLDS);
        lately.is_some_and(|heard| heard.inventory.shards.iter().any(|report| report.missing_slivers > 0))
    };
    let present = |pod: &'a Pod| {
        let incarnation = (pod.member, pod.incarnation);
        Some(Presence { incarnation, node: pod.node.as_deref()?, works: works(incarnation) })
    };
    pods.filter(|pod| pod.is_alive()).filter_map(present).collect()
}

/// All incarnations of all committees that are at work: their Nodes, each once for each of them.
#[derive(Debug, Default)]
pub struct Traffic {
    busy: Mutex<BTreeMap<Name, Vec<String>>>,
}

impl Traffic {
    /// Notes who of a committee is at work, and gives each its share of `limit` (bytes a second; 0: none).
    pub fn shares(&self, (namespace, committee): (&str, &str), limit: u64, present: &[Presence<'_>]) -> Shares {
        let working = present.iter().filter(|presence| presence.works);
        let own: Vec<String> = working.map(|presence| presence.node.to_owned()).collect();
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let name = (namespace.to_owned(), committee.to_owned());
        if own.is_empty() {
            busy.remove(&name);
        } else {
            busy.insert(name, own);
        }
        let share = |presence: &Presence<'_>| {
            let at_work = busy.values().flatten().filter(|node| *node == presence.node).count() as u64;
            // Who has nothing to do may have in a moment.
            (presence.incarnation, limit / (at_work + u64::from(!presence.works)))
        };
        Shares { limit, of: present.iter().map(share).collect() }
    }

    /// Forgets a committee that is gone.
    pub fn forget(&self, namespace: &str, committee: &str) {
        let name = (namespace.to_owned(), committee.to_owned());
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
    }
}

#[cfg(test)]
mod tests {
    use weft_protocol::MemberId;

    use super::*;

    fn on(member: u32, node: &str, works: bool) -> Presence<'_> {
        Presence { incarnation: (MemberId(member), 1), node, works }
    }

    fn all(shares: &Shares) -> Vec<u64> {
        shares.of.values().copied().collect()
    }

    #[test]
    fn members_at_work_on_one_node_share_what_one_may_take() {
        let traffic = Traffic::default();
        let present = [on(0, "a", true), on(1, "a", true), on(2, "a", false), on(3, "b", true), on(4, "c", false)];
        assert_eq!(all(&traffic.shares(("x", "demo"), 60, &present)), [30, 30, 20, 60, 60]);
    }

    #[test]
    fn so_do_those_of_other_committees_until_they_are_done() {
        let traffic = Traffic::default();
        let (own, theirs) = ([on(0, "a", true), on(1, "b", true)], [on(0, "a", true)]);
        assert_eq!(all(&traffic.shares(("x", "demo"), 60, &own)), [60, 60]);
        assert_eq!(all(&traffic.shares(("y", "demo"), 30, &theirs)), [15]);
        assert_eq!(all(&traffic.shares(("x", "demo"), 60, &own)), [30, 60]);
        assert_eq!(all(&traffic.shares(("y", "demo"), 30, &[on(0, "a", false)])), [15]);
        assert_eq!(all(&traffic.shares(("x", "demo"), 60, &own)), [60, 60]);
        traffic.shares(("y", "demo"), 30, &theirs);
        traffic.forget("y", "demo");
        assert_eq!(all(&traffic.shares(("x", "demo"), 60, &own)), [60, 60]);
    }

    /// Its pod ends, or has no Node yet.
    #[test]
    fn who_is_nowhere_has_all_of_the_limit() {
        let shares = Traffic::default().shares(("x", "demo"), 60, &[on(0, "a", true), on(1, "a", true)]);
        assert_eq!((shares.of((MemberId(0), 1)), shares.of((MemberId(2), 1))), (30, 60));
    }

    #[test]
    fn who_has_no_limit_has_none_and_counts_for_the_others() {
        let traffic = Traffic::default();
        assert_eq!(all(&traffic.shares(("x", "demo"), 0, &[on(0, "a", true)])), [0]);
        assert_eq!(all(&traffic.shares(("y", "demo"), 60, &[on(0, "a", true)])), [30]);
    }
}
