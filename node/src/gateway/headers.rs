//! Between a blob's metadata and HTTP headers.

use std::{collections::BTreeMap, ops::Range};

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use weft_client::{ByteRange, time};
use weft_redstuff::{BlobId, Labels, Metadata};

use super::problem::Problem;

/// `Weft-Label: key=value`, once for each label.
const LABEL: HeaderName = HeaderName::from_static("weft-label");
/// `Weft-Digest: blake3=<hex>`, of the whole content.
const DIGEST: HeaderName = HeaderName::from_static("weft-digest");
/// `Weft-Expires: 2027-01-31T12:00:00Z` (RFC 3339): when the blob is gone (R15).
const EXPIRES: HeaderName = HeaderName::from_static("weft-expires");
/// `Weft-Nonce: <32 hexadecimal digits>`: what the put of another blob chose, for a copy of it.
const NONCE_HEADER: HeaderName = HeaderName::from_static("weft-nonce");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The label that keeps the `Content-Type`.
const CONTENT_TYPE_LABEL: &str = "content-type";
/// Never changes: the same key must give the same nonce at every gateway of every release.
const NONCE: &str = "weft v1 idempotency key";

/// The labels of a put: `Weft-Label`s, the `Content-Type`, and when it was made, unless its sender may repeat it and doesn't say.
pub(super) fn labels(headers: &HeaderMap) -> Result<Labels, Problem> {
    let bad = |detail: String| Problem::new(StatusCode::BAD_REQUEST, detail);
    let text = |name: &HeaderName, value: &HeaderValue| {
        let text = std::str::from_utf8(value.as_bytes());
        text.map(str::to_owned).map_err(|_| bad(format!("the header {name} isn't UTF-8")))
    };
    let mut labels = BTreeMap::new();
    if let Some(value) = headers.get(header::CONTENT_TYPE) {
        labels.insert(CONTENT_TYPE_LABEL.to_owned(), text(&header::CONTENT_TYPE, value)?);
    }
    for value in headers.get_all(LABEL) {
        let label = text(&LABEL, value)?;
        let (key, value) = label.split_once('=').ok_or_else(|| bad(format!("label {label:?} isn't key=value")))?;
        if labels.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(bad(format!("label {key:?} is given twice")));
        }
    }
    match labels.get(time::CREATED) {
        // What can be put again must be the same blob: nothing is added to it, and what was taken before is taken now.
        _ if is_repeatable(headers) => {}
        Some(created) => {
            let checked = time::parse_millis(created);
            checked.map_err(|error| bad(format!("label {:?}: {error}", time::CREATED)))?;
        }
        None if labels.len() >= Labels::MAX_COUNT => {}
        None => {
            labels.insert(time::CREATED.to_owned(), time::now());
        }
    }
    Labels::new(labels).map_err(|error| bad(error.to_string()))
}

/// Whether the same request gives the same blob.
fn is_repeatable(headers: &HeaderMap) -> bool {
    headers.contains_key(IDEMPOTENCY_KEY) || headers.contains_key(NONCE_HEADER)
}

/// The nonce of a put: its `Weft-Nonce`, that of its `Idempotency-Key`, or a random one.
pub(super) fn nonce(headers: &HeaderMap) -> Result<[u8; 16], Problem> {
    let mut nonce = [0; 16];
    if let Some(given) = headers.get(NONCE_HEADER) {
        let bad = |detail: &str| Problem::new(StatusCode::BAD_REQUEST, format!("the header {NONCE_HEADER}: {detail}"));
        if headers.contains_key(IDEMPOTENCY_KEY) {
            return Err(bad("it takes the place of an Idempotency-Key, so that one of them is too many"));
        }
        hex::decode_to_slice(given, &mut nonce).map_err(|_| bad("it isn't 32 hexadecimal digits"))?;
        return Ok(nonce);
    }
    match headers.get(IDEMPOTENCY_KEY) {
        Some(key) => nonce.copy_from_slice(&blake3::derive_key(NONCE, key.as_bytes())[..16]),
        None => getrandom::fill(&mut nonce)
            .map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, format!("no randomness: {error}")))?,
    }
    Ok(nonce)
}

/// When a put's blob expires, in seconds since 1970.
pub(super) fn expiry(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let bad = |detail: String| Problem::new(StatusCode::BAD_REQUEST, format!("the header {EXPIRES}: {detail}"));
    let mut given = headers.get_all(EXPIRES).iter();
    let expiry = given.next().map(|value| {
        let text = value.to_str().map_err(|error| bad(error.to_string()))?;
        time::parse(text).map_err(|error| bad(error.to_string()))
    });
    if given.next().is_some() {
        return Err(bad("it is given twice".to_owned()));
    }
    expiry.transpose()
}

/// The one range that is asked for (RFC 9110, section 14.2). What isn't understood, or asks for several, is as good as
/// not there.
pub(super) fn range(headers: &HeaderMap) -> Option<ByteRange> {
    let value = headers.get(header::RANGE)?.to_str().ok()?;
    let (first, last) = value.strip_prefix("bytes=")?.trim().split_once('-')?;
    match (first.trim(), last.trim()) {
        ("", last) => last.parse().ok().map(ByteRange::Last),
        (first, "") => first.parse().ok().map(|first| ByteRange::From(first, None)),
        (first, last) => {
            let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
            (first <= last).then_some(ByteRange::From(first, Some(last)))
        }
    }
}

