//! The wire between an operator and the API server: it numbers the operator's writes, counts what they make and delete,
//! and can be cut, answer for the API server, or show it as it was.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::{Future, pending, ready},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use kube::client::{Body, DynBody};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tower::{BoxError, Layer, Service};

use crate::{HOME, rights::Right};

/// What copies of keys are named before their fleet's ID.
const SPARE_KEYS: &str = "weft-keys-";

/// What happens at a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The operator dies before the write has left.
    DiesBefore,
    /// The operator dies when the write is done, before it hears of it.
    DiesAfter,
    /// The write is refused with this status.
    Refused(u16),
    /// The write is done, and the connection breaks before it is answered.
    Unanswered,
    /// The write is done and answered, and then everything is read as it was before it, until the next write and for a
    /// whole round at the most.
    Stale,
}

/// What becomes of watches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Watching {
    #[default]
    Whole,
    /// They are open, and nothing ever comes.
    Deaf,
    /// So are all but those of committees themselves.
    DeafToTheRest,
    /// What they would go on from is too old, each time.
    Expired,
    /// They break after one event.
    Torn,
}

/// What was written: verb, kind and name.
pub(crate) type Written = (&'static str, String, String);

#[derive(Default)]
struct State {
    /// Which of the operator's writes is disturbed, counted from 0.
    disturbed: Option<(usize, Trouble)>,
    watching: Watching,
    writes: usize,
    /// Writes of Events, which aren't among those: they are told once, or twice, or not at all.
    events: usize,
    /// How many calls the API server has answered, watches aside.
    calls: usize,
    /// How many writes it has done.
    changes: usize,
    /// Objects made and deleted, how often.
    written: BTreeMap<Written, usize>,
    /// What was called for, but by watches; and what of it was forbidden.
    called: BTreeSet<Right>,
    forbidden: BTreeSet<Right>,
    /// How many operators have died.
    deaths: usize,
    /// The last answer to each read.
    read: BTreeMap<String, Answer>,
    /// What reads are answered with while they are stale.
    stale: Option<BTreeMap<String, Answer>>,
}

type Answer = (StatusCode, Bytes);

/// One for all operators of a story, whoever of them lives.
#[derive(Default)]
pub(crate) struct Wire {
    state: Mutex<State>,
    died: Notify,
}

impl Wire {
    pub(crate) fn new(disturbed: Option<(usize, Trouble)>) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State { disturbed, ..State::default() }), died: Notify::new() })
    }

    /// A wire on which watches fare so.
    pub(crate) fn watching(watching: Watching) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State { watching, ..State::default() }), died: Notify::new() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when the operator has died.
    pub(crate) async fn death(&self) {
        self.died.notified().await;
    }

    pub(crate) fn writes(&self) -> usize {
        self.state().writes
    }

    pub(crate) fn calls(&self) -> usize {
        self.state().calls
    }

    pub(crate) fn changes(&self) -> usize {
        self.state().changes
    }

    pub(crate) fn events(&self) -> usize {
        self.state().events
    }

    /// The rights that calls took.
    pub(crate) fn called(&self) -> BTreeSet<Right> {
        self.state().called.clone()
    }

    pub(crate) fn forbidden(&self) -> BTreeSet<Right> {
        self.state().forbidden.clone()
    }

    /// Whether what was to happen has happened.
    pub(crate) fn was_disturbed(&self) -> bool {
        let state = self.state();
        state.disturbed.is_some_and(|(at, _)| state.writes > at)
    }

    /// Whether what is read is old.
    pub(crate) fn is_stale(&self) -> bool {
        self.state().stale.is_some()
    }

    /// What is read is new again.
    pub(crate) fn freshen(&self) {
        self.state().stale = None;
    }

    pub(crate) fn written(&self) -> BTreeMap<Written, usize> {
        self.state().written.clone()
    }

    /// What is to become of a call of the operator that was the `life`-th.
    fn verdict(&self, life: usize, request: &Request<Body>) -> Verdict {
        let mut state = self.state();
        if life < state.deaths {
            return Verdict::Never;
        }
        let path = request.uri().path();
        if request.method() == Method::GET {
            let stale = state.stale.as_ref().and_then(|stale| stale.get(&read_key(request)));
            return stale.map_or(Verdict::Passes, |(status, body)| Verdict::Answered(*status, body.clone()));
        }
        if is_event(path) {
            state.events += 1;
            return Verdict::Passes;
        }
        let number = state.writes;
        state.writes += 1;
        state.stale = None;
        match state.disturbed {
            Some((at, trouble)) if at == number => match trouble {
                Trouble::DiesBefore => {
                    self.die(&mut state);
                    Verdict::Never
                }
                Trouble::Refused(code) => {
                    let status = StatusCode::from_u16(code).expect("a status");
                    Verdict::Answered(status, refusal(status))
                }
                Trouble::Stale => {
                    state.stale = Some(state.read.clone());
                    Verdict::Passes
                }
                Trouble::DiesAfter | Trouble::Unanswered => Verdict::Done(trouble),
            },
            _ => Verdict::Passes,
        }
    }

    /// Notes what the API server has done.
    fn note(&self, call: &Call, status: StatusCode, body: &Bytes) {
        let mut state = self.state();
        state.calls += 1;
        if status == StatusCode::FORBIDDEN {
            state.forbidden.extend(call.right());
        }
        state.called.extend(call.right());
        if status == StatusCode::CREATED && call.method == Method::PATCH {
            // Applying what isn't there makes it.
            state.called.extend(call.right().map(|right| Right { verb: "create".to_owned(), ..right }));
        }
        if call.method == Method::GET {
            if let Some(key) = &call.read {
                state.read.insert(key.clone(), (status, body.clone()));
            }
            return;
        }
        if status.is_success() && !is_event(&call.path) {
            state.changes += 1;
        }
        let verb = match (&call.method, status) {
            (_, StatusCode::CREATED) => "create",
            (&Method::DELETE, status) if status.is_success() => "delete",
            _ => return,
        };
        if let Some(written) = written(verb, call, body).filter(|(_, kind, _)| kind != "events") {
            *state.written.entry(written).or_default() += 1;
        }
    }

    fn die(&self, state: &mut State) {
        state.deaths += 1;
        self.died.notify_one();
    }
}

