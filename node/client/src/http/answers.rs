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
    /// When it was made (RFC 3339), if it says so; gateways of before don't tell.
    #[serde(default)]
    pub created: Option<String>,
    /// When it expires (RFC 3339), if it does.
    #[serde(default)]
    pub expires: Option<String>,
    /// What its put chose, in hexadecimal; gateways of before don't tell.
    #[serde(default)]
    pub nonce: Option<String>,
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListAnswer {
    pub blobs: Vec<BlobAnswer>,
    /// What to give as [`Listing::after`](super::Listing::after) for the next page, if there is one.
    pub next: Option<String>,
}

/// Where a blob's slivers are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SliversAnswer {
    pub id: String,
    pub length: u64,
    pub stripes: u32,
    /// It lies in its registry entry, and has no slivers.
    pub inline: bool,
    /// The newest view.
    pub view: ViewPlace,
    pub fault_tolerance: u16,
    /// Shards whose present holder has both slivers of every stripe.
    pub held: u16,
    /// Shards that it takes to read the blob.
    pub to_read: u16,
    /// The one less the other.
    pub margin: i32,
    pub shards: Vec<ShardAnswer>,
    /// What incarnations without a seat have besides.
    pub others: Vec<OtherAnswer>,
}

/// A view's place in the order of views.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewPlace {
    pub epoch: u64,
    pub revision: u64,
}

/// One shard of a blob: whether its holder has the slivers of all stripes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardAnswer {
    pub shard: u16,
    /// None: it is vacant, or nobody knows its holder's address.
    pub member: Option<u32>,
    pub incarnation: Option<u32>,
    pub primary: bool,
    pub secondary: bool,
    /// Why the holder says nothing.
    pub error: Option<String>,
}

/// What an incarnation without a seat has of a blob: how many slivers, each of some stripe at least.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherAnswer {
    pub member: u32,
    pub incarnation: u32,
    pub primaries: u32,
    pub secondaries: u32,
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
    /// When it expires (RFC 3339), if it does.
    pub expires: Option<String>,
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
            expires: headers.get("weft-expires").and_then(text).map(str::to_owned),
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
