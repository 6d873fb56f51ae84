//! The database, the log, and their one writer.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use redb::{Database, Durability};

use crate::base::{Base, Sealed};
use crate::closing::Closing;
use crate::compact::{self, Victim};
use crate::counters::Counters;
use crate::gate::Gate;
use crate::job::{GROUP_BYTES, Job};
use crate::log::{Log, Volume};
use crate::rows::{contained, guarded};
use crate::snapshot::Snapshot;
use crate::space::{Usage, above_reserve, short};
use crate::tables::Table;
use crate::{Room, Space, StoreError};

pub(crate) struct Core {
    pub(crate) volume: Arc<Volume>,
    gate: Arc<Gate>,
    reserve: u64,
    /// The newest durable commit.
    newest: RwLock<Arc<Snapshot>>,
    writer: Mutex<Writing>,
    has_trash: AtomicBool,
    reads: AtomicU64,
    settled: AtomicBool,
}

/// What only who writes has.
struct Writing {
    log: Log,
    database: Closing,
    /// The segment that is being emptied.
    victim: Option<Victim>,
}

/// What a volume consists of, once it is open.
pub(crate) struct Opened {
    pub(crate) volume: Arc<Volume>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) database: Closing,
    pub(crate) log: Log,
    pub(crate) reserve: u64,
}

/// What a group came to.
struct Group {
    sequence: u64,
    /// None when nothing changed.
    snapshot: Option<Snapshot>,
}

impl Core {
    pub(crate) fn new(opened: Opened) -> Result<Self, StoreError> {
        let Opened { volume, gate, database, log, reserve } = opened;
        let snapshot = Snapshot::of(&database, log.segments().clone())?;
        let has_trash = AtomicBool::new(snapshot.has_trash() || log.wasteful(u64::MAX).is_some());
        let newest = RwLock::new(Arc::new(snapshot));
        let writer = Mutex::new(Writing { log, database, victim: None });
        let (reads, settled) = (AtomicU64::new(0), AtomicBool::new(false));
        Ok(Self { volume, gate, reserve, newest, writer, has_trash, reads, settled })
    }

