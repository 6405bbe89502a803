//! The messages and their fields.

use std::fmt;

use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::cursor::Cursor;
use super::{DecodeError, OldTuple, Tuple};
use crate::{Lsn, Xid};

/// One message of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// A committed transaction starts.
    Begin(Begin),
    /// It ends.
    Commit(Commit),
    /// The transaction was itself replicated from elsewhere; follows its [`Begin`].
    Origin,
    /// Describes a table: before its first row on this connection, and again after it was altered.
    Relation(Relation),
    /// Names a type that is not built in; comes with a [`Relation`] that uses it.
    Type,
    /// A row was inserted.
    Insert {
        /// The table.
        relation: RelationId,
        /// The row.
        new: Tuple,
    },
    /// A row was updated.
    Update {
        /// The table.
        relation: RelationId,
        /// The row before: absent if the table's replica identity is not `FULL` and the update left
        /// its columns alone.
        old: Option<OldTuple>,
        /// The row after.
        new: Tuple,
    },
    /// A row was deleted.
    Delete {
        /// The table.
        relation: RelationId,
        /// The row before.
        old: OldTuple,
    },
    /// Tables were emptied by one `TRUNCATE`.
    Truncate {
        /// The published ones among them, those reached by `CASCADE` included.
        relations: Vec<RelationId>,
        /// `CASCADE` was given.
        cascade: bool,
        /// `RESTART IDENTITY` was given.
        restart_identity: bool,
    },
    /// Somebody called `pg_logical_emit_message`.
    LogicalMessage(LogicalMessage),
}

impl Message {
    /// The table whose row this is.
    pub(crate) fn relation(&self) -> Option<RelationId> {
        match self {
            Self::Insert { relation, .. }
            | Self::Update { relation, .. }
            | Self::Delete { relation, .. } => Some(*relation),
            _ => None,
        }
    }

    pub(super) fn decode(cursor: &mut Cursor) -> Result<Self, DecodeError> {
        match cursor.u8()? {
            b'B' => Ok(Self::Begin(Begin {
                final_lsn: cursor.lsn()?,
                committed_at: cursor.timestamp()?,
                xid: Xid::new(cursor.u32()?),
            })),
            b'C' => {
                // Flags: none is defined.
                cursor.u8()?;
                Ok(Self::Commit(Commit {
                    commit_lsn: cursor.lsn()?,
                    end_lsn: cursor.lsn()?,
                    committed_at: cursor.timestamp()?,
                }))
            }
            b'O' => {
                cursor.lsn()?;
                cursor.c_string()?;
                Ok(Self::Origin)
            }
            b'R' => Relation::decode(cursor).map(Self::Relation),
            b'Y' => {
                cursor.u32()?;
                cursor.c_string()?;
                cursor.c_string()?;
                Ok(Self::Type)
            }
            b'I' => {
                let relation = cursor.relation_id()?;
                let new = new_tuple(cursor.u8()?, cursor)?;
                Ok(Self::Insert { relation, new })
            }
            b'U' => {
                let relation = cursor.relation_id()?;
                let mut tag = cursor.u8()?;
                let mut old = None;
                if tag != b'N' {
                    old = Some(old_tuple(tag, cursor)?);
                    tag = cursor.u8()?;
                }
                let new = new_tuple(tag, cursor)?;
                Ok(Self::Update { relation, old, new })
            }
            b'D' => {
                let relation = cursor.relation_id()?;
                let old = old_tuple(cursor.u8()?, cursor)?;
                Ok(Self::Delete { relation, old })
            }
            b'T' => {
                let count = cursor.u32()?;
                let options = cursor.u8()?;
                let mut relations = Vec::with_capacity(cursor.rest().len() / size_of::<u32>());
                for _ in 0..count {
                    relations.push(cursor.relation_id()?);
                }
                Ok(Self::Truncate {
                    relations,
                    cascade: options & 1 != 0,
                    restart_identity: options & 2 != 0,
                })
            }
            b'M' => {
                let flags = cursor.u8()?;
                let lsn = cursor.lsn()?;
                let prefix = cursor.c_string()?;
                let len = usize::try_from(cursor.u32()?);
                Ok(Self::LogicalMessage(LogicalMessage {
                    transactional: flags & 1 != 0,
                    lsn,
                    prefix,
                    content: cursor.bytes(len.map_err(|_| DecodeError::UnexpectedEnd)?)?,
                }))
            }
            tag => Err(DecodeError::UnknownTag {
                what: "message",
                tag,
            }),
        }
    }
}

fn new_tuple(tag: u8, cursor: &mut Cursor) -> Result<Tuple, DecodeError> {
    match tag {
        b'N' => Tuple::decode(cursor),
        tag => Err(DecodeError::UnknownTag {
            what: "kind of new row",
            tag,
        }),
    }
}

fn old_tuple(tag: u8, cursor: &mut Cursor) -> Result<OldTuple, DecodeError> {
    match tag {
        b'O' => Tuple::decode(cursor).map(OldTuple::Full),
        b'K' => Tuple::decode(cursor).map(OldTuple::Key),
        tag => Err(DecodeError::UnknownTag {
            what: "kind of old row",
            tag,
        }),
    }
}

