//! What a connection remembers between statements. No IO: both connections share it.

use std::any::{TypeId, type_name};
use std::collections::HashMap;
use std::sync::Arc;

use diesel::pg::{Pg, PgQueryBuilder};
use diesel::query_builder::{QueryBuilder, QueryFragment, QueryId};
use diesel::result::{DatabaseErrorKind, Error, QueryResult};

use super::emit::FUNCTION;
use super::facts::Facts;
use super::plan::{BatchPlan, Enclosing, Plan, plan, plan_batch};
use super::statement::{Control, Dml, Kind, Statement};
use super::transaction::{Members, Transaction};
use crate::scope::SharedContext;

/// Statements that diesel makes anew every time are remembered by their text: this many of them, none
/// longer than [`MAX_REMEMBERED_BYTES`]. Full, the memory starts again.
const MAX_REMEMBERED: usize = 256;
const MAX_REMEMBERED_BYTES: usize = 4096;

#[derive(Default)]
pub(super) struct Session {
    pub(super) transaction: Transaction,
    facts: Option<Facts>,
    by_type: HashMap<TypeId, Known>,
    by_text: HashMap<Box<str>, Known>,
}

/// A statement, or `None` if it changes no row.
pub(super) type Known = Option<Arc<Statement>>;

/// One batch on its way.
pub(super) struct BatchStep<'a> {
    pub(super) plan: BatchPlan<'a>,
    kinds: Vec<Kind>,
    members: Members,
}

/// Why a tagged statement failed, if the tag is to blame.
enum Blame {
    Denied,
    NoReturning,
}

impl Session {
    /// A session that begins inside a transaction, or not.
    pub(super) fn new(in_transaction: bool) -> Self {
        let mut session = Self::default();
        if in_transaction {
            session.transaction.apply(&Control::Begin);
        }
        session
    }

    /// Classifies `query`: a look-up, but for the first of its kind.
    pub(super) fn statement<T>(&mut self, query: &T) -> Known
    where
        T: QueryFragment<Pg> + QueryId,
    {
        let id = T::query_id();
        match id {
            Some(id) => {
                if let Some(known) = self.by_type.get(&id) {
                    return known.clone();
                }
            }
            // Saves the text of a read; if the name is ever another one, only the saving is gone.
            None if type_name::<T>().starts_with("diesel::query_builder::select_statement::") => {
                return None;
            }
            None => {}
        }
        let mut sql = PgQueryBuilder::default();
        if query.to_sql(&mut sql, &Pg).is_err() {
            // It fails again where it is sent, and the caller gets the error from there.
            return None;
        }
        let sql = sql.finish();
        if let Some(id) = id {
            let known = Statement::new(&sql).map(Arc::new);
            self.by_type.insert(id, known.clone());
            return known;
        }
        if let Some(known) = self.by_text.get(sql.as_str()) {
            return known.clone();
        }
        let known = Statement::new(&sql).map(Arc::new);
        if sql.len() <= MAX_REMEMBERED_BYTES {
            if self.by_text.len() >= MAX_REMEMBERED {
                self.by_text.clear();
            }
            self.by_text.insert(sql.into(), known.clone());
        }
        known
    }

    /// Whether the server must be asked before a statement of `kind` is sent.
    pub(super) fn lacks_facts(&self, kind: &Kind, members: &Members) -> bool {
        self.facts.is_none()
            && match (&self.transaction, kind) {
                (Transaction::Autocommit, Kind::Dml(_) | Kind::Write)
                | (_, Kind::Control(Control::Begin)) => members.is_some(),
                (
                    Transaction::Open(block),
                    Kind::Control(Control::Commit | Control::CommitAndChain | Control::Prepare),
                ) => block.end().is_some(),
                (Transaction::Open(_), kind) => kind.may_write() && members.is_some(),
                _ => false,
            }
    }

    /// Takes in what the server answered. A server that gives no answer is sent nothing more.
    pub(super) fn learn(&mut self, facts: QueryResult<Facts>) {
        let facts = match facts {
            Ok(facts) => facts,
            Err(error) => {
                if is_of_the_server(&error) {
                    self.transaction.failed();
                }
                Facts::default()
            }
        };
        if !facts.granted {
            warn_denied();
        }
        self.facts = Some(facts);
    }

    /// Whether the server has been asked.
    #[cfg(feature = "async")]
    pub(super) fn knows_facts(&self) -> bool {
        self.facts.is_some()
    }