fn is_event(path: &str) -> bool {
    path.ends_with("/events") || path.contains("/events/")
}

/// Kind as in the path, and the name: that of a new object is in the answer.
fn written(verb: &'static str, call: &Call, body: &Bytes) -> Option<Written> {
    let mut words = call.path.split('/').skip_while(|word| *word != "namespaces").skip(2);
    let kind = words.next()?.to_owned();
    let named = || serde_json::from_slice::<Value>(body).ok()?["metadata"]["name"].as_str().map(str::to_owned);
    let mut name = words.next().map(str::to_owned).or_else(named)?;
    if name.starts_with(SPARE_KEYS) {
        // Each story's fleet has another ID.
        name.truncate(SPARE_KEYS.len());
    }
    Some((verb, kind, name))
}

fn read_key(request: &Request<Body>) -> String {
    request.uri().path_and_query().map(ToString::to_string).unwrap_or_default()
}

/// As the API server words it.
fn refusal(status: StatusCode) -> Bytes {
    let reason = match status.as_u16() {
        409 => "AlreadyExists",
        410 => "Expired",
        429 => "TooManyRequests",
        _ => "InternalError",
    };
    let said = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status.as_u16(),
        "reason": reason, "message": format!("the wire says {status}")});
    Bytes::from(said.to_string())
}

enum Verdict {
    Passes,
    /// It passes, and then this happens.
    Done(Trouble),
    Answered(StatusCode, Bytes),
    /// Nobody waits for an answer any more.
    Never,
}

struct Call {
    method: Method,
    path: String,
    /// Where it is a read that ends: a watch doesn't.
    read: Option<String>,
}

impl Call {
    fn of(request: &Request<Body>) -> Self {
        let watches = request.uri().query().is_some_and(|query| query.contains("watch=true"));
        let read = (request.method() == Method::GET && !watches).then(|| read_key(request));
        Self { method: request.method().clone(), path: request.uri().path().to_owned(), read }
    }

