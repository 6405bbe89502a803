//! Rows that make no sense, and are put aside whole.
//!
//! What stands around such a row is certain: which table it is of, its place in the transaction, and so its
//! ordinal and its context. It keeps its place among the changes, as one that has no rows, and leaves them
//! with its message and with what is needed to read it again.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::table::{Images, Row, Table};
use super::{Description, Open, Rules, StitchError, Stitcher};
#[cfg(feature = "cli")]
use crate::pgoutput::Message;
use crate::pgoutput::{self, About, DecodeError, Relation, RelationId};
use crate::{Change, JsonObject, Lsn, Operation};

/// A change that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable {
    /// All that is known of it: not its rows and its key.
    pub(crate) change: Change,
    pub(crate) raw: Raw,
}

/// What came of a change that could not be read. `Debug` hides the message.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Raw {
    /// The message as it came: that of the row, or of a TRUNCATE of several tables.
    pub(crate) message: Bytes,
    pub(crate) legend: Arc<Legend>,
    /// Why it could not be read, without values.
    pub(crate) reason: String,
}

/// What the rows of a table are read with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Legend {
    /// The [`Relation`] message as it came; `None` if none did.
    pub(crate) relation: Option<Bytes>,
    /// What the catalog said; `None` if it could not be asked, as the message could not be decoded.
    pub(crate) description: Option<Description>,
}

/// A table that is known by no more than its name.
#[derive(Debug)]
pub(crate) struct Undescribed<'a> {
    pub(crate) schema: &'a str,
    pub(crate) name: &'a str,
    pub(crate) tracked: bool,
    /// The [`Relation`] message that could not be decoded; `None` if none came.
    pub(crate) relation: Option<(&'a Bytes, DecodeError)>,
}

/// What is known of a table.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) schema: Arc<str>,
    pub(super) name: Arc<str>,
    pub(super) tracked: bool,
    /// How its rows are read, or why they cannot be.
    pub(super) table: Result<Table, StitchError>,
    legend: Arc<Legend>,
}

impl Known {
    pub(super) fn new(
        relation: Relation,
        frame: Option<&Bytes>,
        description: Description,
        rules: &Rules,
    ) -> Self {
        Self {
            table: Ok(Table::new(&relation, &description, rules)),
            tracked: description.tracked,
            schema: relation.schema.into(),
            name: relation.name.into(),
            legend: Arc::new(Legend {
                relation: frame.map(own),
                description: Some(description),
            }),
        }
    }
}

/// The bytes alone: a frame is a part of all that was received with it.
fn own(frame: &Bytes) -> Bytes {
    Bytes::copy_from_slice(frame)
}

impl Stitcher {
    /// Takes note of a table whose rows cannot be read, until it is described again.
    pub(crate) fn undescribed(&mut self, id: RelationId, table: &Undescribed<'_>) {
        let unknown = StitchError::UnknownRelation(id);
        let problem = table
            .relation
            .map(|(_, error)| StitchError::Undescribed(error));
        let known = Known {
            schema: table.schema.into(),
            name: table.name.into(),
            tracked: table.tracked,
            table: Err(problem.unwrap_or(unknown)),
            legend: Arc::new(Legend {
                relation: table.relation.map(|(frame, _)| own(frame)),
                description: None,
            }),
        };
        self.tables.insert(id, known);
    }

    /// Puts the row aside that the message `frame` tells of, for a `reason` without values. Of the tables of a
    /// TRUNCATE only those that cannot be read.
    ///
    /// # Errors
    ///
    /// When it does not tell which row, or not within a transaction: the stream is broken. When its table is not
    /// known at all: it is as if it had not come.
    pub(crate) fn put_aside(
        &mut self,
        frame: &Bytes,
        reason: &str,
        position: Lsn,
        now: DateTime<Utc>,
    ) -> Result<(), StitchError> {
        match pgoutput::about(frame.clone()) {
            Some(About::Row(operation, id)) => {
                self.put_row_aside(id, operation, frame, reason, (position, now))
            }
            Some(About::Truncate(relations)) => {
                let unknown = |id: &&RelationId| !self.tables.contains_key(id);
                if let Some(id) = relations.iter().find(unknown) {
                    return Err(StitchError::UnknownRelation(*id));
                }
                for id in relations {
                    match self.row(id, position, now, Row::Truncate) {
                        Err(error) if error.is_of_a_row() => {
                            let operation = Operation::Truncate;
                            self.put_row_aside(id, operation, frame, reason, (position, now))?;
                        }
                        done => done?,
                    }
                }
                Ok(())
            }
            Some(About::Relation { .. }) | None => Err(StitchError::NoRow),
        }
    }

