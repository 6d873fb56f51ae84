//! Runs the hosts of a simulation, and lets it pass through its phases: forming, trouble, coming to rest, verifying.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    time::{Duration, UNIX_EPOCH},
};

use turmoil::Sim;
use weft_planner::Agreed;

use super::{
    Options, Outcome,
    blight::Blight,
    dice::Dice,
    ledger::Books,
    nemesis::{Blow, Nemesis},
    operator,
    oracle::{self, Watch},
    process,
    stage::{Shared, Stage, Who, host_of},
    trace::Trace,
    workload::{Phase, Worker},
};

/// Steps of time. Messages take one or some.
const TICK: Duration = Duration::from_millis(10);
/// Between looks at what should run.
const LOOK: Duration = Duration::from_millis(100);
/// Between looks at what must hold.
const WATCH: Duration = Duration::from_secs(1);
/// A new fleet is at rest within.
const FORMING: Duration = Duration::from_secs(120);
/// After all trouble is over, the fleet is at rest within.
const RESTING: Duration = Duration::from_secs(900);
/// How long nothing must be done to be at rest.
const REST: Duration = Duration::from_secs(15);
/// How long a fleet at rest is watched for what it does all the same.
const SILENCE: Duration = Duration::from_secs(30);
/// How often it is watched for that before it is.
const LOOKS: usize = 12;
const VERIFYING: Duration = Duration::from_secs(120);
/// What keeps a process that ended from starting again at once.
const BACK_OFF: Duration = Duration::from_secs(5);

const OPERATORS: [&str; 2] = ["operator-0", "operator-1"];
const CLIENTS: [&str; 2] = ["client-0", "client-1"];

struct Run<'a> {
    sim: Sim<'a>,
    stage: Shared,
    phase: Rc<Cell<Phase>>,
    trace: Trace,
    dice: Dice,
    watch: Watch,
    hosts: BTreeSet<String>,
    running: BTreeSet<Who>,
    /// When processes may start again.
    back: BTreeMap<Who, Duration>,
    /// Disks that will lose their power, and when their processes die at the latest.
    torn: BTreeMap<Who, Duration>,
    island: BTreeSet<String>,
    cut: BTreeSet<(String, String)>,
    leader: usize,
}

pub(super) fn run(options: &Options) -> Outcome {
    oracle::watch_panics();
    let trace = Trace::new(options.tells);
    let books = Books::default();
    let stage = Rc::new(RefCell::new(Stage::new(options.seed, options.bug, trace.clone(), books.clone())));
    let mut dice = Dice::new(options.seed, "network");
    let sim = turmoil::Builder::new()
        .rng_seed(dice.next())
        .epoch(UNIX_EPOCH)
        .simulation_duration(Duration::from_secs(1 << 20))
        .tick_duration(TICK)
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(5 + dice.below(60)))
        .tcp_capacity(1 << 16)
        .build();
    let phase = Rc::new(Cell::new(Phase::Idle));
    let mut run = Run {
        sim,
        stage,
        phase,
        trace,
        dice: Dice::new(options.seed, "driver"),
        watch: Watch::default(),
        hosts: BTreeSet::new(),
        running: BTreeSet::new(),
        back: BTreeMap::new(),
        torn: BTreeMap::new(),
        island: BTreeSet::new(),
        cut: BTreeSet::new(),
        leader: 0,
    };
    run.begin(&books);
    run.play(options.seed);
    let (trace, events, messages) = run.trace.digest();
    let wrong = run.stage.borrow().wrong.clone();
    Outcome { trace, events, messages, counts: run.trace.counts(), simulated: run.sim.elapsed(), wrong }
}

