//! The changes that are to be reverted, and what a TRUNCATE took away.

use std::collections::BTreeMap;

use serde::Deserialize;
use uuid::Uuid;

use super::catalog::{Catalog, Table};
use super::image::{Image, Key};
use crate::{Change, Operation};

/// Where a change stands in the trail: the commit, and the place in the transaction.
pub(super) type Position = (i64, i64);

/// A change, as far as a revert needs it.
#[derive(Clone, Deserialize)]
pub(super) struct Entry {
    pub(super) id: Uuid,
    pub(super) source: i64,
    pub(super) database: String,
    pub(super) schema: String,
    pub(super) table: String,
    pub(super) primary_key: Option<String>,
    pub(super) operation: Operation,
    pub(super) before: Image,
    pub(super) after: Image,
    pub(super) commit_lsn: i64,
    pub(super) ordinal: i64,
}

impl Entry {
    pub(super) fn position(&self) -> Position {
        (self.commit_lsn, self.ordinal)
    }
}

impl From<&Change> for Entry {
    fn from(change: &Change) -> Self {
        Self {
            id: change.id,
            source: change.source,
            database: change.database.to_string(),
            schema: change.schema.to_string(),
            table: change.table.to_string(),
            primary_key: change.primary_key.clone(),
            operation: change.operation,
            before: Image::from(&change.before),
            after: Image::from(&change.after),
            commit_lsn: change.commit_lsn.as_i64(),
            ordinal: change.ordinal.cast_signed(),
        }
    }
}

/// What a revert reads from the trail.
#[derive(Clone, Default)]
pub(crate) struct Trail {
    /// The changes to revert, in their order.
    pub(super) entries: Vec<Entry>,
    /// For the tables that were truncated: everything that happened to them before.
    pub(super) earlier: Vec<Entry>,
}

/// A table whose rows before a TRUNCATE the trail may not know.
pub(super) struct Uncovered {
    pub(super) schema: String,
    pub(super) table: String,
}

impl Trail {
    /// Replaces each TRUNCATE by the DELETEs of the rows that it took away. Where the trail may not know
    /// all of them, the table is named, and there are none unless `partly`.
    pub(super) fn expand(self, catalog: &Catalog, partly: bool) -> (Vec<Entry>, Vec<Uncovered>) {
        let mut entries = Vec::with_capacity(self.entries.len());
        let mut uncovered = Vec::new();
        for entry in self.entries {
            if entry.operation != Operation::Truncate {
                entries.push(entry);
                continue;
            }
            let table = catalog.find(&entry.schema, &entry.table);
            let Some(table) = table.and_then(|place| catalog.tables.get(place)) else {
                entries.push(entry);
                continue;
            };
            let rows = Rows::before(&entry, &self.earlier, table);
            if !rows.covered {
                uncovered.push(Uncovered {
                    schema: entry.schema.clone(),
                    table: entry.table.clone(),
                });
                if !partly {
                    continue;
                }
            }
            entries.extend(
                rows.present
                    .into_values()
                    .flatten()
                    .map(|(before, key)| Entry {
                        operation: Operation::Delete,
                        primary_key: key,
                        before,
                        after: Image::default(),
                        ..entry.clone()
                    }),
            );
        }
        (entries, uncovered)
    }
}

/// A row's key, or all of it.
type Identity = (Option<Key>, Option<Image>);

/// The rows of a table at one point of the trail.
#[derive(Default)]
struct Rows {
    /// By key, or by the whole row where there is none; each with its key as text.
    present: BTreeMap<Identity, Vec<(Image, Option<String>)>>,
    /// Whether these are all.
    covered: bool,
}

impl Rows {
    fn before(truncate: &Entry, earlier: &[Entry], table: &Table) -> Self {
        let mut rows = Self::default();
        let of_table = earlier
            .iter()
            .filter(|entry| entry.schema == truncate.schema && entry.table == truncate.table)
            .take_while(|entry| entry.position() < truncate.position());
        for entry in of_table {
            match entry.operation {
                Operation::Create => rows.insert(entry, table),
                Operation::Snapshot => {
                    // A baseline holds every row, those that have been made before too.
                    rows.covered = true;
                    if !table.is_keyed() && entry.ordinal == 0 {
                        rows.present.clear();
                    }
                    rows.insert(entry, table);
                }
                Operation::Update => {
                    rows.remove(entry, table);
                    rows.insert(entry, table);
                }
                Operation::Delete => rows.remove(entry, table),
                Operation::Truncate => {
                    rows.present.clear();
                    rows.covered = true;
                }
                Operation::Ddl | Operation::Gap => {}
            }
        }
        rows
    }

    fn identity(image: &Image, table: &Table) -> Identity {
        match table.key(image) {
            Some(key) => (Some(key), None),
            None => (None, Some(image.clone())),
        }
    }

    fn insert(&mut self, entry: &Entry, table: &Table) {
        let row = (entry.after.clone(), entry.primary_key.clone());
        let rows = self.present.entry(Self::identity(&entry.after, table));
        if table.is_keyed() {
            *rows.or_default() = vec![row];
        } else {
            rows.or_default().push(row);
        }
    }

    fn remove(&mut self, entry: &Entry, table: &Table) {
        let image = if entry.before.is_empty() {
            &entry.after
        } else {
            &entry.before
        };
        if let Some(rows) = self.present.get_mut(&Self::identity(image, table)) {
            rows.pop();
        }
    }
}
