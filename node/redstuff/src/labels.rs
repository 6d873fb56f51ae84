//! A blob's labels: few, short, and fit for HTTP headers and queries.

use std::collections::BTreeMap;

use thiserror::Error;

/// Why labels are refused.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum LabelError {
    #[error("a blob has at most {max} labels, not {count}", max = Labels::MAX_COUNT)]
    Count { count: usize },
    #[error("a label's key is 1 to {max} visible ASCII characters other than '=', unlike {key:?}", max = Labels::MAX_KEY)]
    Key { key: String },
    #[error("label {key:?}: a value is at most {max} bytes of UTF-8 without control characters", max = Labels::MAX_VALUE)]
    Value { key: String },
}

/// Labels within their bounds: at most 32, with keys of 1 to 64 visible ASCII characters other than `=` and values of at most 1 KiB of UTF-8 without
/// control characters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels(BTreeMap<String, String>);

impl Labels {
    pub const MAX_COUNT: usize = 32;
    pub const MAX_KEY: usize = 64;
    pub const MAX_VALUE: usize = 1024;

    /// Checks the bounds.
    pub fn new(labels: BTreeMap<String, String>) -> Result<Self, LabelError> {
        if labels.len() > Self::MAX_COUNT {
            return Err(LabelError::Count { count: labels.len() });
        }
        for (key, value) in &labels {
            let visible = |byte: u8| byte.is_ascii_graphic() && byte != b'=';
            if key.is_empty() || key.len() > Self::MAX_KEY || !key.bytes().all(visible) {
                return Err(LabelError::Key { key: key.clone() });
            }
            if value.len() > Self::MAX_VALUE || value.chars().any(char::is_control) {
                return Err(LabelError::Value { key: key.clone() });
            }
        }
        Ok(Self(labels))
    }

    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    pub const fn as_map(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    pub fn into_map(self) -> BTreeMap<String, String> {
        self.0
    }
}

impl TryFrom<BTreeMap<String, String>> for Labels {
    type Error = LabelError;

    fn try_from(labels: BTreeMap<String, String>) -> Result<Self, LabelError> {
        Self::new(labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(key: &str, value: &str) -> Result<Labels, LabelError> {
        Labels::new(BTreeMap::from([(key.to_owned(), value.to_owned())]))
    }

    #[test]
    fn labels_have_bounds() {
        assert_eq!(one("app.example/name", "Größe 7").unwrap().get("app.example/name"), Some("Größe 7"));
        assert!(one(&"k".repeat(64), &"v".repeat(1024)).is_ok());
        for key in ["", "a=b", "a b", "ä", &"k".repeat(65)] {
            assert_eq!(one(key, ""), Err(LabelError::Key { key: key.to_owned() }));
        }
        for value in ["a\nb", &"v".repeat(1025)] {
            assert_eq!(one("k", value), Err(LabelError::Value { key: "k".to_owned() }));
        }
        let many = (0..33).map(|i| (format!("k{i}"), String::new())).collect();
        assert_eq!(Labels::new(many), Err(LabelError::Count { count: 33 }));
    }
}
