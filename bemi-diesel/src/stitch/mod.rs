//! From decoded messages to changes with their contexts. Pure.
//!
//! The messages of a transaction go in one by one with [`Stitcher::push`]; its commit gives the whole
//! [`Transaction`]. Of a transaction that grows large, [`Stitcher::take_part`] gives what is settled before.
//! What is kept between transactions is the description of each table.
//!
//! Which context a row gets is the matter of [`coverage`]; what its images look like, of [`table`];
//! which updates are no changes, of [`rules`]; what a recorded command is, of [`ddl`]; and which tables are
//! new, of [`tracked`], and of how a partitioned table is made up, [`partitions`].

mod coverage;
mod ddl;
mod error;
mod part;
mod partitions;
mod rules;
mod table;
mod tracked;

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::pgoutput::{
    Begin, Commit, LogicalMessage, Message, OldTuple, Relation, RelationId, Tuple,
};
use crate::value::ColumnType;
use crate::{Change, JsonObject, Lsn, Operation, PREFIX, Xid};

use coverage::Coverage;
use table::Table;

#[cfg(test)]
use coverage::RejectReason;
pub(crate) use coverage::RejectedContext;
pub(crate) use error::StitchError;
pub(crate) use part::LateContext;
pub(crate) use partitions::Partitions;
pub(crate) use rules::{ColumnPattern, Rules};
pub(crate) use tracked::Tracked;

/// What the source's catalog says about a table beyond its [`Relation`] message.
#[derive(Clone, Debug)]
pub(crate) struct Description {
    /// Its rows become changes. Rows of other tables are passed over.
    pub(crate) tracked: bool,
    /// The columns of its primary key, in the key's order; empty if it has none. The message does not
    /// tell: under `REPLICA IDENTITY FULL` every column is flagged as key.
    pub(crate) primary_key: Vec<String>,
    /// The types of its columns by their object identifiers; needed only for those that
    /// [`builtin`](crate::value::builtin) does not know. A type that is nowhere is kept as text.
    pub(crate) types: HashMap<u32, ColumnType>,
}

impl Default for Description {
    /// Tracked, without primary key or types.
    fn default() -> Self {
        Self {
            tracked: true,
            primary_key: Vec::new(),
            types: HashMap::new(),
        }
    }
}

/// A committed transaction with its changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Transaction {
    /// Its identifier in the source.
    pub(crate) xid: Xid,
    /// Where its commit record stands.
    pub(crate) commit_lsn: Lsn,
    /// Where its commit record ends: what to acknowledge once the changes are durable.
    pub(crate) end_lsn: Lsn,
    /// When it was committed, by the source's clock.
    pub(crate) committed_at: DateTime<Utc>,
    /// The changes of tracked tables in the order of the log, without those that the rules leave out and
    /// those that came in [parts](Stitcher::take_part); often none.
    pub(crate) changes: Vec<Change>,
    /// How many changes came in parts.
    pub(crate) earlier: u64,
    /// The context of changes that came in parts before it was known.
    pub(crate) late_context: Option<LateContext>,
    /// The tables that began to be tracked in it.
    pub(crate) tracked: Vec<Tracked>,
    /// The partitioned tables that it may have made others.
    pub(crate) partitions: Vec<Partitions>,
    /// The messages under bemi's prefix that are no context, without those that came in parts.
    pub(crate) rejected: Vec<RejectedContext>,
}

impl Transaction {
    /// How many changes it has, those that came in parts included.
    pub(crate) fn count(&self) -> u64 {
        self.earlier + self.changes.len() as u64
    }
}

/// Puts the messages of one replication connection together.
///
/// After an error the stream makes no sense any more: drop the stitcher with the connection.
#[derive(Debug)]
pub(crate) struct Stitcher {
    source: i64,
    database: Arc<str>,
    rules: Rules,
    tables: HashMap<RelationId, Table>,
    open: Option<Open>,
}

/// The transaction that is being read.
#[derive(Debug)]
struct Open {
    begin: Begin,
    /// How many changes of tracked tables the log has had, those that are left out included: what
    /// identifies a change must not depend on the settings.
    seen: u64,
    changes: Vec<Change>,
    /// The size of the changes, in bytes.
    size: usize,
    /// How many changes were taken in parts.
    taken: u64,
    late_context: Option<LateContext>,
    coverage: Coverage,
    tracked: Vec<Tracked>,
    partitions: Vec<Partitions>,
    rejected: Vec<RejectedContext>,
}

impl Stitcher {
    /// A stitcher for a new connection to `database` in the cluster with the system identifier
    /// `source`.
    pub(crate) fn new(source: i64, database: Arc<str>, rules: Rules) -> Self {
        Self {
            source,
            database,
            rules,
            tables: HashMap::new(),
            open: None,
        }
    }

