//! Who may do what: bearer tokens (RFC 6750) from a mounted Secret.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use axum::http::{HeaderMap, Method, StatusCode, header};
use thiserror::Error;

use super::problem::Problem;

/// Between looks at the mounted files, so that tokens can be replaced.
const RELOAD: Duration = Duration::from_secs(10);

/// Why there are no tokens.
#[derive(Debug, Error)]
pub enum AccessError {
    #[error("can't read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} is empty")]
    Empty { path: PathBuf },
}

/// Tokens' hashes: comparing hashes takes as long whatever they are.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Tokens {
    full: blake3::Hash,
    read: Option<blake3::Hash>,
}

/// Who may use the gateway.
pub enum Access {
    /// Anybody.
    Open,
    /// Whoever has a token of this folder.
    Tokens(MountedTokens),
}

/// A mounted folder of tokens.
pub struct MountedTokens {
    dir: PathBuf,
    tokens: Mutex<Tokens>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => f.write_str("Open"),
            Self::Tokens(mounted) => mounted.fmt(f),
        }
    }
}

impl fmt::Debug for MountedTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tokens").field(&self.dir).finish()
    }
}

impl Access {
    /// The file `token` allows everything, the optional file `read-token` only reading.
    pub fn tokens(dir: &Path) -> Result<Self, AccessError> {
        Ok(Self::Tokens(MountedTokens { dir: dir.to_owned(), tokens: Mutex::new(Tokens::read(dir)?) }))
    }

    /// Takes replaced tokens up. Never returns.
    pub(super) async fn track(&self) {
        loop {
            tokio::time::sleep(RELOAD).await;
            let Self::Tokens(mounted) = self else { continue };
            match Tokens::read(&mounted.dir) {
                Ok(tokens) => *mounted.tokens.lock().unwrap_or_else(PoisonError::into_inner) = tokens,
                Err(error) => tracing::warn!(%error, "the tokens stay as they were"),
            }
        }
    }

    /// Whether a request may be served.
    pub(super) fn check(&self, method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
        let Self::Tokens(mounted) = self else { return Ok(()) };
        let tokens = *mounted.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(given) = bearer(headers).map(blake3::hash) else {
            return Err(Problem::new(StatusCode::UNAUTHORIZED, "a bearer token is needed"));
        };
        if given == tokens.full {
            return Ok(());
        }
        match tokens.read {
            Some(read) if given == read && matches!(*method, Method::GET | Method::HEAD) => Ok(()),
            Some(read) if given == read => Err(Problem::new(StatusCode::FORBIDDEN, "this token may only read")),
            _ => Err(Problem::new(StatusCode::UNAUTHORIZED, "the bearer token is unknown")),
        }
    }
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

impl Tokens {
    fn read(dir: &Path) -> Result<Self, AccessError> {
        let token = |name: &str| {
            let path = dir.join(name);
            match std::fs::read(&path) {
                Ok(bytes) if bytes.trim_ascii().is_empty() => Err(AccessError::Empty { path }),
                Ok(bytes) => Ok(Some(blake3::hash(bytes.trim_ascii()))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(source) => Err(AccessError::Read { path, source }),
            }
        };
        let full = token("token")?
            .ok_or_else(|| AccessError::Read { path: dir.join("token"), source: io::ErrorKind::NotFound.into() })?;
        Ok(Self { full, read: token("read-token")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(access: &Access, method: &Method, authorization: Option<&str>) -> u16 {
        let headers = authorization.map(|value| (header::AUTHORIZATION, value.parse().unwrap())).into_iter().collect();
        access.check(method, &headers).map_or_else(|problem| problem.status().as_u16(), |()| 200)
    }

    #[test]
    fn tokens_allow_what_they_are_for() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Access::tokens(dir.path()), Err(AccessError::Read { .. })));
        std::fs::write(dir.path().join("token"), "all\n").unwrap();
        std::fs::write(dir.path().join("read-token"), "some").unwrap();
        let access = Access::tokens(dir.path()).unwrap();
        assert_eq!(status(&access, &Method::PUT, Some("Bearer all")), 200);
        assert_eq!(status(&access, &Method::GET, Some("bearer some")), 200);
        assert_eq!(status(&access, &Method::DELETE, Some("Bearer some")), 403);
        for wrong in [None, Some("Bearer"), Some("Bearer "), Some("Bearer al"), Some("Basic all"), Some("Bearer all2")]
        {
            assert_eq!(status(&access, &Method::GET, wrong), 401, "{wrong:?}");
        }
        assert_eq!(status(&Access::Open, &Method::PUT, None), 200);
    }

    #[test]
    fn an_empty_token_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("token"), "\n").unwrap();
        assert!(matches!(Access::tokens(dir.path()), Err(AccessError::Empty { .. })));
    }
}
