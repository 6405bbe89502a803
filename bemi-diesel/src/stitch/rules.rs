//! Which updates are no changes.
//!
//! An `UPDATE` that left its row as it was, or touched only columns that nobody wants to hear of, makes
//! no entry. That takes the whole row before: under another replica identity than `FULL` the log does
//! not tell what an update left alone, and every update is kept.

use crate::pgoutput::{OldTuple, Tuple, TupleColumn};

/// What to leave out, as the settings say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rules {
    /// Columns whose changes alone make no entry.
    pub(crate) ignore: Vec<ColumnPattern>,
    /// Updates that changed nothing at all make an entry too.
    pub(crate) keep_unchanged: bool,
}

impl Rules {
    pub(super) fn ignores(&self, schema: &str, table: &str, column: &str) -> bool {
        self.ignore
            .iter()
            .any(|pattern| pattern.matches(schema, table, column))
    }

    /// Whether the update from `old` to `new` is left out. `ignored` tells of each column whether it is.
    pub(super) fn drop_update(
        &self,
        old: Option<&OldTuple>,
        new: &Tuple,
        ignored: impl Iterator<Item = bool>,
    ) -> bool {
        let Some(OldTuple::Full(old)) = old else {
            return false;
        };
        let mut unchanged = true;
        for ((old, new), ignored) in old.columns().zip(new.columns()).zip(ignored) {
            if new == TupleColumn::Unchanged || old == new {
                continue;
            }
            if !ignored {
                return false;
            }
            unchanged = false;
        }
        !(unchanged && self.keep_unchanged)
    }
}

/// Columns by name: `column`, `table.column` or `schema.table.column`, where `*` stands for any text
/// within one of the names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ColumnPattern(String);

impl ColumnPattern {
    /// `None` if the pattern lacks a name, and so matches nothing.
    pub(crate) fn new(pattern: &str) -> Option<Self> {
        let complete = !pattern.is_empty() && pattern.split('.').all(|name| !name.is_empty());
        complete.then(|| Self(pattern.to_owned()))
    }

    fn matches(&self, schema: &str, table: &str, column: &str) -> bool {
        // A name may have dots of its own, so each dot of the pattern may be one between names or not.
        let qualified = |pattern: &str| {
            dots(pattern).any(|(schema_pattern, table_pattern)| {
                glob(schema_pattern, schema) && glob(table_pattern, table)
            })
        };
        glob(&self.0, column)
            || dots(&self.0).any(|(of, column_pattern)| {
                glob(column_pattern, column) && (glob(of, table) || qualified(of))
            })
    }
}

/// What stands before and after each dot.
fn dots(pattern: &str) -> impl Iterator<Item = (&str, &str)> {
    pattern
        .match_indices('.')
        .filter_map(|(at, _)| Some((pattern.get(..at)?, pattern.get(at + 1..)?)))
}

/// Whether `pattern`, in which `*` stands for any text, is all of `name`.
fn glob(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut name) = name.strip_prefix(first) else {
        return false;
    };
    let Some((middle, last)) = rest.rsplit_once('*') else {
        return name.ends_with(rest);
    };
    for part in middle.split('*') {
        let Some((_, after)) = name.split_once(part) else {
            return false;
        };
        name = after;
    }
    name.ends_with(last)
}

#[cfg(test)]
mod tests;
