//! Reading a past row column by column: what the code of `#[derive(Tracked)]` calls. Pure.

use std::borrow::Cow;
use std::fmt::Display;
use std::str::FromStr;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::de::StrRead;
use serde_json::value::RawValue;

use super::Tracked;
use super::misfit::{MisfitError, Problem};
use crate::JsonObject;

/// A row whose columns are read.
#[derive(Debug)]
pub struct Columns<'a> {
    row: &'a JsonObject,
    members: Vec<(String, Box<RawValue>)>,
}

/// Which column a field is read from.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its name today.
    pub name: &'static str,
    /// The names that it had.
    pub aliases: &'static [&'static str],
    /// The field's type.
    pub expected: &'static str,
}

/// How a column's value is read.
type Read<T> = fn(&str) -> serde_json::Result<T>;

/// What a field is that no value is there for.
type Fallback<T> = Option<fn() -> T>;

impl<'a> Columns<'a> {
    /// The columns of `row`.
    #[must_use]
    pub fn of(row: &'a JsonObject) -> Self {
        Self {
            row,
            // An object that a database gave is one.
            members: row.members().unwrap_or_default(),
        }
    }

    /// The value of `column` for a field of the model `M`.
    ///
    /// # Errors
    ///
    /// When there is none that fits.
    pub fn read<M: Tracked, T>(
        &self,
        column: Column,
        read: Read<T>,
        default: Fallback<T>,
    ) -> Result<T, MisfitError> {
        let misfit = |problem| {
            let table = M::table();
            MisfitError {
                table: format!("{}.{}", table.schema(), table.name()),
                column: column.name,
                expected: column.expected,
                problem,
                row: self.row.clone(),
            }
        };
        let value = std::iter::once(&column.name)
            .chain(column.aliases)
            .find_map(|name| self.members.iter().find(|(own, _)| own == name));
        let (value, problem) = match value {
            Some((_, value)) => (value.get(), Problem::of(value.get())),
            None => ("null", Problem::Missing),
        };
        match (default, problem) {
            (Some(default), Problem::Missing) => Ok(default()),
            (Some(default), Problem::Null) => Ok(read(value).unwrap_or_else(|_| default())),
            _ => read(value).map_err(|_| misfit(problem)),
        }
    }
}

/// By the type's own `Deserialize`.
///
/// # Errors
///
/// When the value is none of these.
pub fn serde<T: DeserializeOwned>(json: &str) -> serde_json::Result<T> {
    serde_json::from_str(json)
}

/// By [`from_text`].
///
/// # Errors
///
/// When the value is none of these.
pub fn of_text<T: FromStr<Err: Display>>(json: &str) -> serde_json::Result<T> {
    from_text(&mut deserializer(json))
}

/// By [`from_text`], or nothing.
///
/// # Errors
///
/// When the value is none of these.
pub fn optional_of_text<T: FromStr<Err: Display>>(json: &str) -> serde_json::Result<Option<T>> {
    (json != "null").then(|| of_text(json)).transpose()
}

/// By [`bytea`].
///
/// # Errors
///
/// When the value is none of these.
pub fn of_bytea(json: &str) -> serde_json::Result<Vec<u8>> {
    bytea(&mut deserializer(json))
}

/// By [`bytea`], or nothing.
///
/// # Errors
///
/// When the value is none of these.
pub fn optional_of_bytea(json: &str) -> serde_json::Result<Option<Vec<u8>>> {
    (json != "null").then(|| of_bytea(json)).transpose()
}

/// What a function of the user's reads from.
#[must_use]
pub fn deserializer(json: &str) -> serde_json::Deserializer<StrRead<'_>> {
    serde_json::Deserializer::from_str(json)
}

/// For `#[tracked(deserialize_with = bemi_diesel::tracked::from_text)]`: reads a string, or a number digit for
/// digit, through [`FromStr`].
///
/// # Errors
///
/// When the value is neither, or its text is none of `T`'s.
pub fn from_text<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    let raw = Box::<RawValue>::deserialize(deserializer)?;
    let text: Cow<'_, str> = match Problem::of(raw.get()) {
        Problem::Unfit("number") => raw.get().into(),
        _ => serde_json::from_str::<String>(raw.get())
            .map_err(D::Error::custom)?
            .into(),
    };
    text.parse().map_err(D::Error::custom)
}

/// For `#[tracked(deserialize_with = bemi_diesel::tracked::bytea)]`: reads what PostgreSQL writes of a `bytea`,
/// such as `\x00ff`.
///
/// # Errors
///
/// When the value is none.
pub fn bytea<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let byte = |pair: &[u8]| match pair {
        [high, low] => u8::try_from(digit(*high)? * 16 + digit(*low)?).ok(),
        _ => None,
    };
    text.strip_prefix("\\x")
        .and_then(|digits| digits.as_bytes().chunks(2).map(byte).collect())
        .ok_or_else(|| D::Error::custom("no bytea in hexadecimal form"))
}

#[cfg(test)]
mod tests;
