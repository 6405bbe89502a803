//! What a connection remembers between statements. No IO: both connections share it.

use std::any::{TypeId, type_name};
use std::collections::HashMap;
use std::sync::Arc;

use diesel::pg::{Pg, PgQueryBuilder};
use diesel::query_builder::{QueryBuilder, QueryFragment, QueryId};
use diesel::result::{Error, QueryResult};

use super::counters::{count_cut, count_missing, count_refused};
use super::facts::{Facts, Rules, Suspicion, is_denied, is_of_the_server};
use super::inline::{Inline, inline_of};
use super::plan::{BatchPlan, Plan, Request, plan, plan_batch};
use super::policy::{
    ContextPolicy, MissingContext, MissingContextError, OversizedContextError, RefusedContext,
};
use super::statement::{Control, Kind, Statement};
use super::transaction::{Members, Transaction};
use crate::scope::SharedContext;

/// Statements that diesel makes anew every time are remembered by their text: this many of them, none
/// longer than [`MAX_REMEMBERED_BYTES`]. Full, the memory starts again.
const MAX_REMEMBERED: usize = 256;
const MAX_REMEMBERED_BYTES: usize = 4096;

/// Diesel never prepares an `UPDATE` under a name, nor an `INSERT` with a field that may be `None`, nor a
/// statement in raw SQL, as their texts may be without number. Planning such a statement costs the server more with the message than without, so
/// one that comes again this often is prepared, and [`MAX_PREPARED`] of them. Not one with a `RETURNING`:
/// a prepared statement may not change its columns, and a table can.
const COMES_AGAIN: u32 = 3;
const MAX_PREPARED: usize = 128;

pub(super) struct Session {
    pub(super) transaction: Transaction,
    policy: Arc<ContextPolicy>,
    facts: Facts,
    by_type: HashMap<TypeId, ByType>,
    by_text: HashMap<Box<str>, Remembered>,
    /// Whether diesel prepares statements of this application under a name. Where it never does there
    /// may be a pool in between that could not bear it.
    prepares: bool,
    prepared: usize,
}

/// A statement, or `None` if it changes no row.
pub(super) type Known = Option<Arc<Statement>>;

/// What the type of a query tells.
enum ByType {
    /// All of it.
    One(Known),
    /// Its text depends on its values: a field that is `None` is `DEFAULT` in an `INSERT`.
    Varies,
}

/// A statement that is known by its text.
struct Remembered {
    known: Known,
    seen: u32,
    prepared: bool,
}

/// A statement that is about to be sent.
pub(super) struct Classified {
    pub(super) statement: Known,
    /// Whether its type tells its text.
    pub(super) by_type: bool,
    /// Its text, if it is to be prepared under a name although diesel would not.
    pub(super) prepare: Option<String>,
}

impl From<Known> for Classified {
    fn from(statement: Known) -> Self {
        Self {
            statement,
            by_type: false,
            prepare: None,
        }
    }
}

impl Classified {
    fn by_type(statement: Known) -> Self {
        Self {
            by_type: true,
            ..Self::from(statement)
        }
    }
}

/// One batch on its way.
pub(super) struct BatchStep<'a> {
    pub(super) plan: BatchPlan<'a>,
    kinds: Vec<Kind>,
    members: Members,
}

impl Session {
    /// A session that begins inside a transaction, or not.
    pub(super) fn new(in_transaction: bool) -> Self {
        let mut transaction = Transaction::default();
        if in_transaction {
            transaction.apply(&Control::Begin);
        }
        Self {
            transaction,
            policy: ContextPolicy::installed(),
            facts: Facts::default(),
            by_type: HashMap::new(),
            by_text: HashMap::new(),
            prepares: false,
            prepared: 0,
        }
    }

    pub(super) fn set_policy(&mut self, policy: ContextPolicy) {
        // What is remembered holds the texts that are sent.
        self.by_type.clear();
        self.by_text.clear();
        self.policy = Arc::new(policy);
    }