/// What describes a blob, or the part of it that is served.
pub(super) fn describe(id: BlobId, metadata: &Metadata, range: &Range<u64>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut put = |name: HeaderName, value: Vec<u8>| {
        // Labels have no control characters; all else is ASCII.
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            headers.append(name, value);
        }
    };
    let length = metadata.length();
    put(header::ETAG, format!("\"{id}\"").into());
    put(header::ACCEPT_RANGES, b"bytes".into());
    put(header::CONTENT_LENGTH, (range.end - range.start).to_string().into());
    if *range != (0..length) {
        put(header::CONTENT_RANGE, format!("bytes {}-{}/{length}", range.start, range.end - 1).into());
    }
    put(DIGEST, format!("blake3={}", metadata.digest).into());
    if let Some(expiry) = metadata.expiry {
        put(EXPIRES, time::format(expiry).into());
    }
    let content_type = metadata.labels.get(CONTENT_TYPE_LABEL).unwrap_or("application/octet-stream");
    put(header::CONTENT_TYPE, content_type.into());
    for (key, value) in metadata.labels.as_map().iter().filter(|(key, _)| *key != CONTENT_TYPE_LABEL) {
        put(LABEL, format!("{key}={value}").into());
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    #[test]
    fn ranges_are_single_or_ignored() {
        let asked = |value| range(&headers(&[(header::RANGE, value)]));
        assert_eq!(asked("bytes=0-9"), Some(ByteRange::From(0, Some(9))));
        assert_eq!(asked("bytes=5-"), Some(ByteRange::From(5, None)));
        assert_eq!(asked("bytes=-7"), Some(ByteRange::Last(7)));
        for ignored in ["bytes=9-0", "bytes=0-1,3-4", "lines=1-2", "bytes=a-b", "bytes=-", "bytes"] {
            assert_eq!(asked(ignored), None, "{ignored}");
        }
    }

    #[test]
    fn labels_come_from_headers() {
        let given = headers(&[(LABEL, "a=1"), (LABEL, "b=x=ü"), (header::CONTENT_TYPE, "text/plain")]);
        let labels = labels(&given).unwrap();
        assert_eq!((labels.get("a"), labels.get("b")), (Some("1"), Some("x=ü")));
        assert_eq!(labels.get("content-type"), Some("text/plain"));
        for bad in [[(LABEL, "a"), (LABEL, "b=1")], [(LABEL, "a=1"), (LABEL, "a=2")]] {
            assert_eq!(super::labels(&headers(&bad)).unwrap_err().status(), StatusCode::BAD_REQUEST);
        }
    }

    #[test]
    fn a_put_that_cannot_be_repeated_is_dated_by_the_gateway() {
        let created = |pairs: &[(HeaderName, &str)]| labels(&headers(pairs)).map(|labels| time::created(&labels));
        assert!(created(&[]).unwrap().is_some());
        let given = (LABEL, "created=2027-01-31T12:00:00Z");
        assert_eq!(created(std::slice::from_ref(&given)).unwrap(), Some(1_801_396_800_000));
        for key in [(IDEMPOTENCY_KEY, "one"), (NONCE_HEADER, "000102030405060708090a0b0c0d0e0f")] {
            assert_eq!(created(std::slice::from_ref(&key)).unwrap(), None);
            assert_eq!(created(&[key.clone(), given.clone()]).unwrap(), Some(1_801_396_800_000));
            assert_eq!(created(&[key, (LABEL, "created=yesterday")]).unwrap(), None, "a release of before took it");
        }
        let refused = created(&[(LABEL, "created=yesterday")]).unwrap_err();
        assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
        let full: Vec<String> = (0..Labels::MAX_COUNT).map(|number| format!("k{number}=")).collect();
        let full: Vec<(HeaderName, &str)> = full.iter().map(|label| (LABEL, label.as_str())).collect();
        assert_eq!(created(&full).unwrap(), None, "no label of the sender's goes for it");
    }

    #[test]
    fn an_expiry_is_one_time_in_rfc_3339() {
        let asked = |pairs: &[(HeaderName, &str)]| expiry(&headers(pairs));
        assert_eq!(asked(&[]).unwrap(), None);
        assert_eq!(asked(&[(EXPIRES, "2027-01-31T12:00:00Z")]).unwrap(), Some(1_801_396_800));
        let twice = [(EXPIRES, "2027-01-31T12:00:00Z"), (EXPIRES, "2027-01-31T12:00:00Z")];
        for bad in [&twice[..], &[(EXPIRES, "30d")], &[(EXPIRES, "1969-12-31T00:00:00Z")], &[(EXPIRES, "morgen früh")]]
        {
            assert_eq!(asked(bad).unwrap_err().status(), StatusCode::BAD_REQUEST, "{bad:?}");
        }
    }

    #[test]
    fn a_key_gives_one_nonce_and_none_gives_many() {
        let key = |key| nonce(&headers(&[(IDEMPOTENCY_KEY, key)])).unwrap();
        assert_eq!(key("one"), key("one"));
        assert_ne!(key("one"), key("two"));
        assert_ne!(nonce(&headers(&[])).unwrap(), nonce(&headers(&[])).unwrap());
        let digits = "00112233445566778899aabbccddeeff";
        assert_eq!(hex::encode(nonce(&headers(&[(NONCE_HEADER, digits)])).unwrap()), digits);
        for bad in [&[(NONCE_HEADER, "00")][..], &[(NONCE_HEADER, digits), (IDEMPOTENCY_KEY, "one")]] {
            assert_eq!(nonce(&headers(bad)).unwrap_err().status(), StatusCode::BAD_REQUEST, "{bad:?}");
        }
        // Frozen: gateways of different releases must agree.
        assert_eq!(hex::encode(key("one")), hex::encode(&blake3::derive_key("weft v1 idempotency key", b"one")[..16]));
    }
}