impl Run<'_> {
    fn begin(&mut self, books: &Books) {
        let committee = format!("{:?}", self.stage.borrow().committee.code);
        self.trace.event(Duration::ZERO, "begin", format_args!("{committee}"));
        for name in CLIENTS {
            let (stage, books, phase) = (self.stage.clone(), books.clone(), self.phase.clone());
            self.sim.host(name, move || {
                Worker { stage: stage.clone(), books: books.clone(), phase: phase.clone(), name }.run()
            });
            self.hosts.insert(name.to_owned());
        }
        self.lead(0);
    }

    fn play(&mut self, seed: u64) {
        if !self.until(FORMING, |run| run.rests(Duration::from_secs(5))) {
            return self.stuck("a new fleet doesn't come to rest");
        }
        self.phase.set(Phase::Busy);
        let start = self.sim.elapsed();
        let trouble = Duration::from_secs(60 + self.dice.below(120));
        let mut nemesis = Nemesis::new(seed, start + Duration::from_secs(5));
        let mut blight = Blight::new(seed, start);
        while self.sim.elapsed() < start + trouble && self.is_well() {
            self.look_on();
            let time = self.sim.elapsed();
            blight.strike(&mut self.stage.borrow_mut(), time);
            let blows = nemesis.strike(&mut self.stage.borrow_mut(), time);
            for blow in blows {
                self.suffer(blow);
            }
        }
        let blows = nemesis.heal(&mut self.stage.borrow_mut());
        for blow in blows {
            self.suffer(blow);
        }
        self.trace.event(self.sim.elapsed(), "phase", format_args!("no more trouble"));
        self.phase.set(Phase::Idle);
        // What was wished last may not have been looked at yet.
        self.stage.borrow_mut().rests_since = None;
        if !self.until(RESTING, |run| run.rests(REST)) {
            return self.stuck("the fleet doesn't come to rest");
        }
        // Where there was no quiet moment before.
        let time = self.sim.elapsed();
        if blight.strike(&mut self.stage.borrow_mut(), time) && !self.until(RESTING, |run| run.rests(REST)) {
            return self.stuck("the fleet doesn't come to rest without a lost blob");
        }
        oracle::at_rest(&mut self.stage.borrow_mut());
        self.phase.set(Phase::Verify);
        if !self.until(VERIFYING, |run| run.phase.get() == Phase::Verified) {
            return self.stuck("not everything can be read");
        }
        self.trace.event(self.sim.elapsed(), "phase", format_args!("everything was read"));
        self.silence();
        self.give_up();
    }

    /// Where blobs are lost, the fleet is Ready once they are deleted (R20).
    fn give_up(&mut self) {
        let lost = |run: &Self| run.stage.borrow().has_lost();
        if !self.is_well() || !lost(self) {
            return;
        }
        self.phase.set(Phase::GiveUp);
        if !self.until(VERIFYING, |run| !lost(run) && run.stage.borrow().is_at_rest() && run.rests(REST)) {
            return self.stuck("lost blobs are deleted, and the fleet doesn't come to rest");
        }
        self.trace.event(self.sim.elapsed(), "phase", format_args!("what is lost was deleted"));
        oracle::at_rest(&mut self.stage.borrow_mut());
    }

    /// A fleet at rest transfers nothing and plans nothing. Where a lost blob expires it isn't at rest: what was kept for its sake
    /// may go; and while one is listed, who is to hold something of it that somebody has asks ever more seldom, and copies it in
    /// the end (R15, R20).
    fn silence(&mut self) {
        for _ in 0..LOOKS {
            // What is called rest elsewhere is short: something may still come of what was read.
            if !self.until(RESTING, |run| run.rests(SILENCE)) {
                return self.stuck("the fleet doesn't come to rest when everything was read");
            }
            let lost = self.listed();
            let broken = self.breaks_silence();
            let Some(broken) = broken else { return };
            let is_lost = lost.as_ref().is_some_and(|lost| lost.blobs > 0);
            if self.listed() == lost && !is_lost {
                return self.stage.borrow_mut().violation(format!("a fleet at rest isn't silent: {broken}"));
            }
        }
        self.stage.borrow_mut().violation("a fleet at rest is never silent".to_owned());
    }

    fn listed(&self) -> Option<Agreed> {
        self.stage.borrow().last.as_ref().map(|plan| plan.unrecoverable.clone())
    }

    /// What goes on for as long as silence is to last.
    fn breaks_silence(&mut self) -> Option<String> {
        let transferred = |run: &Self| -> BTreeMap<Who, u64> {
            run.stage.borrow().members.iter().map(|(who, member)| (*who, member.repair_bytes())).collect()
        };
        let planned = |run: &Self| run.trace.counts().get("plan").copied();
        let (before, steps, lost) = (transferred(self), planned(self), self.listed());
        let until = self.sim.elapsed() + SILENCE;
        while self.sim.elapsed() < until && self.is_well() {
            self.look_on();
        }
        // Whoever keeps nothing fetches again what it is asked for, and nothing proves it where all blobs are small or end soon (R28).
        let cheaters = self.stage.borrow().seated_cheaters();
        let mut after = transferred(self);
        after.retain(|who, bytes| !cheaters.contains(who) && before.get(who) != Some(bytes));
        let is_silent = after.is_empty() && planned(self) == steps && self.listed() == lost;
        (!is_silent).then(|| format!("of {before:?} {after:?} went on"))
    }

    fn is_well(&self) -> bool {
        self.stage.borrow().wrong.is_empty()
    }

    fn rests(&self, for_: Duration) -> bool {
        let (stage, now) = (self.stage.borrow(), self.sim.elapsed());
        stage.rests_since.is_some_and(|since| now >= since + for_)
            && stage.is_whole()
            && !stage.moves()
            && stage.unfound_cheaters().is_empty()
    }

    /// Goes on until something holds, or is wrong. Returns whether it holds.
    fn until(&mut self, limit: Duration, holds: impl Fn(&Self) -> bool) -> bool {
        let limit = self.sim.elapsed() + limit;
        while self.sim.elapsed() < limit && self.is_well() {
            self.look_on();
            if holds(self) {
                return true;
            }
        }
        false
    }

    fn stuck(&mut self, what: &str) {
        let stage = &mut *self.stage.borrow_mut();
        if !stage.wrong.is_empty() {
            return;
        }
        let plan = stage.last.as_ref().map(|plan| {
            let steps: Vec<String> = plan.steps.iter().map(ToString::to_string).collect();
            let members: Vec<_> = plan.members.iter().map(|m| (m.id.0, m.current.number, m.current.state)).collect();
            format!("steps {steps:#?}, withheld {:#?}, {:#?}, members {members:?}", plan.withheld, plan.conditions)
        });
        let state = oracle::state(stage);
        if let Some(cheater) = stage.unfound_cheaters().first() {
            return stage.violation(format!("the cheater {} isn't found (R29): {what}\n{state}", host_of(*cheater)));
        }
        stage.violation(format!("{what}: {}\n{state}", plan.unwrap_or_default()));
    }

    /// Lets time pass until the next look, and does what the cluster does.
    fn look_on(&mut self) {
        let until = self.sim.elapsed() + LOOK;
        while self.sim.elapsed() < until {
            if let Err(error) = self.sim.step() {
                return self.stage.borrow_mut().violation(format!("a host fails: {error}"));
            }
        }
        let now = self.sim.elapsed();
        self.stage.borrow_mut().now = now;
        let due: Vec<Who> = self.torn.iter().filter(|(_, at)| **at <= now).map(|(who, _)| *who).collect();
        for who in due {
            self.kill(who);
        }
        if now.as_millis().is_multiple_of(WATCH.as_millis()) {
            let stage = &mut *self.stage.borrow_mut();
            stage.settle();
            stage.cheat();
            self.watch.look(stage);
        }
        self.processes();
        self.links();
    }

    fn processes(&mut self) {
        let now = self.sim.elapsed();
        let wanted: BTreeSet<Who> = self.stage.borrow().wanted().into_iter().collect();
        for who in self.running.clone() {
            if !wanted.contains(&who) {
                self.kill(who);
            } else if !self.sim.is_host_running(host_of(who)) {
                self.forget(who);
                self.back.insert(who, now + BACK_OFF);
            }
        }
        for who in wanted {
            if !self.running.contains(&who) && self.back.get(&who).is_none_or(|at| *at <= now) {
                self.start(who);
            }
        }
    }

    fn start(&mut self, who: Who) {
        let host = host_of(who);
        self.running.insert(who);
        if self.hosts.insert(host.clone()) {
            let stage = self.stage.clone();
            self.sim.host(host, move || process::run(stage.clone(), who));
        } else {
            self.sim.bounce(host);
        }
    }

    /// Kills a process and its disk's cache.
    fn kill(&mut self, who: Who) {
        if self.running.contains(&who) {
            self.forget(who);
            self.sim.crash(host_of(who));
        }
        if let Some(disk) = self.stage.borrow().volumes.get(&who) {
            disk.crash();
        }
        let back = self.sim.elapsed() + Duration::from_millis(100 + self.dice.below(8000));
        self.back.insert(who, back);
        self.trace.event(self.sim.elapsed(), "process", format_args!("{} dies", host_of(who)));
    }

    fn forget(&mut self, who: Who) {
        self.running.remove(&who);
        self.torn.remove(&who);
        self.stage.borrow_mut().members.remove(&who);
    }

    fn lead(&mut self, operator: usize) {
        self.leader = operator;
        let name = OPERATORS[operator];
        if self.hosts.insert(name.to_owned()) {
            let stage = self.stage.clone();
            self.sim.host(name, move || operator::lead(stage.clone(), name));
        } else {
            self.sim.bounce(name);
        }
    }

    fn suffer(&mut self, blow: Blow) {
        match blow {
            Blow::Kill(who) => self.kill(who),
            Blow::KillAll => {
                for who in self.running.clone() {
                    self.kill(who);
                }
            }
            Blow::Tear(who, operations) => {
                if let Some(disk) = self.stage.borrow().volumes.get(&who) {
                    disk.cut_power_after(operations);
                    self.torn.insert(who, self.sim.elapsed() + Duration::from_millis(200 + self.dice.below(5000)));
                }
            }
            Blow::Part(island) => self.island = island,
            Blow::Join => self.island.clear(),
            Blow::Depose => self.lead(self.leader),
            Blow::Rival => self.lead(1 - self.leader),
        }
    }

    /// Breaks and mends links as the network is now.
    fn links(&mut self) {
        let hosts: Vec<&String> = self.hosts.iter().collect();
        let mut broken = BTreeSet::new();
        for (at, a) in hosts.iter().enumerate() {
            let apart = hosts[at + 1..].iter().filter(|b| self.island.contains(*a) != self.island.contains(**b));
            broken.extend(apart.map(|b| ((*a).clone(), (*b).clone())));
        }
        for (a, b) in broken.difference(&self.cut) {
            self.sim.partition(a.as_str(), b.as_str());
        }
        for (a, b) in self.cut.difference(&broken) {
            self.sim.repair(a.as_str(), b.as_str());
        }
        self.cut = broken;
    }
}
