//! Misfortune: as much of it as the code bears, and no more.

use std::{collections::BTreeSet, time::Duration};

use weft_protocol::MemberId;
use weft_store::fake::FakeDisk;

use super::{
    cheat::Cheat,
    dice::Dice,
    env::at,
    stage::{Stage, Who, host_of},
};

/// What a store keeps free for deletes and for its own index, bytes: `weft_store::Options`.
const RESERVE: u64 = 64 << 20;

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
    /// Between two strikes at the most, milliseconds: some seeds let the fleet mend itself between them.
    pause: u64,
    /// What is taken back, and when.
    later: Vec<(Duration, Later)>,
    /// Shards of volumes that were lost, or of nodes that stay away, since everything was whole.
    lost: u16,
}

#[derive(Debug, Clone)]
enum Later {
    Power(String),
    /// Volumes can be made again.
    Places,
    /// The disk has its size again.
    Space(Who),
    Blow(Blow),
}

impl Nemesis {
    pub(super) fn new(seed: u64, start: Duration) -> Self {
        let mut dice = Dice::new(seed, "nemesis");
        let pause = dice.pick(&[4_000, 14_000, 40_000]).copied().unwrap_or(4_000);
        Self { dice, next: start, pause, later: Vec::new(), lost: 0 }
    }

    /// What happens to hosts now.
    pub(super) fn strike(&mut self, stage: &mut Stage, time: Duration) -> Vec<Blow> {
        let mut blows = self.take_back(stage, time);
        if time < self.next {
            return blows;
        }
        self.next = time + Duration::from_millis(1000 + self.dice.below(self.pause));
        if stage.is_whole() && !stage.moves() && stage.seated_cheaters().is_empty() && !self.is_dark() {
            self.lost = 0;
        }
        let running: Vec<Who> = stage.members.keys().copied().collect();
        let Some(who) = self.dice.pick(&running).copied() else { return blows };
        let blow = match self.dice.below(24) {
            0..=2 => Blow::Kill(who),
            3 => Blow::KillAll,
            4 | 5 => Blow::Tear(who, self.dice.below(40)),
            6 | 7 => self.part(stage, time),
            8 => Blow::Depose,
            9 => Blow::Rival,
            other => {
                self.befall(other, stage, who, time);
                return blows;
            }
        };
        stage.trace.event(time, "blow", format_args!("{blow:?}"));
        blows.push(blow);
        blows
    }

    /// What happens to objects, volumes and wishes.
    fn befall(&mut self, what: u64, stage: &mut Stage, who: Who, time: Duration) {
        match what {
            10 | 11 => self.cut_power(stage, who, time, false),
            12 => self.cut_power(stage, who, time, true),
            13 | 14 => self.lose(stage, who, time),
            15 => delete_pod(stage, who),
            16 | 17 => self.wish(stage, who, time),
            18 => self.scale(stage, time),
            19 | 20 => self.hurt(stage, who, time),
            _ => self.seduce(stage, who, time),
        }
    }

    /// Everything is taken back that can be.
    pub(super) fn heal(&mut self, stage: &mut Stage) -> Vec<Blow> {
        stage.committee.drain.clear();
        for (due, _) in &mut self.later {
            *due = Duration::ZERO;
        }
        let mut blows = self.take_back(stage, Duration::ZERO);
        stage.volumes.values().for_each(FakeDisk::mend);
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
                Later::Places => stage.cluster.full = false,
                Later::Space(who) => {
                    if let Some(disk) = stage.volumes.get(&who) {
                        disk.mend();
                    }
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

    /// Whether a node is away.
    fn is_dark(&self) -> bool {
        self.later.iter().any(|(_, later)| matches!(later, Later::Power(_)))
    }

    /// A node is away for a while: shorter or longer than the operator's patience; or longer, while no new volume can be
    /// made, so that what comes back is to be admitted again (R25).
    fn cut_power(&mut self, stage: &mut Stage, who: Who, time: Duration, comes_back: bool) {
        let Some(node) = stage.cluster.runs_on(who.0, who.1).map(str::to_owned) else { return };
        let on_it: Vec<MemberId> =
            stage.cluster.pods.iter().filter(|pod| pod.node.as_ref() == Some(&node)).map(|pod| pod.member).collect();
        if self.is_dark() || !self.may_lose(stage, &on_it) {
            return;
        }
        let least = if comes_back { 35 } else { 2 };
        let until = time + Duration::from_secs(least + self.dice.below(60));
        stage.trace.event(time, "dark", format_args!("{node} loses power until {:.0}", until.as_secs_f64()));
        stage.cluster.cut(&node, at(time));
        if comes_back {
            stage.cluster.full = true;
            self.later.push((until, Later::Places));
        }
        self.later.push((until, Later::Power(node)));
    }

    /// A volume is lost, its claim and pod deleted.
    fn lose(&mut self, stage: &mut Stage, who: Who, time: Duration) {
        if self.may_lose(stage, &[who.0]) {
            stage.trace.event(time, "loss", format_args!("the volume of {} is lost", host_of(who)));
            let claims = stage.cluster.claims.iter_mut();
            claims.filter(|claim| claim.member == who.0).for_each(|claim| claim.terminating = true);
            delete_pod(stage, who);
        }
    }

    /// A member's disk is full, or fails once. What a failed write leaves is a member that takes no writes any more.
    fn hurt(&mut self, stage: &mut Stage, who: Who, time: Duration) {
        let Some(disk) = stage.volumes.get(&who).cloned() else { return };
        let how = match self.dice.below(4) {
            0 => {
                disk.set_capacity(disk.used() + RESERVE + self.dice.below(200_000));
                "is almost full"
            }
            _ if !self.may_lose(stage, &[who.0]) => return,
            1 => {
                disk.set_capacity(disk.used() + self.dice.below(200_000));
                "is full"
            }
            2 => {
                disk.fail_next_write();
                "fails a write"
            }
            _ => {
                disk.fail_next_sync();
                "fails an fsync"
            }
        };
        stage.trace.event(time, "disk", format_args!("the disk of {} {how}", host_of(who)));
        self.later.push((time + Duration::from_secs(5 + self.dice.below(60)), Later::Space(who)));
    }

    /// A member begins to cheat, and goes on until its volume is destroyed.
    fn seduce(&mut self, stage: &mut Stage, who: Who, time: Duration) {
        if stage.cheaters.contains_key(&who) || !self.may_lose(stage, &[who.0]) {
            return;
        }
        let cheat = if self.dice.one_in(2) { Cheat::Forgets } else { Cheat::Lies };
        stage.trace.event(time, "cheat", format_args!("{} {} from now on", host_of(who), cheat.name()));
        stage.cheaters.insert(who, cheat);
    }

    /// More members, or fewer: at least four, and as many as there are shards at the most.
    fn scale(&mut self, stage: &mut Stage, time: Duration) {
        let most = stage.cluster.nodes.len().min(usize::from(stage.committee.code.shards()));
        stage.committee.members = 4 + self.dice.below(most as u64 - 3) as u32;
        stage.committee.generation += 1;
        stage.trace.event(time, "scale", format_args!("spec.members {}", stage.committee.members));
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
        stage.trace.event(time, "wish", format_args!("spec.drain {drain:?}, spec.replace {replace:?}"));
    }
}

fn delete_pod(stage: &mut Stage, who: Who) {
    let pods = stage.cluster.pods.iter_mut().filter(|pod| pod.member == who.0);
    pods.for_each(|pod| pod.terminating = true);
}
