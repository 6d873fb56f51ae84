//! The content of a put, for one gateway at a time: asking a second gateway must not store everything twice.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, sleep_until};

use super::Body;

/// How long nothing may move once content flows, at least. Sending it all again costs as much as was spent already:
/// half of that is waited for too.
const SILENCE: Duration = Duration::from_secs(2);

/// Who may send. Cheap to clone; clones are one baton.
#[derive(Clone)]
pub(super) struct Baton(Arc<Mutex<Turn>>);

struct Turn {
    /// The attempt that has begun to send.
    holder: Option<u8>,
    /// The holder has fallen silent: others may send too.
    shared: bool,
    /// When this began.
    since: Instant,
    /// When content was last taken.
    moved: Instant,
    /// Attempts that are ready to send and may not.
    waiting: Vec<Waker>,
}

impl fmt::Debug for Baton {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Baton").field("holder", &self.lock().holder).finish_non_exhaustive()
    }
}

impl Baton {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self(Arc::new(Mutex::new(Turn { holder: None, shared: false, since: now, moved: now, waiting: Vec::new() })))
    }

    /// A body of which nothing is taken before its attempt's turn. Whose body is asked for first has it.
    pub(super) fn hold(&self, attempt: u8, content: Body) -> Body {
        Held { baton: self.clone(), attempt, content }.boxed_unsync()
    }

    /// Takes the turn from an attempt that has failed.
    pub(super) fn release(&self, attempt: u8) {
        let mut turn = self.lock();
        if turn.holder == Some(attempt) {
            turn.holder = None;
            turn.wake();
        }
    }

    /// Waits until nobody has begun to send for `before` (`None`: that is no matter), or who has begun falls silent: then
    /// others may send too.
    pub(super) async fn stalled(&self, before: Option<Duration>) {
        loop {
            let due = self.lock().due(before);
            if due > Instant::now() {
                sleep_until(due).await;
                continue;
            }
            let mut turn = self.lock();
            if turn.holder.is_some() {
                turn.shared = true;
                turn.wake();
            }
            return;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Turn> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    fn due(&self, before: Option<Duration>) -> Instant {
        match (self.holder, before) {
            (None, Some(before)) => self.since + before,
            // To look again.
            (None, None) => Instant::now() + SILENCE,
            (Some(_), _) => self.moved + SILENCE.max((self.moved - self.since) / 2),
        }
    }

    fn wake(&mut self) {
        self.waiting.drain(..).for_each(Waker::wake);
    }
}

struct Held {
    baton: Baton,
    attempt: u8,
    content: Body,
}

impl hyper::body::Body for Held {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let attempt = self.attempt;
        {
            let mut turn = self.baton.lock();
            if !turn.shared && *turn.holder.get_or_insert(attempt) != attempt {
                turn.waiting.push(cx.waker().clone());
                return Poll::Pending;
            }
        }
        let taken = Pin::new(&mut self.content).poll_frame(cx);
        if taken.is_ready() {
            self.baton.lock().moved = Instant::now();
        }
        taken
    }

    fn size_hint(&self) -> SizeHint {
        self.content.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use http_body_util::Full;

    use super::*;

    fn body(baton: &Baton, attempt: u8) -> Body {
        let content = Full::new(Bytes::from_static(b"content")).map_err(|never| match never {});
        baton.hold(attempt, content.boxed_unsync())
    }

    #[tokio::test]
    async fn content_goes_to_one_attempt_until_that_fails() {
        let baton = Baton::new();
        let (mut one, mut two) = (body(&baton, 0), body(&baton, 1));
        assert!(two.frame().now_or_never().is_some());
        assert!(one.frame().now_or_never().is_none());
        baton.release(0);
        assert!(one.frame().now_or_never().is_none(), "who has no turn can't give it away");
        let waiting = tokio::spawn(async move { one.frame().await.is_some() });
        tokio::task::yield_now().await;
        baton.release(1);
        assert!(waiting.await.unwrap(), "who waits is woken");
    }

    #[tokio::test]
    async fn an_attempt_that_moves_is_not_late() {
        let (baton, before) = (Baton::new(), Some(Duration::from_millis(300)));
        let began = Instant::now();
        baton.stalled(before).await;
        assert!((before..Some(SILENCE)).contains(&Some(began.elapsed())), "nothing has begun");

        let (mut one, mut two) = (body(&baton, 0), body(&baton, 1));
        assert!(one.frame().await.is_some());
        let moved = Instant::now();
        assert!(two.frame().now_or_never().is_none());
        baton.stalled(before).await;
        assert!(moved.elapsed() >= SILENCE);
        assert!(two.frame().now_or_never().is_some(), "a silent attempt keeps nobody");
    }
}
