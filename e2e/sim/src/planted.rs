//! Bugs that are planted to see whether the simulation finds them. They sit in its own seams, not in the code.

use std::io;

use serde::{Deserialize, Serialize};
use weft_planner::{Act, Agreed, Claim, IncarnationRecord, MemberState, Plan, Step, World};
use weft_protocol::ShardSet;
use weft_store::{Disk, DiskFile, Space, fake::FakeDisk};

use super::{env::unix, stage::Stage};

/// By how many seconds the floor jumps.
const HASTE: u64 = 3600;

/// A planted bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Bug {
    /// The store's fsync does nothing: what members acknowledge isn't durable.
    NoFsync,
    /// A client takes a put for stored though it failed: holders of fewer than n − f shards have receipted it (R8).
    EarlyAnswer,
    /// A client takes a delete for done before anybody has the tombstone (R13).
    EarlyDelete,
    /// The operator destroys the volumes of incarnations as soon as it calls them lost (R23, R24).
    EarlyDestroy,
    /// The operator has spare copies dropped as soon as a view is in effect (R23).
    EarlyDrop,
    /// The operator orders no challenges, so that nobody is found to cheat (R28).
    NoChallenges,
    /// A member that the simulation takes for honest cheats (R29).
    HiddenCheat,
    /// What a client reads ends early, and it doesn't notice (R17).
    ShortRead,
    /// The operator's time floor jumps ahead of its clock, once something is stored that expires (R15).
    HastyFloor,
    /// The operator makes no pods, so that nothing comes to rest.
    NoPods,
    /// The operator lists no blob of which too little is left (R20).
    ListsNothing,
    /// The operator lists every such blob, and destroys and drops as if nothing were listed (R20).
    KeepsNothing,
}

impl Bug {
    /// Makes of a plan what an operator with this bug does.
    pub(super) fn twist(self, planned: &mut Plan, world: &World) {
        match self {
            Self::EarlyDestroy => planned.steps.extend(destroy_at_once(world)),
            Self::EarlyDrop => drop_at_once(planned, world),
            Self::NoPods => planned.steps.retain(|step| !matches!(step.act, Act::CreatePod { .. })),
            Self::ListsNothing => {
                planned.unrecoverable = Agreed::default();
                planned.orders.iter_mut().for_each(|order| order.listed.clear());
            }
            Self::KeepsNothing => {
                let orders = planned.orders.iter_mut();
                orders.filter(|order| order.retire.is_some()).for_each(|order| order.listed.clear());
                planned.steps.extend(destroy_withheld(planned, world));
            }
            Self::NoFsync
            | Self::EarlyAnswer
            | Self::EarlyDelete
            | Self::NoChallenges
            | Self::HiddenCheat
            | Self::ShortRead
            | Self::HastyFloor => {}
        }
    }
}

impl Bug {
    /// Makes of a time floor what an operator with this bug orders.
    pub(super) fn hurry(self, floor: Option<u64>, stage: &Stage) -> Option<u64> {
        let some_expire = || stage.books.borrow().living(unix(stage.now)).any(|(_, account)| account.expiry.is_some());
        let hurries = self == Self::HastyFloor && some_expire();
        floor.map(|floor| if hurries { floor + HASTE } else { floor })
    }
}

/// Claims of incarnations that were replaced or are called lost, whatever views name them and others hold.
fn destroy_at_once(world: &World) -> Vec<Step> {
    let record = &world.record;
    let is_over = |claim: &&Claim| {
        let member = record.members.iter().find(|member| member.id == claim.member).map(|member| &member.current);
        let lost = |current: &IncarnationRecord| {
            current.number > claim.incarnation
                || (current.number == claim.incarnation && current.state == MemberState::Lost)
        };
        !claim.terminating && member.is_some_and(lost)
    };
    world.claims.iter().filter(is_over).map(destroy).collect()
}

fn destroy(claim: &Claim) -> Step {
    let (member, incarnation, uid) = (claim.member, claim.incarnation, claim.uid.clone());
    let target = format!("claim {member}-{incarnation}");
    Step { act: Act::DestroyClaim { member, incarnation, uid }, target, reason: "planted".to_owned() }
}

/// Claims that are kept for nothing but what is listed.
fn destroy_withheld(planned: &Plan, world: &World) -> Vec<Step> {
    let kept = planned.withheld.iter().filter(|kept| kept.act == "DestroyClaim" && kept.by.starts_with("R20"));
    let named = |target: &str| {
        world.claims.iter().find(move |claim| target == format!("claim {}-{}", claim.member, claim.incarnation))
    };
    kept.filter_map(|kept| named(&kept.target)).map(destroy).collect()
}

/// Orders that drop all that the view in effect and the targets don't ask for.
fn drop_at_once(planned: &mut Plan, world: &World) {
    let Some(view) = world.record.view.as_ref().map(|view| &view.view) else { return };
    for order in &mut planned.orders {
        let seat = view.seat(order.member).filter(|seat| seat.incarnation.number == order.incarnation);
        let target = order.target.map(|(_, shards)| shards).unwrap_or_default();
        let needed = seat.map(|seat| seat.shards).unwrap_or_default().union(target);
        order.retire = Some((view.hash(), ShardSet::first(view.code.shards()).difference(needed)));
    }
}

/// A disk whose fsync is a lie.
#[derive(Debug)]
pub(super) struct LyingDisk(pub(super) FakeDisk);

#[derive(Debug)]
struct LyingFile(Box<dyn DiskFile>);

impl Disk for LyingDisk {
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(LyingFile(self.0.open(name)?)))
    }

    fn exists(&self, name: &str) -> io::Result<bool> {
        self.0.exists(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.0.sync_dir()
    }

    fn random(&self, out: &mut [u8]) -> io::Result<()> {
        self.0.random(out)
    }

    fn space(&self) -> io::Result<Space> {
        self.0.space()
    }
}

impl DiskFile for LyingFile {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn allocated(&self) -> io::Result<u64> {
        self.0.allocated()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.0.close()
    }
}
