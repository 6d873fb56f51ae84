//! What the API server won't have of what a committee needs: a quota, a policy, an object that it finds wrong. It is told
//! in its own words, and holds up nothing else.

use std::{collections::BTreeMap, time::Duration};

use weft_planner::{Plan, Step, Timestamp};

use crate::{
    act::{spare_keys, volumes},
    api::ApiError,
    observe::nodes,
    reconcile::chain,
};

/// A refusal that has stood for so long is for a person: a busy API server may refuse anything for a moment.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is refused: an act's name, and its target.
type Key = (&'static str, String);

/// One refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub since: Timestamp,
    /// What it was for: a sentence without its full stop.
    pub reason: String,
    /// The API server's words.
    pub by: String,
    /// Something that the spec wants can't be had. Else less is seen of the cluster, and the fleet is as well without.
    pub grave: bool,
}

/// What is asked of the API server, and what for.
#[derive(Clone, Copy, Debug)]
pub struct Want<'a> {
    pub act: &'static str,
    pub target: &'a str,
    /// A sentence without its full stop.
    pub reason: &'a str,
    pub grave: bool,
}

impl<'a> Want<'a> {
    /// What the spec takes.
    pub fn of_spec(act: &'static str, target: &'a str, reason: &'a str) -> Self {
        Self { act, target, reason, grave: true }
    }

    /// What isn't needed for what the spec wants, but would show more.
    pub fn to_see(act: &'static str, target: &'a str, reason: &'a str) -> Self {
        Self { act, target, reason, grave: false }
    }
}

impl<'a> From<&'a Step> for Want<'a> {
    fn from(step: &'a Step) -> Self {
        Self::of_spec(step.act.name(), &step.target, &step.reason)
    }
}

/// What stands refused of one committee. Each round calls again for what it needs; what it doesn't call for any more isn't
/// refused any more.
#[derive(Debug, Default)]
pub struct Refusals {
    before: BTreeMap<Key, Refusal>,
    now: BTreeMap<Key, Refusal>,
    /// The round that was begun last has called for everything that it was to.
    ended: bool,
}

impl Refusals {
    /// A round begins. What one that ended early didn't come to stands as it did.
    pub fn begin(&mut self) {
        let now = std::mem::take(&mut self.now);
        if std::mem::take(&mut self.ended) {
            self.before = now;
        } else {
            self.before.extend(now);
        }
    }

    /// Everything has been called for.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// Whether nothing was refused in this round but to look at Nodes and volumes, which is left to deadlines.
    pub fn are_of_sight(&self) -> bool {
        self.now.keys().all(|(act, _)| *act == nodes::READ)
    }

    /// Whether anything was refused in this round that the spec wants.
    pub fn stand(&self) -> bool {
        self.now.values().any(|refusal| refusal.grave)
    }

    /// Takes note of what a call came to, and passes on every failure but a refusal. `None`: it is refused.
    pub fn note<T>(
        &mut self,
        want: Want<'_>,
        result: Result<T, ApiError>,
        at: Timestamp,
    ) -> Result<Option<T>, ApiError> {
        match result {
            Err(error) if error.is_refusal() => {
                self.refuse(want, chain(&error), at);
                Ok(None)
            }
            other => other.map(Some),
        }
    }

    /// Notes that something is refused, in these words.
    pub fn refuse(&mut self, want: Want<'_>, by: String, at: Timestamp) {
        let Want { act, target, reason, grave } = want;
        let key = (act, target.to_owned());
        let since = self.before.get(&key).map(|refusal| refusal.since);
        if since.is_none() {
            tracing::warn!(act, target, by, "refused");
        }
        self.now.insert(key, Refusal { since: since.unwrap_or(at), reason: reason.to_owned(), by, grave });
    }

    /// Notes what this operator can't do itself, however often it is asked: that has stood for ever.
    pub fn decline(&mut self, want: Want<'_>, by: &str) {
        self.refuse(want, by.to_owned(), Timestamp(i64::MIN));
    }

    /// What stands in the way of a step, by the last round that tried it.
    pub fn of(&self, act: &'static str, target: &str) -> Option<&Refusal> {
        let key = (act, target.to_owned());
        self.now.get(&key).or_else(|| self.before.get(&key))
    }

    /// What stands refused beside the plan's steps: what was called for in this round before they are taken.
    pub fn beside<'r>(&'r self, plan: &'r Plan) -> impl Iterator<Item = (&'static str, &'r str, &'r Refusal)> {
        let step =
            |act: &str, target: &str| plan.steps.iter().any(|step| (step.act.name(), &*step.target) == (act, target));
        self.now
            .iter()
            .map(|((act, target), refusal)| (*act, &**target, refusal))
            .filter(move |told| !step(told.0, told.1))
    }

    /// What a person has to see to: of the plan's steps and beside them, in one sentence.
    pub fn for_a_person(&self, plan: &Plan, now: Timestamp) -> Option<String> {
        let steps = plan.steps.iter().filter_map(|step| {
            let refusal = self.of(step.act.name(), &step.target)?;
            Some((step.act.name(), &*step.target, refusal))
        });
        let at_once = |act: &str| [volumes::KEEP_CLAIM, volumes::KEEP_VOLUME, spare_keys::KEEP_KEYS].contains(&act);
        let standing = |(act, _, refusal): &(&str, &str, &Refusal)| {
            refusal.grave && (at_once(act) || now - refusal.since >= PATIENCE)
        };
        let mut standing = steps.chain(self.beside(plan)).filter(standing);
        let (act, target, refusal) = standing.next()?;
        let more = match standing.count() {
            0 => String::new(),
            more => format!("; and {more} more, in status.plan"),
        };
        Some(format!("{act} {target}: {}{more}", refusal.by))
    }

    /// Whether there are steps to be taken, and each was refused when it was tried last.
    pub fn stop(&self, plan: &Plan) -> bool {
        let is_refused = |step: &Step| self.of(step.act.name(), &step.target).is_some();
        !plan.steps.is_empty() && plan.steps.iter().all(is_refused)
    }

    /// Whether every step that was to be taken is refused: trying again at once changes nothing.
    pub fn hold_all_of(&self, plan: &Plan) -> bool {
        plan.steps.iter().all(|step| self.now.contains_key(&(step.act.name(), step.target.clone())))
    }
}
