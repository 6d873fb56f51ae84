//! The content of a put, cut into stripes as it arrives.

use std::{io, pin::Pin, time::Duration};

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use thiserror::Error;
use tokio::time::timeout;

/// How long a put waits for more content.
const IDLE: Duration = Duration::from_secs(60);

/// A piece that gets longer than this many bytes probably gets as long as it may, and isn't to move while it grows.
const LONG: usize = 1 << 20;

/// Why the content ended early.
#[derive(Debug, Error)]
pub enum ContentError {
    #[error("the content breaks off")]
    Broken(#[from] io::Error),
    #[error("no content came for {IDLE:?}")]
    Idle,
}

type Content<'a> = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send + 'a>>;

/// Cuts a stream into pieces of one size; only the last is shorter.
pub(super) struct Source<'a> {
    content: Content<'a>,
    size: usize,
    rest: Bytes,
    ended: bool,
}

impl<'a> Source<'a> {
    /// Pieces of `size` bytes.
    pub(super) fn new(content: impl Stream<Item = io::Result<Bytes>> + Send + 'a, size: u64) -> Self {
        Self { content: Box::pin(content), size: size as usize, rest: Bytes::new(), ended: false }
    }

    /// Whether nothing comes after the last piece, as far as that has turned out.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// The next piece. The first may be empty, when the whole content is; `None` after the last. A piece shorter than
    /// the size is the last.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, ContentError> {
        if self.ended {
            return Ok(None);
        }
        let mut piece = BytesMut::new();
        while piece.len() < self.size {
            if self.rest.is_empty() {
                let Some(chunk) = timeout(IDLE, self.content.next()).await.map_err(|_| ContentError::Idle)? else {
                    self.ended = true;
                    break;
                };
                self.rest = chunk?;
            }
            let take = self.rest.len().min(self.size - piece.len());
            if piece.len() + take > LONG {
                piece.reserve(self.size - piece.len());
            }
            piece.extend_from_slice(&self.rest.split_to(take));
        }
        Ok(Some(piece.freeze()))
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    async fn pieces(chunks: &[usize], size: u64) -> Vec<usize> {
        let chunks: Vec<io::Result<Bytes>> = chunks.iter().map(|length| Ok(Bytes::from(vec![7; *length]))).collect();
        let mut source = Source::new(stream::iter(chunks), size);
        let mut lengths = Vec::new();
        while let Some(piece) = source.next().await.unwrap() {
            lengths.push(piece.len());
        }
        lengths
    }

    #[tokio::test]
    async fn pieces_are_full_but_the_last() {
        assert_eq!(pieces(&[3, 4, 5], 5).await, [5, 5, 2]);
        assert_eq!(pieces(&[10], 5).await, [5, 5, 0]);
        assert_eq!(pieces(&[], 5).await, [0]);
        assert_eq!(pieces(&[0, 1], 5).await, [1]);
    }

    #[tokio::test]
    async fn broken_content_is_told() {
        let chunks = vec![Ok(Bytes::from_static(b"abc")), Err(io::Error::other("gone"))];
        let mut source = Source::new(stream::iter(chunks), 5);
        assert!(matches!(source.next().await, Err(ContentError::Broken(_))));
    }
}
