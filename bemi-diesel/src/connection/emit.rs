//! The SQL that writes a message into the log.
//!
//! [`pg_logical_emit_message`] is named with its schema everywhere, so that no function of the
//! application's own can stand in for it.
//!
//! [`pg_logical_emit_message`]: https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-REPLICATION

use std::sync::Arc;

use crate::context::{Lead, PREFIX, message, sql_member};

/// The name of the function, to recognise it in what the server says.
pub(super) const FUNCTION: &str = "pg_logical_emit_message";

/// Fails where the user may not execute the function, and does nothing else: the server asks for the
/// right before it sees that no row is wanted.
///
/// It goes before a message in a transaction of the application's, as the right may have been taken
/// away a moment ago and a failed statement ends a transaction. [`UNGUARD`] takes the failure back.
/// The message itself is written outside of the savepoint, which would cost it a transaction number
/// of its own.
pub(super) const GUARD: &str = "SAVEPOINT _bemi;SELECT pg_catalog.pg_logical_emit_message(true,'','') \
    WHERE false;RELEASE _bemi";

/// Puts a transaction right in which [`GUARD`] failed.
pub(super) const UNGUARD: &str = "ROLLBACK TO _bemi;RELEASE _bemi";

/// The text of a statement under `"SQL"` is cut after this many bytes, where nothing else is wanted.
pub(super) const DEFAULT_SQL_BYTES: usize = 1024;

/// When a standalone message is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// Always: the transaction is about to write.
    Always,
    /// Only if the transaction wrote something: reading ones stay without a transaction number, and
    /// a hot standby, which cannot give one, is not asked for it.
    Wrote,
}

/// The statement that writes a message of its own, with `members` as its context (`None`: the empty
/// one, which ends an earlier one) and the [`text`] of a statement.
pub(super) fn select(members: Option<&str>, text: Option<&str>, when: When) -> String {
    let message = literal(&message(members.unwrap_or_default(), text, Lead::None));
    let condition = match when {
        When::Always => "NOT pg_catalog.pg_is_in_recovery()",
        When::Wrote => "pg_catalog.pg_current_xact_id_if_assigned() IS NOT NULL",
    };
    format!("SELECT pg_catalog.{FUNCTION}(true,'{PREFIX}',{message}) WHERE {condition}")
}

/// `text` as a literal that means the same whatever [`standard_conforming_strings`] says: with a
/// backslash in it, only the `E''` form does.
///
/// [`standard_conforming_strings`]: https://www.postgresql.org/docs/current/sql-syntax-lexical.html#SQL-SYNTAX-STRINGS-ESCAPE
pub(super) fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') {
        format!("E'{}'", quoted.replace('\\', r"\\"))
    } else {
        format!("'{quoted}'")
    }
}

/// `sql` as a member of a message: at most `bytes` of it, `…` for the rest. `None` if that is nothing.
pub(super) fn text(sql: &str, bytes: usize) -> Option<Arc<str>> {
    if bytes == 0 {
        return None;
    }
    if sql.len() <= bytes {
        return Some(sql_member(sql).into());
    }
    let mut cut = sql[..sql.floor_char_boundary(bytes)].to_owned();
    cut.push('…');
    Some(sql_member(&cut).into())
}

#[cfg(test)]
mod tests;
