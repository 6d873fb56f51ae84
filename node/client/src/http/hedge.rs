//! Asking a second gateway when the first one is slow or away.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use http::{Uri, uri::Parts};
use tokio::time::{Instant, sleep};

use super::{Gateways, HttpError};

/// After which a second gateway is asked, unless told otherwise.
pub(super) const AFTER: Duration = Duration::from_millis(300);
/// How long a gateway that failed or was too slow is the second choice.
const AVOID: Duration = Duration::from_secs(5);

/// One gateway.
pub(super) struct Endpoint {
    base: Uri,
    avoid_until: Mutex<Option<Instant>>,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.base.fmt(f)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Endpoint {
    pub(super) fn parse(url: &str) -> Result<Self, HttpError> {
        let bad = || HttpError::Url { url: url.to_owned() };
        let base: Uri = url.trim_end_matches('/').parse().map_err(|_| bad())?;
        let known = matches!(base.scheme_str(), Some("http" | "https")) && base.authority().is_some();
        if known { Ok(Self { base, avoid_until: Mutex::new(None) }) } else { Err(bad()) }
    }

    /// A path at this gateway.
    pub(super) fn uri(&self, path: &Uri) -> Result<Uri, HttpError> {
        let mut parts: Parts = self.base.clone().into_parts();
        parts.path_and_query = path.path_and_query().cloned();
        Uri::from_parts(parts).map_err(|error| HttpError::Answer(error.to_string()))
    }

    fn avoid(&self) {
        *self.avoid_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + AVOID);
    }

    fn is_avoided(&self) -> bool {
        self.avoid_until.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|until| until > Instant::now())
    }
}

impl Gateways {
    /// Asks one gateway, and a second one when the first hasn't answered in time, or at once when it can't be reached.
    /// No gateway is asked twice. `extra` is time that the first one is given besides.
    pub(super) async fn hedged<T, F>(&self, extra: Duration, ask: impl Fn(Arc<Endpoint>) -> F) -> Result<T, HttpError>
    where
        F: Future<Output = Result<T, HttpError>>,
    {
        let (first, second) = self.choose().ok_or(HttpError::NoGateway)?;
        let asking = self.race(first, second, self.0.hedge + extra, ask);
        match self.0.timeout {
            Some(limit) => tokio::time::timeout(limit, asking).await.unwrap_or(Err(HttpError::Late(limit))),
            None => asking.await,
        }
    }

    /// The gateway whose turn it is.
    pub(super) fn any(&self) -> Result<Arc<Endpoint>, HttpError> {
        self.choose().map(|(first, _)| first).ok_or(HttpError::NoGateway)
    }

    async fn race<T, F>(
        &self,
        first: Arc<Endpoint>,
        second: Option<Arc<Endpoint>>,
        after: Duration,
        ask: impl Fn(Arc<Endpoint>) -> F,
    ) -> Result<T, HttpError>
    where
        F: Future<Output = Result<T, HttpError>>,
    {
        let mut one = std::pin::pin!(ask(Arc::clone(&first)));
        let Some(second) = second else { return one.await };
        let failed = tokio::select! {
            answer = &mut one => match answer {
                Err(error @ (HttpError::Unreachable { .. } | HttpError::Broken { .. })) => Some(error),
                answer => return answer,
            },
            () = sleep(after) => None,
        };
        first.avoid();
        let mut two = std::pin::pin!(ask(second));
        if failed.is_some() {
            return two.await;
        }
        tokio::select! {
            answer = &mut one => if answer.is_ok() { answer } else { two.await },
            answer = &mut two => if answer.is_ok() { answer } else { one.await },
        }
    }

    fn choose(&self) -> Option<(Arc<Endpoint>, Option<Arc<Endpoint>>)> {
        let mut endpoints = self.0.endpoints.clone();
        let turn = self.0.turn.fetch_add(1, Ordering::Relaxed) % endpoints.len().max(1);
        endpoints.rotate_left(turn);
        endpoints.sort_by_key(|endpoint| endpoint.is_avoided());
        let mut chosen = endpoints.into_iter();
        Some((chosen.next()?, chosen.next()))
    }
}
