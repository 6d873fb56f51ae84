//! Durations as people write them in a spec: `10m`, `168h`, `1h30m`.

use std::{borrow::Cow, fmt, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Six digits a part and 20 characters in all stay far below the 292 years at which CEL's own durations overflow.
const PATTERN: &str = "^([0-9]{1,6}(h|m|s))+$";
const MAX_LENGTH: usize = 20;

/// A rule that a duration is at least `limit`. What isn't a duration is the pattern's to refuse: the API server asks
/// rules all the same, and would add CEL's own error to a clear one.
pub(crate) fn at_least(limit: &str) -> String {
    format!("!self.matches('{PATTERN}') || duration(self) >= duration('{limit}')")
}

/// A rule that a duration is at most `limit`.
pub(crate) fn at_most(limit: &str) -> String {
    format!("!self.matches('{PATTERN}') || duration(self) <= duration('{limit}')")
}

/// A rule that one duration, if said, is at least another.
pub(crate) fn not_below(long: &str, short: &str) -> String {
    format!(
        "!has(self.{long}) || !self.{long}.matches('{PATTERN}') || !self.{short}.matches('{PATTERN}') || \
         duration(self.{long}) >= duration(self.{short})"
    )
}

/// A duration in hours, minutes and seconds, e.g. `1h30m`; unparsed until [`DurationText::get`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DurationText(String);

/// Why a text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("parse duration {text:?}: expected numbers with the units h, m or s, like 1h30m")]
pub struct DurationError {
    text: String,
}

impl DurationText {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The duration, or an error that quotes the text.
    pub fn get(&self) -> Result<Duration, DurationError> {
        let wrong = || DurationError { text: self.0.clone() };
        let mut rest = self.0.as_str();
        let mut seconds = 0_u64;
        if rest.is_empty() {
            return Err(wrong());
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
            let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
            let unit = match rest.as_bytes()[digits] {
                b'h' => 3600,
                b'm' => 60,
                b's' => 1,
                _ => return Err(wrong()),
            };
            seconds = number.checked_mul(unit).and_then(|part| seconds.checked_add(part)).ok_or_else(wrong)?;
            rest = &rest[digits + 1..];
        }
        Ok(Duration::from_secs(seconds))
    }
}

impl fmt::Display for DurationText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl JsonSchema for DurationText {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": PATTERN, "maxLength": MAX_LENGTH})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_its_parts_up() {
        let seconds = |text| DurationText::new(text).get().map(|d| d.as_secs());
        assert_eq!(seconds("10m"), Ok(600));
        assert_eq!(seconds("168h"), Ok(604_800));
        assert_eq!(seconds("1h30m5s"), Ok(5405));
        assert_eq!(seconds("0s"), Ok(0));
    }

    #[test]
    fn refuses_what_is_no_duration_and_quotes_it() {
        for text in ["", "10", "m", "1d", "-5m", "1.5h", "5m3", "99999999999999999999s", "9999999999999999999h", "5µ"]
        {
            let error = DurationText::new(text).get().expect_err(text);
            assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
        }
    }
}
