//! The SQL that makes a table's rows as of an instant out of its changes. Pure.
//!
//! Of a table with a primary key it takes the last change of each key, of one without it counts how often
//! each row came and went. `jsonb_populate_record` then makes rows of the table's own type, behind
//! `LATERAL`: as `(f(x)).*` it would run once for every column.

use crate::sql::{identifier, literal};
use crate::{JsonObject, Lsn};

/// A state of the captured database, between two commits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State {
    /// See [`Change::source`](crate::Change::source).
    pub(crate) source: i64,
    pub(crate) database: String,
    /// The last commit that is part of it stands here or before.
    pub(crate) last: Lsn,
}

/// The changes of one table that count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) from: From,
}

/// Where the changes begin that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// With the commit here.
    Commit(Lsn),
    /// Behind the change with this commit and ordinal.
    Behind(Lsn, i64),
}

impl Part {
    /// Whether the change with this commit and ordinal, if there is one, is one of them.
    pub(super) fn counts(&self, change: Option<(i64, i64)>) -> bool {
        change.is_some_and(|(lsn, ordinal)| match self.from {
            From::Commit(begin) => Lsn::from_i64(lsn) >= begin,
            From::Behind(begin, other) => (Lsn::from_i64(lsn), ordinal) > (begin, other),
        })
    }
}

impl State {
    /// The condition for the changes of `part`.
    fn changes_of(&self, part: &Part) -> String {
        let from = match part.from {
            From::Commit(lsn) => format!("commit_lsn >= {}", lsn.as_i64()),
            From::Behind(lsn, ordinal) => {
                format!("(commit_lsn, ordinal) > ({}, {ordinal})", lsn.as_i64())
            }
        };
        format!(
            "source = {} AND database = {} AND schema = {} AND \"table\" = {} AND commit_lsn <= {} AND {from}",
            self.source,
            literal(&self.database),
            literal(&part.schema),
            literal(&part.name),
            self.last.as_i64(),
        )
    }

    /// A query of the keys and images of the rows of `parts`, which have a primary key.
    ///
    /// Which change of a key is the last one tells the index `changes_record` alone, read backwards; only these
    /// changes are then fetched, in the order in which they lie in the table. The limit keeps the planner from
    /// another way, as it cannot know how few they are.
    pub(crate) fn keyed(&self, parts: &[Part]) -> String {
        let parts: Vec<String> = parts
            .iter()
            .map(|part| {
                let changes = self.changes_of(part);
                format!(
                    "SELECT change.primary_key, change.after FROM (SELECT commit_lsn, ordinal FROM (\
                     SELECT DISTINCT ON (primary_key) primary_key, commit_lsn, ordinal FROM public.changes \
                     WHERE {changes} AND primary_key IS NOT NULL \
                     ORDER BY primary_key DESC, commit_lsn DESC, ordinal DESC) kept \
                     WHERE NOT EXISTS (SELECT FROM public.changes WHERE {changes} AND previous_key = kept.primary_key \
                     AND (commit_lsn, ordinal) > (kept.commit_lsn, kept.ordinal)) \
                     ORDER BY commit_lsn, ordinal) latest, \
                     LATERAL (SELECT primary_key, operation, after FROM public.changes WHERE source = {} \
                     AND commit_lsn = latest.commit_lsn AND ordinal = latest.ordinal LIMIT 1) change \
                     WHERE change.operation <> 'DELETE'",
                    self.source
                )
            })
            .collect();
        parts.join(" UNION ALL ")
    }

    /// The same for the record with the key that the SQL `key` gives.
    pub(crate) fn record(&self, parts: &[Part], key: &str) -> String {
        let parts: Vec<String> = parts
            .iter()
            .map(|part| {
                let changes = self.changes_of(part);
                let latest = |key_column: &str, operation: &str, after: &str| {
                    format!(
                        "(SELECT {key_column} AS primary_key, commit_lsn, ordinal, {operation} AS operation, {after} AS after \
                         FROM public.changes WHERE {changes} AND {key_column} = {key} \
                         ORDER BY commit_lsn DESC, ordinal DESC LIMIT 1)"
                    )
                };
                format!(
                    "SELECT primary_key, after FROM (SELECT * FROM ({} UNION ALL {}) versions \
                     ORDER BY commit_lsn DESC, ordinal DESC LIMIT 1) latest WHERE operation <> 'DELETE'",
                    latest("primary_key", "operation", "after"),
                    latest("previous_key", "'DELETE'", "NULL"),
                )
            })
            .collect();
        parts.join(" UNION ALL ")
    }

    /// A query of the images of the rows of `parts`, which have no primary key, each with how often it
    /// is there. `row` is the SQL of a row by which two images are told apart, made of `image`.
    pub(crate) fn keyless(&self, parts: &[Part], row: &str) -> String {
        let parts: Vec<String> = parts
            .iter()
            .map(|part| {
                let changes = self.changes_of(part);
                format!(
                    "SELECT {row} AS row, sum(n) AS n FROM (\
                     SELECT after AS image, 1 AS n FROM public.changes WHERE {changes} AND operation IN ('CREATE', 'UPDATE', 'SNAPSHOT') \
                     UNION ALL \
                     SELECT before, -1 FROM public.changes WHERE {changes} AND operation IN ('UPDATE', 'DELETE')) images \
                     GROUP BY row HAVING sum(n) > 0"
                )
            })
            .collect();
        parts.join(" UNION ALL ")
    }
}

/// The table whose rows are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    pub(crate) schema: &'a str,
    pub(crate) name: &'a str,
    pub(crate) keyed: bool,
    pub(crate) parts: &'a [Part],
    /// The values of columns that an image may lack, as PostgreSQL itself keeps them for rows older than
    /// the column.
    pub(crate) missing: Option<&'a JsonObject>,
    /// All columns with the expressions of the generated ones, where there is one.
    pub(crate) generated: &'a [(String, Option<String>)],
}

impl Target<'_> {
    /// A query of the table's rows in the state.
    pub(crate) fn rows(&self, state: &State) -> String {
        let table = format!("{}.{}", identifier(self.schema), identifier(self.name));
        if self.parts.is_empty() {
            return format!("SELECT * FROM {table} WHERE false");
        }
        let complete = |image: &str| match self.missing {
            Some(missing) => format!("{}::jsonb || {image}", literal(missing.as_str())),
            None => image.to_owned(),
        };
        let populate = |image: &str| {
            let image = complete(image);
            format!("pg_catalog.jsonb_populate_record(NULL::{table}, {image})")
        };
        let rows = if self.keyed {
            format!(
                "({}) rows, LATERAL {} r",
                state.keyed(self.parts),
                populate("rows.after")
            )
        } else {
            format!(
                "({}) rows, LATERAL pg_catalog.generate_series(1, rows.n) again, LATERAL (SELECT (rows.row::{table}).*) r",
                state.keyless(self.parts, &format!("{}::text", populate("image")))
            )
        };
        if self.generated.is_empty() {
            return format!("SELECT r.* FROM {rows}");
        }
        let columns: Vec<String> = self
            .generated
            .iter()
            .map(|(name, expression)| {
                let name = identifier(name);
                match expression {
                    Some(expression) => format!("coalesce({name}, ({expression})) AS {name}"),
                    None => name,
                }
            })
            .collect();
        format!(
            "SELECT {} FROM (SELECT r.* FROM {rows}) {}",
            columns.join(", "),
            identifier(self.name)
        )
    }
}
