use std::path::{Path, PathBuf};

use clap::Args;
use futures::TryStreamExt;
use tokio::{
    fs::{self, File},
    io::{AsyncWrite, AsyncWriteExt},
};
use weft_client::{
    Consistency,
    http::{Download, HttpError},
};

use super::{Online, Session, progress::Bars};
use crate::failure::{BoxError as Error, Outcome};

/// Fetch a blob into a file, or to standard output
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
            _ => self.fetch(&session, tokio::io::stdout()).await,
        })
    }

    /// The file appears when it is complete: an interrupted fetch leaves none that looks right.
    async fn to_file(&self, session: &Session, file: &Path) -> Outcome {
        let mut name = file.file_name().ok_or("the file has no name")?.to_owned();
        name.push(".part");
        let part = file.with_file_name(name);
        let outcome = self.fetch(session, File::create(&part).await?).await;
        if outcome.is_ok() {
            fs::rename(&part, file).await?;
        } else {
            fs::remove_file(&part).await?;
        }
        outcome
    }

    async fn fetch(&self, session: &Session, mut to: impl AsyncWrite + Unpin) -> Outcome {
        let consistency = if self.strict { Consistency::Strict } else { Consistency::Committed };
        let ask = async || session.gateways.download(&self.id, consistency).await;
        let Download { stat, mut bytes } = session.retrying(ask).await?;
        let bar = Bars::new(session.json).add(&self.id[..self.id.len().min(12)], stat.length);
        let (mut digest, mut length) = (blake3::Hasher::new(), 0);
        while let Some(chunk) = bytes.try_next().await? {
            digest.update(&chunk);
            length += chunk.len() as u64;
            bar.inc(chunk.len() as u64);
            to.write_all(&chunk).await?;
        }
        to.flush().await?;
        bar.finish_and_clear();
        if (length, digest.finalize().to_hex().as_str()) == (stat.length, stat.digest.as_str()) {
            Ok(())
        } else {
            let told = format!("{} bytes came, which aren't the {} that were stored", length, stat.length);
            Err(Error::from(HttpError::Answer(told)))
        }
    }
}
