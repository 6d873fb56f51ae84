//! Maintenance windows, as people write them in a spec.

use std::{borrow::Cow, time::Duration};

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::duration::{self, DurationText};

const TIME_OF_DAY: &str = "^([01][0-9]|2[0-3]):[0-5][0-9]$";

/// A stretch of time in which members that serve may be restarted, by UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct MaintenanceWindow {
    /// The days on which it begins. Empty: every day.
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(max = 7))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub days: Vec<Weekday>,
    /// When it begins, by UTC.
    pub start: TimeOfDay,
    /// How long it lasts: 10m to 168h.
    #[x_kube(validation = Rule::new(duration::at_least("10m"))
        .message("maintenanceWindows[].duration must be at least 10m"))]
    #[x_kube(validation = Rule::new(duration::at_most("168h"))
        .message("maintenanceWindows[].duration must be at most 168h"))]
    pub duration: DurationText,
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Weekday {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

/// A time of day in hours and minutes, e.g. `22:30`; unparsed until [`TimeOfDay::get`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TimeOfDay(String);

/// Why a text is not a time of day.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("parse time of day {text:?}: expected hours and minutes, like 22:30")]
pub struct TimeOfDayError {
    text: String,
}

impl TimeOfDay {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The time since midnight, or an error that quotes the text.
    pub fn get(&self) -> Result<Duration, TimeOfDayError> {
        let part = |text: &str, below: u64| -> Option<u64> {
            let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|number| digits && *number < below)
        };
        let minutes =
            self.0.split_once(':').and_then(|(hours, minutes)| Some(part(hours, 24)? * 60 + part(minutes, 60)?));
        minutes.map(|minutes| Duration::from_secs(minutes * 60)).ok_or_else(|| TimeOfDayError { text: self.0.clone() })
    }
}

impl JsonSchema for TimeOfDay {
    fn schema_name() -> Cow<'static, str> {
        "TimeOfDay".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": TIME_OF_DAY})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_day_is_told_in_minutes() {
        let minutes = |text| TimeOfDay::new(text).get().map(|time| time.as_secs() / 60);
        assert_eq!((minutes("00:00"), minutes("09:05"), minutes("23:59")), (Ok(0), Ok(545), Ok(1439)));
    }

    #[test]
    fn refuses_what_is_no_time_of_day_and_quotes_it() {
        for text in ["", "22", "24:00", "12:60", "9:00", "+9:00", "12:00:00", "12:0", "noon"] {
            let error = TimeOfDay::new(text).get().expect_err(text);
            assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
        }
    }
}
