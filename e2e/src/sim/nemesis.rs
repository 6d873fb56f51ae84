//! Misfortune: as much of it as the code bears, and no more.

use std::{collections::BTreeSet, time::Duration};

use weft_protocol::MemberId;

use super::{
    dice::Dice,
    env::at,
    stage::{Stage, Who, host_of},
};

/// What happens to the hosts; what happens to objects alone is done at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Blow {
    /// The process dies, and the writes that weren't synced.
    Kill(Who),
    KillAll,
    /// The disk loses its power after so many operations, in the middle of a commit perhaps; then the process dies.
    Tear(Who, u64),
    /// These hosts reach only each other.
    Part(BTreeSet<String>),
    /// The network is whole again.
    Join,
    /// The operator dies, and starts again.
    Depose,
    /// Another operator leads, while the old one believes to.
    Rival,
}

pub(super) struct Nemesis {
    dice: Dice,
    next: Duration,
    /// What is taken back, and when.
    later: Vec<(Duration, Later)>,
    /// Shards of volumes that were lost, or of nodes that stay away, since everything was whole.
    lost: u16,
}

#[derive(Debug, Clone)]
enum Later {
    Power(String),
    Blow(Blow),
}

impl Nemesis {
    pub(super) fn new(seed: u64, start: Duration) -> Self {
        Self { dice: Dice::new(seed, "nemesis"), next: start, later: Vec::new(), lost: 0 }
    }

    /// What happens to hosts now.
    pub(super) fn strike(&mut self, stage: &mut Stage, time: Duration) -> Vec<Blow> {
        let mut blows = self.take_back(stage, time);
        if time < self.next {
            return blows;
        }
        self.next = time + Duration::from_millis(1000 + self.dice.below(14_000));
        if stage.is_whole() && !stage.moves() && !self.later.iter().any(|(_, later)| matches!(later, Later::Power(_))) {
            self.lost = 0;
        }
        let running: Vec<Who> = stage.members.keys().copied().collect();
        let Some(who) = self.dice.pick(&running).copied() else { return blows };
        let blow = match self.dice.below(16) {
            0..=2 => Some(Blow::Kill(who)),
            3 => Some(Blow::KillAll),
            4 | 5 => Some(Blow::Tear(who, self.dice.below(40))),
            6 | 7 => Some(self.part(stage, time)),
            8 => Some(Blow::Depose),
            9 => Some(Blow::Rival),
            10 => {
                self.cut_power(stage, who, time);
                None
            }
            11 | 12 => {
                self.lose(stage, who, time);
                None
            }
            13 => {
                delete_pod(stage, who);
                None
            }
            _ => {
                self.wish(stage, who, time);
                None
            }
        };
        if let Some(blow) = &blow {
            stage.trace.event(time, "nemesis", format_args!("{blow:?}"));
        }
        blows.extend(blow);
        blows
    }

    /// Everything is taken back that can be.
    pub(super) fn heal(&mut self, stage: &mut Stage) -> Vec<Blow> {
        stage.committee.drain.clear();
        for (due, _) in &mut self.later {
            *due = Duration::ZERO;
        }
        let mut blows = self.take_back(stage, Duration::ZERO);
        blows.push(Blow::Join);
        blows
    }

    fn take_back(&mut self, stage: &mut Stage, time: Duration) -> Vec<Blow> {
        let (due, later) = self.later.drain(..).partition(|(due, _)| *due <= time);
        self.later = later;
        let due: Vec<(Duration, Later)> = due;
        let mut blows = Vec::new();
        for (_, later) in due {
            match later {
                Later::Power(node) => {
                    stage.trace.event(time, "nemesis", format_args!("{node} has power again"));
                    stage.cluster.restore(&node);
                }
                Later::Blow(blow) => blows.push(blow),
            }
        }
        blows
    }

    /// The operator and the clients are in the greater part as often as not.
    fn part(&mut self, stage: &Stage, time: Duration) -> Blow {
        let hosts = stage.wanted().into_iter().map(host_of);
        let others = ["operator-0", "operator-1", "client-0", "client-1"].map(str::to_owned);
        let island = hosts.chain(others).filter(|_| self.dice.one_in(3)).collect();
        let until = time + Duration::from_millis(500 + self.dice.below(20_000));
        self.later.push((until, Later::Blow(Blow::Join)));
        Blow::Part(island)
    }

    fn may_lose(&mut self, stage: &Stage, members: &[MemberId]) -> bool {
        let Some(view) = stage.view() else { return false };
        let shards: u16 = members.iter().filter_map(|id| view.view.seat(*id)).map(|seat| seat.shards.len()).sum();
        let fits = self.lost + shards <= view.view.code.fault_tolerance()
            && (self.lost > 0 || (stage.is_whole() && !stage.moves()));
        self.lost += if fits { shards } else { 0 };
        fits
    }

    /// A node is away for a while: shorter or longer than the operator's patience.
    fn cut_power(&mut self, stage: &mut Stage, who: Who, time: Duration) {
        let Some(node) = stage.cluster.runs_on(who.0, who.1).map(str::to_owned) else { return };
        let on_it: Vec<MemberId> =
            stage.cluster.pods.iter().filter(|pod| pod.node.as_ref() == Some(&node)).map(|pod| pod.member).collect();
        if self.later.iter().any(|(_, later)| matches!(later, Later::Power(_))) || !self.may_lose(stage, &on_it) {
            return;
        }
        let until = time + Duration::from_secs(2 + self.dice.below(60));
        stage.trace.event(time, "nemesis", format_args!("{node} loses power until {:.0}", until.as_secs_f64()));
        stage.cluster.cut(&node, at(time));
        self.later.push((until, Later::Power(node)));
    }

    /// A volume is lost, its claim and pod deleted.
    fn lose(&mut self, stage: &mut Stage, who: Who, time: Duration) {
        if self.may_lose(stage, &[who.0]) {
            stage.trace.event(time, "nemesis", format_args!("the volume of {} is lost", host_of(who)));
            let claims = stage.cluster.claims.iter_mut();
            claims.filter(|claim| claim.member == who.0).for_each(|claim| claim.terminating = true);
            delete_pod(stage, who);
        }
    }

    /// What a person may ask for at any time.
    fn wish(&mut self, stage: &mut Stage, who: Who, time: Duration) {
        let least = stage.committee.members;
        match self.dice.below(4) {
            0 if stage.committee.drain.is_empty() && least > 4 => {
                stage.committee.drain.insert(who.0);
            }
            1 => stage.committee.drain.clear(),
            _ => {
                stage.committee.replace.insert(who);
            }
        }
        stage.committee.generation += 1;
        let (drain, replace) = (stage.committee.drain.clone(), stage.committee.replace.clone());
        stage.trace.event(time, "nemesis", format_args!("spec.drain {drain:?}, spec.replace {replace:?}"));
    }
}

fn delete_pod(stage: &mut Stage, who: Who) {
    let pods = stage.cluster.pods.iter_mut().filter(|pod| pod.member == who.0);
    pods.for_each(|pod| pod.terminating = true);
}
