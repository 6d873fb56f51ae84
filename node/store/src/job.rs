//! Writes on their way: closures with their types erased, and the queue to the writer's thread.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::changes::Changes;
use crate::rows::{Rows, panic_text};
use crate::{Committed, Room, StoreError, Tx};

/// Most writes in one commit, so that no caller waits for an endless group.
const GROUP: usize = 1024;

/// Bytes of growing writes after which a group is closed: its pages are held in memory until the commit.
pub(crate) const GROUP_BYTES: u64 = 32 << 20;

/// A write that waits for its commit.
pub(crate) trait Job: Send {
    fn room(&self) -> Room;
    /// Runs the closure on the transaction so far. Returns its changes when it succeeded.
    fn run(&mut self, base: &dyn Rows) -> Option<Changes>;
    /// Settles the write without running it.
    fn refuse(&mut self, error: StoreError);
    /// Answers: with the sequence number of the commit, or why there is none.
    fn answer(self: Box<Self>, outcome: Result<u64, StoreError>);
}

pub(crate) struct TypedJob<W, D, R, E> {
    room: Room,
    work: Option<W>,
    done: D,
    result: Result<R, E>,
}

impl<W, D, R, E: From<StoreError>> TypedJob<W, D, R, E> {
    pub(crate) fn new(room: Room, work: W, done: D) -> Self {
        Self { room, work: Some(work), done, result: Err(StoreError::Closed.into()) }
    }
}

impl<W, D, R, E> Job for TypedJob<W, D, R, E>
where
    W: FnOnce(&mut Tx<'_>) -> Result<R, E> + Send,
    D: FnOnce(Result<Committed<R>, E>) + Send,
    R: Send,
    E: From<StoreError> + Send,
{
    fn room(&self) -> Room {
        self.room
    }

    fn run(&mut self, base: &dyn Rows) -> Option<Changes> {
        let work = self.work.take()?;
        let mut tx = Tx::new(base);
        self.result = catch_unwind(AssertUnwindSafe(|| work(&mut tx)))
            .unwrap_or_else(|panic| Err(StoreError::Panicked { what: panic_text(&*panic) }.into()));
        self.result.is_ok().then(|| tx.into_changes())
    }

    fn refuse(&mut self, error: StoreError) {
        self.result = Err(error.into());
    }

    fn answer(self: Box<Self>, outcome: Result<u64, StoreError>) {
        let result = match outcome {
            // An error of the closure too may rest on what the writes before it in the group did.
            Err(error) => Err(error.into()),
            Ok(sequence) => self.result.map(|value| Committed { value, sequence }),
        };
        let done = self.done;
        // The writer goes on whatever a callback does.
        let _ = catch_unwind(AssertUnwindSafe(|| done(result)));
    }
}

/// Writes that wait for the writer's thread.
#[derive(Default)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    came: Condvar,
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Box<dyn Job>>,
    closed: bool,
}

impl Queue {
    /// Queues a write, or gives it back when the queue is closed.
    pub(crate) fn push(&self, job: Box<dyn Job>) -> Result<(), Box<dyn Job>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.closed {
            return Err(job);
        }
        waiting.jobs.push_back(job);
        self.came.notify_one();
        Ok(())
    }

    /// The next group: all that waits, within bounds. Waits for one, but no longer than until there is something else to do, if
    /// there is; none when the queue is closed and empty.
    pub(crate) fn next_group(&self, idle_from: Option<Instant>) -> Option<Vec<Box<dyn Job>>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        while waiting.jobs.is_empty() {
            if waiting.closed {
                return None;
            }
            let left = idle_from.map(|from| from.saturating_duration_since(Instant::now()));
            waiting = match left {
                Some(Duration::ZERO) => return Some(Vec::new()),
                Some(left) => self.came.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0,
                None => self.came.wait(waiting).unwrap_or_else(PoisonError::into_inner),
            };
        }
        let mut group = Vec::new();
        let mut bytes = 0;
        while group.len() < GROUP
            && bytes < GROUP_BYTES
            && let Some(job) = waiting.jobs.pop_front()
        {
            bytes += job.room().bytes();
            group.push(job);
        }
        Some(group)
    }

    /// Takes no more writes; those that wait are still done.
    pub(crate) fn close(&self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.came.notify_all();
    }
}
