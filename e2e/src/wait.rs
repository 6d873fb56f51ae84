//! Waiting for a condition, never for a time.

use std::thread;
use std::time::{Duration, Instant};

/// How long a look at a condition is rested from: four times as long as it took (a look may start a program), within these.
const REST: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(500)];

/// A condition didn't come true in time.
#[derive(Debug, thiserror::Error)]
#[error("{what} did not come about within {} s{}", .limit.as_secs(), last.as_deref().map(|last| format!(": {last}")).unwrap_or_default())]
pub struct Timeout {
    pub(crate) what: String,
    pub(crate) limit: Duration,
    pub(crate) last: Option<String>,
}

/// Looks again and again until `condition` gives `Ok(Some(value))`, and returns that value.
///
/// `what` names the condition in the error. `Err(reason)` counts as "not yet"; the last reason is told when the time is up.
pub fn wait_until<T>(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> Result<Option<T>, String>,
) -> Result<T, Timeout> {
    let deadline = Instant::now() + limit;
    loop {
        let begun = Instant::now();
        let last = match condition() {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => None,
            Err(reason) => Some(reason),
        };
        if Instant::now() >= deadline {
            return Err(Timeout { what: what.to_owned(), limit, last });
        }
        let [shortest, longest] = REST;
        thread::sleep((begun.elapsed() * 4).clamp(shortest, longest));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_looked_at_until_it_holds() {
        let mut looks = 0;
        let value = wait_until("three looks", Duration::from_secs(10), || {
            looks += 1;
            Ok((looks == 3).then_some(looks))
        });
        assert_eq!(value.ok(), Some(3));
    }

    #[test]
    fn the_last_reason_is_told() {
        let error = wait_until::<()>("it", Duration::ZERO, || Err("too cold".to_owned())).expect_err("a timeout");
        assert_eq!(error.to_string(), "it did not come about within 0 s: too cold");
    }
}
