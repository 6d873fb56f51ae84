use std::{
    ffi::OsString,
    io,
    ops::Range,
    path::{Path, PathBuf},
};

use clap::Args;
use futures::{StreamExt, TryStreamExt, stream};
use tokio::{
    fs::{self, File, OpenOptions},
    io::{AsyncReadExt, AsyncSeekExt, AsyncWrite, AsyncWriteExt},
};
use weft_client::{
    Consistency,
    http::{HttpError, Stat},
};

use super::{Online, Session, progress::Bars};
use crate::failure::{BoxError as Error, Outcome};

/// Bytes that are asked for at one time: a few stripes, so that little of any is read twice.
const PART: u64 = 16 << 20;
/// Parts on their way at the same time; as many are in memory.
const PARALLEL: usize = 4;
/// Bytes that are read at a time of what came before.
const CHUNK: usize = 1 << 20;

/// Fetch a blob into a file, or to standard output
///
/// What is cut off in the middle of a file goes on where it was when the command is given again.
#[derive(Debug, Args)]
pub(crate) struct Get {
    /// The blob's ID
    id: String,
    /// The file to write; without it, or with `-`, standard output
    file: Option<PathBuf>,
    /// Encode every stripe again before any of its bytes comes, and refuse a blob whose writer lied
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    online: Online,
}

impl Get {
    pub(crate) fn run(self) -> Outcome {
        self.online.run(async |session| match &self.file {
            Some(file) if file.as_os_str() != "-" => self.to_file(&session, file).await,
            _ => {
                let stat = self.stat(&session).await?;
                let mut fetch = Fetch { get: &self, session: &session, stat: &stat, digest: blake3::Hasher::new() };
                fetch.from(0, &mut tokio::io::stdout()).await?;
                if fetch.is_right() { Ok(()) } else { Err(other(&stat)) }
            }
        })
    }

    async fn stat(&self, session: &Session) -> Result<Stat, HttpError> {
        session.retrying(async || session.gateways.stat(&self.id).await).await
    }

    /// The file appears when it is complete. Until then what came is in a file beside it, and is there for the next time.
    async fn to_file(&self, session: &Session, file: &Path) -> Outcome {
        let stat = self.stat(session).await?;
        let part = self.part(file)?;
        let mut to = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&part).await?;
        to = alone(to).await.map_err(|error| format!("{}: {error}", part.display()))?;
        let mut fetch = Fetch { get: self, session, stat: &stat, digest: blake3::Hasher::new() };
        let came = fetch.take_up(&mut to).await?;
        let mut fetched = fetch.from(came, &mut to).await;
        if fetched.is_ok() && !fetch.is_right() && came > 0 {
            // Something else has been in that file.
            fetch.digest = blake3::Hasher::new();
            empty(&mut to).await?;
            fetched = fetch.from(0, &mut to).await;
        }
        match fetched {
            Ok(()) if fetch.is_right() => Ok(fs::rename(&part, file).await?),
            Ok(()) => {
                fs::remove_file(&part).await?;
                Err(other(&stat))
            }
            Err(error) => {
                let passes = error.downcast_ref().is_some_and(HttpError::is_passing);
                if passes && to.metadata().await?.len() > 0 {
                    eprintln!("weft: what came is in {}: the same command goes on from there", part.display());
                } else {
                    fs::remove_file(&part).await?;
                }
                Err(error)
            }
        }
    }

    /// Where a file's content is while it comes: another blob's is somewhere else.
    fn part(&self, file: &Path) -> Result<PathBuf, Error> {
        let mut name = OsString::from(file.file_name().ok_or("the file has no name")?);
        name.push(format!(".{}.part", self.short_id()));
        Ok(file.with_file_name(name))
    }

    fn short_id(&self) -> &str {
        self.id.get(..12).unwrap_or(&self.id)
    }
}

/// The content of a blob on its way, and the digest of what came.
struct Fetch<'g> {
    get: &'g Get,
    session: &'g Session,
    stat: &'g Stat,
    digest: blake3::Hasher,
}

impl Fetch<'_> {
    /// Takes up what came before. Gives how many bytes it is.
    async fn take_up(&mut self, to: &mut File) -> io::Result<u64> {
        if to.metadata().await?.len() > self.stat.length {
            empty(to).await?;
        }
        let mut chunk = vec![0; CHUNK];
        loop {
            match to.read(&mut chunk).await? {
                0 => return Ok(self.digest.count()),
                count => self.digest.update(&chunk[..count]),
            };
        }
    }

    /// Fetches everything from there on, some parts at a time, and writes them in order.
    async fn from(&mut self, begin: u64, to: &mut (impl AsyncWrite + Unpin)) -> Outcome {
        let Self { get, session, stat, .. } = *self;
        let bar = Bars::new(session.json).add(get.short_id(), stat.length);
        bar.inc(begin);
        let consistency = if get.strict { Consistency::Strict } else { Consistency::Committed };
        let ask = |range: Range<u64>| {
            let ask = async move || session.gateways.part(&get.id, range.clone(), consistency).await;
            async move { session.retrying(ask).await }
        };
        let mut parts = stream::iter(parts(begin..stat.length)).map(ask).buffered(PARALLEL);
        while let Some(bytes) = parts.try_next().await? {
            self.digest.update(&bytes);
            to.write_all(&bytes).await?;
            bar.inc(bytes.len() as u64);
        }
        to.flush().await?;
        bar.finish_and_clear();
        Ok(())
    }

    /// Whether all that came is what was stored.
    fn is_right(&self) -> bool {
        let digest = self.digest.finalize();
        (self.digest.count(), digest.to_hex().as_str()) == (self.stat.length, self.stat.digest.as_str())
    }
}

/// A range in parts.
fn parts(range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let Range { start, end } = range;
    let count = end.saturating_sub(start).div_ceil(PART);
    (0..count).map(move |at| start + at * PART..end.min(start + (at + 1) * PART))
}

/// Locks a file, so that nobody else writes into it.
async fn alone(file: File) -> io::Result<File> {
    let file = file.into_std().await;
    file.try_lock().map_err(|error| io::Error::other(format!("another command writes it ({error})")))?;
    Ok(File::from_std(file))
}

async fn empty(file: &mut File) -> io::Result<()> {
    file.set_len(0).await?;
    file.rewind().await.map(drop)
}

fn other(stat: &Stat) -> Error {
    HttpError::Answer(format!("what came aren't the {} bytes that were stored", stat.length)).into()
}
