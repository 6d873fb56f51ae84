//! Copying what one fleet has to another: the backup.
//!
//! A copy has its original's content, labels, expiry and nonce; where the two fleets have the same code, it has its ID too.
//! What is there already is known by nonce and digest, so that a mirror that is run again moves what is new and nothing else.
//! Deletes aren't followed: what was deleted at the source stays at the target, or goes there by its expiry.

use std::{collections::HashSet, io, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use http::StatusCode;

use super::{BlobAnswer, Download, Gateways, HttpError, Listing, Put, streaming};
use crate::{Consistency, time};

/// Blobs in one request of a list.
const PAGE: u32 = 1000;
/// Between attempts, for reasons that pass.
const PAUSES: [Duration; 4] =
    [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(4), Duration::from_secs(10)];

/// A mirror: from which fleet to which, and how.
#[derive(Debug, Clone)]
pub struct Mirror {
    pub from: Gateways,
    pub to: Gateways,
    pub consistency: Consistency,
    /// Blobs on their way at one time.
    pub parallel: usize,
}

/// What became of a blob.
#[derive(Debug)]
pub enum Outcome {
    /// It was there before.
    There,
    /// It is there now, as this ID.
    Copied {
        id: String,
    },
    /// It was deleted, or expired, at the source or the target.
    Gone,
    Failed(HttpError),
}

/// What identifies a blob in both fleets: nonce and digest, in hexadecimal.
type Key = (String, String);

impl Mirror {
    /// Copies what the target hasn't, in the order of the source's IDs, and tells of each blob; `wanted` is told how many
    /// bytes are to be copied of each page, before they are.
    ///
    /// # Errors
    /// Where a fleet can't be listed. A blob that can't be copied is told of, and holds up no other.
    pub async fn run(&self, wanted: impl Fn(u64), mut told: impl FnMut(&BlobAnswer, Outcome)) -> Result<(), HttpError> {
        let there = self.there().await?;
        let mut pages = std::pin::pin!(pages(&self.from));
        while let Some(page) = pages.next().await {
            let (mut lacking, mut known) = (Vec::new(), Vec::new());
            for blob in page? {
                if there.contains(&key(&blob)?) { known.push(blob) } else { lacking.push(blob) }
            }
            for blob in &known {
                told(blob, Outcome::There);
            }
            wanted(lacking.iter().map(|blob| blob.length).sum());
            let copy = |blob: BlobAnswer| async move { (self.copy(&blob).await, blob) };
            let mut copied = stream::iter(lacking).map(copy).buffer_unordered(self.parallel);
            while let Some((outcome, blob)) = copied.next().await {
                told(&blob, outcome);
            }
        }
        Ok(())
    }

    async fn there(&self) -> Result<HashSet<Key>, HttpError> {
        let (mut there, mut pages) = (HashSet::new(), std::pin::pin!(pages(&self.to)));
        while let Some(page) = pages.next().await {
            for blob in page? {
                there.insert(key(&blob)?);
            }
        }
        Ok(there)
    }

    async fn copy(&self, blob: &BlobAnswer) -> Outcome {
        let mut pauses = PAUSES.into_iter();
        loop {
            match self.copy_once(blob).await {
                Ok(id) => return Outcome::Copied { id },
                Err(error) if matches!(error.status(), Some(StatusCode::NOT_FOUND | StatusCode::GONE)) => {
                    return Outcome::Gone;
                }
                Err(error) if error.is_passing() => match pauses.next() {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => return Outcome::Failed(error),
                },
                Err(error) => return Outcome::Failed(error),
            }
        }
    }

    async fn copy_once(&self, blob: &BlobAnswer) -> Result<String, HttpError> {
        let Download { stat, bytes } = self.from.download(&blob.id, self.consistency).await?;
        let expiry = stat.expires.as_deref().map(time::parse).transpose();
        let put = Put {
            nonce: blob.nonce.clone(),
            labels: stat.labels.into_iter().collect(),
            content_type: stat.content_type,
            expiry: expiry.map_err(|error| HttpError::Answer(error.to_string()))?,
            length: Some(stat.length),
            ..Put::default()
        };
        let content = checked(bytes, Arc::from(stat.digest.as_str()));
        Ok(self.to.put_once(&put, streaming(content)).await?.id)
    }
}

fn key(blob: &BlobAnswer) -> Result<Key, HttpError> {
    let nonce = blob.nonce.clone().ok_or_else(|| {
        HttpError::Answer("its lists tell no nonces: it is of a release before there were mirrors".to_owned())
    })?;
    Ok((nonce, blob.digest.clone()))
}

/// All blobs of a fleet, page by page.
fn pages(of: &Gateways) -> impl Stream<Item = Result<Vec<BlobAnswer>, HttpError>> + '_ {
    stream::try_unfold(Some(Listing::default()), async move |listing| {
        let Some(listing) = listing else { return Ok(None) };
        let page = of.list(&listing, PAGE).await?;
        let next = page.next.map(|next| Listing { after: Some(next), ..listing });
        Ok(Some((page.blobs, next)))
    })
}

/// Content as it comes, which breaks off before its end where it isn't what was stored: then it isn't stored anew.
fn checked(
    bytes: impl Stream<Item = Result<Bytes, HttpError>> + Send + Unpin + 'static,
    digest: Arc<str>,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let began = Some((bytes, blake3::Hasher::new()));
    stream::try_unfold(began, move |state| {
        let digest = Arc::clone(&digest);
        async move {
            let Some((mut bytes, mut hasher)) = state else { return Ok(None) };
            match bytes.next().await {
                Some(chunk) => {
                    let chunk = chunk.map_err(io::Error::other)?;
                    hasher.update(&chunk);
                    Ok(Some((chunk, Some((bytes, hasher)))))
                }
                None if hasher.finalize().to_hex().as_str() == &*digest => Ok(None),
                None => Err(io::Error::other("the content that came isn't the one that was stored")),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;

    use super::*;

    #[tokio::test]
    async fn content_with_another_digest_breaks_off() {
        let digest: Arc<str> = blake3::hash(b"onetwo").to_hex().as_str().into();
        let content = |last: &'static [u8]| {
            stream::iter([Ok(Bytes::from_static(b"one")), Ok(Bytes::from_static(last))])
                .map(|chunk: Result<_, HttpError>| chunk)
        };
        let whole: Vec<Bytes> = checked(content(b"two"), Arc::clone(&digest)).try_collect().await.expect("it is whole");
        assert_eq!(whole.concat(), b"onetwo");
        assert!(checked(content(b"twp"), Arc::clone(&digest)).try_collect::<Vec<_>>().await.is_err());
        assert!(checked(content(b""), digest).try_collect::<Vec<_>>().await.is_err());
    }
}
