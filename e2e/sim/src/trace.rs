//! Everything that happens, in order: as one hash, and to be read when a seed is replayed.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// A run's trace. Clones are the same trace.
#[derive(Debug, Clone)]
pub(super) struct Trace(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    hasher: blake3::Hasher,
    tells: bool,
    lines: u64,
    messages: u64,
    counts: BTreeMap<&'static str, u64>,
}

/// The time in the simulation, from its start.
pub(super) fn elapsed() -> Duration {
    turmoil::sim_elapsed().unwrap_or_default()
}

impl Trace {
    /// `tells`: lines go to standard error too.
    pub(super) fn new(tells: bool) -> Self {
        let hasher = blake3::Hasher::new();
        Self(Arc::new(Mutex::new(State { hasher, tells, lines: 0, messages: 0, counts: BTreeMap::new() })))
    }

    /// Notes an event of a kind that is counted.
    pub(super) fn event(&self, at: Duration, kind: &'static str, what: fmt::Arguments<'_>) {
        let mut state = self.lock();
        let line = format!("{:10.3} {kind:<9} {what}", at.as_secs_f64());
        state.hasher.update(line.as_bytes());
        state.lines += 1;
        *state.counts.entry(kind).or_default() += 1;
        if state.tells {
            eprintln!("{line}");
        }
    }

    /// Notes a message on the network: when it was sent, and between whom. Not its length, since HTTP's dates are
    /// the host's and compress to different lengths.
    pub(super) fn message(&self, from: &str, to: &str) {
        let mut state = self.lock();
        state.hasher.update(&elapsed().as_nanos().to_le_bytes());
        state.hasher.update(from.as_bytes());
        state.hasher.update(&[0]);
        state.hasher.update(to.as_bytes());
        state.messages += 1;
    }

    /// The hash of everything so far, how many lines and how many messages.
    pub(super) fn digest(&self) -> (String, u64, u64) {
        let state = self.lock();
        (state.hasher.finalize().to_hex().to_string(), state.lines, state.messages)
    }

    /// How often each kind of event happened.
    pub(super) fn counts(&self) -> BTreeMap<String, u64> {
        self.lock().counts.iter().map(|(kind, count)| ((*kind).to_owned(), *count)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
