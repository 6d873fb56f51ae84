use std::{
    io,
    path::{Path, PathBuf},
};

use bytes::{Bytes, BytesMut};
use clap::Args;
use futures::{Stream, StreamExt, stream};
use indicatif::ProgressBar;
use jiff::{Span, Zoned, tz::TimeZone};
use serde_json::json;
use tokio::{fs::File, io::AsyncReadExt};
use weft_client::{
    http::{self, PutAnswer},
    time,
};
use weft_redstuff::Labels;

use super::{Online, Session, progress::Bars};
use crate::failure::{BoxError as Error, Outcome, say};

/// Files stored at the same time.
const PARALLEL: usize = 4;
const CHUNK: usize = 256 << 10;

/// Store files, and print their blob IDs
#[derive(Debug, Args)]
pub(crate) struct Put {
    /// The files to store
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// A label, key=value; repeat it for several
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = label)]
    label: Vec<(String, String)>,
    /// What the content is, as a MIME type
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// When the blobs are gone: a time such as 2027-01-31T12:00:00Z (RFC 3339), or a span from now on such as 30d or 12h
    #[arg(long, value_name = "TIME|SPAN", value_parser = expires)]
    expires: Option<u64>,
    #[command(flatten)]
    online: Online,
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("a label is key=value")?;
    if key == time::CREATED {
        time::parse_millis(value).map_err(|error| error.to_string())?;
    }
    Ok((key.to_owned(), value.to_owned()))
}

fn expires(text: &str) -> Result<u64, String> {
    expires_after(text, &Zoned::now().with_time_zone(TimeZone::UTC))
}

/// Seconds since 1970. A span is taken by the calendar, in UTC: a day has 24 hours, and months have their own lengths.
fn expires_after(text: &str, now: &Zoned) -> Result<u64, String> {
    let Ok(span) = text.parse::<Span>() else { return time::parse(text).map_err(|error| error.to_string()) };
    if !span.is_positive() {
        return Err(format!("{text} isn't in the future"));
    }
    let then = now.checked_add(span).map_err(|error| error.to_string())?;
    time::parse(&then.timestamp().to_string()).map_err(|error| error.to_string())
}

impl Put {
    pub(crate) fn run(self) -> Outcome {
        self.online.run(async |session| self.store(&session).await)
    }

    async fn store<'a>(&'a self, session: &Session) -> Outcome {
        let bars = Bars::new(session.json);
        let (bars, this) = (&bars, self);
        let one = |file: &'a PathBuf| async move { (file, this.store_one(session, bars, file).await) };
        let mut stored = std::pin::pin!(stream::iter(&self.files).map(one).buffered(PARALLEL));
        let mut failure = None;
        while let Some((file, outcome)) = stored.next().await {
            match outcome {
                Ok(PutAnswer { id, length, .. }) if session.json => {
                    say(format_args!("{}", json!({ "file": file.display().to_string(), "id": id, "length": length })));
                }
                Ok(PutAnswer { id, .. }) => say(format_args!("{id}  {}", file.display())),
                // The others are stored nevertheless.
                Err(error) if failure.is_none() => failure = Some(format!("{}: {error}", file.display())),
                Err(error) => eprintln!("weft: {}: {error}", file.display()),
            }
        }
        failure.map_or(Ok(()), |failure| Err(failure.into()))
    }

    /// The labels that are asked for, and when the put was made: its retries must say the same.
    fn labels(&self) -> Vec<(String, String)> {
        let is_dated = self.label.iter().any(|(key, _)| key == time::CREATED);
        // The content type is a label as well.
        let has_room = self.label.len() + usize::from(self.content_type.is_some()) < Labels::MAX_COUNT;
        let now = (!is_dated && has_room).then(|| (time::CREATED.to_owned(), time::now()));
        self.label.iter().cloned().chain(now).collect()
    }

    async fn store_one(&self, session: &Session, bars: &Bars, path: &Path) -> Result<PutAnswer, Error> {
        let found = tokio::fs::metadata(path).await?;
        // What isn't a plain file tells no length beforehand.
        let length = found.is_file().then_some(found.len());
        let put = http::Put {
            key: random_key()?,
            nonce: None,
            labels: self.labels(),
            content_type: self.content_type.clone(),
            expiry: self.expires,
            length,
        };
        let bar = bars.add(&path.display().to_string(), length.unwrap_or_default());
        let stored = if length.is_some() {
            let content = || {
                bar.reset();
                http::streaming(read(path.to_owned(), bar.clone()))
            };
            session.retrying(async || session.gateways.put_from(&put, content).await).await
        } else {
            // What comes through a pipe comes once.
            session.gateways.put_once(&put, http::streaming(read(path.to_owned(), bar.clone()))).await
        };
        bar.finish_and_clear();
        stored.map_err(|error| describe(&error).into())
    }
}

