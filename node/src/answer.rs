//! What peers answer, bounded in time, and in size where it is a stream: one that answers everything else, and this never,
//! seldom or without end, holds nobody up.

use std::time::Duration;

use futures::{Stream, StreamExt};
use prost::Message;
use tokio::time::{Instant, timeout};
use tonic::{Response, Status};

/// How long a peer may take for a single answer.
const SOON: Duration = Duration::from_secs(2);

/// How long a peer may be silent, before its first message of a stream and between two.
const SILENT: Duration = Duration::from_secs(20);

/// What a peer must give in a second, of all that was asked for, beyond the time that it may be silent once.
const SLOWEST: u64 = 256 << 10;

/// How much longer it may take for each thing that was asked for, as a disk takes to find it.
const EACH: Duration = Duration::from_millis(50);

/// Bytes that an answer may have beyond twice what was asked for: tags, lengths and signatures.
const AROUND: u64 = 64 << 10;

/// What a peer answers in one message.
///
/// # Errors
///
/// The peer's, or `DEADLINE_EXCEEDED`.
pub(crate) async fn soon<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Status> {
    Ok(timeout(SOON, call).await.map_err(|_| silent())??.into_inner())
}

/// What is asked for: so many things, of so many bytes together. There are no more messages than things.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) things: u32,
    pub(crate) bytes: u64,
}

impl Asked {
    /// How long the answer may take.
    pub(crate) fn patience(self) -> Duration {
        SILENT + EACH * self.things + Duration::from_secs_f64(self.bytes as f64 / SLOWEST as f64)
    }
}

/// An answer that comes in.
#[derive(Debug)]
pub(crate) struct Answer<S> {
    messages: S,
    left: u32,
    bytes: u64,
    /// How much longer it may be waited for. What the caller takes for itself between two messages doesn't count.
    patience: Duration,
}

impl<T: Message, S: Stream<Item = Result<T, Status>> + Unpin> Answer<S> {
    /// Begins a call.
    ///
    /// # Errors
    ///
    /// The peer's, or `DEADLINE_EXCEEDED`.
    pub(crate) async fn to(
        call: impl Future<Output = Result<Response<S>, Status>>,
        asked: Asked,
    ) -> Result<Self, Status> {
        let begun = Instant::now();
        let messages = timeout(SILENT, call).await.map_err(|_| silent())??.into_inner();
        let patience = asked.patience().saturating_sub(begun.elapsed());
        Ok(Self { messages, left: asked.things, bytes: 2 * asked.bytes + AROUND, patience })
    }

    /// The next message; `None` at the end.
    ///
    /// # Errors
    ///
    /// The peer's, `DEADLINE_EXCEEDED`, or `RESOURCE_EXHAUSTED` where it says more than was asked for.
    pub(crate) async fn next(&mut self) -> Result<Option<T>, Status> {
        let begun = Instant::now();
        let next = timeout(SILENT.min(self.patience), self.messages.next()).await.map_err(|_| silent())?;
        self.patience = self.patience.saturating_sub(begun.elapsed());
        let Some(message) = next.transpose()? else { return Ok(None) };
        let too_much = || Status::resource_exhausted("the peer says more than was asked for");
        self.left = self.left.checked_sub(1).ok_or_else(too_much)?;
        self.bytes = self.bytes.checked_sub(message.encoded_len() as u64).ok_or_else(too_much)?;
        Ok(Some(message))
    }
}

fn silent() -> Status {
    Status::deadline_exceeded("the peer is silent")
}

#[cfg(test)]
mod tests {
    use futures::stream::{self, BoxStream};
    use tonic::Code;
    use weft_proto::v1::SliverItem;

    use super::*;

    const ASKED: Asked = Asked { things: 3, bytes: 1 << 20 };

    type Messages = BoxStream<'static, Result<SliverItem, Status>>;

    /// All that comes of an answer, and how it ended.
    async fn all(messages: Messages) -> (usize, Code) {
        let call = async { Ok(Response::new(messages)) };
        let (mut answer, mut count) = (Answer::to(call, ASKED).await.unwrap(), 0);
        loop {
            match answer.next().await {
                Ok(Some(_)) => count += 1,
                Ok(None) => return (count, Code::Ok),
                Err(status) => return (count, status.code()),
            }
        }
    }

    /// Messages with so many bytes, at once.
    fn with(bytes: impl IntoIterator<Item = usize, IntoIter: Send + 'static>) -> Messages {
        let item = |bytes| Ok(SliverItem { item: 0, data: vec![0; bytes].into(), held: true });
        stream::iter(bytes.into_iter().map(item)).boxed()
    }

    /// Messages that come at these seconds.
    fn at<const COUNT: usize>(seconds: [u64; COUNT]) -> Messages {
        let come = stream::iter(seconds.map(|second| Instant::now() + Duration::from_secs(second)));
        come.then(tokio::time::sleep_until).zip(with([9; COUNT])).map(|((), message)| message).boxed()
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_silent_is_waited_for_no_longer_than_one_may_be() {
        let begun = Instant::now();
        let never = std::future::pending::<Result<Response<Messages>, Status>>();
        let ended = Answer::to(never, ASKED).await.err().expect("it never answers");
        assert_eq!(ended.code(), Code::DeadlineExceeded);
        assert_eq!(begun.elapsed(), SILENT);
        let some = with([9, 9]).chain(stream::pending()).boxed();
        assert_eq!(all(some).await, (2, Code::DeadlineExceeded));
        assert_eq!(begun.elapsed(), SILENT * 2);
        assert_eq!(all(at([12, 24])).await, (2, Code::Ok), "not all of what was asked for: nothing more is there");
        assert_eq!(all(at([21])).await, (0, Code::DeadlineExceeded));
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_a_little_now_and_then_is_not_waited_for_much_longer() {
        // 20 s, four for a megabyte, and 150 ms for three things.
        assert_eq!(all(at([8, 16, 23])).await, (3, Code::Ok));
        assert_eq!(all(at([8, 16, 25])).await, (2, Code::DeadlineExceeded));
        let slow_caller = async {
            let call = async { Ok(Response::new(with([9, 9]))) };
            let mut answer = Answer::to(call, ASKED).await.unwrap();
            for _ in 0..2 {
                tokio::time::sleep(SILENT).await;
                assert!(answer.next().await.unwrap().is_some());
            }
        };
        slow_caller.await;
    }

    #[tokio::test]
    async fn who_says_more_than_was_asked_for_is_not_listened_to() {
        assert_eq!(all(with(std::iter::repeat(0))).await, (3, Code::ResourceExhausted));
        assert_eq!(all(with([2 << 20, 32 << 10, 0])).await, (3, Code::Ok));
        assert_eq!(all(with([2 << 20, 64 << 10])).await, (1, Code::ResourceExhausted));
    }
}
