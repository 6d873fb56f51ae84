//! Terms (R4): raised in status by compare-and-swap before this leader's first order for a committee.

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret};
use kube::ResourceExt;
use serde_json::json;
use thiserror::Error;
use weft_crds::Destruction;

use crate::{api::ApiError, names, session::Session, subject::Subject};

#[derive(Debug, Error)]
pub enum TermError {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error("term {ours} is over: a leader of term {theirs} has been here (R4)")]
    Fenced { ours: u64, theirs: u64 },
    #[error("status has term {theirs}, below {ours}, which this leader wrote: the objects were set back (R26)")]
    Rewound { ours: u64, theirs: u64 },
}

/// Checks that this leader still leads, or raises the term if it is new here. Gives the term.
///
/// # Errors
///
/// [`TermError::Fenced`] when another leader has raised it since: this one must not act any more.
pub async fn hold(subject: &mut Subject, session: &mut Session) -> Result<u64, TermError> {
    let theirs = subject.status.term.unwrap_or_default();
    match session.term {
        Some(ours) if theirs > ours => Err(TermError::Fenced { ours, theirs }),
        Some(ours) if theirs < ours => Err(TermError::Rewound { ours, theirs }),
        Some(ours) => Ok(ours),
        None => {
            let kept: Option<Secret> = subject.namespace.get(&names::authority(&subject.name)).await?;
            let kept = kept.and_then(|secret| secret.annotations().get(names::TERM)?.parse().ok());
            let term = theirs.max(kept.unwrap_or_default()) + 1;
            let change = json!({
                "metadata": {"resourceVersion": subject.version},
                "status": {"term": term},
            });
            let written = subject.namespace.merge_status(&subject.name, &change).await?;
            subject.written(written);
            session.term = Some(term);
            revoke(subject, term).await?;
            Ok(term)
        }
    }
}

/// Revokes what earlier leaders were about to delete, by touching it: their deletions are conditional on what they
/// read (R24). What still should go is planned anew.
async fn revoke(subject: &mut Subject, term: u64) -> Result<(), TermError> {
    if subject.status.destroying.is_empty() {
        return Ok(());
    }
    for intent in &subject.status.destroying {
        let Destruction { kind, name, uid, .. } = intent;
        match kind.as_str() {
            "Pod" => subject.namespace.touch::<Pod>(name, uid, term).await?,
            _ => subject.namespace.touch::<PersistentVolumeClaim>(name, uid, term).await?,
        }
    }
    let change = json!({
        "metadata": {"resourceVersion": subject.version},
        "status": {"destroying": []},
    });
    let written = subject.namespace.merge_status(&subject.name, &change).await?;
    subject.written(written);
    Ok(())
}