fn random_key() -> Result<String, Error> {
    let mut key = [0; 16];
    getrandom::fill(&mut key)?;
    Ok(hex::encode(key))
}

/// An error with its causes.
fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// A file's content from its beginning, opened when it is first asked for.
fn read(path: PathBuf, bar: ProgressBar) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    stream::try_unfold(None::<File>, move |file| {
        let (path, bar) = (path.clone(), bar.clone());
        async move {
            let mut file = match file {
                Some(file) => file,
                None => File::open(&path).await?,
            };
            let mut chunk = BytesMut::with_capacity(CHUNK);
            let count = file.read_buf(&mut chunk).await?;
            bar.inc(count as u64);
            Ok((count > 0).then(|| (chunk.freeze(), Some(file))))
        }
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        put: Put,
    }

    #[test]
    fn a_put_says_when_it_was_made_unless_somebody_else_does_or_it_has_no_room_for_it() {
        let labels = |arguments: &[String]| {
            let line = ["weft", "file"].map(str::to_owned).into_iter().chain(arguments.iter().cloned());
            Line::parse_from(line).put.labels()
        };
        let label = |label: &str| ["--label".to_owned(), label.to_owned()];
        let made = |labels: &[(String, String)]| labels.iter().filter(|(key, _)| key == time::CREATED).count();
        assert_eq!(made(&labels(&label("a=b"))), 1);
        assert_eq!(labels(&label("created=2027-01-31T12:00:00Z")).len(), 1);
        assert!(super::label("created=yesterday").is_err_and(|error| error.contains("RFC 3339")));
        let many: Vec<String> = (1..Labels::MAX_COUNT).flat_map(|number| label(&format!("k{number}=v"))).collect();
        assert_eq!(made(&labels(&many)), 1);
        let typed = [&many[..], &["--content-type".to_owned(), "text/plain".to_owned()]].concat();
        assert_eq!(made(&labels(&typed)), 0);
    }

    #[test]
    fn an_expiry_is_a_time_or_a_span_from_now_on() {
        let now: Zoned = "2027-01-31T12:00:00+00:00[UTC]".parse().unwrap();
        let expires = |text| expires_after(text, &now).map(time::format);
        for (text, then) in [
            ("30d", "2027-03-02T12:00:00Z"),
            ("12h", "2027-02-01T00:00:00Z"),
            ("1h30m", "2027-01-31T13:30:00Z"),
            ("1mo", "2027-02-28T12:00:00Z"),
            ("500ms", "2027-01-31T12:00:01Z"),
            ("P1Y", "2028-01-31T12:00:00Z"),
            ("2027-02-01T01:00:00+01:00", "2027-02-01T00:00:00Z"),
        ] {
            assert_eq!(expires(text).as_deref(), Ok(then), "{text}");
        }
        for bad in ["", "30", "-1d", "0s", "1d ago", "soon", "2027-02-01"] {
            assert!(expires(bad).is_err(), "{bad}");
        }
    }
}
