use clap::Args;
use jiff::{Span, Timestamp, Zoned, tz::TimeZone};
use serde_json::json;
use weft_client::{
    http::{BlobAnswer, Listing},
    time,
};

use super::{Online, Session};
use crate::failure::{Outcome, say};

/// Blobs in one request.
const PAGE: u32 = 1000;

/// List blobs, in the order of their IDs, or newest first
#[derive(Debug, Args)]
pub(crate) struct List {
    /// The newest first; those come last that don't say when they were made
    #[arg(long)]
    newest: bool,
    /// Only blobs that were made then or later, the newest first: a time such as 2027-01-31T12:00:00Z (RFC 3339), or a span before now such as 30d or 12h
    #[arg(long, value_name = "TIME|SPAN", value_parser = time_before)]
    since: Option<String>,
    /// Only blobs that were made before, or that don't say when
    #[arg(long, value_name = "TIME|SPAN", value_parser = time_before)]
    until: Option<String>,
    /// Only blobs with this label
    #[arg(long, short, value_name = "KEY=VALUE")]
    label: Option<String>,
    /// Only blobs whose content has this BLAKE3 hash
    #[arg(long, value_name = "HASH")]
    digest: Option<String>,
    /// At most so many blobs
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    #[command(flatten)]
    online: Online,
}

fn time_before(text: &str) -> Result<String, String> {
    span_before(text, &Zoned::now().with_time_zone(TimeZone::UTC))
}

/// A time (RFC 3339). A span is taken by the calendar, in UTC, and no further back than 1970.
fn span_before(text: &str, now: &Zoned) -> Result<String, String> {
    let Ok(span) = text.parse::<Span>() else {
        return time::parse_millis(text).map(time::format_millis).map_err(|error| error.to_string());
    };
    if span.is_zero() {
        return Err(format!("{text} isn't in the past"));
    }
    let then = now.checked_sub(span.abs()).map_err(|error| error.to_string())?;
    Ok(then.timestamp().max(Timestamp::UNIX_EPOCH).to_string())
}

/// A line for people: ID, bytes, when it was made and expires, to the second, and the other labels.
fn line(blob: &BlobAnswer) -> String {
    let told = |seconds: Option<u64>| seconds.map_or_else(|| "-".to_owned(), time::format);
    // What is listed since the time that is told has the blob in it.
    let created = blob.created.as_deref().and_then(|time| time::parse_millis(time).ok()).map(|millis| millis / 1000);
    let expires = blob.expires.as_deref().and_then(|time| time::parse(time).ok());
    let labels: Vec<String> = (blob.labels.iter())
        .filter(|(key, _)| blob.created.is_none() || *key != time::CREATED)
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let (created, expires) = (told(created), told(expires));
    let line = format!("{}  {:>12}  {created:<20}  {expires:<20}  {}", blob.id, blob.length, labels.join(","));
    line.trim_end().to_owned()
}

impl List {
    pub(crate) fn run(self) -> Outcome {
        self.online.run(async |session| self.list(&session).await)
    }

    async fn list(&self, session: &Session) -> Outcome {
        let Self { newest, since, until, label, digest, limit, online: _ } = self;
        let mut listing = Listing {
            newest: *newest,
            after: None,
            label: label.clone(),
            digest: digest.clone(),
            since: since.clone(),
            until: until.clone(),
        };
        let mut left = limit.unwrap_or(u64::MAX);
        while left > 0 {
            let limit = u64::from(PAGE).min(left) as u32;
            let page = session.retrying(async || session.gateways.list(&listing, limit).await).await?;
            for blob in &page.blobs {
                if session.json {
                    say(format_args!("{}", json!(blob)));
                } else {
                    say(format_args!("{}", line(blob)));
                }
            }
            left -= page.blobs.len() as u64;
            listing.after = page.next;
            if listing.after.is_none() {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_a_time_or_a_span_before_now() {
        let now: Zoned = "2027-01-31T12:00:00+00:00[UTC]".parse().unwrap();
        for (text, then) in [
            ("30d", "2027-01-01T12:00:00Z"),
            ("1h30m", "2027-01-31T10:30:00Z"),
            ("1mo", "2026-12-31T12:00:00Z"),
            ("1h ago", "2027-01-31T11:00:00Z"),
            ("70y", "1970-01-01T00:00:00Z"),
            ("2027-02-01T01:00:00.5+01:00", "2027-02-01T00:00:00.5Z"),
        ] {
            assert_eq!(span_before(text, &now).as_deref(), Ok(then), "{text}");
        }
        for bad in ["", "30", "0s", "soon", "2027-02-01"] {
            assert!(span_before(bad, &now).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_line_has_no_label_twice() {
        let labels = |created: &str| [("app", "x"), ("created", created)].map(|(k, v)| (k.to_owned(), v.to_owned()));
        let blob = |created: &str, told: Option<&str>| BlobAnswer {
            id: "1f".to_owned(),
            length: 7,
            digest: String::new(),
            labels: labels(created).into(),
            created: told.map(str::to_owned),
            expires: None,
            nonce: None,
        };
        let time = "2027-01-31T12:00:00.999Z";
        assert_eq!(
            line(&blob(time, Some(time))),
            "1f             7  2027-01-31T12:00:00Z  -                     app=x"
        );
        assert_eq!(
            line(&blob("once", None)),
            "1f             7  -                     -                     app=x,created=once"
        );
    }
}
