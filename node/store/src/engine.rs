//! The database and its one writer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use redb::{Database, Durability};

use crate::base::Base;
use crate::gate::Gate;
use crate::job::Job;
use crate::rows::{Rows, guarded};
use crate::snapshot::Snapshot;
use crate::space::Usage;
use crate::tables::Table;
use crate::{Disk, Room, StoreError};

pub(crate) struct Core {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) reserve: u64,
    /// The newest durable commit.
    newest: RwLock<Arc<Snapshot>>,
    /// Locked by who writes.
    database: Mutex<Closing>,
    has_trash: AtomicBool,
}

/// A database whose closing panics nobody: after a failure redb's memory and the file disagree.
struct Closing(Option<Database>);

impl Drop for Closing {
    fn drop(&mut self) {
        let database = self.0.take();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(database)));
    }
}

/// What a group came to.
struct Group {
    sequence: u64,
    /// None when nothing changed.
    snapshot: Option<Snapshot>,
}

impl Core {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        gate: Arc<Gate>,
        reserve: u64,
        database: Database,
    ) -> Result<Self, StoreError> {
        let snapshot = Snapshot::of(&database)?;
        let has_trash = AtomicBool::new(snapshot.has_trash());
        let newest = RwLock::new(Arc::new(snapshot));
        Ok(Self { disk, gate, reserve, newest, database: Mutex::new(Closing(Some(database))), has_trash })
    }

    pub(crate) fn newest(&self) -> Arc<Snapshot> {
        self.newest.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether room of deleted slivers waits to be swept, and can be.
    pub(crate) fn has_trash(&self) -> bool {
        self.has_trash.load(Ordering::SeqCst) && self.gate.poisoned().is_none()
    }

    /// Runs a group of writes in one commit, and answers each.
    pub(crate) fn commit(&self, mut group: Vec<Box<dyn Job>>) {
        let outcome = {
            let database = self.database.lock().unwrap_or_else(PoisonError::into_inner);
            let outcome = match &database.0 {
                Some(database) => self.commit_on(database, &mut group),
                None => Err(StoreError::Closed),
            };
            if let Ok(Group { snapshot: Some(snapshot), .. }) = &outcome {
                self.has_trash.store(snapshot.has_trash(), Ordering::SeqCst);
            }
            outcome.map(|Group { sequence, snapshot }| {
                if let Some(snapshot) = snapshot {
                    *self.newest.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(snapshot);
                }
                sequence
            })
        };
        for job in group {
            job.answer(outcome.clone());
        }
    }

    fn commit_on(&self, database: &Database, group: &mut [Box<dyn Job>]) -> Result<Group, StoreError> {
        self.writable()?;
        let done = self.try_commit(database, group);
        if let Err(error) = &done {
            // Whatever failed between begin and commit, what redb holds in memory is no longer to be built upon.
            self.gate.poison("committing", error);
        }
        // The gate swallows errors of the disk, so that success is only what is left when it has none.
        self.writable()?;
        done
    }

    fn writable(&self) -> Result<(), StoreError> {
        self.gate.poisoned().map_or(Ok(()), |reason| Err(StoreError::ReadOnly { reason }))
    }

    fn try_commit(&self, database: &Database, group: &mut [Box<dyn Job>]) -> Result<Group, StoreError> {
        let transaction = begin(database)?;
        let mut base = Base::open(&transaction, None)?;
        let mut admission = Admission::default();
        for job in group {
            if let Err(error) = admission.admit(self, &base, job.room()) {
                job.refuse(error);
            } else if let Some(changes) = job.run(&base) {
                base.apply(changes)?;
            }
        }
        if self.has_trash() || base.changed() {
            base.sweep()?;
        }
        if !base.changed() {
            let sequence = base.counters().sequence;
            drop(base);
            guarded(Table::Meta, || transaction.abort())?;
            return Ok(Group { sequence, snapshot: None });
        }
        let sequence = base.seal()?;
        self.writable()?;
        guarded(Table::Meta, || transaction.commit())?;
        self.writable()?;
        Ok(Group { sequence, snapshot: Some(Snapshot::of(database)?) })
    }

    pub(crate) fn usage(&self) -> Result<Usage, StoreError> {
        self.usage_with(self.newest().live_bytes())
    }

    fn usage_with(&self, live_bytes: u64) -> Result<Usage, StoreError> {
        let space_error = |source| StoreError::Space { source: Arc::new(source) };
        let space = self.disk.space().map_err(space_error)?;
        let file_bytes = self.gate.allocated().map_err(space_error)?;
        Ok(Usage { file_bytes, live_bytes, capacity: space.capacity, free: space.free, reserve: self.reserve })
    }
}

/// Begins a write transaction whose commit is durable and leaves a file that opens quickly after a crash.
pub(crate) fn begin(database: &Database) -> Result<redb::WriteTransaction, StoreError> {
    guarded(Table::Meta, || {
        let mut transaction = database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        // Costs a second fsync. Without it an open after a crash reads the whole file, and one rotten page
        // anywhere, a sliver's too, makes it refuse the file.
        transaction.set_quick_repair(true);
        Ok::<_, redb::Error>(transaction)
    })
}

/// What is left for the growing writes of a group; asked of the disk once, by the first of them.
#[derive(Default)]
struct Admission {
    available: Option<u64>,
}

impl Admission {
    fn admit(&mut self, core: &Core, base: &Base<'_>, room: Room) -> Result<(), StoreError> {
        let Room::Grows { bytes: needed } = room else { return Ok(()) };
        let available = match self.available {
            Some(available) => available,
            None => core.usage_with(base.counters().live_bytes)?.available(),
        };
        self.available = Some(available.saturating_sub(needed));
        if needed <= available { Ok(()) } else { Err(StoreError::Full { needed, available }) }
    }
}