    /// Classifies `query`: a look-up, but for the first of its kind.
    pub(super) fn statement<T>(&mut self, query: &T) -> Classified
    where
        T: QueryFragment<Pg> + QueryId,
    {
        let mut id = T::query_id();
        match id {
            Some(own) => match self.by_type.get(&own) {
                Some(ByType::One(known)) => return Classified::by_type(known.clone()),
                Some(ByType::Varies) => id = None,
                None if query.is_safe_to_cache_prepared(&Pg).unwrap_or(false) => {
                    self.prepares = true;
                }
                None => {
                    self.by_type.insert(own, ByType::Varies);
                    id = None;
                }
            },
            // Saves the text of a read; if the name is ever another one, only the saving is gone.
            None if type_name::<T>().starts_with("diesel::query_builder::select_statement::") => {
                return None.into();
            }
            None => {}
        }
        let mut sql = PgQueryBuilder::default();
        if query.to_sql(&mut sql, &Pg).is_err() {
            // It fails again where it is sent, and the caller gets the error from there.
            return None.into();
        }
        let sql = sql.finish();
        if let Some(id) = id {
            let known = Statement::new(&sql, self.policy.sql_bytes).map(Arc::new);
            self.by_type.insert(id, ByType::One(known.clone()));
            return Classified::by_type(known);
        }
        // To look for a longer text would take as long as to read it.
        let is_remembered = sql.len() <= MAX_REMEMBERED_BYTES;
        if is_remembered && let Some(remembered) = self.by_text.get_mut(sql.as_str()) {
            remembered.seen = remembered.seen.saturating_add(1);
            let plain = matches!(
                remembered.known.as_deref(),
                Some(Statement { kind: Kind::Dml(dml), .. }) if !dml.returning
            );
            if !remembered.prepared
                && plain
                && self.prepares
                && remembered.seen >= COMES_AGAIN
                && self.prepared < MAX_PREPARED
            {
                remembered.prepared = true;
                self.prepared += 1;
            }
            return Classified {
                statement: remembered.known.clone(),
                by_type: false,
                prepare: remembered.prepared.then_some(sql),
            };
        }
        let known = Statement::new(&sql, self.policy.sql_bytes).map(Arc::new);
        if is_remembered {
            if self.by_text.len() >= MAX_REMEMBERED {
                self.by_text.retain(|_, remembered| remembered.prepared);
            }
            let remembered = Remembered {
                known: known.clone(),
                seen: 1,
                prepared: false,
            };
            self.by_text.insert(sql.into(), remembered);
        }
        known.into()
    }

    /// Decides how `statement` is sent.
    pub(super) fn plan(
        &mut self,
        statement: &Known,
        members: Members,
        request: Request,
    ) -> QueryResult<Plan> {
        let Some(statement) = statement.as_deref() else {
            return Ok(Plan::Forward);
        };
        self.check(&statement.kind, &members)?;
        let (facts, policy) = (&self.facts, &self.policy);
        let transaction = &mut self.transaction;
        Ok(plan(
            statement,
            transaction,
            members,
            facts,
            policy,
            request,
        ))
    }

    /// Which message `statement` can carry itself. What the policy says to it is to be [asked](Self::approve)
    /// when it is sent.
    #[cfg(feature = "async")]
    pub(super) fn carried(
        &mut self,
        statement: &Known,
        members: &Members,
        request: Request,
    ) -> Plan {
        match (statement.as_deref(), &mut self.transaction) {
            (Some(statement), transaction @ Transaction::Autocommit) if members.is_some() => {
                let (members, facts, policy) = (members.clone(), &self.facts, &self.policy);
                plan(statement, transaction, members, facts, policy, request)
            }
            _ => Plan::Forward,
        }
    }

    /// What the policy says to `statement` in this context.
    #[cfg(feature = "async")]
    pub(super) fn approve(&self, statement: &Known, members: &Members) -> QueryResult<()> {
        match statement {
            Some(statement) => self.check(&statement.kind, members),
            None => Ok(()),
        }
    }

    /// What the policy says to a statement of this kind in this context.
    fn check(&self, kind: &Kind, members: &Members) -> QueryResult<()> {
        if !kind.writes() || self.policy.passes(kind) {
            return Ok(());
        }
        if let Some(members) = members {
            if self.facts.denied {
                count_refused();
            }
            if members.cut > 0 {
                count_cut();
                if !self.may_go_without() {
                    let oversized = OversizedContextError { cut: members.cut };
                    return Err(Error::QueryBuilderError(oversized.into()));
                }
            }
            return Ok(());
        }
        count_missing();
        let missing = MissingContextError::new(kind);
        match self.policy.missing {
            MissingContext::Allow => Ok(()),
            MissingContext::Warn => {
                tracing::warn!(table = missing.table(), "a write has no context");
                Ok(())
            }
            MissingContext::Error => Err(Error::QueryBuilderError(missing.into())),
        }
    }

