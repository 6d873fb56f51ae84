//! Stripes to all holders at once: paced by the quorum, not by the slowest.

use std::{sync::Arc, time::Duration};

use thiserror::Error;
use tokio::{
    sync::{mpsc, watch},
    task::{AbortHandle, JoinSet},
    time::{Instant, timeout},
};
use tonic::Status;
use tracing::Instrument;
use weft_protocol::MemberId;

use super::{
    encode::Stripe,
    lane::{Board, Lane, Progress},
};
use crate::{Current, fleet::has_no_room};

/// A stripe is sent when the stripe this many before it is durable at a quorum.
const WINDOW: u32 = 2;
/// A holder that has this many stripes less than were sent gets no more.
const MOST_BEHIND: u32 = 4;
/// A holder that stands still for so long while a quorum is ahead of it gets no more.
pub(super) const STANDSTILL: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(250);
/// An upload in which no stripe becomes durable at a quorum for so long fails.
const NO_PROGRESS: Duration = Duration::from_secs(60);

/// Why an upload can't go on.
#[derive(Debug, Error)]
pub enum UploadError {
    #[error("holders of only {left} shards take the upload, which needs {quorum}: {}", reasons.join("; "))]
    TooFew { left: u16, quorum: u16, reasons: Vec<String> },
    #[error("members have no room: {}", reasons.join("; "))]
    NoRoom { reasons: Vec<String> },
    #[error("no stripe became durable at a quorum for {NO_PROGRESS:?}")]
    NoProgress,
}

struct Sender {
    queue: Option<mpsc::UnboundedSender<Arc<Stripe>>>,
    task: AbortHandle,
    /// Progress last seen, and since when.
    seen: (u32, Instant),
}

/// The upload streams of one put.
pub(super) struct Upload {
    current: Arc<Current>,
    board: Arc<Board>,
    senders: Vec<Sender>,
    lanes: JoinSet<()>,
    sent: u32,
}

impl Upload {
    /// Opens a stream to every holder.
    pub(super) fn open(current: Arc<Current>, session: [u8; 16]) -> Self {
        let board: Arc<Board> = Arc::new(watch::channel(vec![Progress::default(); current.holders.len()]).0);
        let mut lanes = JoinSet::new();
        let open = |(place, holder): (usize, &Arc<_>)| {
            let (queue, queued) = mpsc::unbounded_channel();
            let (holder, board) = (Arc::clone(holder), Arc::clone(&board));
            let lane = Lane { holder, place, session, view: current.hash, board };
            let task = lanes.spawn(lane.run(queued).in_current_span());
            Sender { queue: Some(queue), task, seen: (0, Instant::now()) }
        };
        let senders = current.holders.iter().enumerate().map(open).collect();
        Self { current, board, senders, lanes, sent: 0 }
    }

    /// Queues a stripe at all holders that keep up.
    pub(super) fn send(&mut self, stripe: Stripe) {
        let stripe = Arc::new(stripe);
        for sender in &self.senders {
            if let Some(queue) = &sender.queue {
                // A lane that has ended says so on the board.
                let _ = queue.send(Arc::clone(&stripe));
            }
        }
        self.sent += 1;
    }

    /// Waits until the next stripe may be sent.
    pub(super) async fn gate(&mut self) -> Result<(), UploadError> {
        let wanted = (self.sent + 1).saturating_sub(WINDOW);
        self.wait(wanted).await
    }

