//! Why a store takes no more writes.

use std::fmt::Display;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::Health;

/// What the files of a volume have in common: after the first failure none of them is written to any more.
#[derive(Debug, Default)]
pub(crate) struct Poison {
    reason: OnceLock<Arc<str>>,
    read_failures: AtomicU64,
}

impl Poison {
    /// Ends writing, for the first reason given.
    pub(crate) fn set(&self, step: &str, error: &dyn Display) -> Arc<str> {
        self.reason.get_or_init(|| format!("{step}: {error}").into()).clone()
    }

    pub(crate) fn reason(&self) -> Option<Arc<str>> {
        self.reason.get().cloned()
    }

    pub(crate) fn note_read_failure(&self) {
        self.read_failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn health(&self) -> Health {
        Health { read_only: self.reason(), read_failures: self.read_failures.load(Ordering::Relaxed) }
    }
}
