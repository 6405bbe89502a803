//! The columns of a table, and the images of its rows.
//!
//! An image holds the columns whose values the log tells, in the table's order:
//! - An `UPDATE` does not tell a value stored apart (TOAST) that it left alone. It is taken from the
//!   old row, and where the replica identity does not bring that one, the column is left out.
//! - The image before holds the whole row under `REPLICA IDENTITY FULL`. Under another identity it
//!   holds the identity's columns, for a `DELETE` and for an `UPDATE` that changed one of them, and
//!   nothing for any other `UPDATE`.

use std::borrow::Cow;

use super::{Description, Rules, StitchError};
use crate::pgoutput::{OldTuple, Relation, Tuple, TupleColumn, text};
use crate::value::{ColumnType, builtin, member_prefix, write_json, write_string};
use crate::{JsonObject, Operation};

#[derive(Debug)]
pub(super) struct Table {
    columns: Vec<Column>,
    /// The length of all the columns' prefixes, for the size of an image.
    prefixes: usize,
    /// The places of the primary key's columns; empty if there is none, or the publication's column
    /// list leaves a column of it out.
    primary_key: Vec<usize>,
}

#[derive(Debug)]
struct Column {
    /// The name as a member of an object: `"name":`.
    prefix: Box<str>,
    ty: ColumnType,
    /// It belongs to the replica identity.
    identity: bool,
    /// A change of nothing else is none.
    ignored: bool,
}

impl Table {
    pub(super) fn new(relation: &Relation, description: &Description, rules: &Rules) -> Self {
        let columns: Vec<Column> = relation
            .columns
            .iter()
            .map(|column| Column {
                prefix: member_prefix(&column.name),
                ty: builtin(column.type_oid)
                    .or_else(|| description.types.get(&column.type_oid).cloned())
                    .unwrap_or_else(ColumnType::text),
                identity: column.key,
                ignored: rules.ignores(&relation.schema, &relation.name, &column.name),
            })
            .collect();
        let place = |name: &String| {
            relation
                .columns
                .iter()
                .position(|column| column.name == *name)
        };
        Self {
            prefixes: columns.iter().map(|column| column.prefix.len() + 4).sum(),
            columns,
            primary_key: description
                .primary_key
                .iter()
                .map(place)
                .collect::<Option<_>>()
                .unwrap_or_default(),
        }
    }

    /// What a message says about one of its rows, or all of them; `None` if the rules leave it out.
    pub(super) fn read(&self, row: Row<'_>, rules: &Rules) -> Result<Option<Images>, StitchError> {
        if let Row::Update(old, new) = row
            && self.drops_update(old, new, rules)?
        {
            return Ok(None);
        }
        let none = JsonObject::empty;
        let (operation, before, after) = match row {
            Row::Insert(new) => (Operation::Create, none(), self.after(new, None)?),
            Row::Update(old, new) => (
                Operation::Update,
                old.map_or_else(|| Ok(none()), |old| self.before(old))?,
                self.after(new, old)?,
            ),
            Row::Delete(old) => (Operation::Delete, self.before(old)?, none()),
            Row::Truncate => (Operation::Truncate, none(), none()),
        };
        let primary_key = match row {
            Row::Insert(new) => self.primary_key(Some(new), None),
            Row::Update(old, new) => self.primary_key(Some(new), old),
            Row::Delete(old) => self.primary_key(None, Some(old)),
            Row::Truncate => None,
        };
        let previous_key = match row {
            Row::Update(Some(old), _) => self
                .primary_key(None, Some(old))
                .filter(|key| primary_key.as_ref().is_some_and(|new| new != key)),
            _ => None,
        };
        check_size(before.as_str().len() + after.as_str().len())?;
        Ok(Some(Images {
            primary_key,
            previous_key,
            operation,
            before,
            after,
        }))
    }

    /// Whether the update is left out.
    fn drops_update(
        &self,
        old: Option<&OldTuple>,
        new: &Tuple,
        rules: &Rules,
    ) -> Result<bool, StitchError> {
        self.check(new)?;
        if let Some(old) = old {
            self.check(old.tuple())?;
        }
        let ignored = self.columns.iter().map(|column| column.ignored);
        Ok(rules.drop_update(old, new, ignored))
    }

    /// The image of the new row.
    fn after(&self, new: &Tuple, old: Option<&OldTuple>) -> Result<JsonObject, StitchError> {
        self.check(new)?;
        if let Some(old) = old {
            self.check(old.tuple())?;
        }
        let mut old = old.map(|old| self.old_columns(old));
        let mut image = Image::new(self.prefixes + new.bytes());
        for (column, value) in self.columns.iter().zip(new.columns()) {
            let before = old.as_mut().and_then(Iterator::next).flatten();
            match value {
                TupleColumn::Unchanged => image.push(column, before),
                value => image.push(column, Some(value)),
            }
        }
        Ok(image.finish())
    }

