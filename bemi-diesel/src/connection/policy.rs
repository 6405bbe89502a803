//! What an application wants of the wrapped connections.

use std::collections::BTreeSet;
use std::error::Error as StdError;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use super::emit::DEFAULT_SQL_BYTES;
use super::statement::Kind;
use crate::context::MAX_CONTEXT_BYTES;

/// The policy of the connections that are made from now on. `None`: the default one.
static INSTALLED: RwLock<Option<Arc<ContextPolicy>>> = RwLock::new(None);

/// How the wrapped connections carry contexts, and what they do where they cannot.
///
/// The default disturbs the application least: every write carries its context in the cheapest way, a
/// write outside every scope is sent as it is, and so is one whose message the server refuses.
///
/// It holds for one connection ([`BemiConnection::set_policy`](crate::BemiConnection::set_policy)), or for
/// all that are made after it is [installed](Self::install), which is what a pool wants.
///
/// ```
/// use bemi_diesel::{ContextPolicy, MissingContext, RefusedContext};
///
/// ContextPolicy::new()
///     .missing(MissingContext::Warn)
///     .refused(RefusedContext::Error)
///     .sql_bytes(4096)
///     .except_tables(["sessions"])
///     .install();
/// # ContextPolicy::new().install();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextPolicy {
    pub(super) injection: Injection,
    pub(super) missing: MissingContext,
    pub(super) refused: RefusedContext,
    pub(super) sql_bytes: usize,
    tables: Tables,
}

/// How a context gets into the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Injection {
    /// In the cheapest way that is safe: a single `INSERT`, `UPDATE` or `DELETE` outside a transaction carries
    /// the message itself, in the same round trip; a transaction carries it in the round trip of its
    /// `COMMIT`; anything else that surely writes gets a transaction around it.
    #[default]
    Cheapest,
    /// No statement is changed: a write outside a transaction gets one around it, with the message in front,
    /// at two more round trips. For those who compare the texts of statements on the server.
    Enclosed,
    /// Not at all: everything is sent as it is.
    Off,
}

/// What happens to a write outside every [scope](crate::scope).
///
/// A statement that may write or not, such as `CALL`, `DO` and DDL, is always sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum MissingContext {
    /// It is sent, and its changes have the context `{}`.
    #[default]
    Allow,
    /// The same, with a warning (`tracing`) that names its table.
    Warn,
    /// It is not sent. The error is a [`QueryBuilderError`](diesel::result::Error::QueryBuilderError) that holds
    /// a [`MissingContextError`].
    Error,
}

/// What happens to a write whose context cannot be recorded: the server refuses the message, as its user may not
/// execute `pg_logical_emit_message`, or the context is longer than
/// [`MAX_CONTEXT_BYTES`](crate::MAX_CONTEXT_BYTES).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefusedContext {
    /// It is sent without, as are those after it on the same connection, or with what is left of a context that is
    /// too long. That is logged as a warning, and counted: [`refused`](crate::ContextCounters::refused),
    /// [`cut`](crate::ContextCounters::cut).
    #[default]
    Allow,
    /// Nothing is written, and the application gets the server's error; of a context that is too long it is a
    /// [`QueryBuilderError`](diesel::result::Error::QueryBuilderError) that holds an [`OversizedContextError`], before
    /// anything is sent.
    Error,
}

/// A write that was not sent as its context is too long, as [`RefusedContext::Error`] has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OversizedContextError {
    /// How many members would have been cut.
    pub(super) cut: usize,
}

/// A write that was not sent, as [`MissingContext::Error`] has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingContextError {
    table: Option<String>,
}

/// The tables whose writes carry a context, by their names without the schema.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Tables {
    #[default]
    All,
    Only(BTreeSet<String>),
    Except(BTreeSet<String>),
}

impl ContextPolicy {
    /// The default policy.
    #[must_use]
    pub fn new() -> Self {
        Self {
            injection: Injection::default(),
            missing: MissingContext::default(),
            refused: RefusedContext::default(),
            sql_bytes: DEFAULT_SQL_BYTES,
            tables: Tables::All,
        }
    }

    /// How a context gets into the log. Default: [`Injection::Cheapest`].
    #[must_use]
    pub fn injection(mut self, injection: Injection) -> Self {
        self.injection = injection;
        self
    }