    /// Runs something else (that needs memory which slow holders keep) while slow holders are dropped.
    pub(super) async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            match timeout(LOOK, &mut work).await {
                Ok(done) => return done,
                Err(_) => self.drop_laggards(),
            }
        }
    }

    async fn wait(&mut self, wanted: u32) -> Result<(), UploadError> {
        let mut changes = self.board.subscribe();
        let mut progress = (self.quorum_durable(), Instant::now());
        loop {
            changes.mark_unchanged();
            self.drop_laggards();
            self.check_left()?;
            let durable = self.quorum_durable();
            if durable >= wanted {
                return Ok(());
            }
            if durable > progress.0 {
                progress = (durable, Instant::now());
            } else if progress.1.elapsed() > NO_PROGRESS {
                return Err(UploadError::NoProgress);
            }
            // Whether something changed or not, all is looked at again.
            let _ = timeout(LOOK, changes.changed()).await;
        }
    }

    /// Whether a quorum can still come together.
    fn check_left(&self) -> Result<(), UploadError> {
        let (left, quorum) = (self.shards(|progress| progress.dropped.is_none()), self.current.view.quorum());
        if left >= quorum {
            return Ok(());
        }
        let board = self.board.borrow();
        let dropped: Vec<(MemberId, &Status)> = board
            .iter()
            .zip(&self.current.holders)
            .filter_map(|(progress, holder)| Some((holder.member(), progress.dropped.as_ref()?)))
            .collect();
        let reasons = dropped.iter().map(|(member, status)| format!("member {member}: {}", status.message())).collect();
        let full = dropped.iter().any(|(_, status)| has_no_room(status));
        Err(if full { UploadError::NoRoom { reasons } } else { UploadError::TooFew { left, quorum, reasons } })
    }

    /// No more stripes: what is queued goes on in the background, watched through the answer.
    pub(super) fn close(mut self) -> Uploaded {
        self.senders.iter_mut().for_each(|sender| sender.queue = None);
        let members = self.current.holders.iter().map(|holder| holder.member()).collect();
        let tasks = self.senders.into_iter().map(|sender| sender.task).collect();
        Uploaded { members, board: self.board, stripes: self.sent, tasks, _lanes: self.lanes }
    }

    /// Stripes that are durable at holders of a quorum.
    fn quorum_durable(&self) -> u32 {
        let mut counts: Vec<u32> = self.board.borrow().iter().map(|progress| progress.durable).collect();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        let quorum = self.current.view.quorum();
        counts.into_iter().find(|count| self.shards(|progress| progress.durable >= *count) >= quorum).unwrap_or(0)
    }

    fn shards(&self, of: impl Fn(&Progress) -> bool) -> u16 {
        let board = self.board.borrow();
        let counted = board.iter().zip(&self.current.holders).filter(|(progress, _)| of(progress));
        counted.map(|(_, holder)| holder.shards().len()).sum()
    }

    fn drop_laggards(&mut self) {
        let ahead = self.quorum_durable();
        let board = self.board.borrow().clone();
        for (place, (sender, progress)) in self.senders.iter_mut().zip(board).enumerate() {
            if progress.durable != sender.seen.0 {
                sender.seen = (progress.durable, Instant::now());
            }
            let stands = progress.durable < ahead && sender.seen.1.elapsed() > STANDSTILL;
            let behind = progress.durable < ahead && self.sent > progress.durable + MOST_BEHIND;
            if sender.queue.is_some() && (progress.dropped.is_some() || stands || behind) {
                if progress.dropped.is_none() {
                    tracing::info!(member = %self.current.holders[place].member(), "a holder fell behind an upload");
                }
                sender.queue = None;
                sender.task.abort();
                let reason = || Status::aborted("the holder fell behind");
                self.board.send_modify(|board| {
                    board[place].dropped.get_or_insert_with(reason);
                });
            }
        }
    }
}

/// An upload all of whose stripes are sent.
#[derive(Debug)]
pub(super) struct Uploaded {
    members: Vec<MemberId>,
    board: Arc<Board>,
    stripes: u32,
    tasks: Vec<AbortHandle>,
    /// Ends the streams when dropped.
    _lanes: JoinSet<()>,
}

impl Uploaded {
    /// Waits until a member has everything, or fails with why it won't.
    pub(super) async fn complete(&self, member: MemberId) -> Result<(), Status> {
        let Some(place) = self.place(member) else {
            return Err(Status::aborted("the holder came later than the upload"));
        };
        let mut changes = self.board.subscribe();
        let settled = |board: &Vec<Progress>| board[place].dropped.is_some() || board[place].durable >= self.stripes;
        // The sender lives in `self`, so that waiting can't fail.
        let _ = changes.wait_for(settled).await;
        let progress = self.board.borrow()[place].clone();
        match progress.dropped {
            Some(reason) if progress.durable < self.stripes => Err(reason),
            _ => Ok(()),
        }
    }

    /// Ends a member's stream.
    pub(super) fn give_up(&self, member: MemberId) {
        if let Some(task) = self.place(member).and_then(|place| self.tasks.get(place)) {
            task.abort();
        }
    }

    fn place(&self, member: MemberId) -> Option<usize> {
        self.members.iter().position(|of| *of == member)
    }

    /// Waits until a member's stream stands still.
    pub(super) async fn standstill(&self, member: MemberId) {
        let place = self.place(member);
        let durable = || place.map_or(0, |place| self.board.borrow()[place].durable);
        loop {
            let before = durable();
            tokio::time::sleep(STANDSTILL).await;
            if durable() == before {
                return;
            }
        }
    }
}