    /// What it takes to be let do it; `None` of what isn't about objects.
    fn right(&self) -> Option<Right> {
        let mut words = self.path.trim_start_matches('/').split('/');
        let group = match words.next()? {
            "api" => "",
            "apis" => words.next()?,
            _ => return None,
        };
        let _version = words.next()?;
        let words: Vec<&str> = words.collect();
        let at_home = words.get(..2) == Some(&["namespaces", HOME]);
        let words = if words.first() == Some(&"namespaces") { words.get(2..)? } else { &words[..] };
        let named = words.len() > 1;
        let resource = [words.first().copied(), words.get(2).copied()].into_iter().flatten().collect::<Vec<_>>();
        let verb = match (self.method.as_str(), named) {
            ("GET", true) => "get",
            ("GET", false) => "list",
            ("POST", _) => "create",
            ("PUT", _) => "update",
            ("PATCH", _) => "patch",
            ("DELETE", _) => "delete",
            _ => return None,
        };
        Some(Right { group: group.to_owned(), resource: resource.join("/"), verb: verb.to_owned(), at_home })
    }
}

/// Puts a wire between a client and its API server.
pub(crate) struct Through {
    pub(crate) wire: Arc<Wire>,
}

impl<S> Layer<S> for Through {
    type Service = Wired<S>;

    fn layer(&self, inner: S) -> Wired<S> {
        let life = self.wire.state().deaths;
        Wired { inner, wire: self.wire.clone(), life }
    }
}

pub(crate) struct Wired<S> {
    inner: S,
    wire: Arc<Wire>,
    life: usize,
}

type Reply = Response<Box<DynBody>>;

impl<S> Service<Request<Body>> for Wired<S>
where
    S: Service<Request<Body>, Response = Reply, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = Reply;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Reply, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (call, wire) = (Call::of(&request), self.wire.clone());
        let trouble = match self.wire.verdict(self.life, &request) {
            Verdict::Never => return Box::pin(pending()),
            Verdict::Answered(status, body) => return Box::pin(async move { Ok(reply(status, body)) }),
            Verdict::Passes => None,
            Verdict::Done(trouble) => Some(trouble),
        };
        let watching = wire.state().watching;
        let watches = call.method == Method::GET && call.read.is_none();
        match watching {
            Watching::Deaf if watches => return Box::pin(async { Ok(Response::new(deaf())) }),
            Watching::DeafToTheRest if watches && !call.path.ends_with("/storagecommittees") => {
                return Box::pin(async { Ok(Response::new(deaf())) });
            }
            Watching::Expired if watches => {
                let body = refusal(StatusCode::GONE);
                return Box::pin(async move { Ok(reply(StatusCode::GONE, body)) });
            }
            _ => {}
        }
        let answer = self.inner.call(request);
        if watches {
            return Box::pin(async move {
                answer.await.map(|whole| if watching == Watching::Torn { torn(whole) } else { whole })
            });
        }
        Box::pin(async move {
            let (head, body) = answer.await?.into_parts();
            let body = body.collect().await?.to_bytes();
            wire.note(&call, head.status, &body);
            match trouble {
                Some(Trouble::DiesAfter) => {
                    wire.die(&mut wire.state());
                    pending().await
                }
                Some(Trouble::Unanswered) => Err("the connection is broken".into()),
                _ => Ok(Response::from_parts(head, boxed(body))),
            }
        })
    }
}

/// A body of which nothing ever comes.
fn deaf() -> Box<DynBody> {
    Box::new(StreamBody::new(stream::pending::<Result<Frame<Bytes>, BoxError>>()))
}

/// An answer that ends with its first line.
fn torn(whole: Reply) -> Reply {
    let (head, body) = whole.into_parts();
    let lines = body.into_data_stream().scan(false, |ended, chunk: Result<Bytes, BoxError>| {
        let end = chunk.as_ref().ok().and_then(|chunk| chunk.iter().position(|byte| *byte == b'\n'));
        let chunk = match (*ended, end) {
            (true, _) => None,
            (false, Some(end)) => Some(chunk.map(|chunk| chunk.slice(..=end))),
            (false, None) => Some(chunk),
        };
        *ended |= end.is_some();
        ready(chunk)
    });
    Response::from_parts(head, Box::new(StreamBody::new(lines.map_ok(Frame::data))))
}

fn reply(status: StatusCode, body: Bytes) -> Reply {
    let mut reply = Response::new(boxed(body));
    *reply.status_mut() = status;
    reply
}

fn boxed(body: Bytes) -> Box<DynBody> {
    Box::new(Full::new(body).map_err(Into::into))
}