    fn put_row_aside(
        &mut self,
        id: RelationId,
        operation: Operation,
        frame: &Bytes,
        reason: &str,
        (position, now): (Lsn, DateTime<Utc>),
    ) -> Result<(), StitchError> {
        let open = self.open.as_mut().ok_or(StitchError::NoTransaction)?;
        let known = self
            .tables
            .get(&id)
            .ok_or(StitchError::UnknownRelation(id))?;
        if !known.tracked {
            open.coverage.passed_over(position);
            return Ok(());
        }
        let ordinal = open.seen;
        open.seen += 1;
        let nothing = Images {
            primary_key: None,
            previous_key: None,
            operation,
            before: JsonObject::empty(),
            after: JsonObject::empty(),
        };
        let context = open.coverage.row(operation, position);
        let names = (Arc::clone(&known.schema), Arc::clone(&known.name));
        let place = (position, ordinal, now);
        let change = open.change(self.source, &self.database, names, nothing, context, place);
        let raw = Raw {
            message: own(frame),
            legend: Arc::clone(&known.legend),
            reason: reason.to_owned(),
        };
        open.size += raw.size();
        open.unreadable.insert(ordinal, raw);
        open.push(change);
        Ok(())
    }

    /// Whether rows of the table can be read, or need not be.
    pub(super) fn check(&self, id: RelationId) -> Result<(), StitchError> {
        match self.tables.get(&id) {
            None => Err(StitchError::UnknownRelation(id)),
            Some(Known {
                tracked: true,
                table: Err(error),
                ..
            }) => Err(*error),
            Some(_) => Ok(()),
        }
    }
}

impl Open {
    /// Those of `changes` that could be read, and those that could not.
    pub(super) fn split(&mut self, changes: Vec<Change>) -> (Vec<Change>, Vec<Unreadable>) {
        if self.unreadable.is_empty() {
            return (changes, Vec::new());
        }
        let (mut readable, mut unreadable) = (Vec::with_capacity(changes.len()), Vec::new());
        for change in changes {
            match self.unreadable.remove(&change.ordinal) {
                Some(raw) => unreadable.push(Unreadable { change, raw }),
                None => readable.push(change),
            }
        }
        (readable, unreadable)
    }
}

impl Unreadable {
    /// What it takes in memory, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.change.size() + self.raw.size()
    }
}

impl Raw {
    /// What it takes in memory, in bytes.
    pub(super) fn size(&self) -> usize {
        self.message.len()
    }
}

impl std::fmt::Debug for Raw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Raw")
            .field("bytes", &self.message.len())
            .field("legend", &self.legend)
            .field("reason", &self.reason)
            .finish()
    }
}

/// The rows and the key of `change`, read from the `message` that came of it, as one of the table `relation`.
/// `None` if it is an UPDATE that changed nothing.
///
/// # Errors
///
/// When it still makes no sense.
#[cfg(feature = "cli")]
pub(crate) fn read_again(
    change: Change,
    message: &Message,
    relation: &Relation,
    description: &Description,
) -> Result<Option<Change>, StitchError> {
    let row = match message {
        Message::Insert { new, .. } => Row::Insert(new),
        Message::Update { old, new, .. } => Row::Update(old.as_ref(), new),
        Message::Delete { old, .. } => Row::Delete(old),
        Message::Truncate { .. } => Row::Truncate,
        _ => return Err(StitchError::NoRow),
    };
    let rules = Rules::default();
    let images = Table::new(relation, description, &rules).read(row, &rules)?;
    Ok(images.map(|images| Change {
        primary_key: images.primary_key,
        previous_key: images.previous_key,
        operation: images.operation,
        before: images.before,
        after: images.after,
        ..change
    }))
}

#[cfg(test)]
mod tests;
