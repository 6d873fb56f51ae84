//! What gateways answer.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderValue, header};
use serde::{Deserialize, Serialize};

use super::HttpError;

/// The view under which a blob was stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewAnswer {
    pub epoch: u64,
    pub revision: u64,
    pub hash: String,
}

/// A stored blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutAnswer {
    pub id: String,
    pub length: u64,
    pub view: ViewAnswer,
}

/// A blob in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobAnswer {
    pub id: String,
    pub length: u64,
    /// BLAKE3 of the content.
    pub digest: String,
    pub labels: BTreeMap<String, String>,
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListAnswer {
    pub blobs: Vec<BlobAnswer>,
    /// After which ID the next page begins, if there is one.
    pub next: Option<String>,
}

/// What a blob's headers tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stat {
    pub id: String,
    pub length: u64,
    /// BLAKE3 of the content.
    pub digest: String,
    #[serde(rename = "contentType")]
    pub content_type: Option<String>,
    pub labels: BTreeMap<String, String>,
}

impl Stat {
    /// From the headers of an answer to `HEAD`, or to `GET` of a whole blob.
    pub(super) fn read(id: &str, headers: &HeaderMap) -> Result<Self, HttpError> {
        let missing = |name: &str| HttpError::Answer(format!("it has no usable {name}"));
        let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let digest = headers.get("weft-digest").and_then(text).and_then(|text| text.strip_prefix("blake3="));
        let labels = headers.get_all("weft-label").iter().filter_map(text).filter_map(|label| label.split_once('='));
        Ok(Self {
            id: id.to_owned(),
            length: length.ok_or_else(|| missing("Content-Length"))?,
            digest: digest.ok_or_else(|| missing("Weft-Digest"))?.to_owned(),
            content_type: headers.get(header::CONTENT_TYPE).and_then(text).map(str::to_owned),
            labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        })
    }
}

fn text(value: &HeaderValue) -> Option<&str> {
    std::str::from_utf8(value.as_bytes()).ok()
}

/// What a problem (RFC 9457) tells, or the beginning of whatever came instead.
pub(super) fn detail(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Problem {
        detail: String,
    }
    match serde_json::from_slice::<Problem>(body) {
        Ok(Problem { detail }) => detail,
        Err(_) => String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned(),
    }
}
