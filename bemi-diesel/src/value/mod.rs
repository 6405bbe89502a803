//! The JSON that `to_jsonb` gives for a column, from its type and its text form. Pure.
//!
//! The text form is what the type's output function writes with `DateStyle = ISO`,
//! `IntervalStyle = postgres`, `TimeZone = UTC` and `extra_float_digits = 1`. [`to_jsonb`] makes JSON
//! numbers of the integers, floats and `numeric` alone (not of `oid` or `money`), embeds `json` and
//! `jsonb`, makes arrays and objects of arrays and composites, gives times in their ISO 8601 form,
//! and keeps the text of everything else.
//!
//! Where the result differs, and why:
//! - What `jsonb` cannot hold and `json` can is escaped, see [`storable_json`].
//! - A type of an extension that has a cast to `json` (`hstore`, PostGIS) keeps its text. `to_jsonb`
//!   would run the cast; `jsonb_populate_record` could not read that of `hstore` back.
//! - Text that is not in the form its type writes is kept as it is, in a JSON string.
//!
//! - A character that the destination's encoding lacks is escaped, see [`encodable_json`].
//!
//! Not handled: `jsonb` holds no string, array or object of 256 MiB or more, so neither does a row's
//! image.
//!
//! [`to_jsonb`]: https://www.postgresql.org/docs/current/functions-json.html#FUNCTIONS-JSON-CREATION-TABLE

mod array;
mod builtin;
mod composite;
mod encodable;
mod quoted;
mod scalar;
mod storable;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub(crate) use builtin::builtin;
pub(crate) use encodable::{encodable_json, encodable_text};
pub(crate) use scalar::{member_prefix, write_string};
pub(crate) use storable::{TooDeep, storable_json, try_storable_json};

/// How a column's text becomes JSON. Cheap to clone.
///
/// A domain has the type of its base. An enum, a range, and whatever is not known, is
/// [`text`](ColumnType::text).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ColumnType {
    /// `t` or `f`.
    Bool,
    /// A number, where it is finite.
    Number,
    /// JSON already.
    Json,
    /// `2001-02-03 04:05:06`.
    Timestamp,
    /// `2001-02-03 04:05:06+00`.
    TimestampTz,
    /// Anything else.
    Text,
    /// An array, see [`ColumnType::array`].
    Array(Arc<Array>),
    /// `int2vector` and `oidvector`: elements between spaces.
    Vector(Arc<ColumnType>),
    /// A composite, see [`ColumnType::composite`].
    Composite(Arc<[Field]>),
}

/// What an array is made of.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Array {
    element: ColumnType,
    delimiter: char,
}

/// One attribute of a composite.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Field {
    /// The name as a member of an object: `"name":`.
    prefix: Box<str>,
    ty: ColumnType,
}

impl ColumnType {
    /// A type whose text is its JSON.
    pub(crate) fn text() -> Self {
        Self::Text
    }

    /// Arrays of `element` with any number of dimensions. `delimiter` is what stands between
    /// elements: the `typdelim` of the **element's** type, a comma for all built-in types but `box`.
    pub(crate) fn array(element: Self, delimiter: char) -> Self {
        Self::Array(Arc::new(Array { element, delimiter }))
    }

    /// A composite of the attributes `fields`, in their order, without the dropped ones.
    pub(crate) fn composite(fields: Vec<(String, Self)>) -> Self {
        Self::Composite(
            fields
                .into_iter()
                .map(|(name, ty)| Field {
                    prefix: member_prefix(&name),
                    ty,
                })
                .collect(),
        )
    }
}

impl ColumnType {
    /// Whether there is a composite in it.
    pub(crate) fn is_composed(&self) -> bool {
        match self {
            Self::Composite(_) => true,
            Self::Array(array) => array.element.is_composed(),
            _ => false,
        }
    }
}

/// Appends the JSON of a value of the type `ty`, whose text form is `text`.
pub(crate) fn write_json(out: &mut String, ty: &ColumnType, text: &str) {
    let start = out.len();
    let written = match ty {
        ColumnType::Text => None,
        ColumnType::Bool => scalar::write_bool(out, text),
        ColumnType::Number => scalar::write_number(out, text),
        ColumnType::Timestamp => scalar::write_timestamp(out, text),
        ColumnType::TimestampTz => scalar::write_timestamptz(out, text),
        ColumnType::Json => write_embedded(out, text),
        ColumnType::Array(array) => array::write(out, array, text),
        ColumnType::Vector(element) => {
            array::write_vector(out, element, text);
            Some(())
        }
        ColumnType::Composite(fields) => composite::write(out, fields, text),
    };
    if written.is_none() {
        out.truncate(start);
        write_string(out, text);
    }
}

fn write_embedded(out: &mut String, text: &str) -> Option<()> {
    let json: &RawValue = serde_json::from_str(text).ok()?;
    out.push_str(&storable_json(json.get()));
    Some(())
}

#[cfg(test)]
mod tests;