    /// Whether messages may be sent, as far as is known.
    #[cfg(feature = "async")]
    pub(super) fn granted(&self) -> bool {
        self.facts.as_ref().is_none_or(|facts| facts.granted)
    }

    /// Decides how `statement` is sent.
    pub(super) fn plan(
        &mut self,
        statement: &Known,
        members: Members,
        enclosing: Enclosing,
    ) -> Plan {
        let facts = self.facts.as_ref();
        statement.as_deref().map_or(Plan::Forward, |statement| {
            plan(statement, &mut self.transaction, members, facts, enclosing)
        })
    }

    /// Decides how the batch `sql` is sent.
    pub(super) fn batch<'a>(
        &mut self,
        sql: &'a str,
        kinds: Vec<Kind>,
        members: Members,
    ) -> BatchStep<'a> {
        let plan = plan_batch(
            sql,
            &kinds,
            &mut self.transaction,
            members.clone(),
            self.facts.as_ref(),
        );
        BatchStep {
            plan,
            kinds,
            members,
        }
    }

    /// Takes in how a statement went.
    pub(super) fn finish(&mut self, statement: &Known, error: Option<&Error>) {
        match error {
            None => match statement.as_deref() {
                Some(Statement {
                    kind: Kind::Control(control),
                    ..
                }) => self.transaction.apply(control),
                _ => self.transaction.succeeded(),
            },
            Some(error) if is_of_the_server(error) => match statement.as_deref() {
                Some(Statement {
                    kind: Kind::Control(control @ (Control::Commit | Control::Prepare)),
                    ..
                }) => self.transaction.apply(control),
                _ => self.transaction.failed(),
            },
            Some(_) => {}
        }
    }

    /// Takes in how a batch went.
    pub(super) fn finish_batch(&mut self, step: &BatchStep<'_>, error: Option<&Error>) {
        match (error, step.kinds.as_slice()) {
            (None, kinds) => {
                for kind in kinds {
                    match (kind, &mut self.transaction) {
                        (Kind::Control(control), transaction) => transaction.apply(control),
                        (kind, Transaction::Open(block)) if kinds.len() > 1 && kind.may_write() => {
                            // What it would have to write first has gone out with the batch.
                            let _sent = block.write(step.members.clone(), None);
                        }
                        (_, transaction) => transaction.succeeded(),
                    }
                }
            }
            (Some(error), [Kind::Control(control @ (Control::Commit | Control::Prepare))])
                if is_of_the_server(error) =>
            {
                self.transaction.apply(control);
            }
            (Some(error), _) if is_of_the_server(error) => self.transaction.failed(),
            (Some(_), _) => {}
        }
    }

    /// Whether `error`, with which a tagged `statement` failed, comes from the tag and not from the
    /// statement, which would then go well without. It is remembered, so that the next one is spared.
    pub(super) fn blames_tag(&mut self, error: &Error, statement: &Known) -> bool {
        let Some(Kind::Dml(dml)) = statement.as_deref().map(|statement| &statement.kind) else {
            return false;
        };
        let Some(blame) = blame(error, dml) else {
            return false;
        };
        let facts = self.facts.get_or_insert(Facts {
            granted: true,
            ruled: Vec::new(),
        });
        match blame {
            Blame::Denied => {
                warn_denied();
                facts.granted = false;
            }
            Blame::NoReturning => facts.ruled.push(dml.target.clone()),
        }
        true
    }
}

/// The ambient context in its wire form.
pub(super) fn ambient() -> Members {
    SharedContext::current().map(|context| context.members_json())
}

/// Diesel hides the SQLSTATE. The message is the server's in its own language, but names and keywords
/// stay what they are in all of them.
fn blame(error: &Error, dml: &Dml) -> Option<Blame> {
    let Error::DatabaseError(DatabaseErrorKind::Unknown, information) = error else {
        return None;
    };
    let message = information.message();
    if message.contains(FUNCTION) {
        Some(Blame::Denied)
    } else if !dml.returning && message.contains("RETURNING") {
        Some(Blame::NoReturning)
    } else {
        None
    }
}

/// Whether the server answered with this error, which makes it give up the transaction.
fn is_of_the_server(error: &Error) -> bool {
    matches!(error, Error::DatabaseError(kind, _)
        if !matches!(kind, DatabaseErrorKind::UnableToSendCommand | DatabaseErrorKind::ClosedConnection))
}

fn warn_denied() {
    tracing::warn!(
        "changes made through this connection carry no context: its user may not execute \
         pg_logical_emit_message; GRANT EXECUTE ON FUNCTION pg_logical_emit_message(boolean, text, text) \
         TO the user"
    );
}
