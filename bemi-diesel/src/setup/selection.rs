//! Which tables are to be tracked, and what of them.

use serde::{Deserialize, Serialize};

use super::pattern::TablePattern;
use super::table::{Kind, Relation, Table};
use crate::error::{Error, ErrorKind};

/// What the settings say about tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tables {
    /// The tables; `None` is every table.
    pub(crate) only: Option<Vec<TablePattern>>,
    /// Tables to leave out.
    pub(crate) exclude: Vec<TablePattern>,
    /// The rows to track, where it is not all.
    pub(crate) conditions: Vec<RowCondition>,
    /// Rows of partitions pass for rows of the partitioned table; `None` leaves it as it is.
    pub(crate) publish_via_partition_root: Option<bool>,
    /// Commands that make, alter or drop a table are recorded; `None` leaves it as it is.
    pub(crate) ddl: Option<bool>,
}

/// What is kept of a selection.
#[derive(Deserialize, Serialize)]
struct Kept {
    tables: Option<Vec<String>>,
    #[serde(default)]
    exclude: Vec<String>,
    #[serde(default, rename = "where")]
    conditions: Vec<(String, String)>,
    #[serde(default)]
    ddl: bool,
}

/// The rows of some tables that are tracked: those for which the SQL expression is true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RowCondition {
    pub(crate) table: TablePattern,
    pub(crate) condition: String,
}

/// What a selection found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selected {
    /// The tables to track, in order of name.
    pub(crate) tables: Vec<Table>,
    /// The partitioned tables.
    pub(crate) roots: Vec<Table>,
    /// What is meant as well but cannot be tracked.
    pub(crate) untracked: Vec<Relation>,
    /// Patterns that match nothing yet.
    pub(crate) unmatched: Vec<String>,
}

impl Tables {
    /// Every pattern, in the order in which [`Relation::matched`] tells of them.
    pub(crate) fn patterns(&self) -> impl Iterator<Item = &TablePattern> {
        let conditions = self.conditions.iter().map(|condition| &condition.table);
        self.only
            .iter()
            .flatten()
            .chain(&self.exclude)
            .chain(conditions)
    }

    /// SQL that tells whether the table with the identifier `oid` is meant.
    pub(crate) fn selects(&self, oid: &str) -> String {
        let any = |patterns: &[TablePattern]| {
            let each: Vec<String> = patterns
                .iter()
                .map(|pattern| pattern.matches(oid))
                .collect();
            if each.is_empty() {
                "false".to_owned()
            } else {
                format!("({})", each.join(" OR "))
            }
        };
        let only = self.only.as_deref().map_or("true".to_owned(), any);
        format!("{only} AND NOT {}", any(&self.exclude))
    }

    /// A form that [`from_json`](Self::from_json) reads, with whether commands are recorded.
    pub(crate) fn to_json(&self, ddl: bool) -> String {
        let texts = |patterns: &[TablePattern]| -> Vec<String> {
            patterns
                .iter()
                .map(|pattern| pattern.as_str().to_owned())
                .collect()
        };
        let conditions = self.conditions.iter();
        let kept = Kept {
            tables: self.only.as_deref().map(texts),
            exclude: texts(&self.exclude),
            conditions: conditions
                .map(|condition| {
                    (
                        condition.table.as_str().to_owned(),
                        condition.condition.clone(),
                    )
                })
                .collect(),
            ddl,
        };
        // Strings and lists always have a form.
        serde_json::to_string(&kept).unwrap_or_default()
    }

    /// `None` if it is not ours, or of a later version.
    pub(crate) fn from_json(json: &str) -> Option<(Self, bool)> {
        let kept: Kept = serde_json::from_str(json).ok()?;
        let patterns = |texts: Vec<String>| -> Option<Vec<TablePattern>> {
            texts
                .iter()
                .map(|text| TablePattern::parse(text).ok())
                .collect()
        };
        let condition = |(table, condition): (String, String)| {
            Some(RowCondition {
                table: TablePattern::parse(&table).ok()?,
                condition,
            })
        };
        let tables = Self {
            only: match kept.tables {
                Some(tables) => Some(patterns(tables)?),
                None => None,
            },
            exclude: patterns(kept.exclude)?,
            conditions: kept
                .conditions
                .into_iter()
                .map(condition)
                .collect::<Option<_>>()?,
            publish_via_partition_root: None,
            ddl: None,
        };
        Some((tables, kept.ddl))
    }

    /// What is meant, out of all there is.
    ///
    /// # Errors
    ///
    /// When a name means nothing, or something that has no log.
    pub(crate) fn select(&self, all: &[Relation]) -> Result<Selected, Error> {
        let unmatched = self.unmatched(all)?;
        let only = self.only.as_ref().map_or(0, Vec::len);
        let conditions = only + self.exclude.len();
        let mut selected = Selected {
            unmatched,
            ..Selected::default()
        };
        for relation in all {
            let matched = |range: std::ops::Range<usize>| {
                let of = relation.matched.get(range).unwrap_or_default();
                of.iter().position(|matched| *matched)
            };
            let included = self.only.is_none() || matched(0..only).is_some();
            if !included || matched(only..conditions).is_some() {
                continue;
            }
            let condition = matched(conditions..relation.matched.len());
            let mut table = relation.table.clone();
            table.condition = condition
                .and_then(|at| self.conditions.get(at))
                .map(|condition| condition.condition.clone());
            match relation.kind {
                Kind::Table => selected.tables.push(table),
                Kind::Partitioned => selected.roots.push(table),
                _ => selected.untracked.push(relation.clone()),
            }
        }
        Ok(selected)
    }

    /// The patterns that match nothing, though something may come that they match.
    fn unmatched(&self, all: &[Relation]) -> Result<Vec<String>, Error> {
        let named = |relation: &&Relation, at: usize| relation.matched.get(at) == Some(&true);
        let (mut open, mut unknown, mut untrackable) = (Vec::new(), Vec::new(), Vec::new());
        for (at, pattern) in self.patterns().enumerate() {
            let mut meant = all.iter().filter(|relation| named(relation, at)).peekable();
            let text = pattern.as_str().to_owned();
            match meant.peek() {
                None if pattern.is_open() => open.push(text),
                None => unknown.push(text),
                Some(_) if pattern.is_open() => {}
                Some(_) => {
                    let only = self.only.as_ref().map_or(0, Vec::len);
                    let relations: Vec<&Relation> = meant.collect();
                    if at < only && relations.iter().all(|relation| relation.is_untrackable()) {
                        untrackable.extend(relations.iter().map(|relation| relation.described()));
                    }
                }
            }
        }
        if !unknown.is_empty() {
            let known = all.iter().filter(|relation| relation.kind == Kind::Table);
            return Err(Error::new(ErrorKind::UnknownTables {
                tables: unknown,
                known: known.map(|relation| relation.table.full_name()).collect(),
            }));
        }
        if !untrackable.is_empty() {
            let tables = untrackable;
            return Err(Error::new(ErrorKind::Untrackable { tables }));
        }
        Ok(open)
    }
}
