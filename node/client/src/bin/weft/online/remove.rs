use clap::Args;
use serde_json::json;

use super::{Online, Session};
use crate::failure::{Outcome, say};

/// Delete blobs, for good
#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// The blobs' IDs
    #[arg(required = true)]
    ids: Vec<String>,
    #[command(flatten)]
    online: Online,
}

impl Remove {
    pub(crate) fn run(self) -> Outcome {
        self.online.run(async |session| self.remove(&session).await)
    }

    async fn remove(&self, session: &Session) -> Outcome {
        for id in &self.ids {
            session
                .retrying(async || session.gateways.delete(id).await)
                .await
                .map_err(|error| format!("{id}: {error}"))?;
            if session.json {
                say(format_args!("{}", json!({ "id": id, "deleted": true })));
            }
        }
        Ok(())
    }
}
