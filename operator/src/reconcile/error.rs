//! Why a reconciliation ends early, and what becomes of it.

use thiserror::Error;
use weft_protocol::DecodeError;

use crate::{
    act::{foundation::FoundationError, secrets::SecretError, term::TermError},
    api::ApiError,
    certs::CertError,
    observe::{ObserveError, record::RecordError},
    report::ReportError,
    subject::SubjectError,
};

/// Why a reconciliation ended early.
#[derive(Debug, Error)]
pub enum ReconcileError {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error(transparent)]
    Subject(#[from] SubjectError),
    #[error("understand status.fleetId")]
    Fleet(#[source] DecodeError),
    #[error("hold the term")]
    Term(#[from] TermError),
    #[error("keep the committee's Secrets")]
    Secrets(#[from] SecretError),
    #[error("keep what every committee has")]
    Foundation(#[from] FoundationError),
    #[error("certify the operator")]
    Certify(#[from] CertError),
    #[error("observe")]
    Observe(#[from] ObserveError),
    #[error("read back what was recorded")]
    Record(#[from] RecordError),
    #[error("report")]
    Report(#[from] ReportError),
    #[error("the object can't be understood: {0}")]
    Malformed(String),
    #[error("draw random bytes")]
    Random(#[source] getrandom::Error),
}

impl ReconcileError {
    /// Whether someone else changed an object first; then the next try is made at once.
    pub fn is_conflict(&self) -> bool {
        self.call().is_some_and(ApiError::is_conflict)
    }

    /// Whether the committee's namespace is being deleted.
    pub fn is_namespace_ending(&self) -> bool {
        self.call().is_some_and(ApiError::is_namespace_ending)
    }

    /// The call of the API server that failed, if it was one.
    fn call(&self) -> Option<&ApiError> {
        match self {
            Self::Api(error)
            | Self::Term(TermError::Api(error))
            | Self::Report(ReportError::Api(error))
            | Self::Secrets(SecretError::Api(error))
            | Self::Observe(ObserveError::Api(error))
            | Self::Foundation(FoundationError::Api(error)) => Some(error),
            _ => None,
        }
    }
}

/// The errors that nothing but a person can end, and the word for them.
pub(super) fn waits_for(error: &ReconcileError) -> Option<&'static str> {
    match error {
        ReconcileError::Secrets(SecretError::Kept { .. }) => Some("DataKept"),
        ReconcileError::Secrets(SecretError::Several { .. }) => Some("SeveralFleets"),
        ReconcileError::Secrets(SecretError::OtherFleet { .. } | SecretError::OtherData { .. }) => Some("OtherFleet"),
        ReconcileError::Secrets(
            SecretError::NoKeys { .. } | SecretError::KeysGone { .. } | SecretError::KeysElsewhere { .. },
        ) => Some("NoKeys"),
        ReconcileError::Secrets(SecretError::Field { .. } | SecretError::Cert(_)) => Some("BadSecret"),
        ReconcileError::Observe(ObserveError::Wish(_)) => Some("BadSpec"),
        ReconcileError::Observe(ObserveError::Record(_)) | ReconcileError::Record(_) => Some("BadStatus"),
        ReconcileError::Fleet(_) => Some("BadFleetId"),
        _ if error.call().is_some_and(ApiError::is_denied) => Some("Refused"),
        _ => None,
    }
}

/// An error and its causes, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