    /// What happens to a write outside every scope. Default: [`MissingContext::Allow`].
    #[must_use]
    pub fn missing(mut self, missing: MissingContext) -> Self {
        self.missing = missing;
        self
    }

    /// What happens to a write whose context cannot be recorded. Default: [`RefusedContext::Allow`].
    #[must_use]
    pub fn refused(mut self, refused: RefusedContext) -> Self {
        self.refused = refused;
        self
    }

    /// How many bytes of a statement's text go into its context under `"SQL"`, without the values that are
    /// bound to it. Zero: no text. Default: 1024.
    ///
    /// In a transaction the message on its `COMMIT` covers all rows, so they have a text only if it is the text of
    /// all statements that wrote them, or may have: one, or the same again and again. Where they differ, none
    /// stands there rather than another's, and so behind a change of the context. Telling each its own takes a
    /// message for each, which in a transaction is either a round trip more, or a part of the statement, whose
    /// failure would end the transaction.
    ///
    /// Where text and context together are longer than [`MAX_MESSAGE_BYTES`](crate::MAX_MESSAGE_BYTES), the text is
    /// left out.
    #[must_use]
    pub fn sql_bytes(mut self, bytes: usize) -> Self {
        self.sql_bytes = bytes;
        self
    }

    /// Only writes to these tables carry a context, and need one. The names stand without their schema, as
    /// the server writes them. Of this and [`except_tables`](Self::except_tables) the last one holds.
    /// Default: all.
    ///
    /// Within a transaction a message covers what is around it, so rows of other tables may have it too.
    #[must_use]
    pub fn only_tables<T: Into<String>>(mut self, tables: impl IntoIterator<Item = T>) -> Self {
        self.tables = Tables::Only(tables.into_iter().map(Into::into).collect());
        self
    }

    /// Writes to these tables carry no context of their own, and need none. See
    /// [`only_tables`](Self::only_tables).
    #[must_use]
    pub fn except_tables<T: Into<String>>(mut self, tables: impl IntoIterator<Item = T>) -> Self {
        self.tables = Tables::Except(tables.into_iter().map(Into::into).collect());
        self
    }

    /// Makes this the policy of all connections of this process that are made from now on.
    pub fn install(self) {
        *INSTALLED.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(self));
    }

    pub(super) fn installed() -> Arc<Self> {
        let installed = INSTALLED.read().unwrap_or_else(PoisonError::into_inner);
        installed.clone().unwrap_or_default()
    }

    /// Whether a statement of this kind is sent as it is.
    pub(super) fn passes(&self, kind: &Kind) -> bool {
        match (self.injection, kind) {
            (Injection::Off, _) => true,
            (_, Kind::Dml(dml)) => match &self.tables {
                Tables::All => false,
                Tables::Only(names) => !names.contains(&dml.target),
                Tables::Except(names) => names.contains(&dml.target),
            },
            _ => false,
        }
    }
}

impl Default for ContextPolicy {
    fn default() -> Self {
        Self::new()
    }
}

impl MissingContextError {
    pub(super) fn new(kind: &Kind) -> Self {
        let table = match kind {
            Kind::Dml(dml) => Some(dml.target.clone()),
            _ => None,
        };
        Self { table }
    }

    /// The table that was to be written to, without its schema, where the statement's text tells.
    #[must_use]
    pub fn table(&self) -> Option<&str> {
        self.table.as_deref()
    }
}

impl OversizedContextError {
    /// How many members of the context would not have been recorded as they are.
    #[must_use]
    pub fn cut(&self) -> usize {
        self.cut
    }
}

impl fmt::Display for OversizedContextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the context is longer than {MAX_CONTEXT_BYTES} bytes, so {} of its members would be lost: set less, or \
             allow it with ContextPolicy::refused",
            self.cut
        )
    }
}

impl StdError for OversizedContextError {}

impl fmt::Display for MissingContextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a write")?;
        if let Some(table) = &self.table {
            write!(f, " to {table:?}")?;
        }
        f.write_str(
            " has no context: put a scope around it (bemi_diesel::scope, sync_scope, or the middleware of \
             bemi-actix), or allow it with ContextPolicy::missing or ContextPolicy::except_tables",
        )
    }
}

impl StdError for MissingContextError {}
