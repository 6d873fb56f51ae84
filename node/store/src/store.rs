//! The store's front.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::task::{Context, Poll};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use futures_channel::oneshot;

use crate::chores::{self, Turns};
use crate::compact;
use crate::engine::Core;
use crate::job::{Job, Queue, TypedJob};
use crate::rows::contained;
use crate::{Disk, ReadTx, Room, StoreError, Tx, Usage, View, open};

/// Name of the database's file on the volume; the log's are beside it.
pub const FILE: &str = "store.redb";

/// Name of the record in the state table that makes a volume some member's (fleet, member, incarnation, volume ID).
pub const IDENTITY: &str = "identity";

/// Where commits are done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Writer {
    /// On a thread of their own; writes that come while a commit is under way share the next.
    #[default]
    Thread,
    /// On the caller's thread, one commit a write: for simulations, which must be deterministic.
    Inline,
}

/// How to open a store.
#[derive(Clone, Debug)]
pub struct Options {
    /// Memory for pages of the file, bytes.
    pub cache_bytes: usize,
    /// Free space that only writes with [`Room::Reserved`] may use, bytes.
    pub reserve_bytes: u64,
    /// Where commits are done.
    pub writer: Writer,
    /// Length from which on a file of the log is followed by another, bytes. By default a 1024th of the volume, and at least 1 MiB
    /// and at most 1 GiB. Twice as much stays free at least: room to move what is held out of the emptiest one.
    pub segment_bytes: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self { cache_bytes: 16 << 20, reserve_bytes: 64 << 20, writer: Writer::default(), segment_bytes: None }
    }
}

/// The state of the store's disk, as far as it was noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Why no writes are taken any more; for good, until the process ends.
    pub read_only: Option<Arc<str>>,
    /// Reads that the disk refused.
    pub read_failures: u64,
}

/// A value, and the commit that made it durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed<R> {
    /// What the closure returned.
    pub value: R,
    /// Sequence number of the commit (PROTOCOL R1); of the newest one when the closure changed nothing.
    pub sequence: u64,
}

/// A member's durable store. Cheap to clone.
///
/// When the last clone goes, the writes that wait are done and the writer's thread ends; the file is closed with the last
/// [`ReadTx`].
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    core: Arc<Core>,
    executor: Executor,
}

enum Executor {
    Inline { closed: AtomicBool },
    Thread { queue: Arc<Queue>, thread: Mutex<Option<JoinHandle<()>>> },
}

impl std::fmt::Debug for Store {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Store").field("volume", &self.inner.core.volume).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store of a volume, or makes a new one where there is none.
    ///
    /// # Errors
    ///
    /// [`StoreError::Locked`] when it is open elsewhere; [`StoreError::NewerFormat`], [`StoreError::NotAStore`];
    /// [`StoreError::OpenFile`] and [`StoreError::OpenDatabase`] when disk or database refuse.
    pub fn open(disk: Arc<dyn Disk>, options: &Options) -> Result<Self, StoreError> {
        let core = Arc::new(contained(|| open::open(disk, options))?);
        let executor = match options.writer {
            Writer::Inline => Executor::Inline { closed: AtomicBool::new(false) },
            Writer::Thread => start(&core)?,
        };
        Ok(Self { inner: Arc::new(Inner { core, executor }) })
    }

    /// Queues a write; `done` is called, on the writer's thread, when it is durable or has failed.
    ///
    /// The closure sees the effects of the writes before it. Its own take effect together, when it returns `Ok`; when it
    /// returns `Err` or panics it has none. It runs once, while other writes wait: it shouldn't block.
    ///
    /// # Errors (given to `done`)
    ///
    /// What the closure returned, or [`StoreError::Full`], [`StoreError::ReadOnly`], [`StoreError::Panicked`],
    /// [`StoreError::Closed`]. After `ReadOnly` the write may or may not be there when the volume is next opened.
    pub fn write_then<R, E, W, D>(&self, room: Room, work: W, done: D)
    where
        W: FnOnce(&mut Tx<'_>) -> Result<R, E> + Send + 'static,
        D: FnOnce(Result<Committed<R>, E>) + Send + 'static,
        R: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let job: Box<dyn Job> = Box::new(TypedJob::new(room, work, done));
        match &self.inner.executor {
            Executor::Inline { closed } if closed.load(Ordering::SeqCst) => job.answer(Err(StoreError::Closed)),
            Executor::Inline { .. } => self.inner.core.commit(vec![job], chores::BESIDE),
            Executor::Thread { queue, .. } => {
                if let Err(job) = queue.push(job) {
                    job.answer(Err(StoreError::Closed));
                }
            }
        }
    }

