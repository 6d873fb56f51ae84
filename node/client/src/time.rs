//! Points in time as people write them (RFC 3339), and as metadata hold them: whole seconds since 1970 (UTC).

use jiff::Timestamp;
use thiserror::Error;
use weft_redstuff::Labels;

/// The label that says when a blob was made (RFC 3339).
pub const CREATED: &str = "created";

#[derive(Debug, Error)]
pub enum TimeError {
    #[error("{text:?} is no time like 2027-01-31T12:00:00Z (RFC 3339)")]
    Form { text: String, source: jiff::Error },
    #[error("{text} is before 1970")]
    Early { text: String },
}

/// The seconds of a time. A part of a second counts as a whole one: nothing expires before it was said to.
pub fn parse(text: &str) -> Result<u64, TimeError> {
    let time: Timestamp = text.parse().map_err(|source| TimeError::Form { text: text.to_owned(), source })?;
    let seconds = time.as_second() + i64::from(time.subsec_nanosecond() > 0);
    u64::try_from(seconds).map_err(|_| TimeError::Early { text: text.to_owned() })
}

/// A time in UTC. One beyond the calendar's end, which is in the year 9999, is told by its number.
pub fn format(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.map_or_else(|| format!("{seconds} s after 1970"), |time| time.to_string())
}

/// The milliseconds since 1970 of a time. A part of a millisecond is left away.
pub fn parse_millis(text: &str) -> Result<u64, TimeError> {
    let time: Timestamp = text.parse().map_err(|source| TimeError::Form { text: text.to_owned(), source })?;
    u64::try_from(time.as_millisecond()).map_err(|_| TimeError::Early { text: text.to_owned() })
}

/// When a blob was made, in milliseconds since 1970, where its labels say so.
pub fn created(labels: &Labels) -> Option<u64> {
    labels.get(CREATED).and_then(|text| parse_millis(text).ok())
}

/// A time of so many milliseconds since 1970 in UTC, as [`format`] tells one.
pub fn format_millis(millis: u64) -> String {
    let time = i64::try_from(millis).ok().and_then(|millis| Timestamp::from_millisecond(millis).ok());
    time.map_or_else(|| format!("{millis} ms after 1970"), |time| time.to_string())
}

/// The present time, as [`CREATED`] has it: to the millisecond.
pub fn now() -> String {
    format_millis(Timestamp::now().as_millisecond().unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_whole_seconds_in_utc() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2027-01-31T12:00:00Z", 1_801_396_800),
            ("2027-01-31T13:00:00+01:00", 1_801_396_800),
            ("2027-01-31T11:59:59.001Z", 1_801_396_800),
        ] {
            assert_eq!(parse(text).unwrap(), seconds, "{text}");
        }
        assert_eq!(format(1_801_396_800), "2027-01-31T12:00:00Z");
        assert_eq!(parse(&format(1_801_396_800)).unwrap(), 1_801_396_800);
        assert_eq!(format(u64::MAX), "18446744073709551615 s after 1970");
    }

    #[test]
    fn labels_say_when_a_blob_was_made_to_the_millisecond() {
        let labels = |text: &str| Labels::new([(CREATED.to_owned(), text.to_owned())].into()).unwrap();
        for (text, millis) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2027-01-31T13:00:00.0019+01:00", Some(1_801_396_800_001)),
            ("1969-12-31T23:59:59Z", None),
            ("yesterday", None),
        ] {
            assert_eq!(created(&labels(text)), millis, "{text}");
        }
        assert_eq!(created(&Labels::default()), None);
        assert!(parse_millis(&now()).is_ok_and(|now| now > 1_700_000_000_000));
        assert_eq!(format_millis(1_801_396_800_010), "2027-01-31T12:00:00.01Z");
    }

    #[test]
    fn what_is_no_time_or_before_1970_is_refused() {
        for text in ["", "tomorrow", "2027-01-31", "2027-01-31T12:00:00", "1801396800", "2027-13-31T12:00:00Z"] {
            assert!(matches!(parse(text), Err(TimeError::Form { .. })), "{text}");
        }
        assert!(matches!(parse("1969-12-31T23:59:59Z"), Err(TimeError::Early { .. })));
        assert_eq!(parse("1969-12-31T23:59:59.5Z").unwrap(), 0);
    }
}