/// The start of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Begin {
    /// Where its commit record stands: the same as [`Commit::commit_lsn`].
    pub(crate) final_lsn: Lsn,
    /// When it was committed.
    pub(crate) committed_at: DateTime<Utc>,
    /// Its identifier.
    pub(crate) xid: Xid,
}

/// The end of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_field_names,
    reason = "`commit_lsn` is what the manual and `Change` call it"
)]
pub(crate) struct Commit {
    /// Where the commit record stands.
    pub(crate) commit_lsn: Lsn,
    /// Where the commit record ends: what to acknowledge once the transaction is durable.
    pub(crate) end_lsn: Lsn,
    /// When it was committed.
    pub(crate) committed_at: DateTime<Utc>,
}

/// A message written by [`pg_logical_emit_message`].
///
/// `Debug` hides the content.
///
/// [`pg_logical_emit_message`]: https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-REPLICATION
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct LogicalMessage {
    /// It is part of the transaction it arrives in. Otherwise it arrives as soon as it is written,
    /// whatever becomes of the transaction.
    pub(crate) transactional: bool,
    /// Where its record ends in the log, unlike the position of a row, which is where its record begins.
    pub(crate) lsn: Lsn,
    /// Whose it is.
    pub(crate) prefix: String,
    /// The bytes as they were written: unlike the prefix they are not converted from the database's
    /// encoding.
    pub(crate) content: Bytes,
}

impl LogicalMessage {
    /// Whether somebody asks to store how far the log has been read.
    pub(crate) fn is_heartbeat(&self) -> bool {
        !self.transactional && self.prefix == "_bemi_heartbeat"
    }
}

impl fmt::Debug for LogicalMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogicalMessage")
            .field("transactional", &self.transactional)
            .field("lsn", &self.lsn)
            .field("prefix", &self.prefix)
            .field("bytes", &self.content.len())
            .finish()
    }
}

/// The object identifier of a table; what rows name it by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RelationId(pub(crate) u32);

/// A table as the rows after this message have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Relation {
    /// What rows name it by.
    pub(crate) id: RelationId,
    /// Its schema; sent empty for `pg_catalog`.
    pub(crate) schema: String,
    /// Its name.
    pub(crate) name: String,
    /// What `UPDATE` and `DELETE` tell of the row before.
    pub(crate) replica_identity: ReplicaIdentity,
    /// The published columns, in the order of the table.
    pub(crate) columns: Vec<Column>,
}

impl Relation {
    fn decode(cursor: &mut Cursor) -> Result<Self, DecodeError> {
        let id = cursor.relation_id()?;
        let schema = schema(cursor)?;
        let name = cursor.c_string()?;
        let replica_identity = ReplicaIdentity::decode(cursor)?;
        let count = cursor.u16()?;
        // The count is not trusted: there are as many columns as the frame has bytes for.
        let mut columns =
            Vec::with_capacity(usize::from(count).min(cursor.rest().len() / Column::MIN_BYTES));
        for _ in 0..count {
            columns.push(Column::decode(cursor)?);
        }
        Ok(Self {
            id,
            schema,
            name,
            replica_identity,
            columns,
        })
    }
}

/// The schema of a table, which is sent empty for `pg_catalog`.
pub(super) fn schema(cursor: &mut Cursor) -> Result<String, DecodeError> {
    let schema = cursor.c_string()?;
    Ok(if schema.is_empty() {
        "pg_catalog".to_owned()
    } else {
        schema
    })
}

/// The table's [`REPLICA IDENTITY`].
///
/// [`REPLICA IDENTITY`]: https://www.postgresql.org/docs/current/sql-altertable.html#SQL-ALTERTABLE-REPLICA-IDENTITY
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReplicaIdentity {
    /// The primary key, if there is one.
    Default,
    /// Nothing.
    Nothing,
    /// The whole row.
    Full,
    /// The columns of a unique index.
    Index,
}

impl ReplicaIdentity {
    fn decode(cursor: &mut Cursor) -> Result<Self, DecodeError> {
        match cursor.u8()? {
            b'd' => Ok(Self::Default),
            b'n' => Ok(Self::Nothing),
            b'f' => Ok(Self::Full),
            b'i' => Ok(Self::Index),
            tag => Err(DecodeError::UnknownTag {
                what: "replica identity",
                tag,
            }),
        }
    }
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    /// It belongs to the replica identity; under `FULL` every column does.
    pub(crate) key: bool,
    /// Its name.
    pub(crate) name: String,
    /// The object identifier of its type.
    pub(crate) type_oid: u32,
    /// What the type was given in parentheses, such as a length; -1 for nothing.
    pub(crate) type_modifier: i32,
}

impl Column {
    /// The size of a column with an empty name.
    const MIN_BYTES: usize = 10;

    fn decode(cursor: &mut Cursor) -> Result<Self, DecodeError> {
        Ok(Self {
            key: cursor.u8()? & 1 != 0,
            name: cursor.c_string()?,
            type_oid: cursor.u32()?,
            type_modifier: cursor.i32()?,
        })
    }
}
