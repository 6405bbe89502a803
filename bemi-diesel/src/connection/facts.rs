//! What a connection has learned of its server, mostly from statements that failed because of the message.
//!
//! What it refuses is sent again without the message, and the next statement is spared. Where that cannot
//! be done, in a transaction of the application's, [`GUARD`] stands before the message. The server is asked
//! one thing only, and only for relations that are written again and again: whether they have rules.
//!
//! [`GUARD`]: super::emit::GUARD

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use diesel::dsl::{select, sql};
use diesel::expression::SqlLiteral;
use diesel::result::{DatabaseErrorKind, Error};
use diesel::sql_types::Bool;

use super::emit::{FUNCTION, literal};
use super::statement::Dml;

/// What the server refuses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// Whether the user may not execute the function: `EXECUTE` on it can be [revoked]. Nothing more
    /// is sent then.
    ///
    /// [revoked]: https://www.postgresql.org/docs/current/ddl-priv.html
    pub(super) denied: bool,
    /// The relations that take no tag, by their name: those whose [rules] rewrite the write may refuse
    /// a `RETURNING`, or to stand in a `WITH`.
    ///
    /// [rules]: https://www.postgresql.org/docs/current/rules-update.html
    pub(super) ruled: HashSet<String>,
    /// What is known of the relations that an [`Inline`](super::inline::Inline) is for, as they stand in
    /// the text.
    pub(super) rules: HashMap<Arc<str>, Rules>,
}

/// Whether a relation has rules: one that rewrites an `INSERT` may do without a value, and then the server does
/// not evaluate it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rules {
    /// Not known: it was written this often.
    Unknown(u32),
    None,
    /// It has some, or is no table.
    Some,
}

/// About how many relations the server is asked; one more stays unknown.
const MAX_ASKED: usize = 1024;

/// Asks whether `relation`, as it stands in a text, is a table without rules.
pub(super) fn has_no_rules(relation: &str) -> select<SqlLiteral<Bool>> {
    diesel::select(sql::<Bool>(&format!(
        "EXISTS (SELECT FROM pg_catalog.pg_class WHERE oid = pg_catalog.to_regclass({}) \
         AND relkind IN ('r', 'p') AND NOT relhasrules)",
        literal(relation)
    )))
}

impl Facts {
    /// Counts a write to `relation`. Whether it has been written `often` enough now to ask about it.
    pub(super) fn is_worth_asking(&mut self, relation: &Arc<str>, often: u32) -> bool {
        let full = self.rules.len() >= MAX_ASKED;
        match self.rules.get_mut(relation) {
            Some(Rules::Unknown(seen)) => {
                *seen += 1;
                *seen == often
            }
            Some(Rules::None | Rules::Some) => false,
            None => {
                if !full {
                    self.rules.insert(Arc::clone(relation), Rules::Unknown(1));
                }
                false
            }
        }
    }
}

/// Why a statement failed that carried a message, if the message may be to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Suspicion {
    /// The user may not write messages.
    Denied,
    /// The relation takes no tag, if the statement goes well without. If it fails then too, that error
    /// is the application's own, with the position in its own text.
    Tag,
}

impl Suspicion {
    /// Diesel hides the SQLSTATE. The message is the server's in its own language, but names and
    /// keywords stay what they are in all of them.
    pub(super) fn of(error: &Error, dml: &Dml) -> Option<Self> {
        if is_denied(error) {
            return Some(Self::Denied);
        }
        let Error::DatabaseError(kind, information) = error else {
            return None;
        };
        let message = information.message();
        let rules = (message.contains("RETURNING") && !dml.returning) || message.contains("WITH");
        // It says which command the server may not execute, and inside a `WITH` that is a `SELECT`.
        let names_command = matches!(kind, DatabaseErrorKind::ReadOnlyTransaction);
        let places = information.statement_position().is_some();
        (rules || names_command || places).then_some(Self::Tag)
    }
}

/// Whether `error` says that the user may not execute the function.
pub(super) fn is_denied(error: &Error) -> bool {
    matches!(error, Error::DatabaseError(DatabaseErrorKind::Unknown, information)
        if information.message().contains(FUNCTION))
}

/// Whether the server answered with this error, which makes it give up the transaction.
pub(super) fn is_of_the_server(error: &Error) -> bool {
    matches!(error, Error::DatabaseError(kind, _)
        if !matches!(kind, DatabaseErrorKind::UnableToSendCommand | DatabaseErrorKind::ClosedConnection))
}
