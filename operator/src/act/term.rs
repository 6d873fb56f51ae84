//! Terms (R4): raised in status by compare-and-swap before this leader's first order for a committee.

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret};
use kube::ResourceExt;
use serde_json::json;
use thiserror::Error;
use weft_crds::{Destruction, Rewound};
use weft_planner::{Rewind, Timestamp};

use crate::{act::record, api::ApiError, names, session::Session, subject::Subject};

#[derive(Debug, Error)]
pub enum TermError {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error("term {ours} is over: a leader of term {theirs} has been here (R4)")]
    Fenced { ours: u64, theirs: u64 },
}

/// Checks that this leader still leads, or raises the term if it is new here. Gives the term.
///
/// Where status has a lower term than this leader wrote, the objects were set back (R26): the term is raised beyond all
/// that are known, as by a new leader.
///
/// # Errors
///
/// [`TermError::Fenced`] when another leader has raised it since: this one must not act any more.
pub async fn hold(subject: &mut Subject, session: &mut Session, now: Timestamp) -> Result<u64, TermError> {
    let theirs = subject.status.term.unwrap_or_default();
    match session.term {
        Some(ours) if theirs > ours => Err(TermError::Fenced { ours, theirs }),
        Some(ours) if theirs < ours => raise(subject, session, ours, Some(now)).await,
        Some(ours) => Ok(ours),
        None => {
            let kept: Option<Secret> = subject.namespace.get(&names::authority(&subject.name)).await?;
            let kept = kept.and_then(|secret| secret.annotations().get(names::TERM)?.parse().ok());
            raise(subject, session, theirs.max(kept.unwrap_or_default()), None).await
        }
    }
}

/// Raises the term beyond one that members have taken and status doesn't know: terms are recorded before they are
/// claimed, so the objects were set back (R26). Another leader that has just raised it makes this write fail. Gives
/// whether it was needed.
pub async fn overtake(subject: &mut Subject, session: &mut Session, now: Timestamp) -> Result<bool, TermError> {
    if session.term.is_none_or(|ours| session.claimed <= ours) {
        return Ok(false);
    }
    raise(subject, session, session.claimed, Some(now)).await?;
    Ok(true)
}

/// Records a term beyond `known` for this leader, and since when the objects are known to be set back, if they are.
async fn raise(
    subject: &mut Subject,
    session: &mut Session,
    known: u64,
    rewound: Option<Timestamp>,
) -> Result<u64, TermError> {
    let term = known + 1;
    let mut status = json!({"term": term});
    if let Some(now) = rewound {
        let position = subject.status.view.as_ref().map_or((0, 0), |view| (view.epoch, view.revision));
        let before = subject.status.rewound.clone();
        let found = before.unwrap_or_else(|| record::rewound(Rewind { position, term }, now));
        // Also one that is known already was set back: a person's word for it is not for this one.
        status["rewound"] = json!(Rewound { term, ..found });
    }
    let change = json!({"metadata": {"resourceVersion": subject.version}, "status": status});
    let written = subject.namespace.merge_status(&subject.name, &change).await?;
    subject.written(written);
    session.term = Some(term);
    // What was heard and ordered before was of another time.
    session.heard.clear();
    session.orders.clear();
    revoke(subject, term).await?;
    Ok(term)
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
