//! Trying again what failed for a passing reason.

use std::time::Duration;

use weft_client::http::HttpError;

use super::Session;

const PAUSES: [u64; 5] = [200, 500, 1000, 2000, 4000];

impl Session {
    /// Repeats an idempotent call while it fails for a passing reason, unless told not to.
    pub(super) async fn retrying<T>(&self, call: impl AsyncFn() -> Result<T, HttpError>) -> Result<T, HttpError> {
        let mut pauses = PAUSES.into_iter().filter(|_| self.retry);
        loop {
            match call().await {
                Err(error) if error.is_passing() => match pauses.next() {
                    Some(pause) => tokio::time::sleep(Duration::from_millis(pause)).await,
                    None => return Err(error),
                },
                outcome => return outcome,
            }
        }
    }
}
