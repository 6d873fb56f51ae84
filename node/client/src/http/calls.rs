//! What gateways can be asked.

use std::{
    io,
    ops::{Range, RangeInclusive},
    sync::Arc,
};

use bytes::Bytes;
use futures::{Stream, TryStreamExt, stream::BoxStream};
use http::{HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyDataStream, BodyExt, Empty, Full};
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use super::{
    Body, Gateways, HttpError,
    answers::{ListAnswer, PutAnswer, SliversAnswer, Stat},
    baton::Baton,
};
use crate::{Consistency, time};

/// What a put says besides its content.
#[derive(Debug, Clone, Default)]
pub struct Put {
    /// Repeated by retries, which then store the same blob.
    pub key: String,
    /// In its place the nonce of another blob, in hexadecimal: of a copy, which has the same ID where all else is the same.
    pub nonce: Option<String>,
    pub labels: Vec<(String, String)>,
    pub content_type: Option<String>,
    /// When the blob expires, in seconds since 1970, if it does.
    pub expiry: Option<u64>,
    /// The content's length, if it is known.
    pub length: Option<u64>,
}

/// Which blobs to list.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// Newest first, and not in the order of IDs.
    pub newest: bool,
    /// What the page before gave as next.
    pub after: Option<String>,
    /// Those with this label, `key=value`.
    pub label: Option<String>,
    /// Those whose content has this BLAKE3 hash, in hexadecimal.
    pub digest: Option<String>,
    /// Those that were made then or later (RFC 3339).
    pub since: Option<String>,
    /// Those that were made before, or don't say when.
    pub until: Option<String>,
}

/// A blob's content on its way.
pub struct Download {
    pub stat: Stat,
    pub bytes: BoxStream<'static, Result<Bytes, HttpError>>,
}

impl std::fmt::Debug for Download {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Download").field("stat", &self.stat).finish_non_exhaustive()
    }
}

impl Gateways {
    /// Stores a blob that is in memory.
    pub async fn put(&self, put: &Put, content: Bytes) -> Result<PutAnswer, HttpError> {
        let full = || Full::new(content.clone()).map_err(|never| match never {}).boxed_unsync();
        self.put_from(&Put { length: Some(content.len() as u64), ..put.clone() }, full).await
    }

    /// Stores a blob that `content` gives, anew for every gateway that is asked. A second gateway gets content only when
    /// the first one takes none: while connecting, or after it has fallen silent.
    pub async fn put_from(&self, put: &Put, content: impl Fn() -> Body) -> Result<PutAnswer, HttpError> {
        let head = put_head(put)?;
        let baton = Baton::new();
        let ask = |endpoint: Arc<_>, attempt| {
            let (gateways, request) = (self.clone(), with_body(&head, baton.hold(attempt, content())));
            async move { json(gateways.send(&endpoint, request).await?).await }
        };
        self.sending(&baton, ask).await
    }

    /// Stores a blob whose content can be read once only: one gateway is asked.
    pub async fn put_once(&self, put: &Put, content: Body) -> Result<PutAnswer, HttpError> {
        let endpoint = self.any()?;
        json(self.send(&endpoint, with_body(&put_head(put)?, content)).await?).await
    }

    /// A whole blob, or a range of it, in memory.
    pub async fn get(&self, id: &str, range: Option<RangeInclusive<u64>>) -> Result<Bytes, HttpError> {
        let mut head = request(Method::GET, &format!("/v1/blobs/{id}"))?;
        if let Some(range) = range {
            let range = format!("bytes={}-{}", range.start(), range.end());
            head.headers_mut().insert(header::RANGE, HeaderValue::try_from(range)?);
        }
        self.whole(&head).await
    }

    /// Any page, as of an admin port.
    pub async fn page(&self, path: &str) -> Result<Bytes, HttpError> {
        self.whole(&request(Method::GET, path)?).await
    }

    /// An answer with all of its body: a gateway that breaks off is as good as away.
    async fn whole(&self, head: &Request<()>) -> Result<Bytes, HttpError> {
        let ask = |endpoint: Arc<_>| {
            let (gateways, request) = (self.clone(), with_body(head, empty()));
            async move {
                let body = gateways.send(&endpoint, request).await?.into_body().collect().await;
                Ok(body.map_err(|source| broken(endpoint.to_string(), source))?.to_bytes())
            }
        };
        self.hedged(ask).await
    }

    /// A whole blob as it comes. Once it has begun, another gateway is of no help.
    pub async fn download(&self, id: &str, consistency: Consistency) -> Result<Download, HttpError> {
        let head = read(id, consistency)?;
        let response = self.simple(&head).await?;
        let stat = Stat::read(id, response.headers())?;
        let bytes = BodyDataStream::new(response.into_body()).map_err(|error| broken("the gateway".to_owned(), error));
        Ok(Download { stat, bytes: Box::pin(bytes) })
    }

