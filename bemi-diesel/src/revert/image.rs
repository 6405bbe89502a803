//! A row as JSON: each column's value as the text that `to_jsonb` gives, so that it compares exactly.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::JsonObject;

/// The values of a row's key, in the key's order.
pub(super) type Key = Vec<Box<str>>;

/// A row, or some columns of it.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Image(BTreeMap<String, Box<str>>);

const NULL: &str = "null";

impl Image {
    /// An image of columns and the JSON of their values.
    pub(super) fn of<'a>(columns: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let columns = columns.into_iter();
        Self(columns.map(|(k, v)| (k.to_owned(), v.into())).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn columns(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub(super) fn get(&self, column: &str) -> Option<&str> {
        self.0.get(column).map(|value| &**value)
    }

    /// Whether the column holds a value that is not null.
    pub(super) fn has(&self, column: &str) -> bool {
        self.get(column).is_some_and(|value| value != NULL)
    }

    /// The values of `columns`; `None` if one of them is null or not told, as such a key refers to
    /// nothing and is never taken.
    pub(super) fn key(&self, columns: &[impl AsRef<str>]) -> Option<Key> {
        columns
            .iter()
            .map(|column| self.get(column.as_ref()).filter(|value| *value != NULL))
            .map(|value| value.map(Into::into))
            .collect()
    }

    /// The columns that both have, and whose values differ.
    pub(super) fn differing(&self, other: &Self) -> BTreeSet<String> {
        self.0
            .iter()
            .filter(|(column, value)| other.get(column).is_some_and(|other| other != &***value))
            .map(|(column, _)| column.clone())
            .collect()
    }

    /// The columns that `keep` names.
    pub(super) fn restricted(&self, keep: impl Fn(&str) -> bool) -> Self {
        let kept = self.0.iter().filter(|(column, _)| keep(column));
        Self(kept.map(|(k, v)| (k.clone(), v.clone())).collect())
    }

    /// This row with the columns that `other` has replaced by its values.
    pub(super) fn overlaid(&self, other: &Self) -> Self {
        let mut image = self.clone();
        image.0.extend(other.0.clone());
        image
    }

    /// The text of the object, with the columns in the order of `jsonb`: shorter names first.
    pub(super) fn to_json(&self) -> JsonObject {
        let mut members: Vec<_> = self.0.iter().collect();
        members.sort_by_key(|(name, _)| (name.len(), *name));
        JsonObject::from_written(object(
            members
                .iter()
                .map(|(name, value)| (name.as_str(), &***value)),
        ))
    }
}

/// The text of a JSON object of members whose values are JSON already.
pub(super) fn object<'a>(members: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut json = String::from("{");
    for (name, value) in members {
        if json.len() > 1 {
            json.push_str(", ");
        }
        json.push_str(&serde_json::Value::from(name).to_string());
        json.push_str(": ");
        json.push_str(value);
    }
    json.push('}');
    json
}

impl<'de> Deserialize<'de> for Image {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let members = BTreeMap::<String, Box<RawValue>>::deserialize(deserializer)?;
        let text = |value: Box<RawValue>| value.get().into();
        Ok(Self(
            members.into_iter().map(|(k, v)| (k, text(v))).collect(),
        ))
    }
}

impl From<&JsonObject> for Image {
    fn from(object: &JsonObject) -> Self {
        // A `JsonObject` is one.
        let members = object.members().unwrap_or_default();
        let text = |value: Box<RawValue>| value.get().into();
        Self(members.into_iter().map(|(k, v)| (k, text(v))).collect())
    }
}
