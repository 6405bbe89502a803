//! Rows that are written, by each other and by those that stay: unique keys and foreign keys. Pure.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::catalog::{Catalog, Table};
use super::facts::{Facts, LiveRow, Question, moved};
use super::image::{Image, Key};
use super::judge::Write;
use super::plan::{Action, ConflictKind};

/// A conflict with another row.
pub(super) struct Found {
    pub(super) kind: ConflictKind,
    /// The row that could be overwritten.
    pub(super) owner: Option<Arc<LiveRow>>,
}

impl From<ConflictKind> for Found {
    fn from(kind: ConflictKind) -> Self {
        Self { kind, owner: None }
    }
}

/// The rows that are written, by where they are and by the keys that come with them.
pub(super) struct Relations<'a> {
    writes: &'a [Write],
    catalog: &'a Catalog,
    facts: &'a Facts,
    by_row: HashMap<(u32, &'a str), usize>,
    /// The keys that foreign keys can refer to, by foreign key.
    parents: HashSet<(usize, Key)>,
}

impl<'a> Relations<'a> {
    pub(super) fn new(writes: &'a [Write], catalog: &'a Catalog, facts: &'a Facts) -> Self {
        let mut by_row = HashMap::new();
        let mut parents = HashSet::new();
        for (place, write) in writes.iter().enumerate() {
            if let Some(live) = &write.live {
                by_row.insert((live.table, live.ctid.as_str()), place);
            }
            let table = catalog.tables.get(write.table);
            for (fk, foreign_key) in catalog.foreign_keys.iter().enumerate() {
                if table.is_some_and(|table| table.is(&foreign_key.parent))
                    && let Some(key) = moved(
                        write.target.as_ref(),
                        write.before(),
                        &foreign_key.parent.columns,
                    )
                {
                    parents.insert((fk, key));
                }
            }
        }
        Self {
            writes,
            catalog,
            facts,
            by_row,
            parents,
        }
    }

    /// The row as it will be; as it is, if it is not written.
    fn after<'r>(&self, row: &'r LiveRow) -> Option<&'r Image>
    where
        'a: 'r,
    {
        let written = self.by_row.get(&(row.table, row.ctid.as_str()));
        match written.and_then(|place| self.writes.get(*place)) {
            Some(write) => write.target.as_ref(),
            None => Some(&row.image),
        }
    }

    pub(super) fn conflict(&self, write: &Write) -> Option<Found> {
        let table = self.catalog.tables.get(write.table)?;
        self.taken(write, table)
            .or_else(|| self.missing(write, table).map(Found::from))
            .or_else(|| self.referenced(write, table).map(Found::from))
    }

    /// A unique key that the row is to get, and that a row has that keeps it.
    fn taken(&self, write: &Write, table: &Table) -> Option<Found> {
        table.uniques.iter().find_map(|unique| {
            let key = moved(write.target.as_ref(), write.before(), &unique.columns)?;
            let question = Question::by(&table.relation, table.typed(&unique.columns));
            let owners = self.facts.find(&question, &key).iter();
            let owner = owners
                .filter(|row| !Self::is_itself(write, row))
                .find(|row| {
                    let after = self.after(row);
                    after.and_then(|image| image.key(&unique.columns)).as_ref() == Some(&key)
                })?;
            Some(Found {
                kind: ConflictKind::KeyTaken {
                    constraint: unique.name.clone(),
                },
                owner: (unique.primary && write.action == Action::Insert).then(|| owner.clone()),
            })
        })
    }

    fn is_itself(write: &Write, row: &LiveRow) -> bool {
        let live = write.live.as_ref();
        live.is_some_and(|live| live.table == row.table && live.ctid == row.ctid)
    }

    /// A row that this one is to refer to, and that will not be there.
    fn missing(&self, write: &Write, table: &Table) -> Option<ConflictKind> {
        let keys = self.catalog.foreign_keys.iter().enumerate();
        keys.filter(|(_, fk)| table.is(&fk.child))
            .find_map(|(place, fk)| {
                let key = moved(write.target.as_ref(), write.before(), &fk.child.columns)?;
                if self.parents.contains(&(place, key.clone())) {
                    return None;
                }
                let question = Question::by(&fk.parent.relation, fk.parent.columns.clone());
                let stays = self.facts.find(&question, &key).iter().any(|row| {
                    let after = self.after(row);
                    after
                        .and_then(|image| image.key(&fk.parent.columns))
                        .as_ref()
                        == Some(&key)
                });
                (!stays).then(|| ConflictKind::ReferenceMissing {
                    to: fk.parent.relation.name.clone(),
                    constraint: fk.name.clone(),
                })
            })
    }

    /// Rows that refer to what this one is no longer to be, and keep doing so.
    fn referenced(&self, write: &Write, table: &Table) -> Option<ConflictKind> {
        let keys = self.catalog.foreign_keys.iter().enumerate();
        keys.filter(|(_, fk)| table.is(&fk.parent))
            .find_map(|(place, fk)| {
                let key = moved(write.before(), write.target.as_ref(), &fk.parent.columns)?;
                if self.parents.contains(&(place, key.clone())) {
                    return None;
                }
                let question = Question::by(&fk.child.relation, fk.child.columns.clone());
                let stays = self.facts.find(&question, &key).iter().any(|row| {
                    let after = self.after(row);
                    after
                        .and_then(|image| image.key(&fk.child.columns))
                        .as_ref()
                        == Some(&key)
                });
                stays.then(|| ConflictKind::Referenced {
                    by: fk.child.relation.name.clone(),
                    constraint: fk.name.clone(),
                })
            })
    }
}
