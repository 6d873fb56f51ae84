//! Quantities as Kubernetes writes them: `10Gi`, `500M`, `1.5Ti`, `100m`.

use std::{borrow::Cow, fmt};

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};
use thiserror::Error;

const PATTERN: &str = "^[0-9]{1,15}(\\.[0-9]{1,9})?([kMGTPE]|[KMGTPE]i|m)?$";

/// A rule that a quantity is at least `limit`. What isn't a quantity is the pattern's to refuse.
pub(crate) fn at_least(limit: &str) -> String {
    format!("!isQuantity(string(self)) || quantity(string(self)).compareTo(quantity('{limit}')) >= 0")
}

/// A rule that a quantity never gets smaller.
pub(crate) fn never_shrinks() -> &'static str {
    "!isQuantity(string(self)) || quantity(string(self)).compareTo(quantity(string(oldSelf))) >= 0"
}

/// A rule that what is requested of a resource is at most its limit, where both are said.
pub(crate) fn request_within_limit(resource: &str) -> String {
    let (request, limit) = (format!("self.requests.{resource}"), format!("self.limits.{resource}"));
    format!(
        "!has(self.requests) || !has(self.limits) || !has({request}) || !has({limit}) || \
         !isQuantity(string({request})) || !isQuantity(string({limit})) || \
         quantity(string({request})).compareTo(quantity(string({limit}))) <= 0"
    )
}

/// A quantity, text or whole number in YAML; unparsed until [`QuantityText::bytes`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct QuantityText(String);

/// Why a quantity is not a number of bytes.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("parse quantity {text:?}: expected a number with an optional suffix, like 10Gi, below 2^63")]
pub struct QuantityError {
    text: String,
}

impl QuantityText {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The whole number that it stands for, rounded up: bytes, for storage, memory and bandwidth.
    pub fn bytes(&self) -> Result<u64, QuantityError> {
        let wrong = || QuantityError { text: self.0.clone() };
        let end = self.0.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(self.0.len());
        let (number, suffix) = self.0.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let (times, divided) = scale(suffix).ok_or_else(wrong)?;
        if whole.is_empty() || fraction.len() > 9 || fraction.contains('.') {
            return Err(wrong());
        }
        let digits: u128 = format!("{whole}{fraction}").parse().map_err(|_| wrong())?;
        let value = digits.checked_mul(times).ok_or_else(wrong)?.div_ceil(divided * 10_u128.pow(fraction.len() as u32));
        i64::try_from(value).map(i64::cast_unsigned).map_err(|_| wrong())
    }

    /// The same, as the API's own type.
    pub fn to_quantity(&self) -> Quantity {
        Quantity(self.0.clone())
    }
}

/// Factor and divisor of a suffix.
fn scale(suffix: &str) -> Option<(u128, u128)> {
    Some(match suffix {
        "m" => (1, 1000),
        "" => (1, 1),
        "k" => (1000, 1),
        "M" => (1_000_000, 1),
        "G" => (1_000_000_000, 1),
        "T" => (1_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000, 1),
        "E" => (1_000_000_000_000_000_000, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        _ => return None,
    })
}

impl fmt::Display for QuantityText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for QuantityText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = QuantityText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a quantity")
            }

            fn visit_str<E>(self, text: &str) -> Result<QuantityText, E> {
                Ok(QuantityText(text.to_owned()))
            }

            fn visit_u64<E>(self, number: u64) -> Result<QuantityText, E> {
                Ok(QuantityText(number.to_string()))
            }

            fn visit_i64<E>(self, number: i64) -> Result<QuantityText, E> {
                Ok(QuantityText(number.to_string()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for QuantityText {
    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "pattern": PATTERN,
            "x-kubernetes-int-or-string": true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_by_its_suffix_and_rounds_up() {
        let bytes = |text| QuantityText::new(text).bytes();
        assert_eq!(bytes("10Gi"), Ok(10 << 30));
        assert_eq!(bytes("500M"), Ok(500_000_000));
        assert_eq!(bytes("1.5Ki"), Ok(1536));
        assert_eq!(bytes("100m"), Ok(1));
        assert_eq!(bytes("0.1"), Ok(1));
        assert_eq!(bytes("7"), Ok(7));
    }

    #[test]
    fn refuses_what_is_no_quantity_and_quotes_it() {
        for text in ["", "Gi", "10GB", "1.2.3", ".5", "-1", "9Ei9", "16Ei", "99999999999999999999999999999999999999999"]
        {
            let error = QuantityText::new(text).bytes().expect_err(text);
            assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
        }
    }

    #[test]
    fn reads_whole_numbers_as_texts() {
        let read: Vec<QuantityText> = serde_json::from_str(r#"[1073741824, "1Gi"]"#).expect("both forms");
        assert_eq!(read, [QuantityText::new("1073741824"), QuantityText::new("1Gi")]);
    }
}