    /// [`Store::write_then`] as a future. The write is queued at once and done even if the future is dropped.
    pub fn write<R, E, W>(&self, room: Room, work: W) -> Pending<R, E>
    where
        W: FnOnce(&mut Tx<'_>) -> Result<R, E> + Send + 'static,
        R: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        self.write_then(room, work, move |result| drop(sender.send(result)));
        Pending { receiver }
    }

    /// [`Store::write_then`], waited for. Not for callbacks of writes, nor for async code.
    pub fn write_blocking<R, E, W>(&self, room: Room, work: W) -> Result<Committed<R>, E>
    where
        W: FnOnce(&mut Tx<'_>) -> Result<R, E> + Send + 'static,
        R: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (sender, receiver) = mpsc::sync_channel(1);
        self.write_then(room, work, move |result| drop(sender.send(result)));
        receiver.recv().unwrap_or_else(|_| Err(StoreError::Closed.into()))
    }

    /// A snapshot of the newest durable commit: every write that was answered is in it. Never waits for writes.
    pub fn view(&self) -> ReadTx {
        ReadTx::new(self.inner.core.newest(), self.inner.core.clone())
    }

    /// Runs a closure on a snapshot of the newest durable commit.
    pub fn read<R, E>(&self, work: impl FnOnce(&ReadTx) -> Result<R, E>) -> Result<R, E> {
        work(&self.view())
    }

    /// Whether no member has made the volume its own: there is no record [`IDENTITY`].
    pub fn is_empty_volume(&self) -> Result<bool, StoreError> {
        Ok(self.view().state(IDENTITY)?.is_none())
    }

    /// Compares what files are used for with what is held in them. It reads where all slivers lie, and none of them.
    ///
    /// # Errors
    ///
    /// [`StoreError::Corrupt`] where the two differ: room would never come back.
    pub fn audit(&self) -> Result<(), StoreError> {
        compact::audit(&self.view())
    }

    /// Whether the store still takes writes, and whether reads failed.
    pub fn health(&self) -> Health {
        self.inner.core.volume.poison.health()
    }

    /// Use of the volume.
    pub fn usage(&self) -> Result<Usage, StoreError> {
        self.inner.core.usage()
    }

    /// Whether room of deleted slivers waits to be swept. Each commit sweeps some, the writer's thread also when idle; with
    /// [`Writer::Inline`], [`Store::sweep`] does.
    pub fn has_trash(&self) -> bool {
        self.inner.core.has_trash()
    }

    /// Sweeps some of what deleted slivers left in the file, on the caller's thread.
    pub fn sweep(&self) {
        if self.has_trash() {
            self.inner.core.commit(Vec::new(), chores::ALONE);
        }
    }

    /// Ends writing: writes that wait are done, later ones get [`StoreError::Closed`]. Reads go on.
    pub fn shutdown(&self) {
        self.inner.shutdown();
    }
}

impl Inner {
    fn shutdown(&self) {
        match &self.executor {
            Executor::Inline { closed } => {
                if !closed.swap(true, Ordering::SeqCst) {
                    self.core.settle();
                }
            }
            Executor::Thread { queue, thread } => {
                queue.close();
                let thread = thread.lock().unwrap_or_else(PoisonError::into_inner).take();
                // The last clone may go in a callback, on the writer's thread, which can't wait for itself.
                if let Some(thread) = thread
                    && thread.thread().id() != thread::current().id()
                {
                    let _ = thread.join();
                }
            }
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shutdown();
    }
}

fn start(core: &Arc<Core>) -> Result<Executor, StoreError> {
    let queue = Arc::new(Queue::default());
    let (jobs, core) = (queue.clone(), core.clone());
    let thread = thread::Builder::new()
        .name("store-writer".into())
        .spawn(move || {
            let mut turns = Turns::default();
            while let Some(group) = jobs.next_group(core.has_trash().then(|| turns.next_look(Instant::now()))) {
                let (began, needs_room) = (Instant::now(), || core.needs_room());
                let is_alone = group.is_empty();
                let bytes = if is_alone {
                    turns.alone(began, core.reads(), needs_room)
                } else {
                    turns.beside(began, needs_room)
                };
                if bytes > 0 || !is_alone {
                    core.commit(group, bytes);
                }
                if bytes > 0 {
                    turns.took(Instant::now(), began.elapsed());
                }
            }
            core.settle();
        })
        .map_err(|source| StoreError::StartWriter { source: Arc::new(source) })?;
    Ok(Executor::Thread { queue, thread: Mutex::new(Some(thread)) })
}

/// A write that is under way.
#[derive(Debug)]
pub struct Pending<R, E> {
    receiver: oneshot::Receiver<Result<Committed<R>, E>>,
}

impl<R, E: From<StoreError>> Future for Pending<R, E> {
    type Output = Result<Committed<R>, E>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let receiver = Pin::new(&mut self.receiver);
        receiver.poll(context).map(|result| result.unwrap_or_else(|_| Err(StoreError::Closed.into())))
    }
}
