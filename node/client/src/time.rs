//! Points in time as people write them (RFC 3339), and as metadata hold them: whole seconds since 1970 (UTC).

use jiff::Timestamp;
use thiserror::Error;

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
    fn what_is_no_time_or_before_1970_is_refused() {
        for text in ["", "tomorrow", "2027-01-31", "2027-01-31T12:00:00", "1801396800", "2027-13-31T12:00:00Z"] {
            assert!(matches!(parse(text), Err(TimeError::Form { .. })), "{text}");
        }
        assert!(matches!(parse("1969-12-31T23:59:59Z"), Err(TimeError::Early { .. })));
        assert_eq!(parse("1969-12-31T23:59:59.5Z").unwrap(), 0);
    }
}
