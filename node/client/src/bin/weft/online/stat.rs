use clap::Args;
use serde_json::json;
use weft_client::http::Stat;

use super::{Online, Session};
use crate::failure::{Outcome, say};

/// Show what is known of a blob
#[derive(Debug, Args)]
pub(crate) struct StatBlob {
    /// The blob's ID
    id: String,
    #[command(flatten)]
    online: Online,
}

impl StatBlob {
    pub(crate) fn run(self) -> Outcome {
        self.online.run(async |session| self.stat(&session).await)
    }

    async fn stat(&self, session: &Session) -> Outcome {
        let stat = session.retrying(async || session.gateways.stat(&self.id).await).await?;
        if session.json {
            say(format_args!("{}", json!(stat)));
            return Ok(());
        }
        let Stat { id, length, digest, content_type, labels, expires } = stat;
        say(format_args!("id      {id}"));
        say(format_args!("length  {length}"));
        say(format_args!("blake3  {digest}"));
        say(format_args!("type    {}", content_type.unwrap_or_default()));
        if let Some(expires) = expires {
            say(format_args!("expires {expires}"));
        }
        for (key, value) in labels {
            say(format_args!("label   {key}={value}"));
        }
        Ok(())
    }
}
