//! Clients that put and get, one request after another each.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

use crate::{
    Failure,
    figures::{self, percentile},
    process::eventually,
};

/// As many operations are measured at least.
const LEAST: u64 = 3;
/// What all blobs that are put together may take, so that the disk doesn't fill up.
const MOST_BYTES: u64 = 4 << 30;

/// Before anything is measured.
const WARM_UP: Duration = Duration::from_secs(1);

/// How long somebody must do nothing to be at rest, and how much processor time is nothing.
const WINDOW: Duration = Duration::from_secs(1);
const AT_REST: Duration = Duration::from_millis(120);

pub(crate) type Http = Client<HttpConnector, Full<Bytes>>;

pub(crate) fn http() -> Http {
    Client::builder(TokioExecutor::new()).build_http()
}

/// Something that stores bytes over HTTP.
pub(crate) trait Target: Send + Sync {
    fn name(&self) -> &'static str;
    /// A request that puts what has the given number.
    fn put(&self, number: u64) -> Result<(Method, Uri), Failure>;
    /// Where what was put is from then on, by what the answer said.
    fn stored(&self, number: u64, answer: &Bytes) -> Result<Uri, Failure>;
    /// What of it runs.
    fn processes(&self) -> Vec<u32>;
}

/// One cell of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) size: usize,
    pub(crate) clients: usize,
    pub(crate) seconds: Duration,
}

/// What came of one operation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rate {
    /// Bytes a second.
    pub(crate) bytes: f64,
    /// Operations a second.
    pub(crate) operations: f64,
    /// Sorted.
    pub(crate) latencies: Vec<Duration>,
}

impl Rate {
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        percentile(&self.latencies, percent)
    }
}

/// What one target did.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) name: &'static str,
    pub(crate) put: Rate,
    pub(crate) get: Rate,
}

impl Measured {
    pub(crate) fn line(&self, load: &Load) -> String {
        let rate = |rate: &Rate| {
            format!(
                "{:9.1}/s {:7.1} MB/s p50 {:>7.1?} p99 {:>7.1?}",
                rate.operations,
                rate.bytes / 1e6,
                rate.percentile(50),
                rate.percentile(99)
            )
        };
        format!(
            "{:>6} {:>9} bytes, {:>2} clients: put {}, get {}",
            self.name,
            load.size,
            load.clients,
            rate(&self.put),
            rate(&self.get)
        )
    }
}

impl Load {
    /// [`Load::measure`] once the target has been at it for a moment, whose first touch of memory isn't what is asked for; waits
    /// until it is at rest again.
    pub(crate) async fn run(&self, target: &dyn Target) -> Result<Measured, Failure> {
        Self { seconds: self.seconds.min(WARM_UP), ..*self }.measure(target).await?;
        rest(target).await?;
        let measured = self.measure(target).await?;
        rest(target).await?;
        Ok(measured)
    }

    /// Puts for a while, gets for as long what was put, and deletes it.
    pub(crate) async fn measure(&self, target: &dyn Target) -> Result<Measured, Failure> {
        let http = http();
        let content = content(self.size as u64, self.size);
        let stored = Arc::new(std::sync::Mutex::new(BTreeMap::new()));
        let most = (MOST_BYTES / self.size as u64).max(LEAST);
        let put = self
            .drive(most, |number| {
                let (http, content, stored) = (http.clone(), content.clone(), stored.clone());
                async move {
                    let (method, uri) = target.put(number)?;
                    let answer = ask(&http, method, uri, numbered(&content, number)).await?;
                    let uri = target.stored(number, &answer)?;
                    stored.lock().map_err(|_| "a client panicked")?.insert(number, uri);
                    Ok(())
                }
            })
            .await?;
        let stored: Vec<(u64, Uri)> =
            std::mem::take(&mut *stored.lock().map_err(|_| "a client panicked")?).into_iter().collect();
        let get = self
            .drive(u64::MAX, |turn| {
                // In no order that readahead or a cache would guess.
                let (number, uri) =
                    stored[(turn.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 17) as usize % stored.len()].clone();
                let (http, content) = (http.clone(), &content);
                async move {
                    let found = ask(&http, Method::GET, uri, Bytes::new()).await?;
                    if found.len() == content.len() && same(&found, content, number) {
                        Ok(())
                    } else {
                        Err("other bytes".into())
                    }
                }
            })
            .await?;
        for (_, uri) in stored {
            ask(&http, Method::DELETE, uri, Bytes::new()).await?;
        }
        Ok(Measured { name: target.name(), put, get })
    }

    async fn drive<F: Future<Output = Result<(), Failure>>>(
        &self,
        most: u64,
        operation: impl Fn(u64) -> F,
    ) -> Result<Rate, Failure> {
        let (next, started) = (AtomicU64::new(0), Instant::now());
        let clients = (0..self.clients).map(|_| async {
            let mut latencies = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= most || (number >= LEAST && started.elapsed() >= self.seconds) {
                    return Ok::<_, Failure>(latencies);
                }
                let began = Instant::now();
                operation(number).await?;
                latencies.push(began.elapsed());
            }
        });
        let mut latencies = futures::future::try_join_all(clients).await?.concat();
        let seconds = started.elapsed().as_secs_f64();
        latencies.sort_unstable();
        let operations = latencies.len() as f64 / seconds;
        Ok(Rate { bytes: operations * self.size as f64, operations, latencies })
    }
}

/// Waits until nothing is done any more for what was put and deleted: until none of the target's processes has had processor time
/// worth speaking of for a while.
async fn rest(target: &dyn Target) -> Result<(), Failure> {
    let time = || {
        target
            .processes()
            .into_iter()
            .map(|process| figures::Process(process).time())
            .sum::<Result<Duration, Failure>>()
    };
    eventually("it rests", || async {
        let before = time()?;
        tokio::time::sleep(WINDOW).await;
        Ok((time()?.saturating_sub(before) <= AT_REST).then_some(()))
    })
    .await
}

/// One request, whose answer must be a success.
pub(crate) async fn ask(http: &Http, method: Method, uri: Uri, body: Bytes) -> Result<Bytes, Failure> {
    let told = format!("{method} {uri}");
    let request = Request::builder().method(method).uri(uri).body(Full::new(body))?;
    let response = http.request(request).await.map_err(|error| format!("{told}: {error:?}"))?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    if status.is_success() || status == StatusCode::NO_CONTENT {
        Ok(body)
    } else {
        Err(format!("{told}: {status}: {}", String::from_utf8_lossy(&body)).into())
    }
}

/// Bytes that can't be compressed.
pub(crate) fn content(seed: u64, length: usize) -> Bytes {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes.into()
}

/// The same, with a number in front of it, so that no two are alike.
fn numbered(content: &Bytes, number: u64) -> Bytes {
    let mut bytes = content.to_vec();
    bytes.iter_mut().zip(number.to_le_bytes()).for_each(|(byte, digit)| *byte ^= digit);
    bytes.into()
}

fn same(found: &[u8], content: &[u8], number: u64) -> bool {
    let front = content.iter().zip(number.to_le_bytes()).map(|(byte, digit)| byte ^ digit);
    let length = content.len().min(8);
    found[..length].iter().copied().eq(front.take(length)) && found[length..] == content[length..]
}