    /// The image of the old row.
    fn before(&self, old: &OldTuple) -> Result<JsonObject, StitchError> {
        self.check(old.tuple())?;
        let mut image = Image::new(self.prefixes + old.tuple().bytes());
        for (column, value) in self.columns.iter().zip(self.old_columns(old)) {
            image.push(column, value);
        }
        Ok(image.finish())
    }

    /// The text of the primary key: of the new row if there is one. `None` also if the log does not
    /// tell a column of it.
    ///
    /// The text is that of the type's output function, as `format('%s', id)` gives it: `t` for a
    /// boolean.
    fn primary_key(&self, new: Option<&Tuple>, old: Option<&OldTuple>) -> Option<String> {
        let value = |place: &usize| self.key_text(*place, new, old);
        match self.primary_key.as_slice() {
            [] => None,
            [place] => value(place).map(Cow::into_owned),
            places => {
                let mut json = String::new();
                for place in places {
                    json.push(if json.is_empty() { '[' } else { ',' });
                    write_string(&mut json, &value(place)?);
                }
                json.push(']');
                Some(json)
            }
        }
    }

    fn key_text<'a>(
        &self,
        place: usize,
        new: Option<&'a Tuple>,
        old: Option<&'a OldTuple>,
    ) -> Option<Cow<'a, str>> {
        let value = match new.map(|new| new.columns().nth(place)) {
            None | Some(Some(TupleColumn::Unchanged)) => self.old_columns(old?).nth(place)?,
            Some(value) => value,
        };
        match value? {
            TupleColumn::Text(bytes) => Some(text(bytes)),
            TupleColumn::Null | TupleColumn::Unchanged => None,
        }
    }

    /// The values of the old row; `None` where the log does not tell.
    fn old_columns<'a>(&self, old: &'a OldTuple) -> impl Iterator<Item = Option<TupleColumn<'a>>> {
        self.columns
            .iter()
            .zip(old.tuple().columns())
            .map(move |(column, value)| match (old, value) {
                (_, TupleColumn::Unchanged) => None,
                (OldTuple::Key(_), _) if !column.identity => None,
                (_, value) => Some(value),
            })
    }

    fn check(&self, tuple: &Tuple) -> Result<(), StitchError> {
        let (expected, found) = (self.columns.len(), tuple.len());
        if expected == found {
            Ok(())
        } else {
            Err(StitchError::ColumnCount { expected, found })
        }
    }
}

/// A server takes no message of 1 GiB, and ends the connection that it comes from: which would come again. As
/// bytes of text the row was less.
const MAX_BYTES: usize = 1_000_000_000;

fn check_size(bytes: usize) -> Result<(), StitchError> {
    if bytes > MAX_BYTES {
        return Err(StitchError::TooLarge { bytes });
    }
    Ok(())
}

/// What a message says about one row, or about all rows of a table.
#[derive(Clone, Copy)]
pub(super) enum Row<'a> {
    Insert(&'a Tuple),
    Update(Option<&'a OldTuple>, &'a Tuple),
    Delete(&'a OldTuple),
    Truncate,
}

/// What happened to a row.
pub(super) struct Images {
    pub(super) primary_key: Option<String>,
    pub(super) previous_key: Option<String>,
    pub(super) operation: Operation,
    pub(super) before: JsonObject,
    pub(super) after: JsonObject,
}

/// An object being written.
struct Image {
    json: String,
}

impl Image {
    fn new(capacity: usize) -> Self {
        let mut json = String::with_capacity(capacity + 2);
        json.push('{');
        Self { json }
    }

    /// Appends the column; nothing if its value is not known.
    fn push(&mut self, column: &Column, value: Option<TupleColumn<'_>>) {
        let bytes = match value {
            None | Some(TupleColumn::Unchanged) => return,
            Some(TupleColumn::Null) => None,
            Some(TupleColumn::Text(bytes)) => Some(bytes),
        };
        if self.json.len() > 1 {
            self.json.push(',');
        }
        self.json.push_str(&column.prefix);
        match bytes {
            None => self.json.push_str("null"),
            Some(bytes) => write_json(&mut self.json, &column.ty, &text(bytes)),
        }
    }

    fn finish(mut self) -> JsonObject {
        self.json.push('}');
        JsonObject::from_written(self.json)
    }
}

#[cfg(test)]
mod tests;
