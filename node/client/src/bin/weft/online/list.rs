use clap::Args;
use serde_json::json;

use super::{Online, Session};
use crate::failure::{Outcome, say};

/// Blobs in one request.
const PAGE: u32 = 1000;

/// List blobs, in the order of their IDs
#[derive(Debug, Args)]
pub(crate) struct List {
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

impl List {
    pub(crate) fn run(self) -> Outcome {
        self.online.run(async |session| self.list(&session).await)
    }

    async fn list(&self, session: &Session) -> Outcome {
        let (mut after, mut left) = (None::<String>, self.limit.unwrap_or(u64::MAX));
        while left > 0 {
            let limit = u64::from(PAGE).min(left) as u32;
            let (label, digest) = (self.label.as_deref(), self.digest.as_deref());
            let ask = async || session.gateways.list(after.as_deref(), limit, label, digest).await;
            let page = session.retrying(ask).await?;
            for blob in &page.blobs {
                if session.json {
                    say(format_args!("{}", json!(blob)));
                    continue;
                }
                let labels: Vec<String> = blob.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
                let expires = blob.expires.as_deref().unwrap_or("-");
                say(format_args!("{}  {:>12}  {expires:<20}  {}", blob.id, blob.length, labels.join(",")));
            }
            left -= page.blobs.len() as u64;
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        Ok(())
    }
}
