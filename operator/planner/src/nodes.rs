//! Nodes that went silent: by their members, which is sooner than Kubernetes notices.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Claim, Pod, PodPhase, Timestamp, World, known::ANSWER_HOLDS};

impl World {
    /// Nodes on which members run by Kubernetes' word, and of which none has answered for a while.
    pub(crate) fn dark_nodes(&self, now: Timestamp) -> BTreeSet<String> {
        let mut answers: BTreeMap<&str, bool> = BTreeMap::new();
        for pod in self.pods.iter().filter(|pod| pod.phase == PodPhase::Running || pod.phase == PodPhase::Unknown) {
            let Some(node) = pod.node.as_deref() else { continue };
            let answered = self.answer(pod.member, pod.incarnation, now).is_some();
            let missed = self.missed.get(&(pod.member, pod.incarnation)).copied();
            // A process that has just been started isn't asked yet, or for the first time.
            if answered || missed.is_some_and(|since| now - since >= ANSWER_HOLDS) {
                *answers.entry(node).or_default() |= answered;
            }
        }
        answers.into_iter().filter(|(_, answers)| !answers).map(|(node, _)| node.to_owned()).collect()
    }

    /// The Nodes that a volume which is still to be made keeps off; none, where nothing else would be left.
    pub(crate) fn to_avoid(&self, now: Timestamp) -> Vec<String> {
        let dark = self.dark_nodes(now);
        if self.nodes.iter().filter(|node| node.is_ready()).all(|node| dark.contains(&node.name)) {
            return Vec::new();
        }
        dark.into_iter().collect()
    }

    /// Whether a claim waits for its volume on a Node that can't make it.
    pub(crate) fn hangs(&self, claim: &Claim, now: Timestamp) -> bool {
        let Some(name) = claim.selected.as_ref().filter(|_| claim.volume.is_none()) else { return false };
        let out = |node: &crate::Node| !node.is_ready() || node.out_of_service;
        self.node(name).is_some_and(out) || self.dark_nodes(now).contains(name)
    }
}

/// Whether an unscheduled pod keeps off other Nodes than it should by now.
pub(crate) fn is_outdated(pod: &Pod, avoid: &[String]) -> bool {
    pod.node.is_none() && pod.waiting.as_deref() == Some("Unschedulable") && pod.avoids != avoid
}