    /// Takes note of a table: on each [`Message::Relation`], before anything after it is pushed. What
    /// was noted before under the same identifier is replaced.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "nobody has a use for them afterwards"
    )]
    pub(crate) fn describe(&mut self, relation: Relation, description: Description) {
        let table = Table::new(&relation, &description, &self.rules);
        self.tables.insert(relation.id, table);
    }

    /// Whether no transaction is open.
    pub(crate) fn is_idle(&self) -> bool {
        self.open.is_none()
    }

    /// The transaction that is open.
    pub(crate) fn xid(&self) -> Option<Xid> {
        self.open.as_ref().map(|open| open.begin.xid)
    }

    /// Takes the next message, whose record stands at `position` in the log and which was read at
    /// `now`. A commit gives the transaction that it ends.
    ///
    /// A [`Message::Relation`] is for [`describe`](Stitcher::describe), which knows more; pushed here
    /// it counts with the default [`Description`].
    ///
    /// # Errors
    ///
    /// When the messages are in an order that PostgreSQL does not send: the stream is broken.
    pub(crate) fn push(
        &mut self,
        message: Message,
        position: Lsn,
        now: DateTime<Utc>,
    ) -> Result<Option<Transaction>, StitchError> {
        match message {
            Message::Begin(begin) => self.begin(begin)?,
            Message::Commit(commit) => return self.commit(commit).map(Some),
            Message::Relation(relation) => self.describe(relation, Description::default()),
            Message::Origin | Message::Type => {}
            Message::Insert { relation, new } => {
                self.row(relation, position, now, Row::Insert(&new))?;
            }
            Message::Update { relation, old, new } => {
                self.row(relation, position, now, Row::Update(old.as_ref(), &new))?;
            }
            Message::Delete { relation, old } => {
                self.row(relation, position, now, Row::Delete(&old))?;
            }
            Message::Truncate { relations, .. } => {
                for relation in relations {
                    self.row(relation, position, now, Row::Truncate)?;
                }
            }
            Message::LogicalMessage(message) => self.message(&message, now)?,
        }
        Ok(None)
    }

    fn begin(&mut self, begin: Begin) -> Result<(), StitchError> {
        if self.open.is_some() {
            return Err(StitchError::NestedTransaction);
        }
        self.open = Some(Open {
            begin,
            seen: 0,
            changes: Vec::new(),
            size: 0,
            taken: 0,
            late_context: None,
            coverage: Coverage::default(),
            tracked: Vec::new(),
            partitions: Vec::new(),
            rejected: Vec::new(),
        });
        Ok(())
    }

    fn commit(&mut self, commit: Commit) -> Result<Transaction, StitchError> {
        let open = self.open.take().ok_or(StitchError::NoTransaction)?;
        if open.begin.final_lsn != commit.commit_lsn {
            return Err(StitchError::OtherCommit);
        }
        Ok(Transaction {
            xid: open.begin.xid,
            commit_lsn: commit.commit_lsn,
            end_lsn: commit.end_lsn,
            committed_at: commit.committed_at,
            changes: open.changes,
            earlier: open.taken,
            late_context: open.late_context,
            tracked: open.tracked,
            partitions: open.partitions,
            rejected: open.rejected,
        })
    }

    fn message(&mut self, message: &LogicalMessage, now: DateTime<Utc>) -> Result<(), StitchError> {
        if !message.transactional {
            return Ok(());
        }
        let rejected = match &*message.prefix {
            PREFIX => {
                let open = self.open.as_mut().ok_or(StitchError::NoTransaction)?;
                let first = open.coverage.latest().is_none();
                let covered = open.coverage.message(message, &mut open.changes);
                if first && covered.is_ok() {
                    open.cover_taken();
                }
                covered.err()
            }
            ddl::PREFIX => match ddl::parse(&message.content) {
                Ok(command) => {
                    self.command(command, message.lsn, now)?;
                    None
                }
                Err(reason) => Some(reason),
            },
            tracked::PREFIX => {
                let open = self.open.as_mut().ok_or(StitchError::NoTransaction)?;
                let told = tracked::parse(&message.content, open.seen);
                told.map(|told| open.tracked.push(told)).err()
            }
            partitions::PREFIX => {
                let open = self.open.as_mut().ok_or(StitchError::NoTransaction)?;
                let told = partitions::parse(&message.content, open.seen);
                told.map(|told| open.partitions.extend(told)).err()
            }
            _ => None,
        };
        if let (Some(reason), Some(open)) = (rejected, &mut self.open) {
            open.rejected.push(RejectedContext {
                lsn: message.lsn,
                reason,
            });
        }
        Ok(())
    }

    /// A command is a change of its own.
    fn command(
        &mut self,
        command: ddl::Command,
        position: Lsn,
        now: DateTime<Utc>,
    ) -> Result<(), StitchError> {
        let open = self.open.as_mut().ok_or(StitchError::NoTransaction)?;
        let ordinal = open.seen;
        open.seen += 1;
        let subject = Subject {
            schema: command.schema,
            table: command.table,
            primary_key: None,
            previous_key: None,
            operation: Operation::Ddl,
            before: JsonObject::empty(),
            after: command.after,
        };
        let context = open.coverage.row(Operation::Ddl, position);
        let place = (position, ordinal, now);
        let change = open.change(self.source, &self.database, subject, context, place);
        open.push(change);
        Ok(())
    }

    fn row(
        &mut self,
        relation: RelationId,
        position: Lsn,
        now: DateTime<Utc>,
        row: Row<'_>,
    ) -> Result<(), StitchError> {
        let open = self.open.as_mut().ok_or(StitchError::NoTransaction)?;
        let table = self
            .tables
            .get(&relation)
            .ok_or(StitchError::UnknownRelation(relation))?;
        if !table.tracked {
            open.coverage.passed_over(position);
            return Ok(());
        }
        let ordinal = open.seen;
        open.seen += 1;
        if let Row::Update(old, new) = row
            && table.drops_update(old, new, &self.rules)?
        {
            open.coverage.passed_over(position);
            return Ok(());
        }
        let (operation, before, after) = match row {
            Row::Insert(new) => (
                Operation::Create,
                JsonObject::empty(),
                table.after(new, None)?,
            ),
            Row::Update(old, new) => (
                Operation::Update,
                old.map_or_else(|| Ok(JsonObject::empty()), |old| table.before(old))?,
                table.after(new, old)?,
            ),
            Row::Delete(old) => (Operation::Delete, table.before(old)?, JsonObject::empty()),
            Row::Truncate => (
                Operation::Truncate,
                JsonObject::empty(),
                JsonObject::empty(),
            ),
        };
        let primary_key = match row {
            Row::Insert(new) => table.primary_key(Some(new), None),
            Row::Update(old, new) => table.primary_key(Some(new), old),
            Row::Delete(old) => table.primary_key(None, Some(old)),
            Row::Truncate => None,
        };
        let previous_key = match row {
            Row::Update(Some(old), _) => table
                .primary_key(None, Some(old))
                .filter(|key| primary_key.as_ref().is_some_and(|new| new != key)),
            _ => None,
        };
        let subject = Subject {
            schema: Arc::clone(&table.schema),
            table: Arc::clone(&table.name),
            primary_key,
            previous_key,
            operation,
            before,
            after,
        };
        let context = open.coverage.row(operation, position);
        let place = (position, ordinal, now);
        let change = open.change(self.source, &self.database, subject, context, place);
        open.push(change);
        Ok(())
    }
}

