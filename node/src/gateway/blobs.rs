//! `GET /v1/blobs`, and what all routes share.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::{StatusCode, Uri},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use weft_client::{Filter, ListQuery, Order, time};
use weft_redstuff::{BlobId, Metadata};

use super::{Gateway, problem::Problem};

const DEFAULT_LIMIT: u32 = 100;
const MAX_LIMIT: u32 = 1000;

/// A request ends about then with what it has, and where to go on: before its caller asks another gateway too.
const SEARCH: Duration = Duration::from_millis(200);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    limit: Option<u32>,
    after: Option<String>,
    label: Option<String>,
    digest: Option<String>,
    order: Option<String>,
    since: Option<String>,
    until: Option<String>,
}

/// A page of blobs in the order of their IDs, or newest first, as wherever times are asked for; `next` is where the next page
/// begins (`after`), if there is one. Of what is rare a page may have less than the limit, also nothing, and a next one.
pub(super) async fn list(
    State(gateway): State<Arc<Gateway>>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let Query(asked) = asked.map_err(|rejection| bad(rejection.body_text()))?;
    let mut query = asked.query()?;
    let began = Instant::now();
    let mut page = gateway.client.list(&query).await?;
    while page.blobs.is_empty() && page.next.is_some() && began.elapsed() < SEARCH {
        query.after = page.next;
        // What was looked through isn't looked through again for the sake of what can't be now.
        let Ok(next) = gateway.client.list(&query).await else { break };
        page = next;
    }
    let blobs: Vec<Value> = page.blobs.iter().map(|(id, metadata)| describe(*id, metadata)).collect();
    let next = page.next.map(|place| query.order.text(&place));
    Ok(Json(json!({ "blobs": blobs, "next": next })))
}

impl Asked {
    fn query(self) -> Result<ListQuery, Problem> {
        let is_bounded = self.since.is_some() || self.until.is_some();
        let order = match self.order.as_deref() {
            // In the order of IDs all blobs would have to be looked at.
            Some("id") if is_bounded => return Err(bad("since and until go with order=newest")),
            None | Some("id") if !is_bounded => Order::Id,
            None | Some("newest") => Order::Newest,
            Some(other) => return Err(bad(format!("order: {other:?} is neither id nor newest"))),
        };
        let place = |text: String| {
            let place = order.parse(&text);
            place.ok_or_else(|| bad(format!("after: {text:?} isn't what a page in this order gave as next")))
        };
        let label = |text: String| {
            let pair = text.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
            pair.ok_or_else(|| bad("a label is asked for as key=value"))
        };
        let digest = |text: String| {
            let hash = text.trim_start_matches("blake3=").parse();
            hash.map_err(|error| bad(format!("digest: {error}")))
        };
        let time = |name: &'static str| {
            move |text: String| time::parse_millis(&text).map_err(|error| bad(format!("{name}: {error}")))
        };
        Ok(ListQuery {
            order,
            after: self.after.map(place).transpose()?,
            limit: self.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT),
            filter: Filter {
                label: self.label.map(label).transpose()?,
                digest: self.digest.map(digest).transpose()?,
                since: self.since.map(time("since")).transpose()?,
                until: self.until.map(time("until")).transpose()?,
            },
        })
    }
}

fn describe(id: BlobId, metadata: &Metadata) -> Value {
    json!({
        "id": id.to_string(),
        "length": metadata.length(),
        "digest": metadata.digest.to_string(),
        "labels": metadata.labels.as_map(),
        "created": time::created(&metadata.labels).map(time::format_millis),
        "expires": metadata.expiry.map(time::format),
        "nonce": hex::encode(metadata.nonce),
    })
}

/// What a path has in an ID's place: text, or not even that.
pub(super) type InPath = Result<Path<String>, PathRejection>;

/// A blob's ID from a path.
pub(super) fn in_path(id: InPath) -> Result<BlobId, Problem> {
    let Path(id) = id.map_err(|rejection| bad(rejection.body_text()))?;
    parse(&id)
}

/// A blob's ID from a path or a query.
pub(super) fn parse(id: &str) -> Result<BlobId, Problem> {
    id.parse().map_err(|error| bad(format!("{id:?} is no blob ID: {error}")))
}

pub(super) fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}

pub(super) async fn no_route(uri: Uri) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("nothing is served at {}", uri.path()))
}

pub(super) async fn no_method(uri: Uri) -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("{} doesn't take this method", uri.path()))
}