    /// A part of a blob, in memory, of as many bytes as the range has. A gateway that is slow to send it isn't hedged.
    pub async fn part(&self, id: &str, range: Range<u64>, consistency: Consistency) -> Result<Bytes, HttpError> {
        let mut head = read(id, consistency)?;
        let bytes = format!("bytes={}-{}", range.start, range.end.saturating_sub(1));
        head.headers_mut().insert(header::RANGE, HeaderValue::try_from(bytes)?);
        let body = self.simple(&head).await?.into_body().collect().await;
        let bytes = body.map_err(|error| broken("the gateway".to_owned(), error))?.to_bytes();
        if bytes.len() as u64 == range.end - range.start {
            return Ok(bytes);
        }
        Err(HttpError::Answer(format!("{} bytes came of {range:?}", bytes.len())))
    }

    /// What is known of a blob.
    pub async fn stat(&self, id: &str) -> Result<Stat, HttpError> {
        let response = self.simple(&request(Method::HEAD, &format!("/v1/blobs/{id}"))?).await?;
        Stat::read(id, response.headers())
    }

    /// Where a blob's slivers are.
    pub async fn slivers(&self, id: &str) -> Result<SliversAnswer, HttpError> {
        json(self.simple(&request(Method::GET, &format!("/v1/blobs/{id}/slivers"))?).await?).await
    }

    /// Deletes a blob for good.
    pub async fn delete(&self, id: &str) -> Result<(), HttpError> {
        self.simple(&request(Method::DELETE, &format!("/v1/blobs/{id}"))?).await.map(drop)
    }

    /// A page of at most `limit` blobs.
    pub async fn list(&self, listing: &Listing, limit: u32) -> Result<ListAnswer, HttpError> {
        let Listing { newest, after, label, digest, since, until } = listing;
        let mut path = format!("/v1/blobs?limit={limit}");
        if *newest {
            path.push_str("&order=newest");
        }
        for (name, value) in
            [("after", after), ("label", label), ("digest", digest), ("since", since), ("until", until)]
        {
            if let Some(value) = value {
                path.extend(["&", name, "=", &percent(value)]);
            }
        }
        json(self.simple(&request(Method::GET, &path)?).await?).await
    }

    async fn simple(&self, head: &Request<()>) -> Result<Response<Incoming>, HttpError> {
        let ask = |endpoint: Arc<_>| {
            let (gateways, request) = (self.clone(), with_body(head, empty()));
            async move { gateways.send(&endpoint, request).await }
        };
        self.hedged(ask).await
    }
}

fn put_head(put: &Put) -> Result<Request<()>, HttpError> {
    let mut head = request(Method::PUT, "/v1/blobs")?;
    let headers = head.headers_mut();
    match &put.nonce {
        Some(nonce) => headers.insert("weft-nonce", HeaderValue::try_from(nonce)?),
        None => headers.insert("idempotency-key", HeaderValue::try_from(&put.key)?),
    };
    for (key, value) in &put.labels {
        headers.append("weft-label", HeaderValue::from_bytes(format!("{key}={value}").as_bytes())?);
    }
    if let Some(kind) = &put.content_type {
        headers.insert(header::CONTENT_TYPE, HeaderValue::try_from(kind)?);
    }
    if let Some(expiry) = put.expiry {
        headers.insert("weft-expires", HeaderValue::try_from(time::format(expiry))?);
    }
    if let Some(length) = put.length {
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    Ok(head)
}

fn read(id: &str, consistency: Consistency) -> Result<Request<()>, HttpError> {
    let query = match consistency {
        Consistency::Committed => "",
        Consistency::Strict => "?consistency=strict",
    };
    request(Method::GET, &format!("/v1/blobs/{id}{query}"))
}

/// A body that is read as it is sent.
pub fn streaming(content: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Body {
    http_body_util::StreamBody::new(content.map_ok(hyper::body::Frame::data)).boxed_unsync()
}

fn request(method: Method, path: &str) -> Result<Request<()>, HttpError> {
    Request::builder().method(method).uri(path).body(()).map_err(|_| HttpError::Answer(format!("{path:?} is no path")))
}

fn with_body(head: &Request<()>, body: Body) -> Request<Body> {
    let mut request = Request::new(body);
    *request.method_mut() = head.method().clone();
    *request.uri_mut() = head.uri().clone();
    *request.headers_mut() = head.headers().clone();
    request
}

fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

fn broken(endpoint: String, source: hyper::Error) -> HttpError {
    HttpError::Broken { endpoint, source: source.into() }
}

async fn json<T: DeserializeOwned>(response: Response<Incoming>) -> Result<T, HttpError> {
    let body = response.into_body().collect().await.map_err(|error| broken("the gateway".to_owned(), error))?;
    serde_json::from_slice(&body.to_bytes()).map_err(|error| HttpError::Answer(error.to_string()))
}

/// Percent-encodes a query's value (RFC 3986).
fn percent(value: &str) -> String {
    let encode = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    value.bytes().map(encode).collect()
}
