//! Work that takes milliseconds, apart from the threads that serve everyone.

use std::panic::resume_unwind;

use tokio::{
    runtime::{Handle, RuntimeFlavor},
    task::{JoinError, spawn_blocking},
};

/// Runs work on a thread for such work; on a runtime of a single thread in its place, so that a simulation, which has no
/// other threads, is deterministic.
///
/// # Errors
/// When the work panicked on its thread.
pub async fn apart<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> Result<R, JoinError> {
    if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
        return Ok(work());
    }
    spawn_blocking(work).await
}

/// [`apart`], for callers that can't go on without the work: its panic is theirs.
pub async fn apart_unwinding<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> R {
    apart(work).await.unwrap_or_else(|panicked| resume_unwind(panicked.into_panic()))
}