    pub(crate) fn newest(&self) -> Arc<Snapshot> {
        self.newest.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether room of deleted slivers waits to be given back, and can be.
    pub(crate) fn has_trash(&self) -> bool {
        let waits = self.has_trash.load(Ordering::SeqCst) || self.volume.has_graves();
        waits && self.volume.poison.reason().is_none() && !self.settled.load(Ordering::SeqCst)
    }

    /// Notes that a sliver is read.
    pub(crate) fn read(&self) {
        self.reads.fetch_add(1, Ordering::Relaxed);
    }

    /// How many slivers have been read.
    pub(crate) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Whether the volume needs its room back: little is free, or less than what could be given back.
    pub(crate) fn needs_room(&self) -> bool {
        self.usage().is_ok_and(|Usage { file_bytes, live_bytes, free, reserve, .. }| {
            free < short(reserve) || free < file_bytes.saturating_sub(live_bytes)
        })
    }

    /// Runs a group of writes, in one commit unless they bring too much for one, and answers each.
    /// Up to `chores` bytes are moved or swept with it, to give room back.
    pub(crate) fn commit(&self, group: Vec<Box<dyn Job>>, chores: u64) {
        let mut waiting = VecDeque::from(group);
        loop {
            let mut done = Vec::new();
            let mut older = None;
            let outcome = {
                let mut writing = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
                let group = self.commit_on(&mut writing, &mut waiting, &mut done, chores);
                group.map(|Group { sequence, snapshot }| {
                    older = snapshot.map(|snapshot| {
                        let mut newest = self.newest.write().unwrap_or_else(PoisonError::into_inner);
                        std::mem::replace(&mut *newest, Arc::new(snapshot))
                    });
                    sequence
                })
            };
            // Not while others wait for the newest one.
            drop(older);
            let failed = outcome.is_err();
            done.extend(failed.then(|| waiting.drain(..)).into_iter().flatten());
            for job in done {
                job.answer(outcome.clone());
            }
            if waiting.is_empty() {
                break;
            }
        }
        if chores > 0 {
            self.volume.bury();
        }
    }

    /// Makes the database durable, so that the next open finds nothing to make again. It is the end of writing.
    pub(crate) fn settle(&self) {
        let mut writing = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        self.settled.store(true, Ordering::SeqCst);
        if self.volume.poison.reason().is_none()
            && !writing.log.is_settled()
            && let Err(error) = contained(|| self.checkpoint(&mut writing))
        {
            self.volume.poison.set("closing", &error);
        }
        self.volume.bury();
    }

    fn commit_on(
        &self,
        writing: &mut Writing,
        waiting: &mut VecDeque<Box<dyn Job>>,
        done: &mut Vec<Box<dyn Job>>,
        chores: u64,
    ) -> Result<Group, StoreError> {
        self.writable()?;
        let group = contained(|| self.try_commit(writing, waiting, done, chores));
        if let Err(error) = &group {
            // Whatever failed between begin and commit, what redb holds in memory is no longer to be built upon.
            self.volume.poison.set("committing", error);
        }
        // The gate swallows errors of the disk, so that success is only what is left when it has none.
        self.writable()?;
        group
    }

    fn writable(&self) -> Result<(), StoreError> {
        self.volume.poison.reason().map_or(Ok(()), |reason| Err(StoreError::ReadOnly { reason }))
    }

    /// Runs the next of the writes that wait, and commits what they change. Those that ran are moved to `done`.
    fn try_commit(
        &self,
        writing: &mut Writing,
        waiting: &mut VecDeque<Box<dyn Job>>,
        done: &mut Vec<Box<dyn Job>>,
        chores: u64,
    ) -> Result<Group, StoreError> {
        let draft = writing.log.draft()?;
        let segments = writing.log.segments().clone();
        let Writing { log, database, victim } = writing;
        let transaction = begin(database, Durability::None)?;
        let mut base = Base::open(&transaction, &segments, draft)?;
        let mut admission = Admission::default();
        while base.payload() < GROUP_BYTES
            && let Some(mut job) = waiting.pop_front()
        {
            let changes = match admission.admit(self, job.room()) {
                Ok(()) => job.run(&base),
                Err(error) => {
                    job.refuse(error);
                    None
                }
            };
            done.push(job);
            if let Some(changes) = changes {
                base.apply(changes)?;
            }
        }
        let swept = self.give_back(&mut base, log, victim, chores)?;
        let changed = base.changed();
        if changed {
            let Sealed { tables, draft, moved, rows, uses } = base.seal(log.closed())?;
            let sequence = tables.counters.sequence;
            self.writable()?;
            if let Some(moved) = moved {
                log.append_moved(moved, sequence)?;
            }
            let end = log.append(draft, sequence, rows)?;
            tables.seal(end)?;
            guarded(Table::Meta, || transaction.commit())?;
            log.used(uses);
        } else {
            drop(base);
            guarded(Table::Meta, || transaction.abort())?;
        }
        if log.is_due() {
            self.checkpoint(writing)?;
        }
        self.writable()?;
        let waits = !swept || writing.victim.is_some() || self.next_victim(&writing.log).is_some();
        self.has_trash.store(waits, Ordering::SeqCst);
        let snapshot = changed.then(|| Snapshot::of(&writing.database, writing.log.segments().clone())).transpose()?;
        let sequence = snapshot.as_ref().map_or_else(|| self.newest().counters(), Snapshot::counters).sequence;
        Ok(Group { sequence, snapshot })
    }

    /// Gives room back, up to so many bytes of work. True when nothing is left of what format 1 stored and was released.
    fn give_back(
        &self,
        base: &mut Base<'_>,
        log: &mut Log,
        victim: &mut Option<Victim>,
        mut budget: u64,
    ) -> Result<bool, StoreError> {
        if !self.has_trash() {
            return Ok(true);
        }
        // There may be something: who has the time looks for it.
        if budget == 0 {
            return Ok(false);
        }
        let swept = compact::sweep(base, &mut budget)?;
        // One at a time: what a segment is used for is known to the log after the commit.
        let next = if budget > 0 { victim.take().or_else(|| self.next_victim(log)) } else { None };
        if let Some(mut emptied) = next {
            if !compact::advance(base, log, &mut emptied, &mut budget)? {
                *victim = Some(emptied);
                return Ok(swept);
            }
            match base.held_of(emptied.segment)? {
                Some(0) => base.drop_segment(emptied.segment)?,
                Some(_) => log.leave(emptied.segment),
                None => {}
            }
        }
        Ok(swept)
    }

    fn next_victim(&self, log: &Log) -> Option<Victim> {
        let free = self.volume.disk.space().map_or(0, |space| space.free);
        let (segment, used) = log.wasteful(free)?;
        // Nothing needs to be looked for where nothing is held.
        let until = if used.live == 0 { 0 } else { used.length };
        Some(Victim { segment, at: 0, until })
    }

    /// Makes the database durable, and lets go of segments that nothing names any more.
    fn checkpoint(&self, writing: &mut Writing) -> Result<(), StoreError> {
        make_durable(&writing.database)?;
        self.writable()?;
        writing.log.settled();
        Ok(())
    }

    pub(crate) fn usage(&self) -> Result<Usage, StoreError> {
        let (newest, Space { capacity, free }) = (self.newest(), self.space()?);
        let file_bytes = self.gate.allocated().map_err(space_error)? + newest.segments().bytes();
        let Counters { live_bytes, segment_bytes, .. } = newest.counters();
        Ok(Usage { file_bytes, live_bytes: live_bytes + segment_bytes, capacity, free, reserve: self.reserve })
    }

    fn space(&self) -> Result<Space, StoreError> {
        self.volume.disk.space().map_err(space_error)
    }
}

fn space_error(source: std::io::Error) -> StoreError {
    StoreError::Space { source: Arc::new(source) }
}

/// Makes what was committed durable.
pub(crate) fn make_durable(database: &Database) -> Result<(), StoreError> {
    let transaction = begin(database, Durability::Immediate)?;
    guarded(Table::Meta, || transaction.commit())
}

/// Begins a write transaction. A durable one leaves a file that opens quickly after a crash.
pub(crate) fn begin(database: &Database, durability: Durability) -> Result<redb::WriteTransaction, StoreError> {
    guarded(Table::Meta, || {
        let mut transaction = database.begin_write()?;
        transaction.set_durability(durability)?;
        // Costs a second fsync. Without it an open after a crash reads the whole file, and one rotten page
        // anywhere makes it refuse the file.
        transaction.set_quick_repair(matches!(durability, Durability::Immediate));
        Ok::<_, redb::Error>(transaction)
    })
}

/// What is left for the growing writes of a group; asked of the disk once, by the first of them.
#[derive(Default)]
struct Admission {
    available: Option<u64>,
}

impl Admission {
    fn admit(&mut self, core: &Core, room: Room) -> Result<(), StoreError> {
        let Room::Grows { bytes: needed } = room else { return Ok(()) };
        let available = match self.available {
            Some(available) => available,
            None => above_reserve(core.space()?.free, core.reserve),
        };
        let is_enough = needed <= available;
        self.available = Some(if is_enough { available - needed } else { available });
        if is_enough { Ok(()) } else { Err(StoreError::Full { needed, available }) }
    }
}
