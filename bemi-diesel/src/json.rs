//! JSON objects kept as the text they came in, so that numbers keep every digit.

use std::fmt;
use std::sync::{Arc, LazyLock};

use serde::de::{DeserializeOwned, MapAccess};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// The text of one JSON object: a row's columns, or a context.
///
/// It is kept as text because [`serde_json::Value`] rounds numbers to 64 bits, and an audit trail
/// must not. Equality is that of the text. `Debug` shows the length and hides the content. A clone shares the
/// text.
///
/// ```
/// use bemi_diesel::JsonObject;
///
/// let row: JsonObject = r#"{"id": 1, "price": 0.10000000000000000000001}"#.parse()?;
/// assert_eq!(row.get::<i32>("id")?, Some(1));
/// assert_eq!(row.get::<i32>("missing")?, None);
/// assert!(row.as_str().contains("0.10000000000000000000001"));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
#[cfg_attr(
    any(feature = "sync", feature = "async"),
    derive(diesel::deserialize::FromSqlRow)
)]
pub struct JsonObject(Arc<str>);

impl JsonObject {
    /// The object without members, `{}`.
    #[must_use]
    pub fn empty() -> Self {
        static EMPTY: LazyLock<Arc<str>> = LazyLock::new(|| "{}".into());
        Self(Arc::clone(&EMPTY))
    }

    /// `json` as it is. The caller has written it as a JSON object.
    #[cfg_attr(
        not(feature = "capture"),
        allow(dead_code, reason = "only the decoder writes objects")
    )]
    pub(crate) fn from_written(json: String) -> Self {
        debug_assert!(json.starts_with('{') && serde_json::from_str::<&RawValue>(&json).is_ok());
        Self(json.into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the object has no member.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0
            .bytes()
            .all(|byte| matches!(byte, b'{' | b'}' | b' ' | b'\t' | b'\r' | b'\n'))
    }

    /// The members in the order in which they stand, each value as its text.
    ///
    /// A row's columns stand in the order that `jsonb` gives them: shorter names first, then by their
    /// bytes.
    ///
    /// # Errors
    ///
    /// Never for an object that a database gave.
    pub fn members(&self) -> serde_json::Result<Vec<(String, Box<RawValue>)>> {
        serde_json::from_str::<Members>(&self.0).map(|Members(members)| members)
    }

    /// The member `key`, or `None` where there is none.
    ///
    /// # Errors
    ///
    /// When the member does not fit `T`.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> serde_json::Result<Option<T>> {
        self.members()?
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| serde_json::from_str(value.get()))
            .transpose()
    }
}

/// The members of an object in their order, which a map of the standard library would lose.
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Visitor)
    }
}

impl Default for JsonObject {
    fn default() -> Self {
        Self::empty()
    }
}

impl fmt::Debug for JsonObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JsonObject({} bytes)", self.0.len())
    }
}

impl std::str::FromStr for JsonObject {
    type Err = serde_json::Error;

    fn from_str(json: &str) -> Result<Self, Self::Err> {
        serde_json::from_str(json)
    }
}

impl Serialize for JsonObject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for JsonObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        if !raw.get().starts_with('{') {
            return Err(serde::de::Error::custom("expected a JSON object"));
        }
        Ok(Self(raw.get().into()))
    }
}