/// What changed, and how.
struct Subject {
    schema: Arc<str>,
    table: Arc<str>,
    primary_key: Option<String>,
    previous_key: Option<String>,
    operation: Operation,
    before: JsonObject,
    after: JsonObject,
}

impl Open {
    fn push(&mut self, change: Change) {
        self.size += change.size();
        self.changes.push(change);
    }

    /// The change of `subject` at this place: its position, its ordinal, and when it was read.
    fn change(
        &self,
        source: i64,
        database: &Arc<str>,
        subject: Subject,
        context: JsonObject,
        (position, ordinal, queued_at): (Lsn, u64, DateTime<Utc>),
    ) -> Change {
        let commit_lsn = self.begin.final_lsn;
        let committed_at = self.begin.committed_at;
        Change {
            id: Change::identifier(source, commit_lsn, ordinal, committed_at),
            source,
            database: Arc::clone(database),
            schema: subject.schema,
            table: subject.table,
            primary_key: subject.primary_key,
            previous_key: subject.previous_key,
            operation: subject.operation,
            before: subject.before,
            after: subject.after,
            context,
            committed_at,
            queued_at,
            created_at: None,
            transaction_id: self.begin.xid,
            position,
            commit_lsn,
            ordinal,
        }
    }
}

/// What a message says about one row, or about all rows of a table.
#[derive(Clone, Copy)]
enum Row<'a> {
    Insert(&'a Tuple),
    Update(Option<&'a OldTuple>, &'a Tuple),
    Delete(&'a OldTuple),
    Truncate,
}

#[cfg(test)]
mod tests;
