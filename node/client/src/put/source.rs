//! The content of a put, cut into stripes as it arrives.

use std::{io, pin::Pin, time::Duration};

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use thiserror::Error;
use tokio::time::timeout;
use weft_redstuff::{Buffer, Buffers};

/// How long a put waits for more content.
const IDLE: Duration = Duration::from_secs(60);

/// A piece that gets longer than this many bytes probably gets as long as it may: it has all of its memory from then on.
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
    buffers: Buffers,
}

/// A piece on its way.
enum Piece {
    /// It grows.
    Short(BytesMut),
    /// So many bytes of memory that is used again.
    Long(Buffer, usize),
}

impl Piece {
    fn len(&self) -> usize {
        match self {
            Self::Short(bytes) => bytes.len(),
            Self::Long(_, length) => *length,
        }
    }

    /// Adds what fits a piece of `size` bytes.
    fn add(self, bytes: &[u8], size: usize, buffers: &Buffers) -> Self {
        match self {
            Self::Short(mut piece) if piece.len() + bytes.len() <= LONG => {
                piece.extend_from_slice(bytes);
                Self::Short(piece)
            }
            Self::Short(piece) => Self::Long(buffers.take(size), 0).put(&piece).put(bytes),
            Self::Long(..) => self.put(bytes),
        }
    }

    fn put(mut self, bytes: &[u8]) -> Self {
        if let Self::Long(buffer, length) = &mut self {
            buffer.bytes_mut()[*length..][..bytes.len()].copy_from_slice(bytes);
            *length += bytes.len();
        }
        self
    }

    fn finish(self) -> Bytes {
        match self {
            Self::Short(bytes) => bytes.freeze(),
            Self::Long(buffer, length) => Bytes::from(buffer).slice(..length),
        }
    }
}

impl<'a> Source<'a> {
    /// Pieces of `size` bytes, long ones in memory of `buffers`.
    pub(super) fn new(content: impl Stream<Item = io::Result<Bytes>> + Send + 'a, size: u64, buffers: Buffers) -> Self {
        Self { content: Box::pin(content), size: size as usize, rest: Bytes::new(), ended: false, buffers }
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
        let mut piece = Piece::Short(BytesMut::new());
        while piece.len() < self.size {
            if self.rest.is_empty() {
                let Some(chunk) = timeout(IDLE, self.content.next()).await.map_err(|_| ContentError::Idle)? else {
                    self.ended = true;
                    break;
                };
                self.rest = chunk?;
            }
            let take = self.rest.len().min(self.size - piece.len());
            piece = piece.add(&self.rest.split_to(take), self.size, &self.buffers);
        }
        Ok(Some(piece.finish()))
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    async fn pieces(chunks: &[usize], size: u64) -> Vec<usize> {
        let chunks: Vec<io::Result<Bytes>> = chunks.iter().map(|length| Ok(Bytes::from(vec![7; *length]))).collect();
        let mut source = Source::new(stream::iter(chunks), size, Buffers::default());
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
    async fn long_pieces_are_the_content_in_memory_that_comes_back() {
        let content: Vec<u8> = (0..5 * LONG).map(|at| (at / 7) as u8).collect();
        let chunks: Vec<io::Result<Bytes>> =
            content.chunks(300_007).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
        let (size, buffers) = (2 * LONG + 1, Buffers::keeping(3 * LONG));
        let mut source = Source::new(stream::iter(chunks), size as u64, buffers);
        let (mut found, mut places) = (Vec::new(), Vec::new());
        while let Some(piece) = source.next().await.unwrap() {
            places.push(piece.as_ptr());
            found.push(piece.to_vec());
        }
        assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [size, size, LONG - 2]);
        assert!(found.concat() == content);
        assert_eq!(places[0], places[1]);
    }

    #[tokio::test]
    async fn broken_content_is_told() {
        let chunks = vec![Ok(Bytes::from_static(b"abc")), Err(io::Error::other("gone"))];
        let mut source = Source::new(stream::iter(chunks), 5, Buffers::default());
        assert!(matches!(source.next().await, Err(ContentError::Broken(_))));
    }
}
