//! What a change changed.

use std::fmt;

use serde::Serialize;
use serde_json::value::RawValue;

use super::Change;
use crate::JsonObject;

/// One value that a change changed.
///
/// Its `Debug` shows the path alone, as values do not belong in logs; [`Display`](fmt::Display) shows them.
#[derive(Clone, Serialize)]
pub struct Difference {
    /// Where the value stands: the column, and within a JSON column the members that lead to it.
    pub path: Vec<String>,
    /// The value before, as JSON; `None` where there was none.
    pub old: Option<Box<RawValue>>,
    /// The value after, as JSON; `None` where there is none.
    pub new: Option<Box<RawValue>>,
}

impl fmt::Debug for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Difference")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Difference {
    /// `title: "Sleep" → "Dream"`, with `settings.theme` for a path and `∅` for no value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |value: &Option<Box<RawValue>>| {
            value
                .as_ref()
                .map_or_else(|| "∅".to_owned(), |value| value.get().to_owned())
        };
        let path = self.path.join(".");
        write!(f, "{path}: {} → {}", text(&self.old), text(&self.new))
    }
}

impl Change {
    /// What the change changed, in the order of the columns.
    ///
    /// A JSON object within a row is looked into, member by member; an array is one value. Numbers are
    /// compared digit by digit, so `1.0` is not `1.00`, and the order of members does not matter. For a
    /// row that came everything is new, for one that went everything is old, and a `TRUNCATE` has
    /// nothing to tell. Where the replica identity is not `FULL`, what is not told about the row before
    /// counts as new.
    #[must_use]
    pub fn diff(&self) -> Vec<Difference> {
        let mut found = Vec::new();
        compare(
            members(&self.before),
            members(&self.after),
            &mut Vec::new(),
            &mut found,
        );
        found
    }
}

type Members = Vec<(String, Box<RawValue>)>;

fn members(object: &JsonObject) -> Members {
    object.members().unwrap_or_default()
}

fn compare(old: Members, mut new: Members, path: &mut Vec<String>, found: &mut Vec<Difference>) {
    for (name, old) in old {
        let new = new
            .iter()
            .position(|(other, _)| *other == name)
            .map(|at| new.remove(at).1);
        path.push(name);
        match new {
            Some(new) => compare_values(old, new, path, found),
            None => found.push(Difference {
                path: path.clone(),
                old: Some(old),
                new: None,
            }),
        }
        path.pop();
    }
    for (name, new) in new {
        path.push(name);
        found.push(Difference {
            path: path.clone(),
            old: None,
            new: Some(new),
        });
        path.pop();
    }
}

fn compare_values(
    old: Box<RawValue>,
    new: Box<RawValue>,
    path: &mut Vec<String>,
    found: &mut Vec<Difference>,
) {
    if same(&old, &new) {
        return;
    }
    match (object(&old), object(&new)) {
        (Some(old), Some(new)) => compare(old, new, path, found),
        _ => found.push(Difference {
            path: path.clone(),
            old: Some(old),
            new: Some(new),
        }),
    }
}

fn object(value: &RawValue) -> Option<Members> {
    let object: JsonObject = value.get().parse().ok()?;
    object.members().ok()
}

/// Whether two values are the same but for white space, the order of members and how strings are escaped.
fn same(one: &RawValue, other: &RawValue) -> bool {
    let (one, other) = (one.get(), other.get());
    if one == other {
        return true;
    }
    match (one.as_bytes().first(), other.as_bytes().first()) {
        (Some(b'{'), Some(b'{')) => same_objects(one, other),
        (Some(b'['), Some(b'[')) => same_arrays(one, other),
        (Some(b'"'), Some(b'"')) => {
            let string = |text| serde_json::from_str::<String>(text).ok();
            matches!((string(one), string(other)), (Some(one), Some(other)) if one == other)
        }
        _ => false,
    }
}

fn same_objects(one: &str, other: &str) -> bool {
    let members = |text: &str| {
        let mut members = text.parse::<JsonObject>().ok()?.members().ok()?;
        members.sort_by(|(one, _), (other, _)| one.cmp(other));
        Some(members)
    };
    match (members(one), members(other)) {
        (Some(one), Some(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .zip(&other)
                    .all(|(one, other)| one.0 == other.0 && same(&one.1, &other.1))
        }
        _ => false,
    }
}

fn same_arrays(one: &str, other: &str) -> bool {
    let values = |text| serde_json::from_str::<Vec<Box<RawValue>>>(text).ok();
    match (values(one), values(other)) {
        (Some(one), Some(other)) => {
            one.len() == other.len() && one.iter().zip(&other).all(|(one, other)| same(one, other))
        }
        _ => false,
    }
}