    /// Where the message goes among the values of `statement`, if it may go there.
    pub(super) fn inline<'a>(&self, statement: &'a Known) -> Option<&'a Inline> {
        let inline = inline_of(statement)?;
        let evaluated = self.facts.rules.get(&inline.relation) == Some(&Rules::None);
        (evaluated && self.transaction == Transaction::Autocommit).then_some(inline)
    }

    /// Takes in that `statement` went well with its tag. The relation that it is worth asking about now, as
    /// it stands in the text: [`has_no_rules`](super::facts::has_no_rules).
    pub(super) fn tagged(&mut self, statement: &Known) -> Option<Arc<str>> {
        let relation = &inline_of(statement)?.relation;
        let worth = self.facts.is_worth_asking(relation, COMES_AGAIN);
        worth.then(|| Arc::clone(relation))
    }

    /// Takes in whether `relation` has rules.
    pub(super) fn answered(&mut self, relation: Arc<str>, rules: Rules) {
        self.facts.rules.insert(relation, rules);
    }

    /// Whether `statement` is one that may be tagged.
    #[cfg(feature = "async")]
    pub(super) fn may_tag(&self, statement: &Known) -> bool {
        let dml = matches!(
            statement.as_deref(),
            Some(Statement {
                kind: Kind::Dml(_),
                ..
            })
        );
        let alone = matches!(
            self.transaction,
            Transaction::Autocommit | Transaction::Enclosed
        );
        dml && alone && !self.facts.denied
    }

    /// Decides how the batch `sql` is sent.
    pub(super) fn batch<'a>(
        &mut self,
        sql: &'a str,
        kinds: Vec<Kind>,
        members: Members,
    ) -> QueryResult<BatchStep<'a>> {
        for kind in &kinds {
            self.check(kind, &members)?;
        }
        let plan = plan_batch(
            sql,
            &kinds,
            &mut self.transaction,
            members.clone(),
            &self.facts,
            &self.policy,
        );
        Ok(BatchStep {
            plan,
            kinds,
            members,
        })
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

    /// Whether the message may be to blame for `error`, with which a tagged `statement` failed.
    pub(super) fn suspicion(&self, error: &Error, statement: &Known) -> Option<Suspicion> {
        let Kind::Dml(dml) = &statement.as_deref()?.kind else {
            return None;
        };
        let suspicion = Suspicion::of(error, dml)?;
        (suspicion != Suspicion::Denied || self.may_go_without()).then_some(suspicion)
    }

    /// Takes in how `statement` went without the message.
    pub(super) fn confirm(&mut self, suspicion: Suspicion, statement: &Known, well: bool) {
        if suspicion == Suspicion::Denied {
            return self.denied();
        }
        let Some(statement) = statement.as_deref().filter(|_| well) else {
            return;
        };
        // A message among the values is no reason to do without the other kinds.
        if let Some(inline) = &statement.inline
            && let Some(rules @ Rules::None) = self.facts.rules.get_mut(&inline.relation)
        {
            *rules = Rules::Some;
        } else if let Kind::Dml(dml) = &statement.kind {
            self.facts.ruled.insert(dml.target.clone());
        }
    }

    /// Whether a message of its own failed with `error` because the user may not write it. No more are
    /// sent then.
    pub(super) fn is_denied(&mut self, error: &Error) -> bool {
        let denied = self.may_go_without() && is_denied(error);
        if denied {
            self.denied();
        }
        denied
    }

    /// Whether a message of its own failed with `error`, and nothing may be written without.
    pub(super) fn insists(&self, error: &Error) -> bool {
        !self.may_go_without() && is_denied(error)
    }

    fn may_go_without(&self) -> bool {
        self.policy.refused == RefusedContext::Allow
    }

    fn denied(&mut self) {
        count_refused();
        if !self.facts.denied {
            warn_denied();
        }
        self.facts.denied = true;
    }
}

/// The ambient context in its wire form.
pub(super) fn ambient() -> Members {
    SharedContext::current().map(|context| context.members_json())
}

fn warn_denied() {
    tracing::warn!(
        "changes made through this connection carry no context: its user may not execute \
         pg_logical_emit_message; GRANT EXECUTE ON FUNCTION pg_logical_emit_message(boolean, text, text) \
         TO the user"
    );
}
