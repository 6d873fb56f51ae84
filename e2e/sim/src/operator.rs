//! A leader of the operator: the real planner, the real orders to members; its objects are the stage's.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;
use weft_operator::{
    observe::{
        fleet::{self, Addresses, Standing},
        floor,
    },
    session::{Channels, Session},
    traffic::Shares,
};
use weft_planner::{Act, Heard, Plan, Record, Step, World, plan, testing};
use weft_redstuff::Hash;

use super::{
    Bug,
    dice::Dice,
    env::now,
    net::SimConnector,
    oracle,
    stage::{FLEET, Shared, address_of},
    trace::elapsed,
};

/// As in production: after steps, while something changes, at rest.
const NEXT: Duration = Duration::from_millis(500);
const SOON: Duration = Duration::from_secs(2);
const STEADY: Duration = Duration::from_secs(5);

/// Between two rounds of challenges with one peer: often, as little time passes.
const CHALLENGES: Duration = Duration::from_secs(10);

/// In which a member reads everything that it holds once: some times in each run.
const SCRUB: Duration = Duration::from_secs(60);

struct Leader {
    stage: Shared,
    name: &'static str,
    term: u64,
    session: Session,
    dice: Dice,
    bug: Option<Bug>,
}

/// Leads until another leader has raised the term.
pub(super) async fn lead(stage: Shared, name: &'static str) -> turmoil::Result {
    let mut leader = Leader::new(stage, name);
    while let Some(pause) = leader.round().await {
        sleep(pause).await;
    }
    leader.stage.borrow().trace.event(elapsed(), "operator", format_args!("{name} is fenced (R4)"));
    Ok(())
}

impl Leader {
    /// Raises the term before anything else (R4).
    fn new(stage: Shared, name: &'static str) -> Self {
        let (term, connector, dice, bug) = {
            let mut stage = stage.borrow_mut();
            stage.record.term += 1;
            let term = stage.record.term;
            stage.trace.event(elapsed(), "operator", format_args!("{name} leads with term {term}"));
            let uri = format!("weft://{FLEET}/operator");
            let connector = SimConnector::new(uri, stage.trace.clone(), stage.endpoints.clone());
            let dice = Dice::new(stage.seed, &format!("operator {term}"));
            (stage.record.term, connector, dice, stage.bug)
        };
        let channels = Channels { connector: Arc::new(connector), trusted: String::new(), since: now() };
        let session = Session { term: Some(term), channels: Some(channels), ..Session::default() };
        Self { stage, name, term, session, dice, bug }
    }

    /// One reconciliation, in the order of `weft_operator::reconcile`; gives the pause until the next, or `None` when
    /// this leader is fenced. It may be crashed at each pause within.
    async fn round(&mut self) -> Option<Duration> {
        let (mut world, addresses) = self.read()?;
        let view = view_of(&world.record);
        let orders = self.session.orders_under(view);
        self.order(&world.record, &addresses, &orders).await;
        world.heard = self.heard();
        world.missed.clone_from(&self.session.missed);
        let mut planned = plan(&world, now());
        if let Some(bug) = self.bug {
            bug.twist(&mut planned, &world);
        }
        self.call().await;
        let record = self.write(&world, &planned)?;
        let view = view_of(&record);
        let sent = if self.session.orders_for == view { self.session.orders.as_slice() } else { &[] };
        let changed =
            sent != planned.orders || record.view != world.record.view || record.pending != world.record.pending;
        self.session.orders.clone_from(&planned.orders);
        self.session.orders_for = view;
        if changed {
            self.order(&record, &addresses, &planned.orders).await;
        }
        for step in planned.steps.iter().filter(|step| !step.act.is_record()) {
            self.call().await;
            self.carry_out(step)?;
        }
        Some(self.pace(&planned))
    }

    /// A call of the API server takes its time.
    async fn call(&mut self) {
        sleep(Duration::from_millis(2 + self.dice.below(30))).await;
    }

    fn read(&self) -> Option<(World, Addresses)> {
        let stage = self.stage.borrow();
        let addresses = stage.wanted().into_iter().map(|who| (who, address_of(who))).collect();
        (stage.record.term == self.term).then(|| (stage.world(), addresses))
    }

    async fn order(&mut self, record: &Record, addresses: &Addresses, orders: &[weft_planner::MemberOrder]) {
        let Some(fleet) = record.fleet else { return };
        let key = self.stage.borrow().key.clone();
        let challenges = if self.bug == Some(Bug::NoChallenges) { Duration::ZERO } else { CHALLENGES };
        let view = record.view.as_ref().map(|view| &view.view);
        let floor = floor::advance(&mut self.session, view, now(), elapsed());
        let floor = self.bug.map_or(floor, |bug| bug.hurry(floor, &self.stage.borrow()));
        let shares = Shares::default();
        let standing = Standing { fleet, record, key: &key, shares, challenges, scrub: SCRUB, room: None, floor };
        oracle::ordered(&mut self.stage.borrow_mut(), orders);
        let silent = fleet::order(&mut self.session, &standing, addresses, orders, now).await;
        self.session.unheard = silent > 0;
    }

    fn heard(&self) -> Vec<Heard> {
        self.session.heard.values().cloned().collect()
    }

    /// The compare-and-swap of the record. Gives the record as written.
    fn write(&mut self, world: &World, planned: &Plan) -> Option<Record> {
        let stage = &mut *self.stage.borrow_mut();
        if stage.record.term != self.term || stage.record != world.record {
            return None;
        }
        for step in &planned.steps {
            let kind = if matches!(step.act, Act::DeclareFaulty { .. }) { "faulty" } else { "plan" };
            stage.trace.event(elapsed(), kind, format_args!("{} {step}", self.name));
        }
        let seal = testing::record(&mut stage.record, planned, FLEET, &stage.key, now());
        self.term = stage.record.term;
        self.session.term = Some(self.term);
        oracle::planned(stage, planned);
        let busy = !planned.steps.is_empty() || !stage.is_at_rest();
        stage.rests_since = if busy { None } else { stage.rests_since.or(Some(elapsed())) };
        stage.last = Some(planned.clone());
        self.session.seal = seal.or(self.session.seal.take());
        Some(stage.record.clone())
    }

    /// One step, if this leader still leads: what is deleted is deleted as it was read (R24).
    fn carry_out(&self, step: &Step) -> Option<()> {
        let stage = &mut *self.stage.borrow_mut();
        if stage.record.term != self.term {
            return None;
        }
        if let Act::DestroyClaim { member, incarnation, .. } = &step.act {
            oracle::destroyed(stage, (*member, *incarnation));
        }
        testing::carry_out(&step.act, &mut stage.cluster, &mut stage.record, now());
        if let Act::InheritClaim { member, from, incarnation, .. } = &step.act {
            stage.inherit(*member, *from, *incarnation);
        }
        stage.trace.event(elapsed(), "act", format_args!("{} {}", self.name, step.target));
        Some(())
    }

    fn pace(&self, planned: &Plan) -> Duration {
        let settled = self.stage.borrow().is_at_rest() && !self.session.unheard;
        let pace = match (planned.steps.is_empty(), settled) {
            (false, _) => NEXT,
            (true, false) => SOON,
            (true, true) => STEADY,
        };
        planned.wake_at.map_or(pace, |at| pace.min((at - now()).max(NEXT)))
    }
}

fn view_of(record: &Record) -> Option<Hash> {
    record.view.as_ref().map(|view| view.view.hash())
}
