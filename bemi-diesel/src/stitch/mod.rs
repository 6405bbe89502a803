//! From decoded messages to changes with their contexts. Pure.
//!
//! The messages of a transaction go in one by one with [`Stitcher::push`]; its commit gives the whole
//! [`Transaction`]. Of a transaction that grows large, [`Stitcher::take_part`] gives what is settled before.
//! What is kept between transactions is the description of each table.
//!
//! Which context a row gets is the matter of [`coverage`]; what its images look like, of [`table`];
//! which updates are no changes, of [`rules`]; what a recorded command is, of [`ddl`]; which tables are
//! new, of [`tracked`], and of how a partitioned table is made up, [`partitions`]; and what becomes of a row
//! that makes no sense, of [`unreadable`].

mod coverage;
mod ddl;
mod error;
mod part;
mod partitions;
mod rules;
mod table;
mod tracked;
mod unreadable;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::pgoutput::{Begin, Commit, LogicalMessage, Message, Relation, RelationId};
use crate::value::ColumnType;
use crate::{Change, JsonObject, Lsn, Operation, PREFIX, Xid};

use coverage::Coverage;
use table::{Images, Row};
use unreadable::Known;

#[cfg(test)]
use coverage::RejectReason;
pub(crate) use coverage::RejectedContext;
pub(crate) use error::StitchError;
pub(crate) use part::{LateContext, Part};
pub(crate) use partitions::Partitions;
pub(crate) use rules::{ColumnPattern, Rules};
pub(crate) use tracked::Tracked;
#[cfg(feature = "cli")]
pub(crate) use unreadable::{Legend, read_again};
pub(crate) use unreadable::{Raw, Undescribed, Unreadable};

/// What the source's catalog says about a table beyond its [`Relation`] message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Those that could not be read, without those that came in parts; nearly always none.
    pub(crate) unreadable: Vec<Unreadable>,
    /// How many changes came in parts, unreadable ones included.
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
    /// How many changes it has, those that came in parts and those that could not be read included.
    pub(crate) fn count(&self) -> u64 {
        self.earlier + (self.changes.len() + self.unreadable.len()) as u64
    }
}

/// Puts the messages of one replication connection together.
///
/// After an error that is not [of a row](StitchError::is_of_a_row) the stream makes no sense any more: drop the
/// stitcher with the connection.
#[derive(Debug)]
pub(crate) struct Stitcher {
    source: i64,
    database: Arc<str>,
    rules: Rules,
    tables: HashMap<RelationId, Known>,
    open: Option<Open>,
}

/// The transaction that is being read.
#[derive(Debug)]
struct Open {
    begin: Begin,
    /// How many changes of tracked tables the log has had, those that are left out included: what
    /// identifies a change must not depend on the settings.
    seen: u64,
    /// What is [unreadable] has its place among them, and no rows.
    changes: Vec<Change>,
    /// What came of those that are unreadable, by their ordinals.
    unreadable: BTreeMap<u64, Raw>,
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
    /// was noted before under the same identifier is replaced. `frame` is the message, to be kept with rows that
    /// make no sense; `None` where it does not come from the log.
    pub(crate) fn describe(
        &mut self,
        relation: Relation,
        frame: Option<&Bytes>,
        description: Description,
    ) {
        let id = relation.id;
        let known = Known::new(relation, frame, description, &self.rules);
        self.tables.insert(id, known);
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
    /// When the messages are in an order that PostgreSQL does not send: the stream is broken. When a row makes
    /// no sense: it is as if it had not come, and can be [put aside](Stitcher::put_aside).
    pub(crate) fn push(
        &mut self,
        message: Message,
        position: Lsn,
        now: DateTime<Utc>,
    ) -> Result<Option<Transaction>, StitchError> {
        match message {
            Message::Begin(begin) => self.begin(begin)?,
            Message::Commit(commit) => return self.commit(commit).map(Some),
            Message::Relation(relation) => self.describe(relation, None, Description::default()),
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
                for relation in &relations {
                    self.check(*relation)?;
                }
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
            unreadable: BTreeMap::new(),
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
        let mut open = self.open.take().ok_or(StitchError::NoTransaction)?;
        if open.begin.final_lsn != commit.commit_lsn {
            return Err(StitchError::OtherCommit);
        }
        let changes = std::mem::take(&mut open.changes);
        let (changes, unreadable) = open.split(changes);
        Ok(Transaction {
            xid: open.begin.xid,
            commit_lsn: commit.commit_lsn,
            end_lsn: commit.end_lsn,
            committed_at: commit.committed_at,
            changes,
            unreadable,
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
        let images = Images {
            primary_key: None,
            previous_key: None,
            operation: Operation::Ddl,
            before: JsonObject::empty(),
            after: command.after,
        };
        let context = open.coverage.row(Operation::Ddl, position);
        let names = (command.schema, command.table);
        let place = (position, ordinal, now);
        let change = open.change(self.source, &self.database, names, images, context, place);
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
        let known = self
            .tables
            .get(&relation)
            .ok_or(StitchError::UnknownRelation(relation))?;
        if !known.tracked {
            open.coverage.passed_over(position);
            return Ok(());
        }
        let table = known.table.as_ref().map_err(|error| *error)?;
        let images = table.read(row, &self.rules)?;
        let ordinal = open.seen;
        open.seen += 1;
        let Some(images) = images else {
            open.coverage.passed_over(position);
            return Ok(());
        };
        let context = open.coverage.row(images.operation, position);
        let names = (Arc::clone(&known.schema), Arc::clone(&known.name));
        let place = (position, ordinal, now);
        let change = open.change(self.source, &self.database, names, images, context, place);
        open.push(change);
        Ok(())
    }
}

impl Open {
    fn push(&mut self, change: Change) {
        self.size += change.size();
        self.changes.push(change);
    }

    /// The change of a table, by schema and name, at this place: its position, its ordinal, and when it was
    /// read.
    fn change(
        &self,
        source: i64,
        database: &Arc<str>,
        (schema, table): (Arc<str>, Arc<str>),
        images: Images,
        context: JsonObject,
        (position, ordinal, queued_at): (Lsn, u64, DateTime<Utc>),
    ) -> Change {
        let commit_lsn = self.begin.final_lsn;
        let committed_at = self.begin.committed_at;
        Change {
            id: Change::identifier(source, commit_lsn, ordinal, committed_at),
            source,
            database: Arc::clone(database),
            schema,
            table,
            primary_key: images.primary_key,
            previous_key: images.previous_key,
            operation: images.operation,
            before: images.before,
            after: images.after,
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

#[cfg(test)]
mod tests;
