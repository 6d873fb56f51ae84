//! Asking a second gateway when the first one is slow or away.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use http::{Uri, uri::Parts};
use tokio::time::Instant;

use super::{Gateways, HttpError, baton::Baton};

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
    /// No gateway is asked twice.
    pub(super) async fn hedged<T, F>(&self, ask: impl Fn(Arc<Endpoint>) -> F) -> Result<T, HttpError>
    where
        F: Future<Output = Result<T, HttpError>>,
    {
        self.sending(&Baton::new(), |endpoint, _| ask(endpoint)).await
    }

    /// The same for a request with content, which each attempt (0 and 1) holds by the baton: a first gateway that takes
    /// content isn't late.
    pub(super) async fn sending<T, F>(
        &self,
        baton: &Baton,
        ask: impl Fn(Arc<Endpoint>, u8) -> F,
    ) -> Result<T, HttpError>
    where
        F: Future<Output = Result<T, HttpError>>,
    {
        let asking = self.race(baton, ask);
        match self.0.timeout {
            Some(limit) => tokio::time::timeout(limit, asking).await.unwrap_or(Err(HttpError::Late(limit))),
            None => asking.await,
        }
    }

    /// The gateway whose turn it is.
    pub(super) fn any(&self) -> Result<Arc<Endpoint>, HttpError> {
        self.choose().map(|(first, _)| first).ok_or(HttpError::NoGateway)
    }

    async fn race<T, F>(&self, baton: &Baton, ask: impl Fn(Arc<Endpoint>, u8) -> F) -> Result<T, HttpError>
    where
        F: Future<Output = Result<T, HttpError>>,
    {
        let (first, second) = self.choose().ok_or(HttpError::NoGateway)?;
        let mut one = std::pin::pin!(ask(Arc::clone(&first), 0));
        let Some(second) = second else { return one.await };
        let failed = tokio::select! {
            answer = &mut one => match answer {
                Err(HttpError::Unreachable { .. } | HttpError::Broken { .. }) => true,
                answer => return answer,
            },
            () = baton.stalled(Some(self.0.hedge)) => false,
        };
        first.avoid();
        let mut two = std::pin::pin!(ask(second, 1));
        if failed {
            baton.release(0);
            return two.await;
        }
        // Whoever begins to send first does so alone, until it fails or falls silent.
        let both = async {
            tokio::select! {
                answer = &mut one => if answer.is_ok() { answer } else { baton.release(0); two.await },
                answer = &mut two => if answer.is_ok() { answer } else { baton.release(1); one.await },
            }
        };
        let mut both = std::pin::pin!(both);
        tokio::select! {
            answer = &mut both => return answer,
            () = baton.stalled(None) => {}
        }
        both.await
    }

    fn choose(&self) -> Option<(Arc<Endpoint>, Option<Arc<Endpoint>>)> {
        let mut endpoints = self.0.endpoints.clone();
        let turn = self.0.turn.fetch_add(1, Ordering::Relaxed) % endpoints.len().max(1);
        endpoints.rotate_left(turn);
        // Asked once each: it may change meanwhile, and a sort panics where the order does.
        endpoints.sort_by_cached_key(|endpoint| endpoint.is_avoided());
        let mut chosen = endpoints.into_iter();
        Some((chosen.next()?, chosen.next()))
    }
}
