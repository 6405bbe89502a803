//! An `INSERT` that writes the message on its way to its first value. Pure.
//!
//! A `RETURNING`, where the application has none, takes the server 3 µs of the 20 of a small `INSERT`: what comes back is
//! kept before it is sent. In the place of a value the message takes it 0.75 µs (PostgreSQL 15, prepared, CPU time of
//! the backend), and no row comes back that nobody asked for.

use std::sync::Arc;

use super::emit::FUNCTION;
use super::session::Known;
use super::statement::{Dml, Rows};
use super::tagged::Binds;
use crate::context::PREFIX;

/// The text of such an `INSERT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Inline {
    pub(super) sql: Arc<str>,
    /// The number of the parameter that is the value: the message stands before it only if the server is
    /// told its type.
    pub(super) value: u32,
    /// The relation as it stands in the text.
    pub(super) relation: Arc<str>,
}

impl Inline {
    /// The `INSERT` in `sql` with the message, as a parameter behind all others, around the first parameter among its
    /// values. `None` where that is not just a parameter in the form that diesel writes, and where a row
    /// may be left out (`ON CONFLICT`): a transaction that writes nothing shall not write a message.
    pub(super) fn new(sql: &str, dml: &Dml) -> Option<Self> {
        const INTO: &str = "INSERT INTO ";
        const VALUES: &str = " VALUES (";
        if dml.rows == Rows::Unknown || sql.contains(" ON CONFLICT") {
            return None;
        }
        let (head, values) = sql.split_at(sql.find(VALUES)? + VALUES.len());
        // The word is not inside a literal, a comment, or a name.
        let ambiguous = head.contains(['\'', '$', '-', '/']) || head.matches('"').count() % 2 == 1;
        let relation = head.strip_prefix(INTO)?.strip_suffix(VALUES)?;
        let relation = relation.split_once(" (")?.0;
        if ambiguous || relation.is_empty() {
            return None;
        }
        let before = values.find('$')?;
        let (defaults, rest) = values.split_at(before);
        let digits = rest.get(1..rest.find([',', ')'])?)?;
        let only_defaults = defaults
            .split(", ")
            .all(|value| matches!(value, "" | "DEFAULT"));
        if !only_defaults {
            return None;
        }
        let value = digits.parse().ok()?;
        let rest = rest.get(1 + digits.len()..)?;
        let message = dml.parameters.checked_add(1)?;
        // Both branches are the value, so it keeps its type.
        let sql = format!(
            "{head}{defaults}CASE WHEN pg_catalog.{FUNCTION}(true,'{PREFIX}',${message}) IS NULL \
             THEN ${value} ELSE ${value} END{rest}"
        );
        Some(Self {
            sql: sql.into(),
            value,
            relation: relation.into(),
        })
    }

    /// Whether the server is told the type of the value: both branches have it then. Of one without a type
    /// it would be `text`.
    pub(super) fn fits(&self, binds: &Binds) -> bool {
        let place = usize::try_from(self.value).ok();
        let metadata = place.and_then(|place| binds.metadata.get(place.checked_sub(1)?));
        metadata.is_some_and(|metadata| metadata.oid().is_ok_and(|oid| oid != 0))
    }
}

/// That of `statement`.
pub(super) fn inline_of(statement: &Known) -> Option<&Inline> {
    statement.as_deref()?.inline.as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::statement::{Kind, Statement};

    fn inline(sql: &str) -> Option<Inline> {
        Statement::new(sql, 0)?.inline
    }

    #[test]
    fn the_first_parameter_of_the_first_row() {
        for (sql, value, relation, expected) in [
            (
                r#"INSERT INTO "todos" ("a", "b") VALUES ($1, $2)"#,
                1,
                r#""todos""#,
                r#"INSERT INTO "todos" ("a", "b") VALUES (CASE WHEN pg_catalog.pg_logical_emit_message(true,'_bemi',$3) IS NULL THEN $1 ELSE $1 END, $2)"#,
            ),
            (
                r#"INSERT INTO "app"."todos" ("a", "b", "c") VALUES (DEFAULT, $1, $2), ($3, $4, DEFAULT) RETURNING "id""#,
                1,
                r#""app"."todos""#,
                r#"INSERT INTO "app"."todos" ("a", "b", "c") VALUES (DEFAULT, CASE WHEN pg_catalog.pg_logical_emit_message(true,'_bemi',$5) IS NULL THEN $1 ELSE $1 END, $2), ($3, $4, DEFAULT) RETURNING "id""#,
            ),
        ] {
            let found = inline(sql).expect("it has a place");
            assert_eq!(
                (found.sql.as_ref(), found.value, found.relation.as_ref()),
                (expected, value, relation)
            );
        }
    }

    #[test]
    fn what_has_no_place() {
        for sql in [
            "INSERT INTO \"t\" DEFAULT VALUES",
            "INSERT INTO \"t\" (\"a\") VALUES (DEFAULT)",
            "INSERT INTO \"t\" (\"a\") VALUES ($1 + 1)",
            "INSERT INTO \"t\" (\"a\") VALUES ($1::text)",
            "INSERT INTO \"t\" (\"a\") VALUES (lower($1))",
            "INSERT INTO \"t\" (\"a\") VALUES (1, $1)",
            "INSERT INTO \"t\" (\"a\") VALUES ('$1', $1)",
            "INSERT INTO \"t\" (\"a\") VALUES ($1) ON CONFLICT DO NOTHING",
            "INSERT INTO \"t\" (\"a\") SELECT $1",
            "INSERT INTO \"t VALUES (\" (\"a\") VALUES ($1)",
            "INSERT INTO t/* VALUES ( */ (a) VALUES ($1)",
            "INSERT INTO \"t\" VALUES ($1)",
            "UPDATE \"t\" SET \"a\" = $1",
        ] {
            assert_eq!(inline(sql), None, "{sql}");
        }
        let known = Statement::new("INSERT INTO \"t\" (\"a\") VALUES ($1)", 0);
        assert!(matches!(
            known,
            Some(Statement {
                kind: Kind::Dml(_),
                inline: Some(_),
                ..
            })
        ));
    }
}
